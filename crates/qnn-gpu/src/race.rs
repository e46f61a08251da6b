//! The race of the tiles: which cut of a product is the fastest on this adapter. No result depends on who wins.

use qnn_core::bits::Encoding;
use qnn_core::measure::values;

use crate::device::{Gpu, GpuError, Program, constant};
use crate::passes::{Floats, Pass, Planes, linear, shader};
use crate::products::{
    Side, Store, Target, Tile, Tiles, float_tiles, product_of_floats_with, product_of_planes_with,
    tiles_of_many_rows,
};
use crate::timer::{Now, Timer};

/// Rows, columns and terms of the products raced with, of signs and of floats.
const SIGNS: [usize; 3] = [1024, 1024, 2048];
const FLOATS: [usize; 3] = [512; 3];
/// Runs of each, of which the fastest counts.
const ROUNDS: usize = 3;

/// How fast a tile was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TileSpeed {
    pub tile: Tile,
    /// 10^9 multiply-accumulates a second.
    pub giga_macs: f64,
}

/// What a race showed: every tile that the device takes, the fastest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Race {
    pub planes: Vec<TileSpeed>,
    pub floats: Vec<TileSpeed>,
    /// Of signs and of floats, 10^9 multiply-accumulates a second of the same inner loops where nothing is fetched.
    pub limits: [f64; 2],
}

impl Gpu {
    /// Lets the tiles race, and takes the fastest ones for whatever is made on the device from now on.
    pub async fn race(&self, now: Now<'_>) -> Result<Race, GpuError> {
        let [rows, columns, terms] = SIGNS;
        let made = self.checked("a race", || {
            let signs = |rows| Planes::new(self, "signs", Encoding::Sign, rows, terms);
            let (a, b) = (signs(rows)?, signs(columns)?);
            let out = self.zeros("sums", rows * columns)?;
            let pass = |tile| product_of_planes_with(self, tile, &a, &b, Store::Sums(&out));
            let tiles = tiles_of_many_rows(self).into_iter();
            Ok(tiles.map(|tile| (tile, pass(tile))).collect())
        });
        let planes = self.ranking(made.await?, SIGNS, now).await?;
        let [rows, columns, terms] = FLOATS;
        let made = self.checked("a race", || {
            let floats =
                |rows| Floats::of(self, "floats", terms, &values(rows * terms, rows as u32));
            let (a, b) = (floats(rows)?, floats(columns)?);
            let out = Floats::new(self, "sums", rows, columns)?;
            let units = self.filled("units", &vec![1.0f32; rows.max(columns)])?;
            let side = |numbers| Side {
                numbers,
                is_transposed: false,
                units: &units,
            };
            let pass = |tile| {
                product_of_floats_with(self, Some(tile), side(&a), side(&b), Target::all(&out))
            };
            let tiles = float_tiles(self).into_iter();
            Ok(tiles.map(|tile| (tile, pass(tile))).collect())
        });
        let floats = self.ranking(made.await?, FLOATS, now).await?;
        let limits = [self.limit(true, now).await?, self.limit(false, now).await?];
        self.choose(Tiles {
            planes: planes[0].tile,
            floats: floats[0].tile,
        });
        Ok(Race {
            planes,
            floats,
            limits,
        })
    }

    /// What the inner loop of a product does at most, in 10^9 multiply-accumulates a second.
    async fn limit(&self, is_signs: bool, now: Now<'_>) -> Result<f64, GpuError> {
        const THREADS: usize = 1 << 18;
        const ROUNDS: usize = 64;
        let made = self.checked("a race", || {
            let program = Program {
                name: "limit",
                constants: constant("IS_SIGNS", is_signs),
                sources: &[shader!("limit")],
            };
            let out = self.zeros("what nobody reads", 1)?;
            Ok(self.pass(&program, &[ROUNDS as u32], &[&out], linear(THREADS, 64)))
        });
        let pass = [made.await?];
        let milliseconds = Timer::new(self, now).time_repeated(&pass).await?;
        // Sixteen numbers a round, of 32 signs or of one float each.
        let numbers = THREADS as f64 * ROUNDS as f64 * 16.0;
        let macs = numbers * if is_signs { 32.0 } else { 1.0 };
        Ok(macs / milliseconds * 1e-6)
    }

    /// Times everybody in turn, so that what else the device does slows all alike.
    async fn ranking(
        &self,
        runners: Vec<(Tile, Pass)>,
        shape: [usize; 3],
        now: Now<'_>,
    ) -> Result<Vec<TileSpeed>, GpuError> {
        let timer = Timer::new(self, now);
        let mut fastest = vec![f64::INFINITY; runners.len()];
        for _ in 0..ROUNDS {
            for (fastest, (_, pass)) in fastest.iter_mut().zip(&runners) {
                let milliseconds = timer.time_repeated(std::slice::from_ref(pass)).await?;
                *fastest = fastest.min(milliseconds);
            }
        }
        let macs: f64 = shape.iter().map(|&side| side as f64).product();
        let mut ranking: Vec<TileSpeed> = runners
            .iter()
            .zip(fastest)
            .map(|((tile, _), milliseconds)| TileSpeed {
                tile: *tile,
                giga_macs: macs / milliseconds * 1e-6,
            })
            .collect();
        ranking.sort_by(|one, other| other.giga_macs.total_cmp(&one.giga_macs));
        Ok(ranking)
    }
}
