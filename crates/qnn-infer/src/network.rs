//! `Network`: a packed network as it lies in its file, and how it answers. Where the parts lie in the file is `file`'s
//! business.

use core::fmt;

use crate::{Encoding, MAX_DIGITS, MAX_LAYERS, MAX_WIDTH, popcount};

/// Bits of a word of the activations.
const WORD: usize = 64;

/// A network that answers, over the bytes of its file.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    pub(crate) layers: [Layer<'a>; MAX_LAYERS],
    pub(crate) depth: usize,
}

/// A fully connected layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub inputs: usize,
    pub units: usize,
    /// The integers that come in.
    pub input: Encoding,
    pub weights: Weights<'a>,
    pub edge: Edge<'a>,
}

/// Bit-packed weights: a bit plane for each binary digit, `[digits, units, bytes_per_row]`; the lowest bit of a byte is
/// the first of its eight inputs, and what is beyond the last input is zero.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub encoding: Encoding,
    pub bytes_per_row: usize,
    pub bytes: &'a [u8],
}

/// What becomes of a layer's integer sums.
#[derive(Clone, Copy, Debug)]
pub enum Edge<'a> {
    /// Levels of up to 4 bits, found by comparing the sum: batch normalization and quantization in one.
    Thresholds(Thresholds<'a>),
    /// Levels of 5 to 8 bits: round((scale (sum unit) + shift) steps), ties to even, clipped to the levels. The only
    /// float32 there is.
    Affine {
        /// `[units]`.
        scale: Numbers<'a>,
        /// `[units]`.
        shift: Numbers<'a>,
        /// What a sum of 1 is worth.
        unit: f32,
        levels: Levels<'a>,
    },
    /// The last layer's [`score`]s, each worth 2^exponent.
    Scores {
        /// `[classes]`.
        multiplier: Numbers<'a>,
        /// `[classes]`.
        offset: Numbers<'a>,
        shift: u32,
        exponent: i32,
    },
}

/// The score that a sum of the last layer makes: (multiplier sum + offset) 2^-shift, rounded down and clipped to 24 bits
/// and a sign, so that float32 holds it exactly and tells the same scores apart.
#[inline]
pub fn score(sum: i32, multiplier: i32, offset: i64, shift: u32) -> i32 {
    let score = (i64::from(multiplier) * i64::from(sum) + offset) >> shift;
    score.clamp(-MAX_SCORE, MAX_SCORE) as i32
}

/// The largest magnitude of a score.
pub const MAX_SCORE: i64 = 1 << 24;

/// For each unit the sums from which on its activation is another level.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds<'a> {
    /// `[units, levels - 1]`.
    pub values: Numbers<'a>,
    /// A bit a unit: whether its activation falls as its sum grows.
    pub falling: &'a [u8],
    pub levels: Levels<'a>,
}

/// The integers that activations are, in rising order, one byte of two's complement each.
#[derive(Clone, Copy, Debug)]
pub struct Levels<'a>(pub &'a [u8]);

/// Little-endian numbers of a file, of the type that whoever reads them asks for.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a [u8]);

/// What was handed to a network does not fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// An image has another number of pixels.
    Pixels { expected: usize, found: usize },
    /// The buffer has fewer words than [`Network::buffer_words`].
    Buffer { expected: usize, found: usize },
    /// There is not a place for the score of each class.
    Scores { expected: usize, found: usize },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShapeError::Pixels { expected, found } => write!(
                formatter,
                "The network reads images of {expected} pixels, not {found}."
            ),
            ShapeError::Buffer { expected, found } => write!(
                formatter,
                "The network needs a buffer of {expected} words, not {found}."
            ),
            ShapeError::Scores { expected, found } => write!(
                formatter,
                "The network gives {expected} scores; there is room for {found}."
            ),
        }
    }
}

impl core::error::Error for ShapeError {}

impl<'a> Numbers<'a> {
    fn bytes<const N: usize>(self, index: usize) -> [u8; N] {
        let (numbers, _) = self.0.as_chunks();
        numbers[index]
    }

    /// Number `index` of 32-bit integers.
    pub fn i32(self, index: usize) -> i32 {
        i32::from_le_bytes(self.bytes(index))
    }

    /// Number `index` of 64-bit integers.
    pub fn i64(self, index: usize) -> i64 {
        i64::from_le_bytes(self.bytes(index))
    }

    /// Number `index` of float32.
    pub fn f32(self, index: usize) -> f32 {
        f32::from_le_bytes(self.bytes(index))
    }
}

impl<'a> Levels<'a> {
    /// How many there are.
    pub fn count(self) -> usize {
        self.0.len()
    }

    /// Level `index`, counted from the lowest.
    pub fn level(self, index: usize) -> i8 {
        self.0[index] as i8
    }

    /// The lowest and the highest.
    pub fn range(self) -> (i8, i8) {
        (self.level(0), self.level(self.count() - 1))
    }

    /// The integers as what they are packed: two levels as one bit.
    pub fn encoding(self) -> Encoding {
        match self.range() {
            (-1, 1) if self.count() == 2 => Encoding::Sign,
            (lowest, highest) => {
                let fits = |digits: &u8| {
                    let half = 1i16 << (digits - 1);
                    i16::from(lowest) >= -half && i16::from(highest) < half
                };
                Encoding::TwosComplement((2..8).find(fits).unwrap_or(8))
            }
        }
    }
}

impl<'a> Thresholds<'a> {
    /// What becomes of the sum of unit `unit`.
    pub fn level(&self, unit: usize, sum: i32) -> i8 {
        let count = self.levels.count() - 1;
        let thresholds = unit * count..(unit + 1) * count;
        let reached = thresholds
            .filter(|index| sum >= self.values.i32(*index))
            .count();
        let falls = self.falls(unit);
        self.levels
            .level(if falls { count - reached } else { reached })
    }

    /// Whether the activation of unit `unit` falls as its sum grows.
    pub fn falls(&self, unit: usize) -> bool {
        self.falling[unit / 8] >> (unit % 8) & 1 == 1
    }
}

impl<'a> Weights<'a> {
    /// The bits of digit `digit` of the weights of a unit, of `units`.
    pub fn row(&self, digit: usize, unit: usize, units: usize) -> &'a [u8] {
        &self.bytes[(digit * units + unit) * self.bytes_per_row..][..self.bytes_per_row]
    }
}

/// The inputs of a layer for one image, as bit planes.
struct Input<'b> {
    encoding: Encoding,
    /// `[words_per_plane, digits]`, the lowest bit of a word first: what meets the same word of the weights lies together.
    words: &'b [u64],
    /// All inputs added up.
    sum: i32,
}

impl<'b> Input<'b> {
    fn new(encoding: Encoding, count: usize, words: &'b [u64]) -> Input<'b> {
        let words = &words[..encoding.digits() * count.div_ceil(WORD)];
        let mut sum = encoding.offset() * count as i32;
        for planes in words.chunks_exact(encoding.digits()) {
            for (digit, word) in planes.iter().enumerate() {
                sum += encoding.coefficient(digit) * word.count_ones() as i32;
            }
        }
        Input {
            encoding,
            words,
            sum,
        }
    }

    /// The sum, without their offset, of the inputs whose bits in a row of weights are ones.
    fn sum_of_ones(&self, row: &[u8]) -> i32 {
        match self.encoding.digits() {
            1 => self.sum_of_digits::<1>(row),
            2 => self.sum_of_digits::<2>(row),
            3 => self.sum_of_digits::<3>(row),
            4 => self.sum_of_digits::<4>(row),
            5 => self.sum_of_digits::<5>(row),
            6 => self.sum_of_digits::<6>(row),
            7 => self.sum_of_digits::<7>(row),
            _ => self.sum_of_digits::<MAX_DIGITS>(row),
        }
    }

    fn sum_of_digits<const DIGITS: usize>(&self, row: &[u8]) -> i32 {
        let (words, _) = self.words.as_chunks();
        let ones: [u32; DIGITS] = popcount::ones(row, words);
        let terms = ones.iter().enumerate();
        terms
            .map(|(digit, ones)| self.encoding.coefficient(digit) * *ones as i32)
            .sum()
    }
}

impl Layer<'_> {
    /// The sum of inputs times weights of a unit. With w = o + sum of c_i w_i over its digits and a likewise, each
    /// product of two bits is a bitwise and, and the sum over the inputs is its popcount.
    fn sum(&self, unit: usize, input: &Input<'_>) -> i32 {
        let (w, a) = (self.weights.encoding, input.encoding);
        let row = |digit| self.weights.row(digit, unit, self.units);
        if (w, a) == (Encoding::Sign, Encoding::Sign) {
            // Signs that differ count -1, others +1 (paper section 1.5).
            return self.inputs as i32 - 2 * popcount::differing(row(0), input.words) as i32;
        }
        let mut sum = w.offset() * input.sum;
        for digit in 0..w.digits() {
            let row = row(digit);
            let mut of_row = input.sum_of_ones(row);
            if a.offset() != 0 {
                let ones: u32 = row.iter().map(|byte| byte.count_ones()).sum();
                of_row += a.offset() * ones as i32;
            }
            sum += w.coefficient(digit) * of_row;
        }
        sum
    }

    /// The activation of a hidden unit.
    fn level(&self, unit: usize, sum: i32) -> i8 {
        match &self.edge {
            Edge::Thresholds(thresholds) => thresholds.level(unit, sum),
            Edge::Affine {
                scale,
                shift,
                unit: worth,
                levels,
            } => {
                let (lowest, highest) = levels.range();
                let steps = -f32::from(lowest);
                let y = scale.f32(unit) * (sum as f32 * worth) + shift.f32(unit);
                // Not `clamp`, whose panic would bring along, for 20 KB, how floats are written.
                let clipped = (y * steps).max(lowest.into()).min(highest.into());
                // Around here float32 holds whole numbers only: the sum is rounded to one, ties to even.
                const WHOLE: f32 = (3 << 22) as f32;
                ((clipped + WHOLE) - WHOLE) as i8
            }
            Edge::Scores { .. } => 0,
        }
    }

    /// Bits planes of what leaves the layer; a single score leaves the last one.
    pub(crate) fn output(&self) -> Encoding {
        match &self.edge {
            Edge::Thresholds(thresholds) => thresholds.levels.encoding(),
            Edge::Affine { levels, .. } => levels.encoding(),
            Edge::Scores { .. } => Encoding::Sign,
        }
    }
}

/// Packs integers, one for each place that is asked for, into bit planes of `words`, `[words_per_plane, digits]`.
fn pack(
    encoding: Encoding,
    count: usize,
    words: &mut [u64],
    mut integer: impl FnMut(usize) -> i16,
) {
    let planes = words.chunks_exact_mut(encoding.digits());
    for (planes, first) in planes.zip((0..count).step_by(WORD)) {
        planes.fill(0);
        for first in (first..count.min(first + WORD)).step_by(8) {
            let places = first..count.min(first + 8);
            let codes = places.rev().fold(0, |codes, place| {
                codes << 8 | u64::from(encoding.code(integer(place)))
            });
            for (digit, plane) in planes.iter_mut().enumerate() {
                // The lowest bits of eight bytes, side by side: the product shifts bit i to place 56 + i and none onto another.
                const LOWEST: u64 = 0x0101_0101_0101_0101;
                const GATHER: u64 = 0x0102_0408_1020_4080;
                let bits = (codes >> digit & LOWEST).wrapping_mul(GATHER) >> 56;
                *plane |= bits << (first % WORD);
            }
        }
    }
}

impl<'a> Network<'a> {
    /// From the pixels to the scores.
    pub fn layers(&self) -> &[Layer<'a>] {
        &self.layers[..self.depth]
    }

    /// Pixels of an image.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.layers[self.depth - 1].units
    }

    /// Words that [`scores`](Self::scores) and [`predict`](Self::predict) need to work in; at most
    /// [`MAX_BUFFER_WORDS`](Self::MAX_BUFFER_WORDS).
    pub fn buffer_words(&self) -> usize {
        2 * self.layer_words()
    }

    /// What is enough for any network.
    pub const MAX_BUFFER_WORDS: usize = 2 * MAX_DIGITS * MAX_WIDTH / WORD;

    /// Words of the inputs of the layer that takes in most.
    fn layer_words(&self) -> usize {
        let words = |layer: &Layer| layer.input.digits() * layer.inputs.div_ceil(WORD);
        self.layers().iter().map(words).max().unwrap_or(0)
    }

    /// Fills `scores`, `[classes]`, for the `pixels` of one image, `[inputs]`: the class of the largest, of equals the first, is
    /// the answer.
    pub fn scores(
        &self,
        pixels: &[u8],
        buffer: &mut [u64],
        scores: &mut [i32],
    ) -> Result<(), ShapeError> {
        let classes = self.classes();
        if scores.len() != classes {
            return Err(ShapeError::Scores {
                expected: classes,
                found: scores.len(),
            });
        }
        self.for_each_score(pixels, buffer, |class, score| scores[class] = score)
    }

    /// The class of the largest score of one image, of equals the first, for its `pixels`, `[inputs]`.
    pub fn predict(&self, pixels: &[u8], buffer: &mut [u64]) -> Result<usize, ShapeError> {
        let mut best = (0, i32::MIN);
        self.for_each_score(pixels, buffer, |class, score| {
            if score > best.1 {
                best = (class, score);
            }
        })?;
        Ok(best.0)
    }

    /// What a score of 1 is worth as a logit.
    pub fn score_unit(&self) -> f32 {
        match self.layers[self.depth - 1].edge {
            // 2^exponent, whose exponent stands in its bits; checked when the file was read.
            Edge::Scores { exponent, .. } => f32::from_bits(((exponent + 127) as u32) << 23),
            _ => 1.0,
        }
    }

    fn for_each_score(
        &self,
        pixels: &[u8],
        buffer: &mut [u64],
        mut take: impl FnMut(usize, i32),
    ) -> Result<(), ShapeError> {
        if pixels.len() != self.inputs() {
            return Err(ShapeError::Pixels {
                expected: self.inputs(),
                found: pixels.len(),
            });
        }
        if buffer.len() < self.buffer_words() {
            return Err(ShapeError::Buffer {
                expected: self.buffer_words(),
                found: buffer.len(),
            });
        }
        let (mut from, mut to) = buffer.split_at_mut(self.layer_words());
        let first = self.layers[0].input;
        pack(first, pixels.len(), from, |place| i16::from(pixels[place]));
        for layer in self.layers() {
            let input = Input::new(layer.input, layer.inputs, from);
            if let Edge::Scores {
                multiplier,
                offset,
                shift,
                ..
            } = &layer.edge
            {
                for class in 0..layer.units {
                    let (multiplier, offset) = (multiplier.i32(class), offset.i64(class));
                    let sum = layer.sum(class, &input);
                    take(class, score(sum, multiplier, offset, *shift));
                }
            } else {
                pack(layer.output(), layer.units, to, |unit| {
                    i16::from(layer.level(unit, layer.sum(unit, &input)))
                });
                core::mem::swap(&mut from, &mut to);
            }
        }
        Ok(())
    }
}
