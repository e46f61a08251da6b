//! What comes back from the device, without anybody waiting for it: a copy is asked for, and looked after from time to time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::device::{Buffer, Gpu, GpuError};

/// Copies of buffers that are on their way to the processor.
pub(crate) struct Readback {
    parts: Vec<Buffer>,
    arrival: Arc<Mutex<Arrival>>,
}

/// How the copies are getting on.
#[derive(Default)]
struct Arrival {
    under_way: usize,
    has_failed: bool,
    /// Who waits for it.
    waker: Option<Waker>,
}

impl Readback {
    /// Places for copies of these buffers.
    pub fn new(gpu: &Gpu, buffers: &[&Buffer]) -> Readback {
        let place = |buffer: &&Buffer| {
            let part = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: buffer.size(),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            part.into()
        };
        Readback {
            parts: buffers.iter().map(place).collect(),
            arrival: Arc::default(),
        }
    }

    /// Records the copies of the same buffers, in a submission after which [`begin`](Self::begin) is called.
    pub fn copy(&self, encoder: &mut wgpu::CommandEncoder, buffers: &[&Buffer]) {
        for (part, buffer) in self.parts.iter().zip(buffers) {
            encoder.copy_buffer_to_buffer(buffer, 0, part, 0, buffer.size());
        }
    }

    /// Asks for the copies.
    pub fn begin(&mut self) {
        *self.state() = Arrival {
            under_way: self.parts.len(),
            ..Arrival::default()
        };
        for part in &self.parts {
            let arrival = self.arrival.clone();
            part.map_async(wgpu::MapMode::Read, .., move |outcome| {
                let mut arrival = lock(&arrival);
                arrival.under_way -= 1;
                arrival.has_failed |= outcome.is_err();
                if let Some(waker) = arrival.waker.take() {
                    waker.wake();
                }
            });
        }
    }

    /// Whether all copies have arrived, or never will.
    pub fn is_over(&self) -> bool {
        self.state().under_way == 0
    }

    /// Hands `take` the bytes of each part, after which the places can be used again.
    pub fn take(&self, gpu: &Gpu, mut take: impl FnMut(usize, &[u8])) -> Result<(), GpuError> {
        (0..self.parts.len())
            .try_for_each(|part| self.take_part(gpu, part, |bytes| take(part, bytes)))
    }

    /// Hands `take` the bytes of one part, whose place can be used again afterwards.
    pub fn take_part(
        &self,
        gpu: &Gpu,
        part: usize,
        take: impl FnOnce(&[u8]),
    ) -> Result<(), GpuError> {
        let lost = || {
            gpu.lost()
                .unwrap_or_else(|| GpuError::Lost("its memory could not be read".into()))
        };
        if self.state().has_failed {
            return Err(lost());
        }
        let part = &self.parts[part];
        let bytes = part.get_mapped_range(..).map_err(|_| lost())?;
        take(&bytes);
        drop(bytes);
        part.unmap();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Arrival> {
        lock(&self.arrival)
    }
}

fn lock(arrival: &Mutex<Arrival>) -> MutexGuard<'_, Arrival> {
    arrival.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Lets what has come to an end on the device tell so. In a browser that happens between two turns of its event loop.
    pub(crate) fn look(&self) {
        // Only a lost device refuses, which tells by itself.
        let _ = self.device().poll(wgpu::PollType::Poll);
    }

    /// Natively: stands still until all that was submitted is over.
    pub fn wait(&self) {
        let _ = self.device().poll(wgpu::PollType::wait_indefinitely());
    }

    /// Waits until copies have arrived.
    pub(crate) async fn arrival(&self, readback: &Readback) {
        std::future::poll_fn(|context| {
            if !cfg!(target_arch = "wasm32") {
                self.wait();
            }
            let mut state = readback.state();
            if state.under_way == 0 {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The numbers of a buffer, when all that was submitted is over.
    pub(crate) async fn read<T: bytemuck::Pod>(&self, buffer: &Buffer) -> Result<Vec<T>, GpuError> {
        let mut readback = Readback::new(self, &[buffer]);
        self.submit([], None, |encoder| readback.copy(encoder, &[buffer]));
        readback.begin();
        self.arrival(&readback).await;
        let mut numbers = Vec::new();
        readback.take(self, |_, bytes| {
            numbers = bytemuck::pod_collect_to_vec(bytes);
        })?;
        self.lost().map_or(Ok(numbers), Err)
    }
}
