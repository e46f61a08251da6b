//! The browser's GPU: whether there is one, and the paper's comparison on it. How a network trains there is `gpu`'s.

use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::Reflect;
use qnn_core::data::{DataSet, TrainingData};
use qnn_core::measure::{GpuReport, TrainingSpeed};
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::threads;
use qnn_core::train::Trainer;
use qnn_gpu::{Gpu, GpuTrainer, Race, Request, compare_networks, compare_products, training_speed};
use qnn_protocol::GpuState;

use crate::{Slices, now};

/// The hidden layers of the networks whose training is timed; the last is the paper's, which answers as well.
const HIDDEN: [[usize; 3]; 2] = [[512; 3], [4096; 3]];
/// How often everything is timed.
const ROUNDS: usize = 5;
/// Seconds of training, and milliseconds of the processor's.
const TRAINING: f64 = 2.0;
const PROCESSOR_TIME: f64 = 500.0;

/// Opens the GPU. Its tiles race where it is hardware, or where it `is_wanted`: what a software adapter does is done by the
/// processor that trains.
pub async fn open(is_wanted: bool) -> Result<(Rc<Gpu>, Option<Race>), GpuState> {
    let global = js_sys::global();
    let has = |object: &js_sys::Object, name: &str| {
        Reflect::get(object, &name.into()).is_ok_and(|value| value.is_truthy())
    };
    let navigator = Reflect::get(&global, &"navigator".into()).unwrap_or_default();
    if !has(&navigator.into(), "gpu") {
        return Err(if has(&global, "isSecureContext") {
            GpuState::NoWebGpu
        } else {
            GpuState::NotSecure
        });
    }
    let no_adapter = |error: qnn_gpu::GpuError| GpuState::NoAdapter {
        reason: error.to_string(),
    };
    let gpu = Rc::new(Gpu::open(Request::default()).await.map_err(no_adapter)?);
    if gpu.is_software() && !is_wanted {
        return Ok((gpu, None));
    }
    let race = gpu.race(&now).await.map_err(no_adapter)?;
    Ok((gpu, Some(race)))
}

/// Compares the GPU's kernels as the paper does, and training on it with the processor's, on `data` or on digits that are
/// drawn. What cannot be done is told in a sentence.
pub async fn compare(
    gpu: Rc<Gpu>,
    data: Arc<DataSet>,
    progress: &dyn Fn(&str, f32),
) -> Result<GpuReport, String> {
    let told = |error: qnn_gpu::GpuError| error.to_string();
    progress("The tiles race.", 0.0);
    let race = gpu.race(&now).await.map_err(told)?;
    let side = NonZero::new(race.side()).expect("a side is not zero");
    let what = format!("Multiplying {side} × {side} by {side} × {side} signs.");
    let tell = |share| progress(&what, share);
    let product = compare_products(&gpu, &race, side, ROUNDS, &now, &tell).await;
    let product = product.map_err(told)?;

    let mut training = Vec::new();
    let mut network = None;
    for (index, hidden) in HIDDEN.iter().enumerate() {
        let what = format!("Training three layers of {} units.", hidden[0]);
        progress(&what, index as f32 / HIDDEN.len() as f32);
        let (speed, trainer) = train(&gpu, hidden, &data.train).await?;
        training.push(speed);
        network = Some(trainer.freeze());
    }
    let network = network.expect("there are such networks");
    let weights = network.layers().iter().map(|layer| layer.weights());
    let weights = weights
        .map(|weights| weights.rows() * weights.columns())
        .sum();
    let images = data.test.first(race.images(weights));
    let what = format!(
        "Reading {} digits with three layers of 4096 units.",
        images.len()
    );
    let tell = |share| progress(&what, share);
    let network = compare_networks(&gpu, &race, &network, &images, ROUNDS, &now, &tell).await;
    let network = network.map_err(told)?;
    Ok(GpuReport {
        adapter: gpu.name(),
        is_software: gpu.is_software(),
        by_timestamps: gpu.has_timestamps(),
        limits: race.limits,
        trials: vec![network, product],
        training,
    })
}

/// How fast a network trains here and there, and the network after that.
async fn train(
    gpu: &Rc<Gpu>,
    hidden: &[usize],
    data: &TrainingData,
) -> Result<(TrainingSpeed, Trainer), String> {
    let spec = NetworkSpec {
        hidden: hidden.into(),
        gradient_bits: Bits::ALL[5],
        ..NetworkSpec::default()
    };
    let mut trainer =
        Trainer::new(spec.clone(), data.image_size()).map_err(|error| error.to_string())?;
    let slices = Slices::new();
    // The first step packs the weights.
    let (mut images, mut milliseconds, mut steps) = (0, 0.0, 0);
    while milliseconds < PROCESSOR_TIME {
        let begun = now();
        let metrics = threads::team(|| trainer.advance(data)).map_err(|error| error.to_string())?;
        if steps > 0 {
            milliseconds += now() - begun;
        }
        if let Some(metrics) = metrics {
            images += if steps > 0 { metrics.images } else { 0 };
            steps += 1;
        }
        slices.pause().await;
    }
    while trainer.is_within_step() {
        threads::team(|| trainer.advance(data)).map_err(|error| error.to_string())?;
        slices.pause().await;
    }
    let told = |error: qnn_gpu::TrainingError| error.to_string();
    let mut on_gpu = GpuTrainer::new(gpu.clone(), &trainer, data)
        .await
        .map_err(|error| error.to_string())?;
    let first = training_speed(&mut on_gpu, data, 1, &now)
        .await
        .map_err(told)?;
    let steps = (first * TRAINING / spec.batch_size as f64).clamp(2.0, 1000.0) as u32;
    let speed = training_speed(&mut on_gpu, data, steps, &now)
        .await
        .map_err(told)?;
    on_gpu.finish(&mut trainer).await.map_err(told)?;
    let speed = TrainingSpeed {
        hidden: hidden.into(),
        batch_size: spec.batch_size,
        gpu: speed.round(),
        processor: (images as f64 * 1000.0 / milliseconds).round(),
    };
    Ok((speed, trainer))
}
