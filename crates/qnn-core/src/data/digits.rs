//! An endless seeded stream of handwritten-looking digits, for training with no data set at hand.
//!
//! It is a small generative model of pen strokes: writing styles, each a graph of pen points with a mean
//! and a few principal directions, sampled, warped and inked anew for every digit. It is not a store of
//! images: nothing of MNIST but these statistics (`digits/strokes.bin`, made by `digits/fit.py`) is kept.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Side of a square digit image in pixels
pub const SIDE: usize = 28;

/// Classes of the digits.
pub const DIGITS: usize = 10;
/// Where MNIST puts a digit's centre of mass, across and down, with pixel centres at whole numbers
const MIDDLE: f32 = SIDE as f32 / 2.0;

/// The fitted stroke statistics; `fit.py` documents the layout.
static MODEL: &[u8] = include_bytes!("digits/strokes.bin");
const MAGIC: &[u8] = b"STROKES1";

/// Steps a pixel of the model's numbers: (x, y, pen radius)
const MEAN_UNITS: [f32; 3] = [9.0, 9.0, 48.0];
const DIRECTION_UNITS: [f32; 3] = [24.0, 24.0, 128.0];

/// Widens the fitted spread of (x, y, pen radius): digits a little broader than MNIST train better than narrower.
const BREADTH: [f32; 3] = [1.4, 1.4, 1.1];
/// Standard deviations of the random affine map around the identity
const STRETCH: f32 = 0.06;
const SLANT: f32 = 0.15;
const TURN: f32 = 0.06;
/// Sine waves of the elastic warp, the standard deviations of their wave numbers (radians a pixel) and
/// amplitudes (pixels)
const WAVES: usize = 3;
const WAVE_NUMBER: f32 = 0.22;
const WAVE_AMPLITUDE: f32 = 0.6;
/// Relative standard deviation of the pen's radius, and its bounds in pixels
const PEN_SPREAD: f32 = 0.15;
const PEN_RADIUS: [f32; 2] = [0.6, 3.0];
/// Standard deviation of the centre of mass about `MIDDLE`, in pixels
const PLACE_SPREAD: f32 = 0.7;
/// Longer side of the digit's box in pixels, as in MNIST, and its relative standard deviation
const BOX_SIDE: f32 = 20.0;
const BOX_SPREAD: f32 = 0.04;
/// Pixels without ink on every side
const BORDER: isize = 1;
/// Pixels from full ink to bare paper across a stroke's edge: least and most
const SOFTNESS: [f32; 2] = [0.8, 1.8];
/// Standard deviation of the noise where a pixel is half inked, of 1
const NOISE: f32 = 0.1;

/// One writing style of a digit: a graph of pen points and how it varies
#[derive(Clone, Debug)]
struct Style {
    weight: u32,
    /// Strokes, as pairs of points
    edges: &'static [[u8; 2]],
    /// (x, y, radius) of each point, in `MEAN_UNITS`
    mean: &'static [[u8; 3]],
    /// Principal directions, one after the other, each as long as `mean`: i8 in `DIRECTION_UNITS`
    directions: &'static [[u8; 3]],
}

/// A point of the pen's path and the pen's radius there, in pixels
#[derive(Clone, Copy)]
struct PenPoint {
    x: f32,
    y: f32,
    radius: f32,
}

/// Ink of each pixel, 0..=1, row-major
type Image = [f32; SIDE * SIDE];

/// A seeded, endless stream of labelled digit images
#[derive(Clone, Debug)]
pub struct ProceduralDigits {
    random: ChaCha8Rng,
    /// Styles of each class
    styles: [Vec<Style>; DIGITS],
}

impl ProceduralDigits {
    pub fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            styles: read_model(),
        }
    }

    /// Draws digit number `index` of the stream into `pixels` (`[784]`, row-major, 0 = paper, 255 = ink) and
    /// returns its label 0..=9. Pure in (seed, index).
    pub fn draw(&self, index: u64, pixels: &mut [u8; SIDE * SIDE]) -> u8 {
        let mut random = Random(self.random.clone());
        random.0.set_stream(index);
        let label = random.below(DIGITS as u32) as usize;
        let style = pick(&self.styles[label], &mut random);
        let mut points = sample(style, &mut random);
        warp(&mut points, &mut random);
        fit_box(&mut points, &mut random);
        let image = ink(&points, style.edges, &mut random);
        centre(&image, pixels, &mut random);
        label as u8
    }
}

fn read_model() -> [Vec<Style>; DIGITS] {
    let mut rest = &MODEL[MAGIC.len()..];
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head
    };
    let latents = take(2)[1] as usize;
    std::array::from_fn(|_| {
        let count = take(1)[0];
        (0..count)
            .map(|_| {
                let &[weight, points, edges] = take(3) else {
                    unreachable!("three bytes taken")
                };
                let points = points as usize;
                Style {
                    weight: weight as u32,
                    edges: take(2 * edges as usize).as_chunks().0,
                    mean: take(3 * points).as_chunks().0,
                    directions: take(3 * points * latents).as_chunks().0,
                }
            })
            .collect()
    })
}

/// A style by its weight
fn pick<'a>(styles: &'a [Style], random: &mut Random) -> &'a Style {
    let mut left = random.below(styles.iter().map(|style| style.weight).sum());
    for style in styles {
        if left < style.weight {
            return style;
        }
        left -= style.weight;
    }
    unreachable!("the weights add up to more than the draw")
}

/// A shape from the style's Gaussian
fn sample(style: &Style, random: &mut Random) -> Vec<PenPoint> {
    let mut shape: Vec<[f32; 3]> = style
        .mean
        .iter()
        .map(|point| std::array::from_fn(|axis| point[axis] as f32 / MEAN_UNITS[axis]))
        .collect();
    for direction in style.directions.chunks_exact(style.mean.len()) {
        let amount = random.normal();
        for (point, step) in shape.iter_mut().zip(direction) {
            for axis in 0..3 {
                point[axis] +=
                    amount * BREADTH[axis] * (step[axis] as i8) as f32 / DIRECTION_UNITS[axis];
            }
        }
    }
    let pen = 1.0 + PEN_SPREAD * random.normal();
    shape
        .into_iter()
        .map(|[x, y, radius]| PenPoint {
            x,
            y,
            radius: (radius * pen).clamp(PEN_RADIUS[0], PEN_RADIUS[1]),
        })
        .collect()
}

/// A small random affine map about the image's middle and a small smooth elastic warp
fn warp(points: &mut [PenPoint], random: &mut Random) {
    let [stretch_x, stretch_y] = [(); 2].map(|()| 1.0 + STRETCH * random.normal());
    let turn = TURN * random.normal();
    let slant = SLANT * random.normal() - turn;
    let waves = [(); WAVES].map(|()| {
        let [across, down] = [(); 2].map(|()| WAVE_NUMBER * random.normal());
        let phase = random.uniform() * std::f32::consts::TAU;
        let [dx, dy] = [(); 2].map(|()| WAVE_AMPLITUDE * random.normal());
        (across, down, phase, dx, dy)
    });
    for point in points {
        let (x, y) = (point.x - MIDDLE, point.y - MIDDLE);
        point.x = MIDDLE + stretch_x * x + slant * y;
        point.y = MIDDLE + stretch_y * y + turn * x;
        for (across, down, phase, dx, dy) in waves {
            let height = libm::sinf(across * x + down * y + phase);
            point.x += dx * height;
            point.y += dy * height;
        }
    }
}

/// MNIST's normalisation of size: the box's longer side becomes 20 pixels. The box goes to the image's middle.
fn fit_box(points: &mut [PenPoint], random: &mut Random) {
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for point in points.iter() {
        for (axis, at) in [point.x, point.y].into_iter().enumerate() {
            low[axis] = low[axis].min(at - point.radius);
            high[axis] = high[axis].max(at + point.radius);
        }
    }
    let side = (high[0] - low[0]).max(high[1] - low[1]);
    let scale = BOX_SIDE * (1.0 + BOX_SPREAD * random.normal()) / side;
    // Anywhere within a pixel, or the box's edges would all fall alike on the pixels.
    let [left, top] =
        [0, 1].map(|axis| MIDDLE - random.uniform() - scale * (low[axis] + high[axis]) / 2.0);
    for point in points {
        point.x = left + scale * point.x;
        point.y = top + scale * point.y;
        point.radius *= scale;
    }
}

/// Inks the strokes: ink in 0..=1 falls off across the edge of the stroke nearest to each pixel.
fn ink(points: &[PenPoint], edges: &[[u8; 2]], random: &mut Random) -> Image {
    let softness = SOFTNESS[0] + (SOFTNESS[1] - SOFTNESS[0]) * random.uniform();
    let mut depth = [-softness; SIDE * SIDE];
    for &[a, b] in edges {
        let (a, b) = (points[a as usize], points[b as usize]);
        let reach = a.radius.max(b.radius) + softness / 2.0;
        let range = |from: f32, to: f32| {
            let first = (from.min(to) - reach).max(0.0) as usize;
            let last = (from.max(to) + reach).max(0.0) as usize;
            first..(last + 1).min(SIDE)
        };
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let square = (dx * dx + dy * dy).max(1e-6);
        for row in range(a.y, b.y) {
            for column in range(a.x, b.x) {
                let (x, y) = (column as f32 - a.x, row as f32 - a.y);
                let along = ((x * dx + y * dy) / square).clamp(0.0, 1.0);
                let (x, y) = (x - along * dx, y - along * dy);
                let radius = a.radius + along * (b.radius - a.radius);
                let pixel = &mut depth[row * SIDE + column];
                *pixel = pixel.max(radius - (x * x + y * y).sqrt());
            }
        }
    }
    // However thin the pen, its darkest pixel is full ink, as in MNIST.
    let full = depth
        .iter()
        .copied()
        .fold(0.0, f32::max)
        .min(softness / 2.0);
    depth.map(|depth| {
        let clean = ((depth + softness / 2.0) / (full + softness / 2.0)).clamp(0.0, 1.0);
        // Paper and full ink stay clean: the noise is in the edges.
        match clean {
            0.0 => 0.0,
            _ => (clean + 4.0 * clean * (1.0 - clean) * NOISE * random.normal()).clamp(0.0, 1.0),
        }
    })
}

/// MNIST's normalisation of place: moves the image by whole pixels, its centre of mass to the middle.
fn centre(image: &Image, pixels: &mut [u8; SIDE * SIDE], random: &mut Random) {
    // Ink along each axis: in every column, in every row
    let mut along = [[0.0; SIDE]; 2];
    for (row, line) in image.chunks_exact(SIDE).enumerate() {
        for (column, ink) in line.iter().enumerate() {
            along[0][column] += ink;
            along[1][row] += ink;
        }
    }
    let [right, down] = along.map(|ink| {
        let mass: f32 = ink.iter().sum();
        let moment: f32 = ink
            .iter()
            .enumerate()
            .map(|(at, ink)| at as f32 * ink)
            .sum();
        let shift = MIDDLE + PLACE_SPREAD * random.normal() - moment / mass.max(1.0);
        let first = ink.iter().take_while(|ink| **ink == 0.0).count() as isize;
        let last = ink.iter().rev().take_while(|ink| **ink == 0.0).count() as isize;
        (shift.round() as isize)
            .min(last - BORDER)
            .max(BORDER - first)
    });
    pixels.fill(0);
    for (at, &ink) in image.iter().enumerate().filter(|(_, ink)| **ink > 0.0) {
        let (row, column) = ((at / SIDE) as isize + down, (at % SIDE) as isize + right);
        let inside = 0..SIDE as isize;
        if inside.contains(&row) && inside.contains(&column) {
            pixels[row as usize * SIDE + column as usize] = (255.0 * ink + 0.5) as u8;
        }
    }
}

/// The random numbers of one digit
struct Random(ChaCha8Rng);

impl Random {
    /// Uniform in [0, 1)
    fn uniform(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// Uniform in 0..bound
    fn below(&mut self, bound: u32) -> u32 {
        ((self.0.next_u32() as u64 * bound as u64) >> 32) as u32
    }

    /// Near-normal of mean 0 and variance 1, the scaled sum of four uniforms: its tails end at 3.46, so no
    /// digit is warped beyond reading.
    fn normal(&mut self) -> f32 {
        let bits = self.0.next_u64();
        let sum: u32 = (0..4).map(|part| (bits >> (16 * part)) as u16 as u32).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.732_050_8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64, count: u64) -> Vec<(u8, [u8; SIDE * SIDE])> {
        let digits = ProceduralDigits::new(seed);
        (0..count)
            .map(|index| {
                let mut pixels = [0; SIDE * SIDE];
                (digits.draw(index, &mut pixels), pixels)
            })
            .collect()
    }

    /// FNV-1a over labels and pixels
    fn checksum(digits: &[(u8, [u8; SIDE * SIDE])]) -> u64 {
        digits
            .iter()
            .flat_map(|(label, pixels)| std::iter::once(label).chain(pixels))
            .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
                (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3)
            })
    }

    #[test]
    fn the_stream_is_the_same_everywhere() {
        assert_eq!(checksum(&stream(7, 500)), 0xd1f4_4c87_200e_e52b);
    }

    #[test]
    fn drawing_is_pure_in_seed_and_index() {
        let digits = stream(1, 20);
        let mut pixels = [9; SIDE * SIDE];
        assert_eq!(
            (ProceduralDigits::new(1).draw(13, &mut pixels), pixels),
            digits[13]
        );
        assert_ne!(stream(2, 20), digits);
        for index in 1..20 {
            assert_ne!(digits[index - 1].1, digits[index].1);
        }
    }

    #[test]
    fn labels_are_balanced_and_unordered() {
        let digits = stream(3, 10_000);
        for class in 0..DIGITS as u8 {
            let count = digits.iter().filter(|(label, _)| *label == class).count();
            assert!(
                (900..=1100).contains(&count),
                "class {class}: {count} of 10000"
            );
        }
        let repeats = digits
            .windows(2)
            .filter(|pair| pair[0].0 == pair[1].0)
            .count();
        assert!(
            (880..=1120).contains(&repeats),
            "{repeats} labels of 9999 repeat the last"
        );
    }

    #[test]
    fn ink_is_like_that_of_mnist() {
        let digits = stream(4, 5_000);
        let mut total = 0.0;
        for (label, pixels) in &digits {
            let (mut ink, mut across, mut down) = (0.0, 0.0, 0.0);
            for (at, &pixel) in pixels.iter().enumerate() {
                let (row, column) = (at / SIDE, at % SIDE);
                ink += pixel as f64;
                across += pixel as f64 * column as f64;
                down += pixel as f64 * row as f64;
                let edge = [row, column]
                    .iter()
                    .any(|&line| line == 0 || line == SIDE - 1);
                assert!(!edge || pixel == 0, "ink on the border of a {label}");
            }
            assert!(ink > 20.0 * 255.0, "hardly any ink in a {label}");
            for centre in [across / ink, down / ink] {
                assert!(
                    (centre - MIDDLE as f64).abs() < 4.0,
                    "a {label} centred at {centre}"
                );
            }
            total += ink;
        }
        let mean = total / (digits.len() * SIDE * SIDE) as f64;
        assert!(
            (30.0..37.0).contains(&mean),
            "mean pixel {mean}, MNIST's is 33.3"
        );
    }

    #[test]
    fn the_model_is_whole() {
        assert!(MODEL.starts_with(MAGIC));
        assert_eq!(MODEL[MAGIC.len()] as usize, DIGITS);
        for style in read_model().iter().flatten() {
            assert!(style.weight > 0 && !style.edges.is_empty());
            assert_eq!(style.directions.len() % style.mean.len(), 0);
            assert!(
                style
                    .edges
                    .iter()
                    .flatten()
                    .all(|&point| (point as usize) < style.mean.len())
            );
        }
    }
}
