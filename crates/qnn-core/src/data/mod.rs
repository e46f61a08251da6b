//! Images and labels: from the bytes of IDX files, pictures and tables, from the digit generator, from the draw pad.
//! Where bytes come from (disk, network, a visitor's hand) is the caller's business.

pub mod digits;
mod idx;
pub mod import;
mod pad;

pub use digits::{DIGITS, ProceduralDigits};
pub use idx::{DataError, IdxFile, MAX_IMAGE_SIZE, Unpacker, data_set_from_files};
pub use pad::{PAD_SIDE, Stroke, rasterize};

use std::ops::Range;

use rand_chacha::rand_core::Rng;

use crate::random::shuffle;
use crate::threads;

/// The most classes that there may be; the fewest are two.
pub const MAX_CLASSES: usize = 64;
/// What counts as an epoch of the endless procedural digits: as many as MNIST has.
pub const PROCEDURAL_EPOCH: usize = 60_000;

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
    /// Endless: no image comes twice.
    Procedural(Box<ProceduralDigits>),
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

/// Names for classes of which only the labels are known: "0", "1", and so on.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|label| label.to_string()).collect()
}

impl TrainingData {
    /// Images that make an epoch.
    pub fn epoch_length(&self) -> usize {
        match self {
            TrainingData::Images(images) => images.len(),
            TrainingData::Procedural(_) => PROCEDURAL_EPOCH,
        }
    }

    /// Pixels of an image.
    pub fn image_size(&self) -> usize {
        match self {
            TrainingData::Images(images) => images.image_size(),
            TrainingData::Procedural(_) => digits::SIDE * digits::SIDE,
        }
    }

    /// The pixels and labels at the `positions` of epoch `epoch`, whose images come in `order`.
    pub fn batch(&self, epoch: u32, order: &[u32], positions: Range<usize>) -> (Vec<u8>, Vec<u8>) {
        match self {
            TrainingData::Images(images) => {
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
                let first = u64::from(epoch) * PROCEDURAL_EPOCH as u64;
                let range = first + positions.start as u64..first + positions.end as u64;
                let images = Images::procedural(digits, range);
                (images.pixels, images.labels)
            }
        }
    }

    /// The order of the images in epoch `epoch`: shuffled anew by `seed`. Empty for endless data, which needs none.
    pub fn order(&self, seed: u32, epoch: u32) -> Vec<u32> {
        let TrainingData::Images(images) = self else {
            return Vec::new();
        };
        let mut random = shuffle(seed, epoch);
        let mut order: Vec<u32> = (0..images.len() as u32).collect();
        for last in (1..order.len()).rev() {
            // Multiply and shift picks from 0..=last with a bias below 2^-32 x last: of no account here.
            let pick = (u64::from(random.next_u32()) * (last as u64 + 1)) >> 32;
            order.swap(last, pick as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
