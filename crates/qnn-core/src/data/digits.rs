//! An endless seeded stream of handwritten-looking digits, for training with no data set at hand.
//!
//! It is a small generative model of pen strokes: writing styles, each a graph of pen points with a mean
//! and a few principal directions, sampled, warped and inked anew for every digit. It is not a store of
//! images: nothing of MNIST but these statistics (`digits/strokes.bin`, made by `digits/fit.py`) is kept.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Side of a square digit image in pixels
pub const SIDE: usize = 28;

const CLASSES: usize = 10;
/// Where MNIST puts a digit's centre of mass, across and down, with pixel centres at whole numbers
const MIDDLE: f32 = SIDE as f32 / 2.0;

/// The fitted stroke statistics; `fit.py` documents the layout.
static MODEL: &[u8] = include_bytes!("digits/strokes.bin");
const MAGIC: &[u8] = b"STROKES1";

/// Steps a pixel of the model's numbers: (x, y, pen radius)
const MEAN_UNITS: [f32; 3] = [9.0, 9.0, 48.0];
const DIRECTION_UNITS: [f32; 3] = [24.0, 24.0, 128.0];

/// Widens the fitted shapes: a little broader than MNIST trains better than a little narrower.
const BREADTH: f32 = 1.1;
/// Standard deviations of the random affine map around the identity
const STRETCH: f32 = 0.06;
const SLANT: f32 = 0.10;
const TURN: f32 = 0.06;
/// Waves of the elastic warp, and the standard deviation of each one's amplitude in pixels
const WAVES: usize = 3;
const WAVE_AMPLITUDE: f32 = 0.35;
/// Standard deviations of the pen: its width (relative) and the place of the digit (pixels)
const PEN_GROWTH: f32 = 0.13;
const PEN_SPREAD: f32 = 0.10;
const PLACE_SPREAD: f32 = 0.35;
/// Longer side of the digit's box, as MNIST has it, and its relative standard deviation
const BOX_SIDE: f32 = 20.0;
const BOX_SPREAD: f32 = 0.03;
/// Pixels from full ink to bare paper across a stroke's edge: least and most
const SOFTNESS: [f32; 2] = [0.8, 1.6];
/// Standard deviation of the noise at half ink, of 1
const NOISE: f32 = 0.10;
/// Pixels kept clear of ink on every side
const BORDER: f32 = 1.0;

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

/// A seeded, endless stream of labelled digit images
#[derive(Clone, Debug)]
pub struct ProceduralDigits {
    random: ChaCha8Rng,
    /// Styles of each class
    styles: [Vec<Style>; CLASSES],
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
        let label = random.below(CLASSES as u32) as usize;
        let style = pick(&self.styles[label], &mut random);
        let mut points = sample(style, &mut random);
        warp(&mut points, &mut random);
        place(&mut points, style.edges, &mut random);
        ink(&points, style.edges, pixels, &mut random);
        label as u8
    }
}

fn read_model() -> [Vec<Style>; CLASSES] {
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
        let amount = BREADTH * random.normal();
        for (point, step) in shape.iter_mut().zip(direction) {
            for axis in 0..3 {
                point[axis] += amount * (step[axis] as i8) as f32 / DIRECTION_UNITS[axis];
            }
        }
    }
    let pen = 1.0 + PEN_SPREAD * random.normal();
    shape
        .into_iter()
        .map(|[x, y, radius]| PenPoint {
            x,
            y,
            radius: (radius * pen + PEN_GROWTH).clamp(0.4, 3.5),
        })
        .collect()
}

/// A small random affine map about the image's middle and a small smooth elastic warp
fn warp(points: &mut [PenPoint], random: &mut Random) {
    let [stretch_x, stretch_y] = [(); 2].map(|()| 1.0 + STRETCH * random.normal());
    let turn = TURN * random.normal();
    let slant = SLANT * random.normal() - turn;
    let waves = [(); WAVES].map(|()| {
        let [across, down] = [(); 2].map(|()| 0.22 * random.normal());
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

/// MNIST's normalisation: the box's longer side to 20 pixels, the centre of mass to the image's middle
fn place(points: &mut [PenPoint], edges: &[[u8; 2]], random: &mut Random) {
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for point in points.iter() {
        for (axis, at) in [point.x, point.y].into_iter().enumerate() {
            low[axis] = low[axis].min(at - point.radius);
            high[axis] = high[axis].max(at + point.radius);
        }
    }
    let (mut mass, mut moment) = (1e-3, [0.0, 0.0]);
    for &[a, b] in edges {
        let (a, b) = (points[a as usize], points[b as usize]);
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let ink = (dx * dx + dy * dy).sqrt() * (a.radius + b.radius);
        mass += ink;
        moment[0] += ink * (a.x + b.x) / 2.0;
        moment[1] += ink * (a.y + b.y) / 2.0;
    }
    let side = (high[0] - low[0]).max(high[1] - low[1]);
    let scale = (BOX_SIDE * (1.0 + BOX_SPREAD * random.normal()) / side).clamp(0.5, 2.0);
    let shift: [f32; 2] = std::array::from_fn(|axis| {
        let shift = MIDDLE + PLACE_SPREAD * random.normal() - scale * moment[axis] / mass;
        let least = BORDER - scale * low[axis];
        let most = SIDE as f32 - 1.0 - BORDER - scale * high[axis];
        shift.min(most).max(least)
    });
    for point in points {
        point.x = scale * point.x + shift[0];
        point.y = scale * point.y + shift[1];
    }
}

/// Inks the strokes: each pixel's ink falls off across the edge of the nearest stroke.
fn ink(
    points: &[PenPoint],
    edges: &[[u8; 2]],
    pixels: &mut [u8; SIDE * SIDE],
    random: &mut Random,
) {
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
    for (pixel, depth) in pixels.iter_mut().zip(depth) {
        let clean = (0.5 + depth / softness).clamp(0.0, 1.0);
        // Paper and full ink stay clean: the noise is in the edges.
        let noisy = match clean {
            0.0 => 0.0,
            _ => clean + 4.0 * clean * (1.0 - clean) * NOISE * random.normal(),
        };
        *pixel = (255.0 * noisy.clamp(0.0, 1.0) + 0.5) as u8;
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
