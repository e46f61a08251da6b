//! The GPU in builds without it: nothing of this can ever be made, so nothing of it is ever done. Such a build is small; a
//! visitor who wants the GPU gets another one.

use std::rc::Rc;

use qnn_core::data::TrainingData;
use qnn_core::train::{Diverged, StepMetrics, Trainer};
use qnn_protocol::GpuSpeeds;

pub enum Gpu {}
pub enum OnGpu {}
pub enum PreparedTrainer {}
pub enum TileRace {}

#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("This build has no GPU: {0}.")]
    Lost(String),
}

pub enum TrainingError {
    Gpu(GpuError),
    Diverged(Diverged),
}

#[derive(Default)]
pub struct News {
    pub metrics: Vec<StepMetrics>,
    pub milliseconds: f64,
    pub has_learned: bool,
}

impl Gpu {
    pub fn lost(&self) -> Option<GpuError> {
        match *self {}
    }

    pub fn name(&self) -> String {
        match *self {}
    }

    pub fn is_software(&self) -> bool {
        match *self {}
    }
}

pub fn speeds(race: &TileRace) -> GpuSpeeds {
    match *race {}
}

impl PreparedTrainer {
    pub fn new(
        gpu: Rc<Gpu>,
        _: &Trainer,
        _: &TrainingData,
    ) -> impl Future<Output = Result<Self, GpuError>> + use<> {
        async move { match *gpu {} }
    }

    pub fn fits(&self, _: &Trainer, _: &TrainingData) -> bool {
        match *self {}
    }
}

impl OnGpu {
    pub fn new(prepared: PreparedTrainer, _: &Trainer) -> OnGpu {
        match prepared {}
    }

    pub fn leave(&mut self) {
        match *self {}
    }

    pub fn is_leaving(&self) -> bool {
        match *self {}
    }

    pub fn step_count(&self) -> u32 {
        match *self {}
    }

    pub fn steps_over(&self) -> u32 {
        match *self {}
    }

    pub fn epochs(&self, _: &TrainingData) -> f32 {
        match *self {}
    }

    pub fn is_busy(&self) -> bool {
        match *self {}
    }

    pub fn is_ahead_of(&self, _: &Trainer) -> bool {
        match *self {}
    }

    pub fn hear(&mut self, _: &mut Trainer, _: f64) -> Result<News, TrainingError> {
        match *self {}
    }

    pub fn begin_steps(&mut self, _: &TrainingData, _: f64) -> bool {
        match *self {}
    }

    pub fn steps_up_to(&mut self, _: u32, _: &TrainingData, _: f64) {
        match *self {}
    }

    pub fn bring_back(&mut self, _: &Trainer, _: bool, _: f64) {
        match *self {}
    }
}
