//! The GPU against the processor: products, packed networks and training, on whatever adapter there is; natively and in a browser.
//! A machine without a GPU has a software one (lavapipe; SwiftShader in Chromium).

use std::rc::Rc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use qnn_core::bits::Encoding;
use qnn_core::data::{DIGITS, DataSet, TrainingData};
use qnn_core::measure::{ProductKernel, values};
use qnn_core::spec::{Bits, Levels, Loss, NetworkSpec, Normalization, Optimizer, Rounding};
use qnn_core::train::{StepMetrics, Trainer};
use qnn_gpu::{
    Gpu, GpuError, GpuNetwork, GpuTrainer, MOST_STEPS, Request, Tiles, TrainingError,
    float_product, float_tiles, integer_product, plane_tiles,
};

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// In a browser less of everything: its software adapter is twenty times slower, and every new program takes a third of a second.
const IN_BROWSER: bool = cfg!(target_arch = "wasm32");
/// Shapes for each tile.
const CASES: usize = if IN_BROWSER { 4 } else { 15 };

/// A test that waits for the device: on this thread natively, between turns of the event loop in a browser.
macro_rules! gpu_test {
    ($name:ident, $gpu:ident, $body:block) => {
        #[cfg(not(target_arch = "wasm32"))]
        #[test]
        fn $name() {
            pollster::block_on(async {
                let $gpu = open(Request::default()).await;
                $body
            });
        }

        #[cfg(target_arch = "wasm32")]
        #[wasm_bindgen_test::wasm_bindgen_test]
        async fn $name() {
            let $gpu = open(Request::default()).await;
            $body
        }
    };
}

async fn open(request: Request) -> Rc<Gpu> {
    Rc::new(
        Gpu::open(request)
            .await
            .expect("an adapter, of software at least"),
    )
}

/// Some values of a strategy, the same ones in every run.
fn some<S: Strategy>(count: usize, strategy: S) -> impl Iterator<Item = S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(move |_| strategy.new_tree(&mut runner).unwrap().current())
}

fn any_encoding() -> impl Strategy<Value = Encoding> + Clone {
    prop_oneof![
        Just(Encoding::Sign),
        (2u8..=8).prop_map(Encoding::TwosComplement),
        Just(Encoding::Unsigned8),
    ]
}

/// Integers that the encoding holds, the extremes among them.
fn integers(encoding: Encoding, count: usize, seed: u32) -> Vec<i16> {
    let (smallest, largest) = encoding.range();
    let range = i32::from(largest) - i32::from(smallest) + 1;
    let integer =
        |value: f32| (i32::from(smallest) + ((value + 1.0) / 2.0 * range as f32) as i32) as i16;
    values(count, seed)
        .into_iter()
        .map(
            |value| match (encoding, integer(value).clamp(smallest, largest)) {
                (Encoding::Sign, integer) if integer <= 0 => -1,
                (_, integer) => integer,
            },
        )
        .collect()
}

gpu_test!(products_of_integers_are_exact, gpu, {
    let shapes = (
        1usize..70,
        1usize..150,
        1usize..300,
        any_encoding(),
        any_encoding(),
    );
    for tile in plane_tiles(&gpu) {
        for (seed, (rows, columns, terms, a_encoding, b_encoding)) in
            (0..).zip(some(CASES, shapes.clone()))
        {
            let a = integers(a_encoding, rows * terms, seed);
            let b = integers(b_encoding, columns * terms, !seed);
            let found = integer_product(&gpu, tile, terms, (&a, a_encoding), (&b, b_encoding))
                .await
                .unwrap();
            let expected = |row: usize, column: usize| -> i32 {
                let terms = a[row * terms..][..terms].iter().zip(&b[column * terms..]);
                terms.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
            };
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(
                        found[row * columns + column],
                        expected(row, column),
                        "{tile:?} {rows}x{columns}x{terms} {a_encoding:?} {b_encoding:?} at {row}, {column}"
                    );
                }
            }
        }
    }
});
gpu_test!(products_of_floats_agree, gpu, {
    let shapes = (1usize..150, 1usize..150, 1usize..300);
    let tiles: Vec<_> = float_tiles(&gpu)
        .into_iter()
        .map(Some)
        .chain([None])
        .collect();
    for tile in tiles {
        for (seed, (rows, columns, terms)) in (0..).zip(some(CASES, shapes.clone())) {
            let (a, b) = (values(rows * terms, seed), values(columns * terms, !seed));
            let found = float_product(&gpu, tile, terms, &a, &b).await.unwrap();
            for (index, found) in found.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let terms = a[row * terms..][..terms].iter().zip(&b[column * terms..]);
                let expected: f64 = terms.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-4,
                    "{tile:?} {found} {expected}"
                );
            }
        }
    }
});

/// Digits that are drawn, the same for both.
fn digits() -> DataSet {
    DataSet::procedural(1, 1000)
}

/// Trains `steps` steps of a spec on both; the trainers and the metrics, the processor's first.
async fn train_on_both(
    gpu: &Rc<Gpu>,
    spec: &NetworkSpec,
    (data, classes): (&TrainingData, usize),
    steps: u32,
) -> [(Trainer, Vec<StepMetrics>); 2] {
    let mut trainer = Trainer::new(spec.clone(), data.image_size(), classes).unwrap();
    let mut on_gpu = GpuTrainer::new(gpu.clone(), &trainer, data).await.unwrap();
    let mut other = trainer.clone();
    let metrics = (0..steps).map(|_| trainer.step(data).unwrap()).collect();
    let mut gpu_metrics = Vec::new();
    for _ in 0..steps {
        if !on_gpu.has_room() {
            gpu_metrics.extend(on_gpu.finish(&mut other).await.unwrap());
        }
        on_gpu.step(data);
    }
    gpu_metrics.extend(on_gpu.finish(&mut other).await.unwrap());
    [(trainer, metrics), (other, gpu_metrics)]
}

fn any_spec() -> impl Strategy<Value = NetworkSpec> {
    let bits = |from: usize| prop::sample::select(Bits::ALL[from..].to_vec());
    let levels = || prop::sample::select(vec![Levels::Linear, Levels::Logarithmic]);
    let rounding = || prop::sample::select(vec![Rounding::Deterministic, Rounding::Stochastic]);
    let dropout = || prop::sample::select(vec![0.0f32, 0.3]);
    let optimizers = vec![
        Optimizer::Adam,
        Optimizer::AdaMax,
        Optimizer::ShiftAdaMax,
        Optimizer::Sgd { momentum: 0.5 },
    ];
    (
        (bits(0), levels(), rounding(), bits(0), levels(), rounding()),
        (bits(1), levels(), rounding(), dropout(), dropout()),
        prop::sample::select(vec![
            Normalization::BatchNorm,
            Normalization::ShiftBatchNorm,
        ]),
        prop::sample::select(vec![Loss::SquaredHinge, Loss::CrossEntropy]),
        prop::sample::select(optimizers),
        (1usize..50, 1usize..50, 2usize..70, any::<u32>()),
    )
        .prop_map(
            |(forward, backward, normalization, loss, optimizer, shape)| NetworkSpec {
                weight_bits: forward.0,
                weight_levels: forward.1,
                weight_rounding: forward.2,
                activation_bits: forward.3,
                activation_levels: forward.4,
                activation_rounding: forward.5,
                gradient_bits: backward.0,
                gradient_levels: backward.1,
                gradient_rounding: backward.2,
                input_dropout: backward.3,
                hidden_dropout: backward.4,
                normalization,
                loss,
                optimizer,
                hidden: vec![shape.0, shape.1],
                batch_size: shape.2,
                seed: shape.3,
                learning_rate: 0.01,
                ..NetworkSpec::default()
            },
        )
}

// One step of any settings: all numbers are the processor's but for the rounding of floats. Where one number falls on the other side
// of an edge between two levels, much that follows from it differs, but that is rare.
gpu_test!(a_step_of_any_network_is_the_processors, gpu, {
    const SPECS: usize = if IN_BROWSER { 8 } else { 60 };
    follows(&gpu, SPECS, any_spec()).await;
});

// The same where layers are cut into pieces of 128 units, as large ones are.
gpu_test!(a_step_in_pieces_is_the_processors, _gpu, {
    const SPECS: usize = if IN_BROWSER { 4 } else { 30 };
    let gpu = open(Request {
        largest_piece: Some(0),
        ..Request::default()
    })
    .await;
    let specs = any_spec().prop_map(|spec| NetworkSpec {
        hidden: spec.hidden.iter().map(|units| 100 + 5 * units).collect(),
        ..spec
    });
    follows(&gpu, SPECS, specs).await;
});

/// Digits whose labels are those of `classes` classes, the last one among them.
fn relabelled(classes: usize) -> TrainingData {
    let mut images = digits().test;
    for label in &mut images.labels {
        *label = classes as u8 - 1 - *label % classes as u8;
    }
    TrainingData::Images(images)
}

/// Trains a step of some networks on both, of several numbers of classes.
async fn follows(gpu: &Rc<Gpu>, count: usize, specs: impl Strategy<Value = NetworkSpec>) {
    let sets = [DIGITS, 3, 12].map(|classes| (relabelled(classes), classes));
    let mut chaotic = 0;
    for (spec, (data, classes)) in some(count, specs).zip(sets.iter().cycle()) {
        let [(trainer, metrics), (on_gpu, gpu_metrics)] =
            train_on_both(gpu, &spec, (data, *classes), 1).await;
        let [loss, other] = [&metrics, &gpu_metrics].map(|metrics| metrics[0].loss);
        assert!(
            (loss - other).abs() < 1e-2 * loss,
            "{loss} {other} {spec:?}"
        );
        let strays: usize = trainer
            .state()
            .zip(on_gpu.state())
            .flat_map(|(state, other)| state.parts().zip(other.parts()))
            .map(|(numbers, others)| {
                let largest = numbers
                    .iter()
                    .fold(1e-9f32, |largest, x| largest.max(x.abs()));
                let strays = |(a, b): &(&f32, &f32)| (**a - **b).abs() > 1e-3 * largest;
                numbers.iter().zip(others).filter(strays).count()
            })
            .sum();
        if strays * 50 > trainer.weight_count() {
            chaotic += 1;
            println!("{strays} numbers stray with {spec:?}");
        }
    }
    assert!(
        chaotic * 20 <= count.max(20),
        "{chaotic} of {count} networks stray"
    );
}

gpu_test!(two_hundred_steps_are_the_processors, gpu, {
    let data = digits();
    for gradient_bits in [6, 32] {
        let spec = NetworkSpec {
            hidden: if IN_BROWSER {
                vec![48, 48]
            } else {
                vec![256, 256]
            },
            batch_size: if IN_BROWSER { 40 } else { 100 },
            gradient_bits: Bits::new(gradient_bits).unwrap(),
            ..NetworkSpec::default()
        };
        let [(trainer, metrics), (other, gpu_metrics)] =
            train_on_both(&gpu, &spec, (&data.train, DIGITS), 200).await;
        assert_eq!(metrics.len(), gpu_metrics.len());
        for (metrics, other) in metrics.iter().zip(&gpu_metrics) {
            assert_eq!(metrics.step, other.step);
            assert!(
                (metrics.loss - other.loss).abs() < 0.02,
                "{metrics:?} {other:?}"
            );
        }
        let answers = |trainer: &Trainer| answers(&trainer.freeze().logits(&data.test.pixels));
        let pairs = answers(&trainer).into_iter().zip(answers(&other));
        let agreed = pairs.filter(|(a, b)| a == b).count();
        println!(
            "{gradient_bits}-bit gradients: {agreed} of {} answers agree",
            data.test.len()
        );
        assert!(agreed * 1000 >= 995 * data.test.len(), "{agreed}");
    }
});

fn answers(logits: &[f32]) -> Vec<usize> {
    logits.chunks(DIGITS).map(qnn_core::loss::argmax).collect()
}

gpu_test!(packed_networks_answer_as_on_the_processor, gpu, {
    answer_alike(&gpu, &BITS).await;
});

// Whichever tiles win a race: what they do with their sums differs from how they compute them.
gpu_test!(packed_networks_answer_alike_with_all_tiles, gpu, {
    let floats = float_tiles(&gpu);
    for (index, planes) in plane_tiles(&gpu).into_iter().enumerate() {
        let floats = floats[index % floats.len()];
        // That of few rows is taken for those alone.
        if planes.group[0] > 1 && (index == 3 || !IN_BROWSER) {
            gpu.choose(Tiles { planes, floats });
            answer_alike(&gpu, &BITS[..2]).await;
        }
    }
});

gpu_test!(packed_networks_in_pieces_answer_alike, _gpu, {
    let gpu = open(Request {
        largest_piece: Some(0),
        ..Request::default()
    })
    .await;
    answer_alike(&gpu, &BITS).await;
});

/// Bits of weights and activations.
const BITS: [(u8, u8); 6] = [(1, 1), (1, 2), (2, 1), (4, 4), (1, 32), (32, 32)];

/// Asks networks on both, of several numbers of classes.
async fn answer_alike(gpu: &Gpu, bits: &[(u8, u8)]) {
    let data = digits();
    let sets = [DIGITS, 3, 12].map(|classes| (relabelled(classes), classes));
    for (&(weights, activations), (train, classes)) in bits.iter().zip(sets.iter().cycle()) {
        let spec = NetworkSpec {
            hidden: vec![300, 65],
            weight_bits: Bits::new(weights).unwrap(),
            activation_bits: Bits::new(activations).unwrap(),
            ..NetworkSpec::default()
        };
        let mut trainer = Trainer::new(spec, train.image_size(), *classes).unwrap();
        for _ in 0..20 {
            trainer.step(train).unwrap();
        }
        // Where gamma is negative a unit is +1 below its threshold.
        trainer.take_up(trainer.progress(), |_, state| {
            state.gamma[0]
                .iter_mut()
                .step_by(2)
                .for_each(|gamma| *gamma = -*gamma);
        });
        let network = trainer.freeze();
        // Few images take another tile than many.
        for (kernel, images, room) in [
            (ProductKernel::Planes, 200, 256),
            (ProductKernel::Planes, 2, 3),
            (ProductKernel::Naive, 200, 256),
            (ProductKernel::Tiled, 200, 256),
        ] {
            let pixels = &data.test.pixels[..images * 784];
            let expected = network.logits(pixels);
            let on_gpu = GpuNetwork::new(gpu, &network, room, kernel).await.unwrap();
            let found = on_gpu.logits(gpu, pixels).await.unwrap();
            assert_eq!(found.len(), expected.len());
            let far = found
                .iter()
                .zip(&expected)
                .filter(|(a, b)| (**a - **b).abs() > 1e-3)
                .count();
            // A float on the edge between two levels may fall on the other side.
            let most = if weights == 32 || activations == 32 {
                found.len() / 50
            } else {
                0
            };
            assert!(
                far <= most,
                "{weights}-bit weights, {activations}-bit activations, {kernel:?}: {far}"
            );
        }
    }
}

fn small_spec() -> NetworkSpec {
    NetworkSpec {
        hidden: vec![64],
        ..NetworkSpec::default()
    }
}

gpu_test!(
    a_lost_device_says_so_and_what_was_brought_back_stays,
    gpu,
    {
        let data = digits();
        let mut trainer = Trainer::new(small_spec(), data.train.image_size(), DIGITS).unwrap();
        let mut on_gpu = GpuTrainer::new(gpu.clone(), &trainer, &data.train)
            .await
            .unwrap();
        for _ in 0..5 {
            on_gpu.step(&data.train);
        }
        on_gpu.finish(&mut trainer).await.unwrap();
        let kept = trainer.checkpoint();
        on_gpu.step(&data.train);
        gpu.destroy();
        let lost = |error: TrainingError| matches!(error, TrainingError::Gpu(GpuError::Lost(_)));
        assert!(on_gpu.take_metrics().is_err_and(lost));
        assert!(on_gpu.take_download(&mut trainer).is_err());
        assert!(on_gpu.finish(&mut trainer).await.is_err_and(lost));
        // On the processor training goes on from there.
        assert_eq!((trainer.step_count(), trainer.checkpoint()), (5, kept));
        assert_eq!(trainer.step(&data.train).unwrap().step, 6);
        let again = GpuTrainer::new(gpu, &trainer, &data.train).await;
        assert!(matches!(again, Err(GpuError::Lost(_))), "{:?}", again.err());
    }
);

gpu_test!(
    what_is_no_number_is_found_and_nothing_is_learned_from_it,
    gpu,
    {
        let data = digits();
        let spec = NetworkSpec {
            weight_bits: Bits::FLOAT,
            activation_bits: Bits::FLOAT,
            ..small_spec()
        };
        let mut trainer = Trainer::new(spec, data.train.image_size(), DIGITS).unwrap();
        trainer.step(&data.train).unwrap();
        // Finite, but not when it is multiplied.
        trainer.take_up(trainer.progress(), |layer, state| {
            if layer == 1 {
                state.gamma[0].fill(f32::MAX);
            }
        });
        let mut on_processor = trainer.clone();
        let expected = on_processor.step(&data.train).unwrap_err();
        let mut on_gpu = GpuTrainer::new(gpu, &trainer, &data.train).await.unwrap();
        for _ in 0..3 {
            on_gpu.step(&data.train);
        }
        match on_gpu.finish(&mut trainer).await {
            Err(TrainingError::Diverged(found)) => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
        on_gpu.finish(&mut trainer).await.unwrap();
        for state in trainer.state() {
            assert!(state.parts().all(|part| part.iter().all(|x| x.is_finite())));
        }
    }
);

gpu_test!(
    metrics_come_back_in_order_and_while_training_goes_on,
    gpu,
    {
        let data = digits();
        let spec = NetworkSpec {
            batch_size: 10,
            hidden: vec![8],
            ..small_spec()
        };
        let trainer = Trainer::new(spec, data.train.image_size(), DIGITS).unwrap();
        let mut on_gpu = GpuTrainer::new(gpu, &trainer, &data.train).await.unwrap();
        let mut steps = Vec::new();
        let mut other = trainer.clone();
        while steps.len() < 3 * MOST_STEPS as usize {
            while on_gpu.has_room() {
                on_gpu.step(&data.train);
            }
            steps.extend(on_gpu.finish(&mut other).await.unwrap());
        }
        assert!(
            steps
                .iter()
                .zip(1..)
                .all(|(metrics, step)| metrics.step == step)
        );
        assert_eq!(other.step_count(), steps.len() as u32);
    }
);

gpu_test!(
    the_smallest_limits_suffice_and_what_does_not_fit_is_refused,
    _gpu,
    {
        let gpu = open(Request {
            smallest_limits: true,
            ..Request::default()
        })
        .await;
        let data = digits();
        let [_, (_, metrics)] = train_on_both(&gpu, &small_spec(), (&data.train, DIGITS), 3).await;
        assert_eq!(metrics.len(), 3);
        for tile in plane_tiles(&gpu) {
            integer_product(
                &gpu,
                tile,
                1,
                (&[1], Encoding::Sign),
                (&[1], Encoding::Sign),
            )
            .await
            .unwrap();
        }
        // More images at a time than a pass can be handed the sums of.
        let trainer = Trainer::new(small_spec(), data.train.image_size(), DIGITS).unwrap();
        let network = trainer.freeze();
        let refused = GpuNetwork::new(&gpu, &network, 1_000_000, ProductKernel::Planes);
        let refused = refused.await.err();
        assert!(
            matches!(refused, Some(GpuError::TooLarge { .. })),
            "{refused:?}"
        );
    }
);
