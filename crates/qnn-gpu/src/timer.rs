//! How long work takes on the device: by its own clock where it has one, else by the caller's.

use crate::device::{Gpu, GpuError};
use crate::passes::Pass;

/// Milliseconds by some clock of the caller's.
pub type Now<'a> = &'a dyn Fn() -> f64;

/// A run that is timed lasts as long, in milliseconds, where one pass does not: many steps of a browser's clocks.
const LEAST: f64 = 5.0;
/// Passes after which a run ends all the same.
const MOST_REPEATS: u32 = 1 << 14;

/// What a submission writes of the time, if it is the first that is timed, or the last, or both.
pub(crate) type TimestampWrites<'a> =
    dyn Fn(bool, bool) -> Option<wgpu::ComputePassTimestampWrites<'a>> + 'a;

/// Times one stretch of submissions after the other.
pub(crate) struct Timer<'a> {
    gpu: &'a Gpu,
    now: Now<'a>,
    queries: Option<wgpu::QuerySet>,
    ticks: wgpu::Buffer,
}

impl<'a> Timer<'a> {
    pub fn new(gpu: &'a Gpu, now: Now<'a>) -> Timer<'a> {
        let queries = gpu.has_timestamps().then(|| {
            gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            })
        });
        let ticks = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Timer {
            gpu,
            now,
            queries,
            ticks,
        }
    }

    /// Milliseconds on the device of what `work` submits, with what it is handed to write of the time.
    pub async fn time(&self, work: impl FnOnce(&TimestampWrites<'_>)) -> Result<f64, GpuError> {
        // Nothing of before may be under way.
        self.gpu.read::<u64>(&self.ticks).await?;
        let begun = (self.now)();
        work(&|is_first, is_last| {
            (is_first || is_last).then_some(())?;
            Some(wgpu::ComputePassTimestampWrites {
                query_set: self.queries.as_ref()?,
                beginning_of_pass_write_index: is_first.then_some(0),
                end_of_pass_write_index: is_last.then_some(1),
            })
        });
        if let Some(queries) = &self.queries {
            self.gpu.submit([], None, |encoder| {
                encoder.resolve_query_set(queries, 0..2, &self.ticks, 0);
            });
        }
        let ticks: Vec<u64> = self.gpu.read(&self.ticks).await?;
        let passed = (self.now)() - begun;
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let on_device = ticks[1].saturating_sub(ticks[0]) as f64 * period * 1e-6;
        // Timestamps may be missing, and some drivers write nonsense now and then, which the clock beside shows.
        let is_plausible =
            self.queries.is_some() && on_device > 0.0 && on_device <= 1.1 * passed + 1.0;
        Ok(if is_plausible { on_device } else { passed })
    }

    /// Milliseconds of one round of `passes`, the mean of as many as fill some milliseconds.
    pub async fn time_repeated(&self, passes: &[Pass]) -> Result<f64, GpuError> {
        let mut repeats = 1;
        loop {
            let all = (0..repeats).flat_map(|_| passes);
            let milliseconds = self.time(|writes| self.gpu.submit(all, writes(true, true), |_| ()));
            let milliseconds = milliseconds.await?;
            if milliseconds >= LEAST || repeats >= MOST_REPEATS {
                return Ok(milliseconds / f64::from(repeats));
            }
            // By half as much again as should do, but in steps: the first run of a program tells little.
            let wanted = 1.5 * LEAST / milliseconds.max(0.01);
            repeats = (f64::from(repeats) * wanted.clamp(2.0, 16.0)) as u32;
        }
    }
}
