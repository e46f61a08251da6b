//! What can be timed: products, networks that answer, training steps. It prepares an operation and repeats it; the
//! clock is the caller's.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::bits::{BitMatrix, BitTiles, BytePanels, Encoding, IntegerPanels, PANEL_ROWS};
use crate::data::{DIGITS, DataSet, Images, TrainingData};
use crate::kernels::{
    BinaryKernel, ByteKernel, Choice, FloatView, InnerLoop, IntegerKernel, Integers, LookupKernel,
    Method, PanelSums, binary_kernels, binary_product_with, byte_kernels, byte_product_with,
    float_kernels, float_product_with, integer_kernels, integer_product_with, lookup_kernels,
    lookup_product_with,
};
use crate::layers::{Operand, ProductKind};
use crate::quant::Quantizer;
use crate::spec::{Bits, Levels, NetworkSpec, Rounding, SpecError};
use crate::train::Trainer;

/// Sides of the images of networks that are timed.
const SIDE: usize = 28;
/// How often an inner loop goes over its data in a run.
const INNER_REPEATS: usize = 100;
/// Batches of images that a step is timed on.
const BATCHES: usize = 4;

/// Something to time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// `[rows, terms]` times `[columns, terms]`, of `a_bits` and `b_bits`, from operands in the form that the product
    /// takes to sums as float32, on all threads; by the method chosen here or a given one. 32 bits are floats.
    Product {
        shape: (usize, usize, usize),
        a_bits: Bits,
        b_bits: Bits,
        #[serde(default)]
        method: Option<Method>,
    },
    /// A twin by its name, on signs, on one thread.
    Kernel {
        name: String,
        shape: (usize, usize, usize),
    },
    /// A lookup twin's inner loop on what stays in the first-level cache, on one thread.
    InRegister { name: String },
    /// Reading `bytes` of memory from end to end, on one thread.
    Memory { bytes: usize },
    /// Logits of `images` images of a trained network, from pixels.
    Answer { spec: NetworkSpec, images: usize },
    /// A training step.
    Step { spec: NetworkSpec },
}

/// A way to compute the products of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductKernel {
    /// Bit planes: XOR or AND, and a count of ones.
    Planes,
    /// Floats, a thread a sum and nothing shared: not optimized.
    Naive,
    /// Floats, in tiles that threads share.
    Tiled,
}

impl ProductKernel {
    pub const ALL: [ProductKernel; 3] = [
        ProductKernel::Planes,
        ProductKernel::Naive,
        ProductKernel::Tiled,
    ];
}

/// What a GPU's kernels are compared on, as in the paper (section 3, "XNOR-count").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// Signs, `[side, side]` times `[side, side]`.
    Product { side: usize },
    /// Answers to `images` images of a network of 1 bit, of so many pixels and units from layer to layer.
    Network { layers: Vec<usize>, images: usize },
}

/// How a comparison went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialReport {
    pub trial: Trial,
    /// In the order of [`ProductKernel::ALL`].
    pub kernels: Vec<KernelTimes>,
    /// Milliseconds, round by round, to pack both operands of the product, which is not part of its own time.
    pub packing: Option<Vec<f64>>,
    /// Whether all kernels came to the same sums, or the same answers.
    pub agree: bool,
}

/// What a GPU was measured to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuReport {
    pub adapter: String,
    /// Whether it is a program on the processor, whose figures say nothing of a GPU's.
    pub is_software: bool,
    /// Whether the device kept the time itself, not a clock beside it.
    pub by_timestamps: bool,
    /// Of the inner loops on signs and on floats where nothing is fetched, 10^9 multiply-accumulates a second.
    pub limits: [f64; 2],
    pub trials: Vec<TrialReport>,
    pub training: Vec<TrainingSpeed>,
}

/// How fast a network of 1 bit with 6-bit gradients trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainingSpeed {
    pub hidden: Vec<usize>,
    pub batch_size: usize,
    /// Images a second on the GPU, and on all threads of the processor.
    pub gpu: f64,
    pub processor: f64,
}

/// How long a kernel took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelTimes {
    pub kernel: ProductKernel,
    /// Of a whole run, round by round.
    pub milliseconds: Vec<f64>,
    /// Right answers, where it was a network's.
    pub correct: Option<usize>,
}

impl KernelTimes {
    /// Of no rounds yet.
    pub fn new(kernel: ProductKernel) -> KernelTimes {
        KernelTimes {
            kernel,
            milliseconds: Vec::new(),
            correct: None,
        }
    }
}

impl TrialReport {
    /// 10^9 multiply-accumulates a second of a kernel, its median; `None` without rounds.
    pub fn giga_macs(&self, kernel: ProductKernel) -> Option<f64> {
        let macs = match &self.trial {
            Trial::Product { side } => (*side as f64).powi(3),
            Trial::Network { layers, images } => {
                let weights = layers.windows(2).map(|pair| pair[0] * pair[1]);
                weights.sum::<usize>() as f64 * *images as f64
            }
        };
        let times = self.kernels.iter().find(|times| times.kernel == kernel)?;
        let is_timed = !times.milliseconds.is_empty();
        is_timed.then(|| macs / Summary::of(times.milliseconds.clone()).median * 1e-6)
    }

    /// How many times as fast as another kernel the bit planes are, in the rounds' ratios; `None` without rounds.
    pub fn speed_up_over(&self, kernel: ProductKernel) -> Option<Summary> {
        let times = |kernel| {
            let of = |times: &&KernelTimes| times.kernel == kernel;
            self.kernels
                .iter()
                .find(of)
                .map(|times| &times.milliseconds)
        };
        let pairs = times(kernel)?.iter().zip(times(ProductKernel::Planes)?);
        let ratios: Vec<f64> = pairs.map(|(other, planes)| other / planes).collect();
        (!ratios.is_empty()).then(|| Summary::of(ratios))
    }
}

/// What is said of repeated measurements, to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub median: f64,
    pub quartiles: [f64; 2],
}

impl Summary {
    /// Of some values. Panics where there are none.
    pub fn of(mut values: Vec<f64>) -> Summary {
        values.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let value = values[(share * (values.len() - 1) as f64).round() as usize];
            format!("{value:.2e}").parse().unwrap_or(value)
        };
        Summary {
            median: quantile(0.5),
            quartiles: [quantile(0.25), quantile(0.75)],
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [low, high] = self.quartiles;
        write!(f, "{} ({low} to {high})", self.median)
    }
}

/// Why something cannot be timed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    #[error("There is no kernel {0:?} on this machine.")]
    UnknownKernel(String),
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// Something ready to be timed.
pub struct Operation {
    run: Box<dyn FnMut() + Send>,
    /// Multiply-accumulates of a run, or the bytes that it reads; 0 for networks.
    pub macs: f64,
}

impl Operation {
    fn new(macs: f64, run: impl FnMut() + Send + 'static) -> Operation {
        Operation {
            run: Box::new(run),
            macs,
        }
    }

    /// Runs it once.
    pub fn run(&mut self) {
        (self.run)();
    }

    /// Milliseconds of a run, the mean of runs for `least` milliseconds or more by the clock `now`.
    pub fn time(&mut self, now: &dyn Fn() -> f64, least: f64) -> f64 {
        let begun = now();
        let (mut runs, mut more) = (0, 1);
        loop {
            for _ in 0..more {
                self.run();
            }
            runs += more;
            let passed = now() - begun;
            if passed >= least {
                return passed / f64::from(runs);
            }
            // A look at the clock takes as long as a short run: few of them, but none much too late.
            more = if passed < least / 8.0 {
                runs
            } else {
                1.max(runs / 8)
            };
        }
    }
}

/// The names of all twins of this machine.
pub fn kernel_names() -> Vec<&'static str> {
    let names = binary_kernels().into_iter().map(|kernel| kernel.name);
    names
        .chain(lookup_kernels().into_iter().map(|kernel| kernel.name))
        .chain(integer_kernels().into_iter().map(|kernel| kernel.name))
        .chain(byte_kernels().into_iter().map(|kernel| kernel.name))
        .chain(float_kernels().into_iter().map(|kernel| kernel.name))
        .collect()
}

impl Subject {
    /// Prepares what is timed.
    pub fn prepare(&self, choice: Choice) -> Result<Operation, MeasureError> {
        match self {
            Subject::Product {
                shape,
                a_bits,
                b_bits,
                method,
            } => {
                let choice = Choice {
                    forced: method.or(choice.forced),
                    ..choice
                };
                Ok(product(*shape, *a_bits, *b_bits, choice))
            }
            Subject::Kernel { name, shape } => kernel(name, *shape),
            Subject::InRegister { name } => in_register(name),
            Subject::Memory { bytes } => Ok(memory(*bytes)),
            Subject::Answer { spec, images } => {
                let network =
                    Trainer::new(spec.clone(), SIDE * SIDE, DIGITS).map(|mut trainer| {
                        trainer.choose_kernels(choice);
                        trainer.freeze()
                    })?;
                let pixels = digits(*images).pixels;
                Ok(Operation::new(0.0, move || {
                    std::hint::black_box(network.logits(&pixels));
                }))
            }
            Subject::Step { spec } => {
                let mut trainer = Trainer::new(spec.clone(), SIDE * SIDE, DIGITS)?;
                trainer.choose_kernels(choice);
                let data = TrainingData::Images(digits(BATCHES * spec.batch_size));
                Ok(Operation::new(0.0, move || {
                    let _ = std::hint::black_box(trainer.step(&data));
                }))
            }
        }
    }
}

/// Numbers that look random.
pub fn noise(count: usize, salt: u32) -> impl Iterator<Item = u32> {
    (0..count as u32).map(move |index| {
        (index ^ salt)
            .wrapping_add(salt)
            .wrapping_mul(2_654_435_761)
            .rotate_left(13)
    })
}

/// In [-1, 1).
pub fn values(count: usize, salt: u32) -> Vec<f32> {
    noise(count, salt)
        .map(|x| (x >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Digits, as kernels pass over blank paper, with labels that cannot be learned: numbers too small for a normal float,
/// which take longer, do not come up.
fn digits(count: usize) -> Images {
    Images {
        labels: noise(count, 5).map(|x| (x % DIGITS as u32) as u8).collect(),
        ..DataSet::procedural(1, count as u64).test
    }
}

pub(crate) fn quantizer(bits: Bits) -> Quantizer {
    Quantizer {
        bits,
        levels: Levels::Linear,
        rounding: Rounding::Deterministic,
    }
}

fn macs((rows, columns, terms): (usize, usize, usize)) -> f64 {
    // Three such sizes may not fit 32 bits.
    rows as f64 * columns as f64 * terms as f64
}

fn product(shape: (usize, usize, usize), a_bits: Bits, b_bits: Bits, choice: Choice) -> Operation {
    let (rows, columns, terms) = shape;
    let (a, b) = (quantizer(a_bits), quantizer(b_bits));
    let kind = ProductKind::of(choice, a.encoding(), b.encoding());
    let a = Operand::quantized(kind.a(), a, terms, &values(rows * terms, 1), None, None);
    let b = Operand::quantized(kind.b(), b, terms, &values(columns * terms, 7), None, None);
    let mut out = vec![0.0; rows * columns];
    Operation::new(macs(shape), move || a.product(0..rows, &b, &mut out))
}

/// Integers of `bits`, `[rows, terms]`.
fn integers(bits: Bits, count: usize) -> (Vec<i16>, Encoding) {
    let quantizer = quantizer(bits);
    let mut integers = vec![0; count];
    quantizer.integers(&values(count, 1), &[], &mut integers);
    (integers, quantizer.encoding().unwrap_or(Encoding::Sign))
}

fn find<K: Copy>(kernels: Vec<K>, name: &str, name_of: impl Fn(&K) -> &'static str) -> Option<K> {
    kernels.into_iter().find(|kernel| name_of(kernel) == name)
}

fn kernel(name: &str, shape: (usize, usize, usize)) -> Result<Operation, MeasureError> {
    let (rows, columns, terms) = shape;
    let signs =
        |rows: usize, salt: u32| BitMatrix::from_signs(rows, terms, &values(rows * terms, salt));
    if let Some(kernel) = find(binary_kernels(), name, |kernel: &BinaryKernel| kernel.name) {
        let (a, b) = (signs(rows, 1), signs(columns, 7));
        let mut sums = vec![0; rows * columns];
        return Ok(Operation::new(macs(shape), move || {
            binary_product_with(kernel, a.view(), b.view(), 1, &mut sums);
        }));
    }
    if let Some(kernel) = find(lookup_kernels(), name, |kernel: &LookupKernel| kernel.name) {
        let (values, encoding) = integers(Bits::ONE, rows * terms);
        let b = signs(columns, 7);
        let b = BitTiles::pack(Encoding::Sign, columns, terms, |row, out| {
            for (column, sign) in out.iter_mut().enumerate() {
                *sign = if b.get(row, column) { 1 } else { -1 };
            }
        });
        let mut sums = vec![0; rows * columns];
        return Ok(Operation::new(macs(shape), move || {
            let a = Integers {
                values: &values,
                terms,
                encoding,
            };
            lookup_product_with(kernel, a, &b, 0..rows, &mut sums);
        }));
    }
    if let Some(kernel) = find(integer_kernels(), name, |kernel: &IntegerKernel| {
        kernel.name
    }) {
        let (b, _) = integers(Bits::ALL[7], columns * terms);
        let b = IntegerPanels::pack_transposed(columns, &b);
        return Ok(panel_product(Bits::ONE, shape, move |a, panels, sums| {
            integer_product_with(kernel, a, &b, 0..rows, panels, sums);
        }));
    }
    if let Some(kernel) = find(byte_kernels(), name, |kernel: &ByteKernel| kernel.name) {
        let (b, of_b) = integers(Bits::ALL[6], columns * terms);
        let b = BytePanels::pack_transposed(of_b, columns, &b);
        let six_bits = Bits::ALL[5];
        return Ok(panel_product(six_bits, shape, move |a, panels, sums| {
            byte_product_with(kernel, a, &b, 0..rows, panels, sums);
        }));
    }
    if let Some(kernel) = find(float_kernels(), name, |kernel| kernel.name) {
        let (a, b) = (values(rows * terms, 1), values(columns * terms, 7));
        let mut out = vec![0.0; rows * columns];
        return Ok(Operation::new(macs(shape), move || {
            let (a, b) = (FloatView::Lines(&a), FloatView::Lines(&b));
            float_product_with(kernel, terms, columns, a, b, &mut out);
        }));
    }
    Err(MeasureError::UnknownKernel(name.into()))
}

/// A product of integers of `a_bits` with panels, which `product` computes.
fn panel_product(
    a_bits: Bits,
    shape: (usize, usize, usize),
    product: impl Fn(Integers<'_>, Range<usize>, &mut [PanelSums]) + Send + 'static,
) -> Operation {
    let (rows, columns, terms) = shape;
    let (values, encoding) = integers(a_bits, rows * terms);
    let panels = columns.div_ceil(PANEL_ROWS);
    let mut sums = vec![[0; PANEL_ROWS]; rows * panels];
    Operation::new(macs(shape), move || {
        let a = Integers {
            values: &values,
            terms,
            encoding,
        };
        product(a, 0..panels, &mut sums);
    })
}

fn in_register(name: &str) -> Result<Operation, MeasureError> {
    let unknown = || MeasureError::UnknownKernel(name.into());
    let kernel = find(lookup_kernels(), name, |kernel: &LookupKernel| kernel.name);
    let (kernel, of_loop) = (kernel.ok_or_else(unknown)?, InnerLoop::default());
    let macs = kernel.inner_loop(&of_loop).ok_or_else(unknown)?;
    let run = move || {
        for _ in 0..INNER_REPEATS {
            kernel.inner_loop(&of_loop);
        }
    };
    Ok(Operation::new((macs * INNER_REPEATS) as f64, run))
}

fn memory(bytes: usize) -> Operation {
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    Operation::new(bytes as f64, move || {
        let sum = words
            .iter()
            .fold(0, |sum: u64, word| sum.wrapping_add(*word));
        std::hint::black_box(sum);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_median_with_quartiles() {
        let summary = Summary::of(vec![50.0, 1234.0, 2.0, 30.0, 0.04444]);
        assert_eq!(summary.to_string(), "30 (2 to 50)");
        assert_eq!(Summary::of(vec![1234.0]).to_string(), "1230 (1230 to 1230)");
    }

    #[test]
    fn speed_ups_are_of_times_of_the_same_round() {
        let mut kernels = ProductKernel::ALL.map(KernelTimes::new);
        let mut report = TrialReport {
            trial: Trial::Product { side: 8192 },
            kernels: kernels.to_vec(),
            packing: None,
            agree: true,
        };
        assert_eq!(report.speed_up_over(ProductKernel::Naive), None);
        // The machine was busy in the second round.
        kernels[0].milliseconds = vec![1.0, 10.0, 1.0, 1.0, 2.0];
        kernels[1].milliseconds = vec![20.0, 210.0, 24.0, 22.0, 46.0];
        report.kernels = kernels.into();
        let speed_up = report.speed_up_over(ProductKernel::Naive).unwrap();
        assert_eq!(speed_up.to_string(), "22 (21 to 23)");
    }
}
