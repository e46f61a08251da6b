//! Images as they come from files, turned into a training and a test set. It knows no format.

use super::{ImportError, ImportNote, SkipReason, number};
use crate::data::{Images, MAX_CLASSES};

/// Images that are read at most.
pub const MAX_IMAGES: usize = 100_000;
/// Pixels of all images together: there is a copy of them while they are put in order, so half of what a tab has
/// memory for.
pub const MAX_PIXELS: usize = 1 << 27;
/// Bytes of a class's name.
pub const MAX_NAME: usize = 64;
/// One of so many images of a class is kept for the test.
const HELD_OUT: u32 = 10;

/// Training and test images of a visitor's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// At least one image of each class.
    pub train: Images,
    /// Of the size of the training images, not empty.
    pub test: Images,
    /// `[classes]`, 2 to [`MAX_CLASSES`] names in order: a label is a place among them.
    pub classes: Vec<String>,
    pub notes: Vec<ImportNote>,
}

/// The set that an image is marked to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Test,
}

/// Images of one size in the order they came.
#[derive(Default)]
pub struct Gathered {
    pub width: usize,
    pub height: usize,
    /// `[images, height, width]`.
    pixels: Vec<u8>,
    /// `[images]`, places in `names`.
    classes: Vec<u8>,
    /// `[images]`.
    parts: Vec<Option<Part>>,
    /// Classes in the order they came.
    names: Vec<String>,
    /// Images whose border is mostly light.
    light: usize,
    notes: Vec<ImportNote>,
}

impl Gathered {
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    pub fn note(&mut self, note: ImportNote) {
        self.notes.push(note);
    }

    /// Notes that a file is left out.
    pub fn skip(&mut self, skipped: SkipReason, path: &str) {
        for note in &mut self.notes {
            if let ImportNote::Skipped { reason, files, .. } = note
                && *reason == skipped
            {
                *files += 1;
                return;
            }
        }
        self.note(ImportNote::Skipped {
            reason: skipped,
            files: 1,
            first: path.into(),
        });
    }

    /// The place of the class of this name, found in `file`.
    pub fn class(&mut self, name: &str, file: &str) -> Result<u8, ImportError> {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            return Ok(place as u8);
        }
        if self.names.len() == MAX_CLASSES {
            return Err(ImportError::ManyClasses {
                file: file.into(),
                class: name.into(),
                limit: MAX_CLASSES,
            });
        }
        self.names.push(name.into());
        Ok(self.names.len() as u8 - 1)
    }

    /// Whether `images` of the size of these can be taken in all.
    pub fn check_room(&self, images: usize) -> Result<(), ImportError> {
        if images > MAX_IMAGES {
            return Err(ImportError::ManyImages { limit: MAX_IMAGES });
        }
        if images * self.width * self.height > MAX_PIXELS {
            return Err(ImportError::ManyPixels {
                images,
                width: self.width,
                height: self.height,
                limit: MAX_PIXELS,
            });
        }
        Ok(())
    }

    /// Takes an image, `[height, width]`, for which there must be room.
    pub fn push(&mut self, class: u8, part: Option<Part>, pixels: impl Iterator<Item = u8>) {
        let start = self.pixels.len();
        self.pixels.extend(pixels);
        self.classes.push(class);
        self.parts.push(part);
        self.light += usize::from(is_border_light(&self.pixels[start..], self.width));
    }

    /// Takes pixels that were 0 or 1 for 0 or 255.
    pub fn stretch(&mut self) {
        self.note(ImportNote::Stretched);
        for pixel in &mut self.pixels {
            *pixel *= 255;
        }
        let size = (self.width * self.height).max(1);
        let images = self.pixels.chunks_exact(size);
        self.light = images
            .filter(|image| is_border_light(image, self.width))
            .count();
    }

    /// The images as sets: where both are marked, as they are marked, else every tenth image of each class is kept
    /// for the test.
    pub fn finish(mut self) -> Result<Imported, ImportError> {
        match &self.names[..] {
            [] => return Err(ImportError::NoImages),
            [class] => {
                return Err(ImportError::OneClass {
                    class: class.clone(),
                });
            }
            _ => {}
        }
        let is_marked = [Part::Train, Part::Test]
            .iter()
            .all(|part| self.parts.contains(&Some(*part)));
        let order = sorted(&self.names);
        let mut label_of = vec![0; order.len()];
        for (label, &place) in order.iter().enumerate() {
            label_of[place] = label as u8;
        }

        // Sets show their classes in turn, as far as there are images, so that the first images of a set stand for all.
        let (mut train, mut test) = (Vec::new(), Vec::new());
        let mut counts = vec![[0u32; 2]; order.len()];
        for (image, (&place, &part)) in self.classes.iter().zip(&self.parts).enumerate() {
            let is_marked_test = is_marked && part == Some(Part::Test);
            let count = &mut counts[usize::from(place)][usize::from(is_marked_test)];
            let rank = *count;
            *count += 1;
            // The second, not the first, so that two images of a class are enough.
            let is_test = is_marked_test || !is_marked && rank % HELD_OUT == 1;
            let set = if is_test { &mut test } else { &mut train };
            set.push((rank, label_of[usize::from(place)], image));
        }
        for &place in &order {
            let class = || self.names[place].clone();
            match counts[place] {
                [1, 0] | [0, 1] => return Err(ImportError::FewImages { class: class() }),
                [0, _] => return Err(ImportError::NoTrainingImages { class: class() }),
                _ => {}
            }
        }

        if !is_marked {
            self.note(ImportNote::HeldOut { images: test.len() });
        }
        let is_inverted = self.light * 2 > self.len();
        if is_inverted {
            self.note(ImportNote::Inverted);
            for pixel in &mut self.pixels {
                *pixel = !*pixel;
            }
        }
        Ok(Imported {
            train: self.images(train),
            test: self.images(test),
            classes: order
                .iter()
                .map(|&place| self.names[place].clone())
                .collect(),
            notes: self.notes,
        })
    }

    /// The images (rank in the class, label, place here), sorted.
    fn images(&self, mut images: Vec<(u32, u8, usize)>) -> Images {
        images.sort_unstable();
        let size = self.width * self.height;
        let mut pixels = Vec::with_capacity(images.len() * size);
        for &(_, _, image) in &images {
            pixels.extend_from_slice(&self.pixels[image * size..][..size]);
        }
        Images {
            width: self.width,
            height: self.height,
            pixels,
            labels: images.iter().map(|&(_, label, _)| label).collect(),
        }
    }
}

/// Whether most pixels along the border of an image `[height, width]` are light.
pub fn is_border_light(pixels: &[u8], width: usize) -> bool {
    let last_row = pixels.len().saturating_sub(width);
    let sides = pixels
        .chunks_exact(width.max(1))
        .flat_map(|row| [row[0], row[width - 1]]);
    let border = pixels[..width.min(pixels.len())]
        .iter()
        .chain(&pixels[last_row..])
        .copied()
        .chain(sides);
    let (mut light, mut dark) = (0, 0);
    for pixel in border {
        *(if pixel > 127 { &mut light } else { &mut dark }) += 1;
    }
    light > dark
}

/// The places of `names` in their order: by number where all are numbers.
fn sorted(names: &[String]) -> Vec<usize> {
    let numbers: Option<Vec<f32>> = names.iter().map(|name| number(name.as_bytes())).collect();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| {
        let by_number = numbers
            .as_ref()
            .map_or(std::cmp::Ordering::Equal, |numbers| {
                numbers[a].total_cmp(&numbers[b])
            });
        by_number.then_with(|| names[a].cmp(&names[b]))
    });
    order
}
