//! What is drawn on the pad, turned into an image as MNIST's were: the ink scaled to fit a box of 20x20 pixels
//! and centred by its mass in 28x28. Strokes are rasterised here, not read back from a canvas, whose pixels
//! some browsers falsify.

/// Side of the image, in pixels.
pub const PAD_SIDE: usize = 28;
/// Side of the box the ink is scaled to, in pixels.
const INK_BOX: f32 = 20.0;
/// Radius of the pen after scaling, in pixels: MNIST's strokes are about 2 to 3 pixels wide.
const PEN_RADIUS: f32 = 1.25;
/// The widest pen, in usual ones.
const WIDEST: f32 = 3.0;

/// A point that the pen passed: x, y pointing down, in any unit, and the width of the pen there, 1 being the usual one.
pub type Point = (f32, f32, f32);
/// The points of one stroke.
pub type Stroke = Vec<Point>;

/// The image of `strokes`, `[28, 28]`, 0 is paper and 255 is ink; `None` where nothing was drawn.
pub fn rasterize(strokes: &[Stroke]) -> Option<Vec<u8>> {
    let is_point = |(x, y, width): &Point| x.is_finite() && y.is_finite() && width.is_finite();
    let points = || strokes.iter().flatten().copied().filter(is_point);
    let (x, y, _) = points().next()?;
    let (mut low, mut high) = ((x, y), (x, y));
    for (x, y, _) in points() {
        low = (low.0.min(x), low.1.min(y));
        high = (high.0.max(x), high.1.max(y));
    }
    let extent = (high.0 - low.0).max(high.1 - low.1);
    // A dot has no extent: it stays a dot.
    let scale = if extent > 0.0 {
        (INK_BOX - 2.0 * PEN_RADIUS) / extent
    } else {
        0.0
    };
    let middle = PAD_SIDE as f32 / 2.0;
    let paths = |offset: (f32, f32)| -> Vec<Stroke> {
        let place = |(x, y, width): Point| {
            (
                (x - (low.0 + high.0) / 2.0) * scale + middle + offset.0,
                (y - (low.1 + high.1) / 2.0) * scale + middle + offset.1,
                PEN_RADIUS * width.clamp(0.0, WIDEST),
            )
        };
        let path = |stroke: &Stroke| stroke.iter().copied().filter(is_point).map(place).collect();
        strokes.iter().map(path).collect()
    };
    // MNIST's centre of mass is at pixel (14, 14), counted from 0, whose own centre is half a pixel further.
    let centre = middle + 0.5;
    // Ink is drawn twice: once in the middle, to find its mass, then where the mass is in the middle.
    let mass = centre_of_mass(&ink(&paths((0.0, 0.0))))?;
    let moved = ink(&paths((centre - mass.0, centre - mass.1)));
    let pixels = moved.into_iter().map(|ink| (ink * 255.0).round() as u8);
    Some(pixels.collect())
}

/// The share of ink in each pixel, `[28, 28]`, 0 to 1, of paths whose widths are radii in pixels: full within the pen's
/// radius, fading over a pixel.
fn ink(paths: &[Stroke]) -> Vec<f32> {
    let mut image = vec![0.0f32; PAD_SIDE * PAD_SIDE];
    let mut line = |from: Point, to: Point| {
        // Only pixels that the pen may reach.
        let reach = from.2.max(to.2) + 0.5;
        let pixels = |a: f32, b: f32| {
            let side = PAD_SIDE as f32;
            let (low, high) = (a.min(b) - reach - 0.5, a.max(b) + reach + 0.5);
            low.clamp(0.0, side) as usize..high.clamp(0.0, side) as usize
        };
        for row in pixels(from.1, to.1) {
            for column in pixels(from.0, to.0) {
                let pixel = (column as f32 + 0.5, row as f32 + 0.5);
                let (distance, share) = distance(pixel, from, to);
                let radius = from.2 + share * (to.2 - from.2);
                let ink = &mut image[row * PAD_SIDE + column];
                *ink = ink.max((radius + 0.5 - distance).clamp(0.0, 1.0));
            }
        }
    };
    for path in paths {
        if let [point] = path[..] {
            line(point, point);
        }
        for pair in path.windows(2) {
            line(pair[0], pair[1]);
        }
    }
    image
}

/// The distance of a place from a line between two points, and how far along the line it is the nearest, 0 to 1.
fn distance(place: (f32, f32), from: Point, to: Point) -> (f32, f32) {
    let (along, offset) = (
        (to.0 - from.0, to.1 - from.1),
        (place.0 - from.0, place.1 - from.1),
    );
    let length = along.0 * along.0 + along.1 * along.1;
    let share = if length > 0.0 {
        ((offset.0 * along.0 + offset.1 * along.1) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let (x, y) = (offset.0 - share * along.0, offset.1 - share * along.1);
    ((x * x + y * y).sqrt(), share)
}

/// Where the ink's mass is in the middle; `None` without ink.
fn centre_of_mass(ink: &[f32]) -> Option<(f32, f32)> {
    let (mut x, mut y, mut mass) = (0.0, 0.0, 0.0);
    for (index, ink) in ink.iter().enumerate() {
        x += ink * ((index % PAD_SIDE) as f32 + 0.5);
        y += ink * ((index / PAD_SIDE) as f32 + 0.5);
        mass += ink;
    }
    (mass > 0.0).then_some((x / mass, y / mass))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mass_of(image: &[u8]) -> (f32, f32) {
        centre_of_mass(&image.iter().map(|ink| f32::from(*ink)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn an_empty_pad_has_no_image() {
        assert_eq!(rasterize(&[]), None);
        assert_eq!(rasterize(&[vec![]]), None);
        assert_eq!(rasterize(&[vec![(f32::NAN, 0.0, 1.0)]]), None);
    }

    #[test]
    fn size_and_place_of_a_drawing_do_not_matter() {
        let seven = |scale: f32, x: f32, y: f32| {
            vec![
                [(0.0, 0.0), (1.0, 0.0), (0.4, 1.5)]
                    .map(|(a, b)| (a * scale + x, b * scale + y, 1.0))
                    .to_vec(),
            ]
        };
        let (small, large) = (
            rasterize(&seven(0.1, 0.7, 0.2)).unwrap(),
            rasterize(&seven(0.5, 0.1, 0.1)).unwrap(),
        );
        for (small, large) in small.iter().zip(&large) {
            assert!(small.abs_diff(*large) <= 1);
        }
        let (x, y) = mass_of(&large);
        assert!((x - 14.5).abs() < 0.2 && (y - 14.5).abs() < 0.2);
        let inked_rows = large
            .chunks(28)
            .filter(|row| row.iter().any(|ink| *ink > 127))
            .count();
        assert!((19..=21).contains(&inked_rows), "{inked_rows} rows");
    }

    #[test]
    fn a_dot_is_a_dot_in_the_middle() {
        let image = rasterize(&[vec![(0.9, 0.1, 1.0)]]).unwrap();
        assert_eq!(image[14 * 28 + 14], 255);
        assert!(image.iter().filter(|ink| **ink > 0).count() < 20);
    }

    #[test]
    fn a_wide_pen_leaves_more_ink_and_one_of_no_width_hardly_any() {
        let mass = |width: f32| {
            let image = rasterize(&[vec![(0.0, 0.0, width), (1.0, 1.0, width)]]);
            image.map_or(0, |image| image.iter().map(|ink| u32::from(*ink)).sum())
        };
        assert!(mass(2.0) > mass(1.0) && mass(1.0) > mass(0.5) && mass(0.0) < mass(0.5));
        assert_eq!(mass(1e9), mass(WIDEST));
    }
}
