//! A network in training that is saved on the way: the one way in which `train`, `reproduce` and the jobs of a sweep train. It
//! stops between two steps when a signal asks for it, and goes on from what was saved as if nothing had been.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qnn_core::data::{DataSet, Images};
use qnn_core::packed::Evaluation;
use qnn_core::parallel::Ranks;
use qnn_core::spec::NetworkSpec;
use qnn_core::train::{StepMetrics, Trainer};
use qnn_files::write_training;
use qnn_gpu::GpuTrainer;
use serde::{Deserialize, Serialize};

use crate::exit::Ending;
use crate::{EVALUATION_PIECE, files, signals};

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean of the steps.
    pub train_loss: f32,
    pub train_error_percent: f64,
    pub test_loss: f32,
    pub test_error_percent: f64,
}

/// What is known of an epoch when it has just ended.
pub struct EpochEnd {
    /// Means of the steps.
    pub train_loss: f32,
    pub train_accuracy: f32,
    /// Of the last step.
    pub last_loss: f32,
    /// Images trained on since the training was begun or resumed, and the seconds that took.
    pub images: usize,
    pub seconds: f64,
    pub test: Evaluation,
}

/// Of the epoch under way.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    accuracy: f64,
    steps: u32,
    last_loss: f32,
}

/// What a checkpoint does not hold of a run.
#[derive(Clone, Serialize, Deserialize)]
pub struct State {
    /// Steps of the checkpoint that this belongs to.
    step: u32,
    spec: NetworkSpec,
    data: String,
    /// Epochs to be trained in all.
    pub until: u32,
    /// Of training, not counting the tests.
    seconds: f64,
    curve: Vec<Epoch>,
    sums: Sums,
}

/// Where a run is saved: its checkpoint, and beside that its state.
pub struct Place {
    pub checkpoint: PathBuf,
    pub state: PathBuf,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// By this signal.
    Stopped(i32),
}

/// A network in training.
pub struct Training<'a> {
    pub trainer: Trainer,
    /// Who trains it together with this process.
    pub ranks: Ranks<'a>,
    on_gpu: Option<GpuTrainer>,
    data: &'a DataSet,
    test: &'a Images,
    pub seconds: f64,
    pub curve: Vec<Epoch>,
    sums: Sums,
    /// Of this process, in the epoch under way.
    images: usize,
    begun: f64,
    /// What belongs to the checkpoint that is on disk.
    saved: Option<State>,
}

impl Place {
    /// Of a checkpoint that its owner has named.
    pub fn beside(checkpoint: &Path) -> Place {
        let mut state = checkpoint.as_os_str().to_owned();
        state.push(".run.json");
        Place {
            checkpoint: checkpoint.into(),
            state: state.into(),
        }
    }

    /// The state of the run that `trainer` is the checkpoint of, on the data set called `data`; none where it was not saved in
    /// the middle of a run, or has been replaced since.
    pub fn state(&self, trainer: &Trainer, data: &str) -> Result<Option<State>> {
        if !self.state.exists() {
            return Ok(None);
        }
        let text = fs::read(&self.state)
            .with_context(|| format!("{} cannot be read.", self.state.display()))?;
        let states: Vec<State> = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged; remove it to begin anew.",
                self.state.display()
            )
        })?;
        // The newer one last.
        Ok(states.into_iter().rev().find(|state| {
            state.step == trainer.step_count()
                && state.spec == *trainer.spec()
                && state.data == data
        }))
    }

    /// Forgets a run that is over, its checkpoint too.
    pub fn forget(&self) {
        self.forget_state();
        let _ = fs::remove_file(&self.checkpoint);
    }

    /// Forgets that there was a run: the checkpoint is a trained network now.
    pub fn forget_state(&self) {
        // What is left behind does no harm: a run that is over is not gone on with.
        let _ = fs::remove_file(&self.state);
    }
}

impl<'a> Training<'a> {
    /// Of a trainer, from `state` on where there is one.
    pub fn new(
        trainer: Trainer,
        state: Option<State>,
        data: &'a DataSet,
        test: &'a Images,
    ) -> Training<'a> {
        let mut training = Training {
            trainer,
            ranks: Ranks::alone(),
            on_gpu: None,
            data,
            test,
            seconds: 0.0,
            curve: Vec::new(),
            sums: Sums::default(),
            images: 0,
            begun: 0.0,
            saved: None,
        };
        if let Some(state) = state {
            training.seconds = state.seconds;
            training.begun = state.seconds;
            training.curve.clone_from(&state.curve);
            training.sums = state.sums;
            training.saved = Some(state);
        }
        training
    }

    /// Of a network of `spec`: the one saved at `place`, if that is one of the same spec and data, else a new one.
    pub fn resume_or_begin(
        place: &Place,
        spec: &NetworkSpec,
        data: &'a DataSet,
    ) -> Result<Training<'a>> {
        if place.checkpoint.exists() && place.state.exists() {
            let trainer = files::trainer(&place.checkpoint)?;
            let fits = trainer.spec() == spec
                && trainer.inputs() == data.test.image_size()
                && trainer.classes() == data.classes.len();
            if fits && let Some(state) = place.state(&trainer, &data.name)? {
                return Ok(Training::new(trainer, Some(state), data, &data.test));
            }
        }
        let trainer = Trainer::new(spec.clone(), data.test.image_size(), data.classes.len())?;
        Ok(Training::new(trainer, None, data, &data.test))
    }

    /// Trains together with other ranks from here on.
    pub fn share_among(&mut self, ranks: Ranks<'a>) {
        self.ranks = ranks;
    }

    /// Trains on the GPU from here on.
    pub fn move_to(&mut self, gpu: GpuTrainer) {
        self.on_gpu = Some(gpu);
    }

    /// Steps in an epoch.
    pub fn epoch_steps(&self) -> u64 {
        let length = self.data.train.epoch_length();
        (length / self.trainer.spec().batch_size.min(length)) as u64
    }

    /// Steps begun so far.
    pub fn steps(&self) -> u64 {
        let on_gpu = self.on_gpu.as_ref().map(GpuTrainer::step_count);
        on_gpu.unwrap_or_else(|| self.trainer.step_count()).into()
    }

    /// The last loss that is known, of the epoch under way.
    pub fn loss(&self) -> Option<f32> {
        (self.sums.steps > 0).then_some(self.sums.last_loss)
    }

    /// Trains until the network has been trained for `until` epochs in all; `watch` is told of every step, and of the epoch that
    /// it ended. With a `place` the run is saved there after every epoch and every `interval`, and before it stops for a signal.
    pub fn train(
        &mut self,
        until: u32,
        place: Option<(&Place, Duration)>,
        mut watch: impl FnMut(&Training, Option<&EpochEnd>) -> Result<()>,
    ) -> Result<End> {
        let mut saved_at = Instant::now();
        let mut is_saved = false;
        while self.trainer.epoch() < until {
            if let Some(signal) = signals::received().filter(|_| self.ranks.are_one()) {
                if let Some((place, _)) = place
                    && !is_saved
                {
                    self.save(place, until)?;
                }
                return Ok(End::Stopped(signal));
            }
            let end = self.step()?;
            if let Some((place, interval)) = place {
                // Ranks have the whole network at the end of an epoch only, and the first one saves it.
                let is_due = self.ranks.are_one() && saved_at.elapsed() >= interval;
                is_saved = end.is_some() || is_due;
                if is_saved && self.ranks.is_first() {
                    self.save(place, until)?;
                    saved_at = Instant::now();
                }
            }
            watch(self, end.as_ref())?;
        }
        Ok(End::Done)
    }

    /// Trains a step, and at the end of an epoch tests.
    pub fn step(&mut self) -> Result<Option<EpochEnd>> {
        let began = Instant::now();
        let epoch = self.trainer.epoch();
        let metrics = match &mut self.on_gpu {
            None => vec![self.trainer.step_among(&self.data.train, &mut self.ranks)?],
            Some(gpu) => {
                // What a step shows comes when it comes.
                let mut metrics = gpu.take_metrics()?;
                if !gpu.has_room() {
                    metrics.extend(pollster::block_on(gpu.settle())?);
                }
                gpu.step(&self.data.train);
                if gpu.epochs(&self.data.train) >= (epoch + 1) as f32 {
                    metrics.extend(pollster::block_on(gpu.finish(&mut self.trainer))?);
                }
                metrics
            }
        };
        self.count(&metrics, began);
        if self.trainer.epoch() == epoch {
            return Ok(None);
        }
        self.trainer.gather(&mut self.ranks);
        let test = self
            .trainer
            .freeze()
            .evaluate_all(self.test, EVALUATION_PIECE);
        // JSON has no such number, and no curve either.
        if !test.loss().is_finite() {
            return Err(
                Ending::Diverged("The loss of the test images is not finite.".into()).into(),
            );
        }
        let steps = f64::from(self.sums.steps);
        let end = EpochEnd {
            train_loss: (self.sums.loss / steps) as f32,
            train_accuracy: (self.sums.accuracy / steps) as f32,
            last_loss: self.sums.last_loss,
            images: self.images,
            seconds: self.seconds - self.begun,
            test,
        };
        self.curve.push(Epoch {
            train_loss: end.train_loss,
            train_error_percent: percent(1.0 - self.sums.accuracy / steps),
            test_loss: test.loss(),
            test_error_percent: percent(1.0 - test.correct as f64 / test.images as f64),
        });
        self.sums = Sums::default();
        (self.images, self.begun) = (0, self.seconds);
        Ok(Some(end))
    }

    fn count(&mut self, metrics: &[StepMetrics], began: Instant) {
        self.seconds += began.elapsed().as_secs_f64();
        for step in metrics {
            self.sums.loss += f64::from(step.loss);
            self.sums.accuracy += f64::from(step.accuracy);
            self.sums.steps += 1;
            self.sums.last_loss = step.loss;
            self.images += step.images;
        }
    }

    /// Saves the run, which is to come to `until` epochs. Its state goes first, and keeps that of the checkpoint which is still
    /// there: whichever of the two checkpoints is found later, its state is as well.
    pub fn save(&mut self, place: &Place, until: u32) -> Result<()> {
        if let Some(gpu) = &mut self.on_gpu {
            let began = Instant::now();
            let metrics = pollster::block_on(gpu.finish(&mut self.trainer))?;
            self.count(&metrics, began);
        }
        let state = State {
            step: self.trainer.step_count(),
            spec: self.trainer.spec().clone(),
            data: self.data.name.clone(),
            until,
            seconds: self.seconds,
            curve: self.curve.clone(),
            sums: self.sums,
        };
        let states: Vec<&State> = self.saved.iter().chain([&state]).collect();
        files::save(&place.state, serde_json::to_string(&states)?.as_bytes())?;
        self.save_network(&place.checkpoint)?;
        self.saved = Some(state);
        Ok(())
    }

    /// Saves the network to go on with.
    pub fn save_network(&self, file: &Path) -> Result<()> {
        files::save(file, &write_training(&self.trainer, &self.data.classes))
    }

    /// Why training has gone nowhere, although all numbers are finite: no error is worth reporting then.
    pub fn collapse(&self) -> Option<String> {
        let (first, last) = (self.curve.first()?, self.curve.last()?);
        let worse = self.curve.len() > 1 && last.train_loss > first.train_loss;
        // A tenth right is what chance gives.
        (worse || last.train_error_percent > 85.0).then(|| {
            format!(
                "the training loss went from {:.3} to {:.3}, {:.1} % of the training images wrong",
                first.train_loss, last.train_loss, last.train_error_percent
            )
        })
    }
}

/// A share in percent, to a thousandth: finer than an image of the test set.
pub fn percent(share: f64) -> f64 {
    (share * 100_000.0).round() / 1000.0
}
