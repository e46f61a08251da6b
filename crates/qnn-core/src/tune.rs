//! The autotuner: a race of the integer kernels on the shape of a network, and which kernel each product of the
//! network takes by it. No result depends on who wins. The clock is the caller's.

use serde::{Deserialize, Serialize};

use crate::bits::Encoding;
use crate::kernels::{ByteCosts, Choice, Costs, Method, lookup_tables};
use crate::layers::{Operand, ProductKind};
use crate::measure::{quantizer, values};
use crate::spec::{Bits, NetworkSpec};

/// Multiply-accumulates of a product that is raced, about: little enough for a kernel without SIMD.
const RACE_MACS: usize = 1 << 21;
/// The most rows and the most terms of the matrix raced with: to pack more takes longer than the race may.
const MOST: usize = 1024;
/// Rows that the kernels can share a matrix among, at least.
const LEAST_ROWS: usize = 8;
/// How long a contender runs in a round, in milliseconds: many steps of a browser's clock.
const TURN: f64 = 2.0;
/// Multiply-accumulates after which a turn ends all the same: some browsers' clocks stand still for as long.
const MOST_MACS: usize = 1 << 30;

/// Who races, on what bits: of the lookup kernel two, as what it costs depends on how often its bytes are widened.
const CONTENDERS: [(Method, u8, u8); 5] = [
    (Method::Popcount, 1, 1),
    (Method::Lookup, 4, 1),
    (Method::Lookup, 6, 1),
    (Method::Multiply, 8, 8),
    (Method::MultiplyBytes, 8, 7),
];

/// How a contender did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelSpeed {
    pub method: Method,
    /// The name of its fastest twin here.
    pub kernel: String,
    /// Bits of a number of the one side, whose rows stay, and of the other.
    pub bits: (u8, u8),
    /// 10^9 multiply-accumulates a second, on one thread.
    pub giga_macs: f32,
}

/// What a race showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Rows, columns and terms of the products.
    pub shape: (usize, usize, usize),
    pub speeds: Vec<KernelSpeed>,
    /// What follows for every pair of encodings.
    pub costs: Costs,
}

/// A product that training a network takes again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkProduct {
    /// For instance "activations by weights".
    pub what: &'static str,
    /// Bits of either side; 32 are floats.
    pub bits: (u8, u8),
    pub kind: ProductKind,
    /// 10^9 multiply-accumulates a second on one thread by the costs; `None` for floats.
    pub giga_macs: Option<f32>,
}

/// The products of training a network of `spec`, with their kernels.
pub fn products(spec: &NetworkSpec, choice: Choice) -> [NetworkProduct; 5] {
    let pixels = (8, spec.input_encoding(0, true));
    let activations = (spec.activation_bits.get(), spec.input_encoding(1, true));
    let weights = (spec.weight_bits.get(), spec.weights().encoding());
    let gradients = (spec.gradient_bits.get(), spec.gradients().encoding());
    let product = |what, a: (u8, Option<Encoding>), b: (u8, Option<Encoding>)| {
        let kind = ProductKind::of(choice, a.1, b.1);
        let cost = match (kind, a.1, b.1) {
            (ProductKind::Integer(method), Some(a), Some(b)) => choice.costs.of(method, a, b),
            _ => None,
        };
        NetworkProduct {
            what,
            bits: (a.0, b.0),
            kind,
            giga_macs: cost.map(|picoseconds| 1000.0 / picoseconds),
        }
    };
    [
        product("pixels by weights", pixels, weights),
        product("activations by weights", activations, weights),
        product("gradients by weights", gradients, weights),
        product("gradients by activations", gradients, activations),
        product("gradients by pixels", gradients, pixels),
    ]
}

/// A race under way. It is run in rounds, with other work between them: a browser compiles well only what has run
/// often, and what else the machine does comes and goes. A contender's fastest round counts.
pub struct Tuner {
    shape: (usize, usize, usize),
    runners: Vec<Runner>,
}

/// A contender that this machine has.
struct Runner {
    contender: (Method, u8, u8),
    operands: (Operand, Operand),
    /// Milliseconds of a run.
    fastest: f64,
}

impl Tuner {
    /// Packs what is raced with: the shape of the largest layer of a network for images of `inputs` pixels in `classes`
    /// classes.
    pub fn new(spec: &NetworkSpec, inputs: usize, classes: usize) -> Tuner {
        let shapes = spec.layer_shapes(inputs, classes).into_iter();
        let largest = shapes.max_by_key(|(inputs, units)| inputs * units);
        let (inputs, units) = largest.unwrap_or((1, 1));
        let (terms, columns) = (inputs.min(MOST), units.min(MOST));
        let rows =
            (RACE_MACS / (terms * columns)).clamp(LEAST_ROWS, spec.batch_size.max(LEAST_ROWS));
        let (a_values, b_values) = (values(rows * terms, 1), values(columns * terms, 7));
        let has_bytes = Costs::default().bytes.is_some();
        let is_here =
            |(method, ..): &(Method, u8, u8)| has_bytes || *method != Method::MultiplyBytes;
        let runner = |contender: (Method, u8, u8)| {
            let (method, a_bits, b_bits) = contender;
            let kind = ProductKind::Integer(method);
            let operand = |form, bits: u8, values| {
                let quantizer = quantizer(Bits::ALL[bits as usize - 1]);
                Operand::quantized(form, quantizer, terms, values, None, None)
            };
            Runner {
                contender,
                operands: (
                    operand(kind.a(), a_bits, &a_values),
                    operand(kind.b(), b_bits, &b_values),
                ),
                fastest: f64::INFINITY,
            }
        };
        Tuner {
            shape: (rows, columns, terms),
            runners: CONTENDERS.into_iter().filter(is_here).map(runner).collect(),
        }
    }

    /// Lets all run in turn on this thread, up to some 10 milliseconds by the clock `now`.
    pub fn round(&mut self, now: &dyn Fn() -> f64) {
        let (rows, columns, terms) = self.shape;
        let most_runs = MOST_MACS / (rows * columns * terms);
        for Runner {
            operands: (a, b),
            fastest,
            ..
        } in &mut self.runners
        {
            let start = now();
            for runs in 1..=most_runs {
                a.for_each_row(0..a.rows(), b, |_, products| {
                    std::hint::black_box(products.group(0));
                });
                let passed = now() - start;
                if passed >= TURN {
                    *fastest = fastest.min(passed / runs as f64);
                    break;
                }
            }
        }
    }

    /// What the rounds have shown so far; `None` where the clock is too coarse to tell.
    pub fn tuning(&self) -> Option<Tuning> {
        let mut runners = self.runners.iter();
        if !runners.all(|runner| runner.fastest.is_finite()) {
            return None;
        }
        let (rows, columns, terms) = self.shape;
        let macs = (rows * columns * terms) as f64;
        let took = |runner: &Runner| (runner.fastest * 1e9 / macs) as f32;
        let took: Vec<f32> = self.runners.iter().map(took).collect();
        let contenders = self
            .runners
            .iter()
            .map(|runner| runner.contender)
            .zip(&took);
        let speed = |((method, a, b), picoseconds): ((Method, u8, u8), &f32)| KernelSpeed {
            method,
            kernel: method.kernel().into(),
            bits: (a, b),
            giga_macs: 1000.0 / picoseconds,
        };
        Some(Tuning {
            shape: self.shape,
            speeds: contenders.map(speed).collect(),
            costs: costs(&took),
        })
    }
}

/// The costs by which the model gives what the contenders took, in picoseconds for a multiply-accumulate, in their order;
/// that of bytes, the last one, may be missing.
fn costs(took: &[f32]) -> Costs {
    let default = Costs::default();
    let [
        popcount,
        rarely_widened,
        often_widened,
        multiply,
        ref bytes @ ..,
    ] = *took
    else {
        return default;
    };
    let widenings = |bits| 1.0 / lookup_tables(Encoding::TwosComplement(bits)).1 as f32;
    let widening = ((often_widened - rarely_widened) / (widenings(6) - widenings(4))).max(0.0);
    Costs {
        popcount,
        lookup: (rarely_widened - widening * widenings(4)).max(0.0),
        widening,
        multiply,
        bytes: default
            .bytes
            .zip(bytes.first())
            .map(|(default, multiply)| ByteCosts {
                multiply: *multiply,
                ..default
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_model_gives_back_what_the_contenders_took() {
        let took = [5.0, 3.0, 4.5, 16.0, 8.0];
        let costs = super::costs(&took);
        for ((method, a, b), took) in CONTENDERS.into_iter().zip(took) {
            let encoding = |bits: u8| quantizer(Bits::ALL[bits as usize - 1]).encoding().unwrap();
            match costs.of(method, encoding(a), encoding(b)) {
                Some(cost) => assert!((cost - took).abs() < 1e-3, "{method:?}: {cost}"),
                None => assert!(method == Method::MultiplyBytes && costs.bytes.is_none()),
            }
        }
        // Without bytes, and by a race that says that widening costs nothing, or less.
        let costs = super::costs(&[5.0, 3.0, 2.5, 16.0]);
        assert_eq!((costs.widening, costs.bytes), (0.0, None));
    }

    #[test]
    fn the_fastest_round_counts_and_names_its_kernels() {
        // A clock that goes on so much a look, as if every run took as long.
        let (clock, tick) = (Cell::new(0.0), Cell::new(4.0));
        let now = || {
            clock.set(clock.get() + tick.get());
            clock.get()
        };
        let spec = NetworkSpec {
            hidden: vec![4096, 4096],
            ..NetworkSpec::default()
        };
        let mut tuner = Tuner::new(&spec, 784, 10);
        for milliseconds in [4.0, 1.0, 2.0] {
            tick.set(milliseconds);
            tuner.round(&now);
        }
        let tuning = tuner.tuning().unwrap();
        assert_eq!(tuning.shape, (8, 1024, 1024));
        let expected = 8.0 * 1024.0 * 1024.0 / 1e6;
        for speed in tuning.speeds {
            assert!((speed.giga_macs - expected).abs() < 1e-3 && !speed.kernel.is_empty());
        }
    }

    #[test]
    fn a_clock_that_stands_still_shows_nothing() {
        let mut tuner = Tuner::new(&NetworkSpec::default(), 784, 10);
        tuner.round(&|| 7.0);
        assert_eq!(tuner.tuning(), None);
    }

    #[test]
    fn products_follow_the_choice() {
        let spec = NetworkSpec::default();
        let forced = |method| Choice {
            forced: Some(method),
            ..Choice::default()
        };
        let kinds = |choice| products(&spec, choice).map(|product| product.kind);
        let float = ProductKind::Float;
        let (lookup, multiply) = (
            ProductKind::Integer(Method::Lookup),
            ProductKind::Integer(Method::Multiply),
        );
        assert_eq!(
            kinds(forced(Method::Lookup)),
            [lookup, lookup, float, float, float]
        );
        assert_eq!(
            kinds(forced(Method::Multiply)),
            [multiply, multiply, float, float, float]
        );
        let [pixels, activations, gradients, ..] = products(&spec, Choice::default());
        assert_eq!(pixels.bits, (8, 1));
        // Pixels take two tables, and floats have no cost.
        assert!(pixels.giga_macs < activations.giga_macs);
        assert_eq!(gradients.giga_macs, None);
    }
}
