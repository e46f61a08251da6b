//! What a build without the GPU does when it is asked for it: it says what there is, and that another build is needed.

use std::rc::Rc;

use qnn_protocol::{FromEngine, GpuState};

use crate::{Engine, adapter, post};

#[derive(Default)]
pub struct GpuWork;

impl Engine {
    /// Says what GPU there is.
    pub async fn open_gpu(self: Rc<Self>) {
        let found = adapter::find().await;
        let state = found.map_or_else(
            |state| state,
            |adapter| GpuState::Present {
                is_software: adapter::is_software(&adapter),
                adapter,
                speeds: None,
            },
        );
        post(&FromEngine::Gpu { state });
    }

    pub async fn prepare_gpu(self: Rc<Self>) {
        post(&FromEngine::NeedsGpuBuild);
    }

    pub fn compare_gpu(self: Rc<Self>) {
        post(&FromEngine::NeedsGpuBuild);
    }

    pub fn cancel_comparison(&self) {}

    pub fn move_to_gpu(self: Rc<Self>) {}
}
