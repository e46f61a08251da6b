//! How long work takes on the device: by its own clock where it has one, else by the caller's.

use crate::device::{Buffer, Gpu, GpuError};
use crate::passes::Pass;

/// Milliseconds by some clock of the caller's.
pub type Now<'a> = &'a dyn Fn() -> f64;

/// A run that is timed lasts as long, in milliseconds, where one pass does not: many steps of a browser's clocks.
const LEAST: f64 = 5.0;
/// The same by the clock beside the device, which the way there and back takes some milliseconds of.
const LEAST_BY_CLOCK: f64 = 60.0;
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
    ticks: Buffer,
}

/// Milliseconds of the same, by two clocks.
struct Taken {
    /// By the device's own; 0 where that has none, or is too coarse, or tells nonsense.
    device: f64,
    /// By the clock beside it, with the way to the device and back.
    clock: f64,
}

impl Taken {
    fn milliseconds(&self) -> f64 {
        if self.device > 0.0 {
            self.device
        } else {
            self.clock
        }
    }
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
            ticks: ticks.into(),
        }
    }

    /// Milliseconds on the device of what `work` submits, with what it is handed to write of the time.
    pub async fn time(&self, work: impl FnOnce(&TimestampWrites<'_>)) -> Result<f64, GpuError> {
        Ok(self.taken(work).await?.milliseconds())
    }

    async fn taken(&self, work: impl FnOnce(&TimestampWrites<'_>)) -> Result<Taken, GpuError> {
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
        let clock = (self.now)() - begun;
        let period = f64::from(self.gpu.queue().get_timestamp_period());
        let device = ticks[1].saturating_sub(ticks[0]) as f64 * period * 1e-6;
        // More than has passed is one of the nonsenses that software adapters tell now and then.
        let device = if self.queries.is_some() && device <= 1.1 * clock + 1.0 {
            device
        } else {
            0.0
        };
        Ok(Taken { device, clock })
    }

    /// Milliseconds of one round of `passes`, the mean of as many as fill some milliseconds.
    pub async fn time_repeated(&self, passes: &[Pass]) -> Result<f64, GpuError> {
        let mut repeats = 1;
        loop {
            let all = (0..repeats).flat_map(|_| passes);
            let taken = self.taken(|writes| self.gpu.submit(all, writes(true, true), |_| ()));
            let taken = taken.await?;
            let is_enough = taken.device >= LEAST || taken.clock >= LEAST_BY_CLOCK;
            if is_enough || repeats >= MOST_REPEATS {
                return Ok(taken.milliseconds() / f64::from(repeats));
            }
            // By half as much again as should do, but in steps: the first run of a program tells little.
            let wanted = 1.5 * LEAST / taken.device.max(0.01);
            repeats = (f64::from(repeats) * wanted.clamp(2.0, 16.0)) as u32;
        }
    }
}
