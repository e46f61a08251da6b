//! Training on the GPU as a session does it: steps are begun while the device keeps up, and what they taught is brought back
//! now and then, so that little is lost with the device. What becomes of it is the session's.

use qnn_core::data::TrainingData;
use qnn_core::train::{StepMetrics, Trainer};
use qnn_gpu::GpuTrainer;
use qnn_protocol::GpuSpeeds;

pub use qnn_gpu::{Gpu, GpuError, PreparedTrainer, Race as TileRace, TrainingError};

/// Steps begun ahead take so long, in milliseconds: enough for the device to be busy, and little enough for a pause.
const AHEAD: f64 = 40.0;
/// What was learned is brought back no more often than this, in milliseconds, and for a small share of the time.
const DOWNLOAD_INTERVAL: f64 = 200.0;
const DOWNLOAD_SHARE: f64 = 0.2;

/// A network in training on the GPU.
pub struct OnGpu {
    trainer: GpuTrainer,
    /// Whether no step is begun any more: when what was learned has come back, the processor goes on.
    is_leaving: bool,
    /// When metrics came last, or the first step since a pause was begun.
    heard: f64,
    /// Milliseconds of a step, lately.
    step_time: f64,
    /// When the last download was asked for, and when the next one is due.
    asked: f64,
    due: f64,
}

/// What has come from the device.
#[derive(Default)]
pub struct News {
    pub metrics: Vec<StepMetrics>,
    /// Milliseconds that the steps of these metrics took.
    pub milliseconds: f64,
    /// Whether the trainer on the processor was brought up to date.
    pub has_learned: bool,
}

impl OnGpu {
    /// Goes on from where `from` stands, between two steps.
    pub fn new(prepared: PreparedTrainer, from: &Trainer) -> OnGpu {
        OnGpu {
            trainer: prepared.begin(from),
            is_leaving: false,
            heard: 0.0,
            step_time: AHEAD,
            asked: 0.0,
            due: 0.0,
        }
    }

    /// No step is begun any more from now on.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Steps begun.
    pub fn step_count(&self) -> u32 {
        self.trainer.step_count()
    }

    /// Steps whose metrics have come.
    pub fn steps_over(&self) -> u32 {
        self.trainer.step_count() - self.trainer.steps_under_way()
    }

    /// Epochs begun on `data`, with the fraction of the present one.
    pub fn epochs(&self, data: &TrainingData) -> f32 {
        self.trainer.epochs(data)
    }

    /// Whether anything is under way on the device.
    pub fn is_busy(&self) -> bool {
        self.trainer.steps_under_way() > 0 || self.trainer.downloads()
    }

    /// Whether there is more to bring back into `trainer`.
    pub fn is_ahead_of(&self, trainer: &Trainer) -> bool {
        self.step_count() != trainer.step_count()
    }

    /// Takes what has come, with what was learned into `trainer`.
    pub fn hear(&mut self, trainer: &mut Trainer, time: f64) -> Result<News, TrainingError> {
        let mut news = News {
            metrics: self.trainer.take_metrics()?,
            ..News::default()
        };
        if !news.metrics.is_empty() {
            news.milliseconds = time - self.heard;
            self.step_time = news.milliseconds / news.metrics.len() as f64;
            self.heard = time;
        }
        if self.trainer.downloads() && self.trainer.take_download(trainer)? {
            news.has_learned = true;
            self.due = time + DOWNLOAD_INTERVAL.max((time - self.asked) / DOWNLOAD_SHARE);
        }
        Ok(news)
    }

    /// Begins steps for as long as there is room for them; whether it began any.
    pub fn begin_steps(&mut self, data: &TrainingData, time: f64) -> bool {
        let ahead = (AHEAD / self.step_time.max(0.1)).ceil() as u32 + 1;
        let before = self.trainer.step_count();
        if self.trainer.steps_under_way() == 0 {
            self.heard = time;
        }
        while self.trainer.has_room() && self.trainer.steps_under_way() < ahead {
            self.trainer.step(data);
        }
        self.trainer.step_count() > before
    }

    /// Begins steps for as long as there is room for them and fewer than `last` were begun.
    pub fn steps_up_to(&mut self, last: u32, data: &TrainingData, time: f64) {
        if self.trainer.steps_under_way() == 0 {
            self.heard = time;
        }
        while self.trainer.has_room() && self.trainer.step_count() < last {
            self.trainer.step(data);
        }
    }

    /// Asks for what was learned beyond `trainer`, where that is due, or wanted at once and all steps are over.
    pub fn bring_back(&mut self, trainer: &Trainer, at_once: bool, time: f64) {
        let is_due = if at_once {
            self.trainer.steps_under_way() == 0
        } else {
            time >= self.due
        };
        if is_due && !self.trainer.downloads() && self.is_ahead_of(trainer) {
            self.trainer.begin_download();
            self.asked = time;
        }
    }
}

/// What a race of tiles says of the GPU's speed.
pub fn speeds(race: &TileRace) -> GpuSpeeds {
    GpuSpeeds {
        planes: race.planes[0].giga_macs,
        floats: race.floats[0].giga_macs,
        limits: race.limits,
    }
}
