//! Images and labels: from the bytes of IDX files, pictures and tables, from the digit generator, from the draw pad.
//! Where bytes come from (disk, network, a visitor's hand) is the caller's business.

pub mod digits;
mod drawings;
mod idx;
pub mod import;
mod pad;

pub use digits::{DIGITS, ProceduralDigits};
pub use drawings::{Drawing, Drawings};
pub use idx::{DataError, IdxFile, MAX_IMAGE_SIZE, Unpacker, data_set_from_files};
pub use pad::{PAD_SIDE, Point, Stroke, rasterize};

use std::ops::Range;

use rand_chacha::rand_core::Rng;

use crate::random::shuffle;
use crate::threads;

/// The most classes that there may be; the fewest are two.
pub const MAX_CLASSES: usize = 64;
/// What counts as an epoch of the endless procedural digits: as many as MNIST has.
pub const PROCEDURAL_EPOCH: usize = 60_000;

/// Images that an epoch has at least: fewer are gone through several times. Learning rates decay, and networks are tested, by
/// epochs; with a few hundred images those would be over within seconds.
pub const LEAST_EPOCH: usize = 6_000;

/// Among so many images of other data there is one of a visitor's own drawings.
pub const MIXED: usize = 8;

/// Images of one size with a label each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub width: usize,
    pub height: usize,
    /// `[images, height, width]`, 0 is paper, 255 is ink.
    pub pixels: Vec<u8>,
    /// `[images]`, each below the number of classes.
    pub labels: Vec<u8>,
}

impl Images {
    /// Images whose numbers come from elsewhere.
    ///
    /// # Errors
    /// Where they do not fit together, or are more than [`MAX_IMAGE_SIZE`] pixels each.
    pub fn checked(
        (width, height): (usize, usize),
        pixels: Vec<u8>,
        labels: Vec<u8>,
        classes: usize,
    ) -> Result<Images, DataError> {
        let size = width.saturating_mul(height);
        let fit = (1..=MAX_IMAGE_SIZE).contains(&size)
            && labels.len().checked_mul(size) == Some(pixels.len())
            && labels.iter().all(|label| usize::from(*label) < classes);
        if !fit {
            return Err(DataError(format!(
                "{} labels of {classes} classes and {} pixels are no images of {width} x {height} pixels.",
                labels.len(),
                pixels.len()
            )));
        }
        Ok(Images {
            width,
            height,
            pixels,
            labels,
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of an image.
    pub fn image_size(&self) -> usize {
        self.width * self.height
    }

    /// The first `count` of them, or all where there are no more.
    pub fn first(&self, count: usize) -> Images {
        let count = count.min(self.len());
        Images {
            pixels: self.pixels_of(0..count).to_vec(),
            labels: self.labels[..count].to_vec(),
            ..*self
        }
    }

    /// The pixels of the images of `range`, `[range, height, width]`.
    pub fn pixels_of(&self, range: Range<usize>) -> &[u8] {
        &self.pixels[range.start * self.image_size()..range.end * self.image_size()]
    }

    /// The procedural digits `range` of a generator, drawn on all threads.
    pub fn procedural(digits: &ProceduralDigits, range: Range<u64>) -> Images {
        let count = (range.end - range.start) as usize;
        let mut pixels = vec![[0u8; digits::SIDE * digits::SIDE]; count];
        let mut labels = vec![0; count];
        let images = pixels.iter_mut().zip(&mut labels);
        threads::for_each(images, |offset, (pixels, label)| {
            *label = digits.draw(range.start + offset as u64, pixels);
        });
        Images {
            width: digits::SIDE,
            height: digits::SIDE,
            pixels: pixels.into_flattened(),
            labels,
        }
    }
}

/// What a network is trained on.
#[derive(Clone, Debug)]
pub enum TrainingData {
    Images(Images),
    /// Few images, gone through so many times in an epoch.
    Repeated(Images, usize),
    /// Endless: no image comes twice.
    Procedural(Box<ProceduralDigits>),
    /// Endless: variations of a visitor's drawings.
    Drawings(Box<Drawings>),
    /// Other data, with a variation of a drawing in the place of every [`MIXED`]th image.
    Mixed(Box<TrainingData>, Box<Drawings>),
}

/// A training and a test set.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// "MNIST", "Fashion-MNIST", "procedural digits" or "your files".
    pub name: String,
    /// What people call the classes, in the order of their labels.
    pub classes: Vec<String>,
    pub train: TrainingData,
    pub test: Images,
}

impl DataSet {
    /// Procedural digits: an endless training set, and `test_images` others to test with.
    pub fn procedural(seed: u32, test_images: u64) -> DataSet {
        let seed = u64::from(seed);
        DataSet {
            name: "procedural digits".into(),
            classes: numbered(DIGITS),
            train: TrainingData::Procedural(ProceduralDigits::new(seed).into()),
            test: Images::procedural(&ProceduralDigits::new(!seed), 0..test_images),
        }
    }
}

impl DataSet {
    /// A visitor's drawings alone: their variations to learn from, the drawings themselves to test with. `None` where fewer
    /// than two classes have been drawn.
    pub fn of_drawings(seed: u32, drawings: &[Drawing]) -> Option<DataSet> {
        let mut classes: Vec<String> = drawings.iter().map(|one| one.class.clone()).collect();
        classes.sort();
        classes.dedup();
        let drawings = Drawings::new(seed.into(), drawings, &classes);
        let originals: Vec<_> = (0..drawings.len())
            .map(|number| drawings.original(number))
            .collect();
        let mut drawn: Vec<u8> = originals.iter().map(|(_, label)| *label).collect();
        let labels = drawn.clone();
        drawn.sort_unstable();
        drawn.dedup();
        (drawn.len() == classes.len() && (2..=MAX_CLASSES).contains(&classes.len())).then(|| {
            DataSet {
                name: "your drawings".into(),
                classes,
                test: Images {
                    width: PAD_SIDE,
                    height: PAD_SIDE,
                    pixels: originals
                        .into_iter()
                        .flat_map(|(pixels, _)| pixels)
                        .collect(),
                    labels,
                },
                train: TrainingData::Drawings(drawings.into()),
            }
        })
    }

    /// The same without a visitor's drawings, of `classes` classes then.
    pub fn without_drawings(mut self, classes: usize) -> DataSet {
        if let TrainingData::Mixed(data, _) = self.train {
            self.train = *data;
            self.classes.truncate(classes);
        }
        self
    }

    /// The same with a visitor's drawings among the training images, and the classes that only they have at the end. Without
    /// any drawing, or where the images are of another size, it is as it was.
    pub fn with_drawings(self, seed: u32, drawings: &[Drawing]) -> DataSet {
        let mut classes = self.classes.clone();
        for drawing in drawings {
            if !classes.contains(&drawing.class) && classes.len() < MAX_CLASSES {
                classes.push(drawing.class.clone());
            }
        }
        let drawings = Drawings::new(seed.into(), drawings, &classes);
        let is_drawn = matches!(self.train, TrainingData::Drawings(_));
        if is_drawn || drawings.is_empty() || self.test.image_size() != PAD_SIDE * PAD_SIDE {
            return self;
        }
        DataSet {
            classes,
            train: TrainingData::Mixed(self.train.into(), drawings.into()),
            ..self
        }
    }
}

/// Names for classes of which only the labels are known: "0", "1", and so on.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|label| label.to_string()).collect()
}

impl TrainingData {
    /// Images of a visitor's own, at least one: in epochs of [`LEAST_EPOCH`] images or more.
    pub fn own(images: Images) -> TrainingData {
        match LEAST_EPOCH.div_ceil(images.len()) {
            1 => TrainingData::Images(images),
            passes => TrainingData::Repeated(images, passes),
        }
    }

    /// A visitor's drawings in it.
    pub fn drawings(&self) -> usize {
        match self {
            TrainingData::Images(_) | TrainingData::Repeated(..) | TrainingData::Procedural(_) => 0,
            TrainingData::Drawings(drawings) | TrainingData::Mixed(_, drawings) => drawings.len(),
        }
    }

    /// Images in it, but for the visitor's drawings; `None` where they are endless.
    pub fn images(&self) -> Option<usize> {
        match self {
            TrainingData::Images(images) | TrainingData::Repeated(images, _) => Some(images.len()),
            TrainingData::Procedural(_) | TrainingData::Drawings(_) => None,
            TrainingData::Mixed(data, _) => data.images(),
        }
    }

    /// Images that make an epoch.
    pub fn epoch_length(&self) -> usize {
        match self {
            TrainingData::Images(images) => images.len(),
            TrainingData::Repeated(images, passes) => images.len() * passes,
            TrainingData::Procedural(_) | TrainingData::Drawings(_) => PROCEDURAL_EPOCH,
            TrainingData::Mixed(data, _) => data.epoch_length(),
        }
    }

    /// Pixels of an image.
    pub fn image_size(&self) -> usize {
        match self {
            TrainingData::Images(images) | TrainingData::Repeated(images, _) => images.image_size(),
            TrainingData::Procedural(_) => digits::SIDE * digits::SIDE,
            TrainingData::Drawings(_) => PAD_SIDE * PAD_SIDE,
            TrainingData::Mixed(data, _) => data.image_size(),
        }
    }

    /// The pixels and labels at the `positions` of epoch `epoch`, whose images come in `order`.
    pub fn batch(&self, epoch: u32, order: &[u32], positions: Range<usize>) -> (Vec<u8>, Vec<u8>) {
        match self {
            TrainingData::Images(images) | TrainingData::Repeated(images, _) => {
                let size = images.image_size();
                let mut pixels = Vec::with_capacity(positions.len() * size);
                let mut labels = Vec::with_capacity(positions.len());
                for &image in &order[positions] {
                    pixels.extend_from_slice(&images.pixels[image as usize * size..][..size]);
                    labels.push(images.labels[image as usize]);
                }
                (pixels, labels)
            }
            TrainingData::Procedural(digits) => {
                let first = endless(epoch, positions.start);
                let range = first..first + positions.len() as u64;
                let images = Images::procedural(digits, range);
                (images.pixels, images.labels)
            }
            TrainingData::Drawings(drawings) => {
                let places: Vec<usize> = positions.collect();
                varied(drawings, epoch, &places)
            }
            TrainingData::Mixed(data, drawings) => {
                let first = positions.start;
                let places: Vec<usize> = positions
                    .clone()
                    .filter(|position| position % MIXED == MIXED - 1)
                    .collect();
                let (mut pixels, mut labels) = data.batch(epoch, order, positions);
                let (drawn, drawn_labels) = varied(drawings, epoch, &places);
                let drawn = drawn.chunks_exact(PAD_SIDE * PAD_SIDE).zip(drawn_labels);
                for (place, (drawn, label)) in places.iter().zip(drawn) {
                    let place = place - first;
                    pixels[place * drawn.len()..][..drawn.len()].copy_from_slice(drawn);
                    labels[place] = label;
                }
                (pixels, labels)
            }
        }
    }

    /// The order of the images in epoch `epoch`: shuffled anew by `seed`. Empty for endless data, which needs none.
    pub fn order(&self, seed: u32, epoch: u32) -> Vec<u32> {
        let (images, passes) = match self {
            TrainingData::Images(images) => (images, 1),
            TrainingData::Repeated(images, passes) => (images, *passes),
            TrainingData::Mixed(data, _) => return data.order(seed, epoch),
            TrainingData::Procedural(_) | TrainingData::Drawings(_) => return Vec::new(),
        };
        let mut random = shuffle(seed, epoch);
        let mut all = Vec::new();
        for _ in 0..passes {
            let mut order: Vec<u32> = (0..images.len() as u32).collect();
            for last in (1..order.len()).rev() {
                // Multiply and shift picks from 0..=last with a bias below 2^-32 x last: of no account here.
                let pick = (u64::from(random.next_u32()) * (last as u64 + 1)) >> 32;
                order.swap(last, pick as usize);
            }
            all.append(&mut order);
        }
        all
    }
}

/// The number of an image of endless data.
fn endless(epoch: u32, position: usize) -> u64 {
    u64::from(epoch) * PROCEDURAL_EPOCH as u64 + position as u64
}

/// The variations of drawings at these places of an epoch, made on all threads: pixels and labels.
fn varied(drawings: &Drawings, epoch: u32, places: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let mut made = vec![(Vec::new(), 0); places.len()];
    threads::for_each(made.iter_mut().zip(places), |_, (made, place)| {
        *made = drawings.variation(endless(epoch, *place));
    });
    let (pixels, labels): (Vec<Vec<u8>>, Vec<u8>) = made.into_iter().unzip();
    (pixels.concat(), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_images_of_a_visitor_are_gone_through_several_times_in_an_epoch() {
        let images = |count: usize| Images {
            width: 1,
            height: 1,
            pixels: vec![0; count],
            labels: vec![0; count],
        };
        assert!(matches!(
            TrainingData::own(images(LEAST_EPOCH)),
            TrainingData::Images(_)
        ));
        let data = TrainingData::own(images(100));
        assert_eq!(
            (data.images(), data.epoch_length()),
            (Some(100), LEAST_EPOCH)
        );
        let order = data.order(3, 5);
        assert_eq!(order.len(), LEAST_EPOCH);
        for pass in order.chunks(100) {
            let mut pass = pass.to_vec();
            pass.sort_unstable();
            assert!(pass.into_iter().eq(0..100));
        }
        assert_ne!(order[..100], order[100..200]);
        assert_eq!(
            data.batch(5, &order, LEAST_EPOCH - 3..LEAST_EPOCH).1.len(),
            3
        );
    }

    #[test]
    fn images_of_elsewhere_are_checked() {
        let checked = |size, pixels, labels: &[u8], classes| {
            Images::checked(size, vec![0; pixels], labels.to_vec(), classes).is_ok()
        };
        assert!(checked((2, 3), 12, &[0, 1], 2));
        assert!(!checked((2, 3), 11, &[0, 1], 2));
        assert!(!checked((2, 3), 12, &[0, 2], 2));
        assert!(!checked((0, 3), 0, &[0, 1], 2));
        assert!(!checked((MAX_IMAGE_SIZE, 2), 2 * MAX_IMAGE_SIZE, &[0], 2));
        assert!(!checked((usize::MAX, 2), 2, &[0], 2));
    }

    #[test]
    fn every_epoch_shows_every_image_once_in_another_order() {
        let data = TrainingData::Images(Images {
            width: 1,
            height: 1,
            pixels: (0..100).collect(),
            labels: vec![0; 100],
        });
        let (first, second) = (data.order(7, 0), data.order(7, 1));
        assert_ne!(first, second);
        assert_eq!(first, data.order(7, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
        assert_eq!(data.batch(0, &[5, 9, 2], 1..3).0, [9, 2]);
    }

    fn drawing(class: &str) -> Drawing {
        Drawing {
            strokes: vec![vec![(0.1, 0.1, 1.0), (0.9, 0.2, 1.0)]],
            class: class.into(),
        }
    }

    #[test]
    fn drawings_come_among_other_images_and_bring_their_classes() {
        let plain = DataSet::procedural(1, 10);
        let (pixels, labels) = plain.train.batch(2, &[], 90..190);
        let mixed = plain.with_drawings(1, &[drawing("7"), drawing("cat")]);
        assert_eq!((mixed.train.drawings(), mixed.train.images()), (2, None));
        assert_eq!(mixed.classes[9..], ["9", "cat"]);
        let (with_drawings, with_labels) = mixed.train.batch(2, &[], 90..190);
        for place in 0..100 {
            let image = place * 784..(place + 1) * 784;
            let is_drawn = (place + 90) % MIXED == MIXED - 1;
            assert_eq!(
                pixels[image.clone()] != with_drawings[image],
                is_drawn,
                "{place}"
            );
            if is_drawn {
                assert!(matches!(with_labels[place], 7 | 10));
            } else {
                assert_eq!(with_labels[place], labels[place]);
            }
        }
        let again = mixed.without_drawings(10);
        assert_eq!((again.classes.len(), again.train.drawings()), (10, 0));
    }

    #[test]
    fn drawings_alone_need_two_classes() {
        assert!(DataSet::of_drawings(1, &[drawing("cat")]).is_none());
        let data =
            DataSet::of_drawings(1, &[drawing("cat"), drawing("dog"), drawing("cat")]).unwrap();
        assert_eq!(data.classes, ["cat", "dog"]);
        assert_eq!(data.test.labels, [0, 1, 0]);
        let (pixels, labels) = data.train.batch(0, &[], 0..30);
        assert_eq!((pixels.len(), labels.len()), (30 * 784, 30));
    }
}
