//! The engine's work with the browser's GPU: opening it, moving networks there, and the paper's comparison.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, LocalBoxFuture, Shared, abortable};
use qnn_protocol::FromEngine;
use wasm_bindgen_futures::spawn_local;

use crate::{Engine, comparison, post};

/// What is under way.
#[derive(Default)]
pub struct GpuWork {
    comparison: RefCell<Option<AbortHandle>>,
    opening: RefCell<Option<Shared<LocalBoxFuture<'static, ()>>>>,
}

impl Engine {
    /// Opens the GPU there is, unless it is open or being opened.
    pub async fn open_gpu(self: Rc<Self>) {
        let opening = self.gpu_work.opening.borrow().clone();
        if let Some(opening) = opening {
            return opening.await;
        }
        if self.session.borrow().gpu().is_some() {
            return;
        }
        let engine = self.clone();
        let opening = async move {
            let opened = comparison::open().await;
            engine.session.borrow_mut().gpu_opened(opened);
            engine.flush();
        };
        let opening = opening.boxed_local().shared();
        self.gpu_work.opening.replace(Some(opening.clone()));
        opening.await;
        self.gpu_work.opening.take();
    }

    /// Opens the GPU and lets its tiles race.
    pub async fn prepare_gpu(self: Rc<Self>) {
        self.clone().open_gpu().await;
        let gpu = self.session.borrow().gpu();
        if let Some(gpu) = gpu {
            let raced = comparison::race(&gpu).await;
            self.session.borrow_mut().gpu_ready(raced);
            self.flush();
            self.work();
        }
    }

    /// Runs the comparison beside the training, unless one is running.
    pub fn compare_gpu(self: Rc<Self>) {
        let mut running = self.gpu_work.comparison.borrow_mut();
        if running
            .as_ref()
            .is_some_and(|running| !running.is_aborted())
        {
            return;
        }
        let engine = self.clone();
        let (comparison, handle) = abortable(async move {
            engine.clone().open_gpu().await;
            let (gpu, data, choice) = engine.session.borrow_mut().begin_comparison()?;
            comparison::compare(gpu, data, choice, &|what, fraction| {
                post(&FromEngine::Comparing {
                    what: what.into(),
                    fraction,
                });
            })
            .await
        });
        *running = Some(handle);
        drop(running);
        spawn_local(async move {
            let outcome = comparison.await;
            self.gpu_work.comparison.take();
            self.session.borrow_mut().compared();
            let (report, problem) = match outcome {
                Ok(Ok(report)) => (Some(report), None),
                Ok(Err(problem)) => (None, Some(problem)),
                Err(_cancelled) => (None, None),
            };
            post(&FromEngine::Compared { report, problem });
        });
    }

    /// Ends the comparison under way.
    pub fn cancel_comparison(&self) {
        if let Some(comparison) = self.gpu_work.comparison.take() {
            comparison.abort();
        }
    }

    /// Makes the networks on the GPU that are to train there.
    pub fn move_to_gpu(self: Rc<Self>) {
        let Some((network, made)) = self.session.borrow_mut().begin_move() else {
            return;
        };
        spawn_local(async move {
            let made = made.await;
            self.session.borrow_mut().end_move(network, made);
            self.flush();
            self.work();
        });
    }
}
