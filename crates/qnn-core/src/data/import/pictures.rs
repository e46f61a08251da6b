//! PNG images in folders by class, loose or in ZIP archives: listed, their sizes looked at, then read one by one.
//! Images of one small size keep it, others are scaled.

use std::io::{Cursor, Read};

use flate2::bufread::DeflateDecoder;
use png::{Decoder, Transformations};
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

use crate::data::PAD_SIDE;

use super::gather::{Gathered, MAX_IMAGES, MAX_NAME, Part, is_border_light};
use super::{
    ImportError, ImportNote, MAX_UNPACKED_BYTES, NamedFile, SkipReason, components, is_hidden,
};

/// Side of the images that others are scaled to, in pixels: MNIST's.
pub const SIDE: usize = 28;
/// Largest side of images that keep their size, in pixels.
pub const MAX_KEPT_SIDE: u32 = 64;
/// Largest side of an image, in pixels.
pub const MAX_PNG_SIDE: u32 = 4096;
/// Bytes of a PNG file: a photograph of the largest size.
pub const MAX_PNG_BYTES: usize = 1 << 25;
/// Deflate packs no better than this: what an image claims beyond it is not there.
const MAX_RATIO: usize = 1032;
/// Side of the box that the ink of a digit is scaled to, in pixels: MNIST's.
const INK_BOX: usize = 20;
/// The faintest shade that counts as ink when a digit is looked for, of 255: scans are not clean.
const MIN_INK: u8 = 64;
/// Images whose sizes are looked at in one piece of work.
const PEEKS: usize = 32;

pub const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A file in a folder that names its class.
struct Picture {
    path: String,
    class: String,
    bytes: Bytes,
}

enum Bytes {
    Loose(Vec<u8>),
    Packed {
        /// Place in the archives.
        archive: usize,
        entry: ZipArchiveEntryWayfinder,
        method: CompressionMethod,
    },
}

pub struct Pictures {
    unlisted: std::vec::IntoIter<NamedFile>,
    archives: Vec<ZipSliceArchive<Vec<u8>>>,
    /// Files whose sizes are not looked at yet, last ones first once all are listed.
    unseen: Vec<Picture>,
    /// Images, in order, with the places of their classes; those before `read` are done.
    images: Vec<(Picture, u8)>,
    read: usize,
    /// The size of all images so far, while they agree.
    size: Option<(u32, u32)>,
    stage: Stage,
    /// Bytes unpacked so far.
    bytes: u64,
}

enum Stage {
    List,
    Peek,
    Read,
}

impl Pictures {
    pub fn new(files: Vec<NamedFile>) -> Pictures {
        Pictures {
            unlisted: files.into_iter(),
            archives: Vec::new(),
            unseen: Vec::new(),
            images: Vec::new(),
            read: 0,
            size: None,
            stage: Stage::List,
            bytes: 0,
        }
    }

    pub fn fraction(&self) -> f32 {
        self.read as f32 / (self.images.len() + self.unseen.len()).max(1) as f32
    }

    /// Does the next piece; whether that was the last one.
    pub fn advance(&mut self, gathered: &mut Gathered) -> Result<bool, ImportError> {
        match self.stage {
            Stage::List => match self.unlisted.next() {
                Some(file) => self.list(file, gathered)?,
                None => {
                    self.unseen.sort_by(|a, b| b.path.cmp(&a.path));
                    self.stage = Stage::Peek;
                }
            },
            Stage::Peek => {
                for _ in 0..PEEKS {
                    let Some(picture) = self.unseen.pop() else {
                        self.agree_on_size(gathered)?;
                        self.stage = Stage::Read;
                        break;
                    };
                    self.peek(picture, gathered)?;
                }
            }
            Stage::Read => {
                if self.read == self.images.len() {
                    return Ok(true);
                }
                self.read_next(gathered)?;
            }
        }
        Ok(false)
    }

    fn list(&mut self, file: NamedFile, gathered: &mut Gathered) -> Result<(), ImportError> {
        if file.bytes.starts_with(PNG_MAGIC) {
            return self.list_picture(file.path, Bytes::Loose(file.bytes), gathered);
        }
        let damaged = |error: rawzip::Error| ImportError::Zip {
            file: file.path.clone(),
            reason: error.to_string(),
        };
        let archive = ZipArchive::from_slice(file.bytes).map_err(damaged)?;
        // An archive is a folder of its own name: train.zip, or cats.zip.
        let folder = match file.path.rsplit_once('.') {
            Some((folder, _)) => folder,
            None => &file.path,
        };
        let mut entries = archive.entries();
        while let Some(entry) = entries.next_entry().map_err(damaged)? {
            if entry.is_dir() {
                continue;
            }
            let name = entry.file_path();
            let name = String::from_utf8_lossy(name.as_ref());
            if is_hidden(&name) {
                gathered.skip(SkipReason::Hidden, &name);
                continue;
            }
            let path = format!("{folder}/{name}");
            if entry.flags().is_encrypted() {
                return Err(ImportError::Encrypted { file: path });
            }
            let bytes = Bytes::Packed {
                archive: self.archives.len(),
                entry: entry.wayfinder(),
                method: entry.compression_method(),
            };
            self.list_picture(path, bytes, gathered)?;
        }
        self.archives.push(archive);
        Ok(())
    }

    fn list_picture(
        &mut self,
        path: String,
        bytes: Bytes,
        gathered: &mut Gathered,
    ) -> Result<(), ImportError> {
        let Some(class) = class_of(&path) else {
            gathered.skip(SkipReason::NoClass, &path);
            return Ok(());
        };
        if class.len() > MAX_NAME {
            return Err(ImportError::LongClass {
                file: path,
                limit: MAX_NAME,
            });
        }
        if self.unseen.len() == MAX_IMAGES {
            return Err(ImportError::ManyImages { limit: MAX_IMAGES });
        }
        self.unseen.push(Picture {
            class: class.into(),
            path,
            bytes,
        });
        Ok(())
    }

    /// The first `limit` bytes of a file, unpacked, or all where there are no more.
    fn unpacked(&self, picture: &Picture, limit: usize) -> Result<Vec<u8>, ImportError> {
        let (archive, entry, method) = match &picture.bytes {
            Bytes::Loose(bytes) => return Ok(bytes[..bytes.len().min(limit)].to_vec()),
            Bytes::Packed {
                archive,
                entry,
                method,
            } => (&self.archives[*archive], *entry, *method),
        };
        let file = || picture.path.clone();
        let entry = archive
            .get_entry(entry)
            .map_err(|error| ImportError::ZipEntry {
                file: file(),
                reason: error.to_string(),
            })?;
        let packed = entry.data();
        let reader: Box<dyn Read> = match method {
            CompressionMethod::STORE => Box::new(entry.verifying_reader(packed)),
            CompressionMethod::DEFLATE => {
                Box::new(entry.verifying_reader(DeflateDecoder::new(packed)))
            }
            _ => return Err(ImportError::Compression { file: file() }),
        };
        let mut bytes = Vec::new();
        let read = reader.take(limit as u64).read_to_end(&mut bytes);
        read.map_err(|error| ImportError::ZipEntry {
            file: file(),
            reason: error.to_string(),
        })?;
        Ok(bytes)
    }

    /// Looks at the beginning of a file: whether it is an image, and its size.
    fn peek(&mut self, picture: Picture, gathered: &mut Gathered) -> Result<(), ImportError> {
        let head = self.unpacked(&picture, 24)?;
        if !head.starts_with(PNG_MAGIC) {
            gathered.skip(SkipReason::OtherKind, &picture.path);
            return Ok(());
        }
        let number = |index: usize| {
            let bytes = head.get(index..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let (Some(width), Some(height)) = (number(16), number(20)) else {
            return Err(ImportError::Png {
                file: picture.path,
                reason: "it is cut short".into(),
            });
        };
        check_size(&picture.path, width, height)?;
        let size = (width, height);
        // No image has no pixels, so this size agrees with no other.
        const DIFFERENT: (u32, u32) = (0, 0);
        self.size = match self.size {
            Some(known) if known != size => Some(DIFFERENT),
            _ => Some(size),
        };
        let class = gathered.class(&picture.class, &picture.path)?;
        self.images.push((picture, class));
        Ok(())
    }

    /// Decides on the size of all images.
    fn agree_on_size(&self, gathered: &mut Gathered) -> Result<(), ImportError> {
        let kept = 1..=MAX_KEPT_SIDE;
        (gathered.width, gathered.height) = match self.size {
            Some((width, height)) if kept.contains(&width) && kept.contains(&height) => {
                (width as usize, height as usize)
            }
            Some(_) => {
                gathered.note(ImportNote::Scaled { side: SIDE });
                (SIDE, SIDE)
            }
            None => return Ok(()),
        };
        gathered.check_room(self.images.len())
    }

    fn read_next(&mut self, gathered: &mut Gathered) -> Result<(), ImportError> {
        let (picture, class) = &self.images[self.read];
        let path = &picture.path;
        let bytes = self.unpacked(picture, MAX_PNG_BYTES + 1)?;
        if bytes.len() > MAX_PNG_BYTES {
            return Err(ImportError::LargePng {
                file: path.clone(),
                limit: MAX_PNG_BYTES,
            });
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_UNPACKED_BYTES {
            return Err(ImportError::ManyBytes {
                limit: MAX_UNPACKED_BYTES,
            });
        }
        let grey = Grey::decode(path, &bytes)?;
        let paper = if is_border_light(&grey.pixels, grey.width) {
            255
        } else {
            0
        };
        let pixels = grey.fit(gathered.width, gathered.height, paper);
        gathered.push(*class, part_of(path), pixels.into_iter());
        self.read += 1;
        Ok(())
    }
}

fn check_size(path: &str, width: u32, height: u32) -> Result<(), ImportError> {
    let sides = 1..=MAX_PNG_SIDE;
    if sides.contains(&width) && sides.contains(&height) {
        return Ok(());
    }
    Err(ImportError::PngSide {
        file: path.into(),
        width,
        height,
        limit: MAX_PNG_SIDE,
    })
}

/// The folder right above a file, unless it names a set.
fn class_of(path: &str) -> Option<&str> {
    let components = components(path);
    let class = *components.get(components.len().checked_sub(2)?)?;
    part_named(class).is_none().then_some(class)
}

/// The set that a folder above the class names, the nearest one.
fn part_of(path: &str) -> Option<Part> {
    components(path)
        .into_iter()
        .rev()
        .skip(2)
        .find_map(part_named)
}

fn part_named(folder: &str) -> Option<Part> {
    match &*folder.to_ascii_lowercase() {
        "train" | "training" => Some(Part::Train),
        "test" | "testing" | "val" | "validation" => Some(Part::Test),
        _ => None,
    }
}

/// The image in a PNG file of any kind, `[height, width]`, 255 is ink: scaled to fit, and inverted where it is dark on light.
///
/// # Errors
///
/// Where the file, called `path`, is damaged or too large.
pub fn read_picture(
    path: &str,
    bytes: &[u8],
    width: usize,
    height: usize,
) -> Result<Vec<u8>, ImportError> {
    Ok(Grey::of_ink(path, bytes)?.fit(width, height, 0))
}

/// The digit in a PNG file of any kind, `[PAD_SIDE, PAD_SIDE]`, 255 is ink, placed as MNIST's were: its ink scaled to fit a box
/// of 20x20 pixels and centred by its mass. Empty paper stays empty.
///
/// # Errors
///
/// As of [`read_picture`].
pub fn read_digit(path: &str, bytes: &[u8]) -> Result<Vec<u8>, ImportError> {
    let ink = Grey::of_ink(path, bytes)?.cropped();
    let ink = ink.fit(INK_BOX, INK_BOX, 0);
    let (mut x, mut y, mut mass) = (0, 0, 0);
    for (index, ink) in ink.iter().enumerate() {
        let ink = usize::from(*ink);
        x += ink * (index % INK_BOX);
        y += ink * (index / INK_BOX);
        mass += ink;
    }
    let mut digit = vec![0; PAD_SIDE * PAD_SIDE];
    // To pixel (14, 14), counted from 0, as far as there is room.
    let start = |sum: usize| {
        let middle = (sum + mass / 2).checked_div(mass).unwrap_or(0);
        (PAD_SIDE / 2)
            .saturating_sub(middle)
            .min(PAD_SIDE - INK_BOX)
    };
    let (left, top) = (start(x), start(y));
    for (row, line) in ink.chunks_exact(INK_BOX).enumerate() {
        digit[(top + row) * PAD_SIDE + left..][..INK_BOX].copy_from_slice(line);
    }
    Ok(digit)
}

/// An image in shades of grey, light is 255 unless something else is said.
struct Grey {
    width: usize,
    /// `[height, width]`.
    pixels: Vec<u8>,
}

impl Grey {
    /// Reads a PNG file of any kind: colours by their luma, what is transparent over white paper.
    fn decode(path: &str, bytes: &[u8]) -> Result<Grey, ImportError> {
        let damaged = |reason: String| ImportError::Png {
            file: path.into(),
            reason,
        };
        let mut decoder = Decoder::new(Cursor::new(bytes));
        decoder.set_transformations(Transformations::normalize_to_color8());
        // Texts and colour profiles are packed, so they might be large, and none of them is of use here.
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let mut reader = decoder
            .read_info()
            .map_err(|error| damaged(error.to_string()))?;
        let info = reader.info();
        let (width, height) = info.size();
        check_size(path, width, height)?;
        if info.raw_bytes() / MAX_RATIO > bytes.len() {
            return Err(damaged("it is too short for its size".into()));
        }
        let Some(size) = reader.output_buffer_size() else {
            return Err(damaged("it is too large".into()));
        };
        let mut pixels = vec![0; size];
        let frame = reader
            .next_frame(&mut pixels)
            .map_err(|error| damaged(error.to_string()))?;
        let pixels = pixels
            .chunks_exact(frame.color_type.samples())
            .map(|samples| match *samples {
                [grey] => grey,
                [grey, alpha] => over_paper(grey, alpha),
                [red, green, blue] => luma(red, green, blue),
                [red, green, blue, alpha] => over_paper(luma(red, green, blue), alpha),
                _ => unreachable!("pixels have 1 to 4 samples"),
            })
            .collect();
        Ok(Grey {
            width: width as usize,
            pixels,
        })
    }

    /// Reads a PNG file of any kind; 255 is ink, which is what most of the border is not.
    fn of_ink(path: &str, bytes: &[u8]) -> Result<Grey, ImportError> {
        if bytes.len() > MAX_PNG_BYTES {
            return Err(ImportError::LargePng {
                file: path.into(),
                limit: MAX_PNG_BYTES,
            });
        }
        let mut grey = Grey::decode(path, bytes)?;
        if is_border_light(&grey.pixels, grey.width) {
            grey.pixels
                .iter_mut()
                .for_each(|pixel| *pixel = 255 - *pixel);
        }
        Ok(grey)
    }

    /// The smallest part that has all ink in it; all of an image without any.
    fn cropped(self) -> Grey {
        let inked = |pixels: &[u8]| pixels.iter().any(|pixel| *pixel >= MIN_INK);
        let rows: Vec<&[u8]> = self.pixels.chunks_exact(self.width).collect();
        let (Some(top), Some(bottom)) = (
            rows.iter().position(|row| inked(row)),
            rows.iter().rposition(|row| inked(row)),
        ) else {
            return self;
        };
        let columns = |row: &&[u8]| {
            let ink = |pixel: &u8| *pixel >= MIN_INK;
            row.iter().position(ink).zip(row.iter().rposition(ink))
        };
        let ends = rows.iter().filter_map(columns);
        let (left, right) = ends.fold((self.width, 0), |(left, right), (first, last)| {
            (left.min(first), right.max(last))
        });
        let pixels = rows[top..=bottom].iter().flat_map(|row| &row[left..=right]);
        Grey {
            width: right + 1 - left,
            pixels: pixels.copied().collect(),
        }
    }

    /// The image scaled to fit `[height, width]` by averaging areas, centred; around it the shade of `paper`.
    fn fit(&self, width: usize, height: usize, paper: u8) -> Vec<u8> {
        let own_height = self.pixels.len() / self.width;
        let scaled = |side: usize, from: usize, to: usize| ((side * to + from / 2) / from).max(1);
        let (inner_width, inner_height) = if self.width * height >= own_height * width {
            (width, scaled(own_height, self.width, width).min(height))
        } else {
            (scaled(self.width, own_height, height).min(width), height)
        };
        let (left, top) = ((width - inner_width) / 2, (height - inner_height) / 2);

        let columns = overlaps(self.width, inner_width);
        let mut sums = vec![0u64; inner_width * inner_height];
        let mut row_sums = vec![0u64; inner_width];
        let mut rows = overlaps(own_height, inner_height).into_iter().peekable();
        for (y, row) in self.pixels.chunks_exact(self.width).enumerate() {
            row_sums.fill(0);
            for &(x, inner_x, part) in &columns {
                row_sums[inner_x] += u64::from(row[x]) * part;
            }
            while let Some((_, inner_y, part)) = rows.next_if(|overlap| overlap.0 == y) {
                let line = &mut sums[inner_y * inner_width..][..inner_width];
                for (sum, row_sum) in line.iter_mut().zip(&row_sums) {
                    *sum += row_sum * part;
                }
            }
        }

        let area = self.pixels.len() as u64;
        let mut fitted = vec![paper; width * height];
        for (y, line) in sums.chunks_exact(inner_width).enumerate() {
            let start = (top + y) * width + left;
            for (pixel, sum) in fitted[start..].iter_mut().zip(line) {
                *pixel = ((sum + area / 2) / area) as u8;
            }
        }
        fitted
    }
}

/// How `from` pixels in a row lie over `to` pixels of the same length in all: (pixel of `from`, pixel of `to`, length
/// they share), in order; a pixel of `from` is `to` long, so that lengths are whole numbers.
fn overlaps(from: usize, to: usize) -> Vec<(usize, usize, u64)> {
    let (mut first, mut second, mut position) = (0, 0, 0);
    let mut overlaps = Vec::with_capacity(from + to);
    while first < from {
        let (first_end, second_end) = ((first + 1) * to, (second + 1) * from);
        let end = first_end.min(second_end);
        overlaps.push((first, second, (end - position) as u64));
        position = end;
        first += usize::from(first_end == end);
        second += usize::from(second_end == end);
    }
    overlaps
}

/// The luma of ITU-R BT.601, in whole numbers.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue) + 128) >> 8) as u8
}

fn over_paper(grey: u8, alpha: u8) -> u8 {
    let (grey, alpha) = (u32::from(grey), u32::from(alpha));
    ((grey * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}
