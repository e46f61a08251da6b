//! The paper's comparison on the browser's GPU. How a network trains there is `gpu`'s.

use std::num::NonZero;
use std::rc::Rc;
use std::sync::Arc;

use qnn_core::data::DataSet;
use qnn_core::kernels::Choice;
use qnn_core::measure::{GpuReport, TrainingSpeed};
use qnn_core::threads;
use qnn_core::train::Trainer;
use qnn_gpu::{
    Gpu, GpuError, GpuTrainer, Race, Request, Rounds, compare_networks, compare_products,
    compared_spec, training_speed,
};
use qnn_protocol::GpuState;

use crate::{Slices, adapter, now};

/// Units of the hidden layers of the networks whose training is timed; the last is the paper's, which answers as well.
const UNITS: [usize; 2] = [512, 4096];
/// How often everything is timed: less often where it takes long.
const ROUNDS: Rounds = Rounds {
    most: 5,
    patience: 10_000.0,
};
/// Seconds of training, and milliseconds of the processor's.
const TRAINING: f64 = 2.0;
const PROCESSOR_TIME: f64 = 500.0;

/// Opens the GPU.
pub async fn open() -> Result<Rc<Gpu>, GpuState> {
    let no_adapter = |error: GpuError| GpuState::NoAdapter {
        reason: error.to_string(),
    };
    let request = Request {
        name: Some(adapter::find().await?),
        ..Request::default()
    };
    let opened = Gpu::open(request).await;
    opened.map(Rc::new).map_err(no_adapter)
}

/// Lets the tiles race where the GPU is hardware: what a software adapter does is done by the processor that trains.
pub async fn race(gpu: &Gpu) -> Result<Option<Race>, GpuError> {
    if gpu.is_software() {
        return Ok(None);
    }
    gpu.race(&now).await.map(Some)
}

/// Compares the GPU's kernels as the paper does, and training on it with the processor's, on `data` or on digits that are
/// drawn. What cannot be done is told in a sentence.
pub async fn compare(
    gpu: Rc<Gpu>,
    data: Arc<DataSet>,
    choice: Choice,
    progress: &dyn Fn(&str, f32),
) -> Result<GpuReport, String> {
    let told = |error: GpuError| error.to_string();
    // Of four parts, each a quarter as far as the visitor can tell.
    let tell = |part: u8, what: &str, share: f32| {
        progress(
            &format!("{part} of 4: {what}"),
            (f32::from(part - 1) + share) / 4.0,
        );
    };
    tell(1, "finding the fastest ways to cut a product up", 0.0);
    let race = gpu.race(&now).await.map_err(told)?;
    let side = NonZero::new(race.side()).expect("a side is not zero");
    let what = format!("multiplying {side} × {side} by {side} × {side} signs");
    let share = |share| tell(2, &what, share);
    let product = compare_products(&gpu, &race, side, ROUNDS, &now, &share).await;
    let product = product.map_err(told)?;

    let mut training = Vec::new();
    let mut network = None;
    for (index, units) in UNITS.into_iter().enumerate() {
        let what = format!("training three layers of {units} units");
        tell(3, &what, index as f32 / UNITS.len() as f32);
        let (speed, trainer) = train(&gpu, units, &data, choice).await?;
        training.push(speed);
        network = Some((trainer.freeze(), trainer.weight_count()));
    }
    let (network, weights) = network.expect("there are such networks");
    let images = data.test.first(race.images(weights));
    let what = format!(
        "reading {} digits with three layers of 4096 units",
        images.len()
    );
    let share = |share| tell(4, &what, share);
    let network = compare_networks(&gpu, &race, &network, &images, ROUNDS, &now, &share).await;
    let network = network.map_err(told)?;
    Ok(gpu.report(&race, vec![network, product], training))
}

/// How fast a network trains here and there, and the network after that.
async fn train(
    gpu: &Rc<Gpu>,
    units: usize,
    data: &DataSet,
    choice: Choice,
) -> Result<(TrainingSpeed, Trainer), String> {
    let spec = compared_spec(units);
    let mut trainer = Trainer::new(spec.clone(), data.test.image_size(), data.classes.len())
        .map_err(|error| error.to_string())?;
    trainer.choose_kernels(choice);
    let data = &data.train;
    let slices = Slices::new();
    // The first step packs the weights, and is not timed.
    let (mut images, mut milliseconds, mut steps) = (0, 0.0, 0);
    while milliseconds < PROCESSOR_TIME || trainer.is_within_step() {
        let begun = now();
        let metrics = threads::team(|| trainer.advance(data)).map_err(|error| error.to_string())?;
        if steps > 0 {
            milliseconds += now() - begun;
            images += metrics.map_or(0, |metrics| metrics.images);
        }
        steps += u32::from(metrics.is_some());
        slices.pause().await;
    }
    let told = |error: qnn_gpu::TrainingError| error.to_string();
    let mut on_gpu = GpuTrainer::new(gpu.clone(), &trainer, data)
        .await
        .map_err(|error| error.to_string())?;
    // The first step compiles what the device runs, and is all that a slow one does.
    let mut speed = 0.0;
    let mut steps = 1;
    for _ in 0..3 {
        let measured = training_speed(&mut on_gpu, data, steps, &now).await;
        speed = measured.map_err(told)?;
        let seconds = steps as f64 * spec.batch_size as f64 / speed;
        if seconds > TRAINING {
            break;
        }
        steps = (speed * TRAINING / spec.batch_size as f64).clamp(5.0, 1000.0) as u32;
    }
    on_gpu.finish(&mut trainer).await.map_err(told)?;
    let speed = TrainingSpeed {
        hidden: spec.hidden,
        batch_size: spec.batch_size,
        gpu: speed.round(),
        processor: (images as f64 * 1000.0 / milliseconds).round(),
    };
    Ok((speed, trainer))
}
