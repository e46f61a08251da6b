//! A visitor's own drawings as something to learn from: a few strokes each, of which endless variations are made, turned,
//! stretched and slanted, so that few drawings teach much. What a drawing becomes as an image is `pad`'s.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::pad::{PAD_SIDE, Point, Stroke, rasterize};

/// How far variations go: a turn in radians, a stretch of one side to the other and a slant as shares.
const TURN: f32 = 0.2;
const STRETCH: f32 = 0.2;
const SLANT: f32 = 0.2;

/// A drawing, and the class that the visitor says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawing {
    pub strokes: Vec<Stroke>,
    pub class: String,
}

/// Drawings with an ink on them, and the endless stream of their variations.
#[derive(Clone, Debug)]
pub struct Drawings {
    seed: u64,
    /// Strokes and label of each.
    drawings: Vec<(Vec<Stroke>, u8)>,
}

impl Drawings {
    /// Those of `drawings` that have ink and whose class is one of `classes`.
    pub fn new(seed: u64, drawings: &[Drawing], classes: &[String]) -> Drawings {
        let labelled = |drawing: &Drawing| {
            let label = classes.iter().position(|class| *class == drawing.class)?;
            rasterize(&drawing.strokes)?;
            Some((drawing.strokes.clone(), label as u8))
        };
        Drawings {
            seed,
            drawings: drawings.iter().filter_map(labelled).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.drawings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.drawings.is_empty()
    }

    /// The drawing of this number as it was drawn: its pixels, `[28, 28]`, and its label.
    pub fn original(&self, number: usize) -> (Vec<u8>, u8) {
        let (strokes, label) = &self.drawings[number];
        (pixels_of(strokes), *label)
    }

    /// Variation `index` of the endless stream: its pixels, `[28, 28]`, and its label. Every drawing comes equally often.
    /// Pure in (seed, index).
    pub fn variation(&self, index: u64) -> (Vec<u8>, u8) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(index);
        let mut within =
            |most: f32| most * ((random.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0);
        let (turn, stretch, slant) = (within(TURN), 1.0 + within(STRETCH), within(SLANT));
        let (sin, cos) = (libm::sinf(turn), libm::cosf(turn));
        let vary = |(x, y, width): &Point| {
            let (x, y) = (stretch * x + slant * y, *y);
            (cos * x - sin * y, sin * x + cos * y, *width)
        };
        let (strokes, label) = &self.drawings[(index % self.len() as u64) as usize];
        let varied = strokes
            .iter()
            .map(|stroke| stroke.iter().map(vary).collect());
        (pixels_of(&varied.collect::<Vec<_>>()), *label)
    }
}

/// A variation of what has ink has ink, but for strokes at the end of what floats can hold.
fn pixels_of(strokes: &[Stroke]) -> Vec<u8> {
    rasterize(strokes).unwrap_or_else(|| vec![0; PAD_SIDE * PAD_SIDE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawings() -> Drawings {
        let line = |to: (f32, f32)| vec![vec![(0.1, 0.1, 1.0), (to.0, to.1, 1.0)]];
        let drawing = |to, class: &str| Drawing {
            strokes: line(to),
            class: class.into(),
        };
        let none = Drawing {
            strokes: vec![],
            class: "a".into(),
        };
        let all = [
            drawing((0.9, 0.1), "a"),
            none,
            drawing((0.1, 0.9), "b"),
            drawing((0.5, 0.5), "c"),
        ];
        Drawings::new(3, &all, &["a".into(), "b".into()])
    }

    #[test]
    fn drawings_without_ink_or_of_another_class_are_left_out() {
        let drawings = drawings();
        assert_eq!(drawings.len(), 2);
        assert_eq!((drawings.original(0).1, drawings.original(1).1), (0, 1));
    }

    #[test]
    fn variations_differ_and_are_pure_and_stay_what_they_are() {
        let drawings = drawings();
        assert_eq!(drawings.variation(6), drawings.variation(6));
        assert_ne!(drawings.variation(6).0, drawings.variation(8).0);
        for index in 0..50 {
            let (pixels, label) = drawings.variation(index);
            assert_eq!(u64::from(label), index % 2);
            // A line across stays one, and a line down too.
            let inked =
                |lines: Vec<usize>| lines.iter().filter(|pixel| pixels[**pixel] > 64).count();
            let row = inked((14 * 28..15 * 28).collect()).max(inked((13 * 28..14 * 28).collect()));
            assert_eq!(row > 8, label == 0, "{index}: {row}");
        }
    }
}
