//! The paper's comparison on an adapter: a large product of signs, and a whole network, by each kernel.

use std::num::NonZero;

use qnn_core::bits::Encoding;
use qnn_core::data::{Images, TrainingData};
use qnn_core::loss::argmax;
use qnn_core::measure::{
    GpuReport, KernelTimes, ProductKernel, TrainingSpeed, Trial, TrialReport, noise,
};
use qnn_core::packed::PackedNetwork;
use qnn_core::spec::{Bits, NetworkSpec};

use crate::device::{Buffer, Gpu, GpuError};
use crate::network::GpuNetwork;
use crate::passes::{Bound, Floats, Pass, Planes};
use crate::products::{Side, Store, Target, product_of_floats, product_of_planes};
use crate::race::Race;
use crate::timer::{Now, Timer};
use crate::trainer::{GpuTrainer, TrainingError};

/// The side of the paper's product, and the test images of MNIST.
pub const PAPER_SIDE: usize = 8192;
pub const PAPER_IMAGES: usize = 10_000;

/// The most and the fewest rows of a piece of a large product, whose operands and sums are buffers of their own.
const PIECE_ROWS: [usize; 2] = [2048, 256];
/// Images of a submission at most.
const MOST_IMAGES: usize = 1024;
/// What the floats of a submission may take in tiles, in seconds. Without them they take several times as long, and a driver
/// gives up a device that does not answer for two seconds.
const SUBMISSION: f64 = 0.1;
/// What the floats of a trial may take in tiles, in seconds, for it to be of the paper's size.
const PATIENCE: f64 = 2.5;

/// What is said on the way: the share that is done, 0 to 1.
pub type Progress<'a> = &'a dyn Fn(f32);

/// How often everything is timed.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub most: usize,
    /// Milliseconds after which no round begins.
    pub patience: f64,
}

impl Rounds {
    /// Whether a round begins.
    fn go_on(self, round: usize, begun: f64, now: Now<'_>) -> bool {
        round < self.most && (round == 0 || now() - begun < self.patience)
    }
}

impl Race {
    /// Multiply-accumulates of floats in so many seconds.
    fn float_macs(&self, seconds: f64) -> f64 {
        self.floats[0].giga_macs * 1e9 * seconds
    }

    /// The largest side of a product, up to the paper's, that does not take too long here.
    pub fn side(&self) -> usize {
        let takes_too_long = |side: usize| (side as f64).powi(3) > self.float_macs(PATIENCE);
        let mut side = PAPER_SIDE;
        while side > 512 && takes_too_long(side) {
            side /= 2;
        }
        side
    }

    /// Rows and columns of a piece of a product of `side` terms.
    fn piece_rows(&self, side: usize) -> usize {
        let [mut rows, fewest] = PIECE_ROWS;
        let macs = |rows: usize| (rows as f64).powi(2) * side as f64;
        while rows > fewest && macs(rows) > self.float_macs(SUBMISSION) {
            rows /= 2;
        }
        rows.min(side)
    }

    /// The most images, up to the paper's, for a network of so many weights that do not take too long here.
    pub fn images(&self, weights: usize) -> usize {
        let images = self.float_macs(PATIENCE) / weights as f64;
        (images as usize / 64 * 64).clamp(64, PAPER_IMAGES)
    }
}

/// Times the product of two matrices of signs, `[side, side]`, by every kernel in turn, for some rounds.
pub async fn compare_products(
    gpu: &Gpu,
    race: &Race,
    side: NonZero<usize>,
    rounds: Rounds,
    now: Now<'_>,
    progress: Progress<'_>,
) -> Result<TrialReport, GpuError> {
    let side = side.get();
    let product = Product::new(gpu, side, race.piece_rows(side)).await?;
    let timer = Timer::new(gpu, now);
    let mut kernels = ProductKernel::ALL.map(KernelTimes::new);
    let mut packing = Vec::new();
    // The sums are whole numbers, and the same ones by whatever kernel.
    let (mut sums, mut agree) = (None, true);
    let (begun, mut round) = (now(), 0);
    let runs = kernels.len() * rounds.most;
    let passes = ProductKernel::ALL.map(|kernel| product.passes(gpu, kernel));
    let macs = (side as f64).powi(3) / product.sums.len() as f64;
    let pieces = ((race.float_macs(SUBMISSION) / macs) as usize).max(1);
    while rounds.go_on(round, begun, now) {
        for (index, (times, passes)) in kernels.iter_mut().zip(&passes).enumerate() {
            progress((round * ProductKernel::ALL.len() + index) as f32 / runs as f32);
            if round == 0 {
                // To warm up, and to see whether it finds what the others find: of the first piece and of the last one.
                let last = passes.len() - 1;
                gpu.submit([&passes[0], &passes[last]], None, |_| ());
                let found = [0, last].map(|piece| &product.sums[piece].buffer);
                let found = [gpu.read::<f32>(found[0]).await?, gpu.read(found[1]).await?];
                agree &= *sums.get_or_insert_with(|| found.clone()) == found;
            }
            let submissions = passes.len().div_ceil(pieces);
            let milliseconds = timer.time(|writes| {
                for (index, passes) in passes.chunks(pieces).enumerate() {
                    let writes = writes(index == 0, index + 1 == submissions);
                    gpu.submit(passes, writes, |_| ());
                }
            });
            times.milliseconds.push(milliseconds.await?);
        }
        packing.push(timer.time_repeated(&product.pack).await?);
        round += 1;
    }
    Ok(TrialReport {
        trial: Trial::Product { side },
        kernels: kernels.into(),
        packing: Some(packing),
        agree,
    })
}

/// A large product in pieces.
struct Product {
    planes: [Vec<Planes>; 2],
    /// The first operand row by row, the second one term by term.
    floats: [Vec<Floats>; 2],
    units: Buffer,
    /// Piece by piece, those of a row after the other.
    sums: Vec<Floats>,
    pack: Vec<Pass>,
}

impl Product {
    async fn new(gpu: &Gpu, side: usize, piece_rows: usize) -> Result<Product, GpuError> {
        let mut product = Product {
            planes: Default::default(),
            floats: Default::default(),
            units: gpu.filled("units", &vec![1.0f32; piece_rows])?,
            sums: Vec::new(),
            pack: Vec::new(),
        };
        let pieces = || (0..side).step_by(piece_rows);
        let rows_of = |first: usize| piece_rows.min(side - first);
        for (operand, first) in [0, 1]
            .into_iter()
            .flat_map(|of| pieces().map(move |p| (of, p)))
        {
            let rows = rows_of(first);
            // A piece at a time, so that others get their turn in between.
            let made = gpu.checked("the operands of the product", || {
                let seed = (2 * first + operand) as u32;
                let sign = |bits: u32| if bits >> 31 == 0 { 1.0f32 } else { -1.0 };
                let signs: Vec<f32> = noise(rows * side, seed).map(sign).collect();
                // The second one term by term: so neighbouring threads, whose columns are neighbours, read neighbouring
                // numbers.
                let is_transposed = operand == 1;
                let columns = if is_transposed { rows } else { side };
                let floats = Floats::of(gpu, "signs as floats", columns, &signs)?;
                let planes = Planes::new(gpu, "signs", Encoding::Sign, rows, side)?;
                let pack = planes.pack(gpu, &floats, is_transposed, Encoding::Sign);
                let pack: Vec<Pass> = pack.collect();
                gpu.submit(&pack, None, |_| ());
                Ok((floats, planes, pack))
            });
            let (floats, planes, pack) = made.await?;
            product.floats[operand].push(floats);
            product.planes[operand].push(planes);
            product.pack.extend(pack);
        }
        let made = gpu.checked("the sums of the product", || {
            let shapes = pieces().flat_map(|row| pieces().map(move |column| (row, column)));
            let sums =
                shapes.map(|(row, column)| Floats::new(gpu, "sums", rows_of(row), rows_of(column)));
            sums.collect()
        });
        product.sums = made.await?;
        Ok(product)
    }

    /// Those of all pieces.
    fn passes(&self, gpu: &Gpu, kernel: ProductKernel) -> Vec<Pass> {
        let columns = self.planes[1].len();
        let pieces = self.sums.iter().enumerate().map(|(index, out)| {
            let (row, column) = (index / columns, index % columns);
            let target = Target::all(out);
            if kernel == ProductKernel::Planes {
                let (a, b) = (&self.planes[0][row], &self.planes[1][column]);
                let units: [&dyn Bound; 2] = [&self.units; 2];
                return product_of_planes(gpu, a, b, Store::Numbers { units, target });
            }
            let side = |operand: usize, piece: usize| Side {
                numbers: &self.floats[operand][piece],
                is_transposed: operand == 1,
                units: &self.units,
            };
            product_of_floats(gpu, kernel, side(0, row), side(1, column), target)
        });
        pieces.collect()
    }
}

/// The network whose training is timed, and which answers: of 1 bit with 6-bit gradients, three hidden layers of so many units.
pub fn compared_spec(units: usize) -> NetworkSpec {
    NetworkSpec {
        hidden: vec![units; 3],
        gradient_bits: Bits::ALL[5],
        ..NetworkSpec::default()
    }
}

impl Gpu {
    /// What a comparison on this device has shown.
    pub fn report(
        &self,
        race: &Race,
        trials: Vec<TrialReport>,
        training: Vec<TrainingSpeed>,
    ) -> GpuReport {
        GpuReport {
            adapter: self.name(),
            is_software: self.is_software(),
            by_timestamps: self.has_timestamps(),
            limits: race.limits,
            trials,
            training,
        }
    }
}

/// Images a second that training on the device goes through, in so many steps.
pub async fn training_speed(
    trainer: &mut GpuTrainer,
    data: &TrainingData,
    steps: u32,
    now: Now<'_>,
) -> Result<f64, TrainingError> {
    trainer.settle().await?;
    let begun = now();
    let mut images = 0;
    for step in 1..=steps {
        trainer.step(data);
        if !trainer.has_room() || step == steps {
            let metrics = trainer.settle().await?;
            images += metrics.iter().map(|metrics| metrics.images).sum::<usize>();
        }
    }
    Ok(images as f64 * 1000.0 / (now() - begun))
}

/// Times the answers of a network of 1 bit to images by every kernel in turn, for some rounds, and marks them.
pub async fn compare_networks(
    gpu: &Gpu,
    race: &Race,
    network: &PackedNetwork,
    images: &Images,
    rounds: Rounds,
    now: Now<'_>,
    progress: Progress<'_>,
) -> Result<TrialReport, GpuError> {
    let units = network.layers().iter().map(|layer| layer.weights().rows());
    let layers: Vec<usize> = [network.inputs()].into_iter().chain(units).collect();
    let weights: usize = layers.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let at_a_time = (race.float_macs(SUBMISSION) / weights as f64) as usize;
    let at_a_time = (at_a_time / 64 * 64).clamp(64, MOST_IMAGES);
    let mut kernels = ProductKernel::ALL.map(KernelTimes::new);
    let (classes, mut networks) = (network.classes(), Vec::new());
    for kernel in ProductKernel::ALL {
        networks.push(GpuNetwork::new(gpu, network, at_a_time, kernel).await?);
    }
    let mut all_answers: Option<Vec<usize>> = None;
    let mut agree = true;
    let (begun, mut round) = (now(), 0);
    let runs = kernels.len() * rounds.most;
    while rounds.go_on(round, begun, now) {
        for (index, (times, network)) in kernels.iter_mut().zip(&networks).enumerate() {
            progress((round * ProductKernel::ALL.len() + index) as f32 / runs as f32);
            if round == 0 {
                // To warm up.
                network.logits(gpu, images.pixels_of(0..1)).await?;
            }
            let (logits, milliseconds) = network.timed_logits(gpu, &images.pixels, now).await?;
            times.milliseconds.push(milliseconds);
            if round == 0 {
                let answers: Vec<usize> = logits.chunks(classes).map(argmax).collect();
                let pairs = answers.iter().zip(&images.labels);
                let is_right = |(answer, label): &(&usize, &u8)| **answer == usize::from(**label);
                times.correct = Some(pairs.filter(is_right).count());
                agree &= *all_answers.get_or_insert_with(|| answers.clone()) == answers;
            }
        }
        round += 1;
    }
    Ok(TrialReport {
        trial: Trial::Network {
            layers,
            images: images.len(),
        },
        kernels: kernels.into(),
        packing: None,
        agree,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(giga_macs: f64) -> Race {
        let of_floats = crate::race::TileSpeed {
            tile: crate::products::Tiles::default().floats,
            giga_macs,
        };
        Race {
            planes: Vec::new(),
            floats: vec![of_floats],
            limits: [giga_macs; 2],
        }
    }

    #[test]
    fn a_fast_adapter_gets_the_papers_sizes_and_a_slow_one_less() {
        const WEIGHTS: usize = 36_700_000;
        let fast = race(20_000.0);
        assert_eq!((fast.side(), fast.piece_rows(8192)), (PAPER_SIDE, 2048));
        assert_eq!(fast.images(WEIGHTS), PAPER_IMAGES);
        let slow = race(1.0);
        assert_eq!((slow.side(), slow.piece_rows(1024)), (1024, 256));
        assert_eq!(slow.images(WEIGHTS), 64);
        assert_eq!(slow.piece_rows(100), 100);
    }
}
