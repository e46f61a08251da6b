//! Ranks that share batches and units come to the very bits of one process, and send what they say. The ranks here are
//! threads, joined by channels.

#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use proptest::prelude::*;
use qnn_core::data::{DIGITS, DataSet, Images, TrainingData};
use qnn_core::kernels::{Choice, Method};
use qnn_core::parallel::{Communicator, Ranks, Traffic, float_all_reduce_bytes};
use qnn_core::spec::{
    Bits, LearningRateScale, Levels, Loss, NetworkSpec, Normalization, Optimizer, Rounding,
};
use qnn_core::train::{Diverged, StepMetrics, Trainer};
use rayon::ThreadPoolBuilder;

/// A rank's ends of the channels to and from each rank.
struct Channels {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
    /// Bytes that went to other ranks.
    sent: Mutex<u64>,
}

impl Channels {
    fn join(size: usize) -> Vec<Channels> {
        let mut all: Vec<Channels> = (0..size)
            .map(|rank| Channels {
                rank,
                to: Vec::new(),
                from: Vec::new(),
                sent: Mutex::new(0),
            })
            .collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                all[from].to.push(sender);
                all[to].from.push(Mutex::new(receiver));
            }
        }
        all
    }

    fn take(&self, from: usize, length: usize) -> Vec<u8> {
        let bytes = self.from[from].lock().unwrap().recv().unwrap();
        assert_eq!(bytes.len(), length, "from {from} to {}", self.rank);
        bytes
    }
}

impl Communicator for Channels {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn send(&self, to: usize, bytes: &[u8]) {
        if to != self.rank {
            *self.sent.lock().unwrap() += bytes.len() as u64;
        }
        self.to[to].send(bytes.to_vec()).unwrap();
    }

    fn receive(&self, from: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.take(from, bytes.len()));
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) {
        if from == self.rank {
            (0..self.size()).for_each(|to| self.send(to, bytes));
        }
        self.receive(from, bytes);
    }

    fn all_gather(&self, own: &[u8], lengths: &[usize]) -> Vec<u8> {
        (0..self.size()).for_each(|to| self.send(to, own));
        let all = lengths.iter().enumerate();
        all.flat_map(|(from, length)| self.take(from, *length))
            .collect()
    }

    fn all_to_all(&self, bytes: &[u8], to: &[usize], from: &[usize]) -> Vec<u8> {
        let mut rest = bytes;
        for (to, length) in to.iter().enumerate() {
            let (part, others) = rest.split_at(*length);
            self.send(to, part);
            rest = others;
        }
        assert!(rest.is_empty());
        let all = from.iter().enumerate();
        all.flat_map(|(from, length)| self.take(from, *length))
            .collect()
    }
}

/// What each of `size` ranks comes to; each has threads of its own, some one, some two.
fn among<T: Send>(size: usize, work: impl Fn(&Channels) -> T + Sync) -> Vec<T> {
    let (channels, work) = (Channels::join(size), &work);
    thread::scope(|scope| {
        let start = |channels: Channels| {
            let threads = ThreadPoolBuilder::new().num_threads(1 + channels.rank % 2);
            let threads = threads.build().unwrap();
            scope.spawn(move || threads.install(|| work(&channels)))
        };
        let handles: Vec<_> = channels.into_iter().map(start).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap())
            .collect()
    })
}

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

/// 100 images a batch, which three ranks cannot share evenly, and layers whose last band of tiles is not full.
fn spec(weight_bits: u8, activation_bits: u8, gradient_bits: u8) -> NetworkSpec {
    NetworkSpec {
        hidden: vec![70, 100],
        weight_bits: bits(weight_bits),
        activation_bits: bits(activation_bits),
        gradient_bits: bits(gradient_bits),
        batch_size: 100,
        ..NetworkSpec::default()
    }
}

/// Small images, some of them in each class.
fn data() -> DataSet {
    let digits = DataSet::procedural(5, 330);
    let size = digits.test.image_size();
    let pixels = digits.test.pixels.chunks_exact(size);
    // Every third pixel both ways.
    let smaller = |image: &[u8]| -> Vec<u8> {
        let places = (0..28)
            .step_by(3)
            .flat_map(|y| (0..28).step_by(3).map(move |x| 28 * y + x));
        places.map(|place| image[place]).collect()
    };
    let images = Images {
        width: 10,
        height: 10,
        pixels: pixels.flat_map(smaller).collect(),
        labels: digits.test.labels.clone(),
    };
    DataSet {
        test: images.first(10),
        train: TrainingData::Images(images),
        ..digits
    }
}

type Trained = (Vec<Result<StepMetrics, Diverged>>, Vec<u8>);

/// Steps on, and the checkpoint after them.
fn train(
    trainer: &mut Trainer,
    data: &TrainingData,
    steps: usize,
    ranks: &mut Ranks<'_>,
) -> Trained {
    let metrics = (0..steps)
        .map(|_| trainer.step_among(data, ranks))
        .collect();
    trainer.gather(ranks);
    (metrics, trainer.checkpoint())
}

/// Trains among ranks and alone, and expects the same of both, and of the ranks to have sent what is computed.
fn expect_equal(spec: &NetworkSpec, choice: Choice, sizes: &[usize]) {
    let data = data();
    let begin = || {
        let mut trainer = Trainer::new(spec.clone(), data.train.image_size(), DIGITS).unwrap();
        trainer.choose_kernels(choice);
        trainer
    };
    let mut trainer = begin();
    // The second time from what was gathered, over the end of an epoch.
    let expected = [4, 3].map(|steps| {
        let metrics: Vec<_> = (0..steps).map(|_| trainer.step(&data.train)).collect();
        (metrics, trainer.checkpoint())
    });
    for &size in sizes {
        let outcomes = among(size, |channels| {
            let (mut trainer, mut ranks) = (begin(), Ranks::new(channels));
            let trained = [4, 3].map(|steps| train(&mut trainer, &data.train, steps, &mut ranks));
            assert_eq!(
                ranks.traffic().of_steps() + ranks.traffic().state,
                *channels.sent.lock().unwrap()
            );
            (trained, ranks.exchange(7, trainer.weight_count()).unwrap())
        });
        let mut computed = Traffic::default();
        let batch = spec.batch_size.min(data.train.epoch_length());
        for _ in 0..7 {
            computed += Traffic::of_step(spec, (100, DIGITS), batch, size);
        }
        // Latent weights and two means of each, from their owners to all others, twice.
        computed.state = 2 * (size as u64 - 1) * 3 * 4 * trainer.weight_count() as u64;
        for (trained, exchange) in outcomes {
            for (trained, expected) in trained.iter().zip(&expected) {
                assert_eq!(trained.0, expected.0, "{size} ranks, {spec:?}");
                assert!(trained.1 == expected.1, "{size} ranks, {spec:?}");
            }
            assert_eq!(exchange.sent, computed, "{size} ranks, {spec:?}");
            assert_eq!(7 * exchange.sent_per_step, computed.of_steps());
            assert_eq!((exchange.ranks, exchange.steps), (size, 7));
        }
    }
}

#[test]
fn ranks_are_one_trainer_bit_for_bit() {
    let logarithmic = |bits_of_gradients| NetworkSpec {
        gradient_levels: Levels::Logarithmic,
        ..spec(1, 1, bits_of_gradients)
    };
    let adam = spec(1, 1, 6);
    for spec in [
        adam.clone(),
        spec(2, 4, 6),
        logarithmic(4),
        // Such gradients are floats.
        logarithmic(6),
        spec(1, 1, 32),
        spec(1, 32, 6),
        spec(32, 32, 32),
        NetworkSpec {
            normalization: Normalization::ShiftBatchNorm,
            optimizer: Optimizer::ShiftAdaMax,
            ..adam.clone()
        },
        NetworkSpec {
            input_dropout: 0.2,
            hidden_dropout: 0.4,
            activation_rounding: Rounding::Stochastic,
            optimizer: Optimizer::Sgd { momentum: 0.9 },
            ..adam.clone()
        },
        NetworkSpec {
            weight_rounding: Rounding::Stochastic,
            gradient_rounding: Rounding::Deterministic,
            learning_rate_scale: LearningRateScale::Glorot,
            loss: Loss::CrossEntropy,
            ..adam.clone()
        },
    ] {
        expect_equal(&spec, Choice::default(), &[1, 2, 3]);
    }
    // Ranks without any image or unit.
    let few = NetworkSpec {
        batch_size: 2,
        hidden: vec![5],
        ..adam
    };
    expect_equal(&few, Choice::default(), &[3, 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_spec_and_kernel_can_be_shared(
        weights in (prop::sample::select(Bits::ALL.to_vec()), any::<[bool; 2]>()),
        activations in (prop::sample::select(Bits::ALL.to_vec()), any::<[bool; 2]>()),
        gradients in (prop::sample::select(Bits::ALL[1..].to_vec()), any::<[bool; 2]>()),
        normalization in prop::sample::select(vec![Normalization::BatchNorm, Normalization::ShiftBatchNorm]),
        dropout in prop::sample::select(vec![0.0f32, 0.3]),
        forced in prop::sample::select([&[None], &Method::ALL.map(Some)[..]].concat()),
        batch_size in 2usize..60, seed in any::<u32>(), size in 1usize..=4,
    ) {
        let levels = |yes| if yes { Levels::Logarithmic } else { Levels::Linear };
        let rounding = |yes| if yes { Rounding::Stochastic } else { Rounding::Deterministic };
        let spec = NetworkSpec {
            weight_bits: weights.0,
            weight_levels: levels(weights.1[0]),
            weight_rounding: rounding(weights.1[1]),
            activation_bits: activations.0,
            activation_levels: levels(activations.1[0]),
            activation_rounding: rounding(activations.1[1]),
            gradient_bits: gradients.0,
            gradient_levels: levels(gradients.1[0]),
            gradient_rounding: rounding(gradients.1[1]),
            normalization,
            hidden_dropout: dropout,
            batch_size,
            seed,
            ..spec(1, 1, 6)
        };
        expect_equal(&spec, Choice { forced, ..Choice::default() }, &[size]);
    }
}

/// What one rank alone comes upon, all of them report: gammas so large that it shows in one place after another.
#[test]
fn ranks_diverge_together() {
    let data = data();
    for activation_bits in [1, 32] {
        let spec = spec(1, activation_bits, 6);
        let mut places = BTreeSet::new();
        for (hidden, last) in (0..20).flat_map(|hidden| [(hidden, 9), (hidden, 13)]) {
            let step = |ranks: &mut Ranks<'_>| {
                let mut trainer =
                    Trainer::new(spec.clone(), data.train.image_size(), DIGITS).unwrap();
                trainer.take_up(trainer.progress(), |layer, state| {
                    state.gamma[0].fill(10f32.powi(if layer < 2 { hidden } else { last }));
                });
                trainer.step_among(&data.train, ranks)
            };
            let alone = step(&mut Ranks::alone());
            for outcome in among(3, |channels| step(&mut Ranks::new(channels))) {
                assert_eq!(outcome, alone);
            }
            places.extend(alone.err().map(|diverged| diverged.what));
        }
        for place in [
            "gradients to the sums",
            "gradients to the weights",
            "logits",
        ] {
            assert!(places.contains(place), "{place} {places:?}");
        }
    }
}

/// An all-reduce of floats in a ring (reduce-scatter, then all-gather) sends what is said of it, and ours far less.
#[test]
fn an_all_reduce_of_floats_sends_what_is_computed() {
    for (size, count) in [(2, 1000), (3, 600), (4, 4096)] {
        let sent = among(size, |channels| {
            let rank = channels.rank;
            let mut numbers: Vec<f32> = (0..count)
                .map(|place| (place * (rank + 1)) as f32)
                .collect();
            let part = count / size;
            let next = (rank + 1) % size;
            let before = (rank + size - 1) % size;
            for turn in 0..2 * (size - 1) {
                let (out, into) = (
                    (rank + 2 * size - turn) % size,
                    (before + 2 * size - turn) % size,
                );
                let bytes: Vec<u8> = numbers[out * part..][..part]
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect();
                channels.send(next, &bytes);
                let mut bytes = vec![0; 4 * part];
                channels.receive(before, &mut bytes);
                let (received, _) = bytes.as_chunks();
                for (number, bytes) in numbers[into * part..].iter_mut().zip(received) {
                    let received = f32::from_le_bytes(*bytes);
                    *number = if turn < size - 1 {
                        *number + received
                    } else {
                        received
                    };
                }
            }
            let expected = (0..count).map(|place| (place * size * (size + 1) / 2) as f32);
            assert!(expected.eq(numbers));
            *channels.sent.lock().unwrap()
        });
        assert_eq!(
            sent.iter().sum::<u64>(),
            float_all_reduce_bytes(count, size)
        );
    }
    let spec = spec(1, 1, 6);
    let ours = Traffic::of_step(&spec, (784, DIGITS), 100, 2).of_steps();
    let weights = 784 * 70 + 70 * 100 + 100 * 10;
    assert!(5 * ours < float_all_reduce_bytes(weights, 2), "{ours}");
}
