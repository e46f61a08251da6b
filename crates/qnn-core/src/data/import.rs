//! A visitor's own images: PNG files in folders by class, loose or in ZIP archives, or CSV tables. What a file is, its
//! bytes say, not its name. IDX files are only told apart here, `idx` reads them; where files come from is the
//! caller's business.

mod gather;
mod pictures;
mod tables;

pub use gather::{Imported, MAX_IMAGES, MAX_NAME, MAX_PIXELS};
pub use pictures::{MAX_KEPT_SIDE, MAX_PNG_BYTES, MAX_PNG_SIDE, SIDE, read_digit, read_picture};
pub use tables::{MAX_COLUMNS, MAX_LINE};

use std::fmt;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use gather::Gathered;
use pictures::Pictures;
use tables::Tables;

/// Bytes that all files together may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// A file as it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// The file's name, with the folders above it where they are known: `train/cats/1.png`.
    pub path: String,
    pub bytes: Vec<u8>,
}

/// What a file is, by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Images or labels in MNIST's own format, gzipped or not.
    Idx,
    /// A PNG image or a ZIP archive.
    Pictures,
    /// Text, gzipped or not.
    Table,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Idx => "an IDX file",
            Kind::Pictures => "a PNG image or ZIP archive",
            Kind::Table => "a text file",
        })
    }
}

impl Kind {
    /// What `bytes` are; `None` for what is not known here.
    fn of(bytes: &[u8]) -> Option<Kind> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut head = Vec::new();
            // A stream cut short still shows its beginning; what is wrong with it, its reader will say.
            let _ = MultiGzDecoder::new(bytes).take(512).read_to_end(&mut head);
            return Kind::of_plain(&head);
        }
        let is_picture = [pictures::PNG_MAGIC, b"PK\x03\x04", b"PK\x05\x06"]
            .iter()
            .any(|magic| bytes.starts_with(magic));
        if is_picture {
            return Some(Kind::Pictures);
        }
        Kind::of_plain(&bytes[..bytes.len().min(512)])
    }

    fn of_plain(head: &[u8]) -> Option<Kind> {
        let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
        match head {
            [] => None,
            // The type of the numbers, then how many dimensions: which of them can be used, `idx` knows.
            [0, 0, 8..=14, 1..=4, ..] => Some(Kind::Idx),
            _ => head.iter().all(is_text).then_some(Kind::Table),
        }
    }
}

/// Why a file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipReason {
    /// Its name or that of a folder above it begins with a dot, or is `__MACOSX`.
    Hidden,
    /// It lies in no folder that names its class.
    NoClass,
    /// It is of a kind that cannot be used.
    OtherKind,
}

/// What was done to the files that their owner should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportNote {
    /// So many files were left out, `first` among them.
    Skipped {
        reason: SkipReason,
        files: usize,
        first: String,
    },
    /// Images of different or large sizes were scaled to `side` x `side` pixels.
    Scaled { side: usize },
    /// The images were dark on light: they were inverted.
    Inverted,
    /// The table's pixels were 0 to 1: they were multiplied by 255.
    Stretched,
    /// No test images were marked as such: every tenth of each class, `images` in all, is kept for the test.
    HeldOut { images: usize },
}

impl fmt::Display for ImportNote {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ImportNote::Skipped {
                reason,
                files,
                first,
            } => {
                let reason = match reason {
                    SkipReason::Hidden => "hidden files",
                    SkipReason::NoClass => "in no folder that names their class",
                    SkipReason::OtherKind => "of another kind",
                };
                write!(formatter, "Files left out: {files}, {reason} ({first}).")
            }
            ImportNote::Scaled { side } => {
                write!(
                    formatter,
                    "The images were scaled to {side} x {side} pixels."
                )
            }
            ImportNote::Inverted => {
                formatter.write_str("The images were inverted: ink is bright here, paper dark.")
            }
            ImportNote::Stretched => {
                formatter.write_str("Pixels of 0 to 1 were stretched to 0 to 255.")
            }
            ImportNote::HeldOut { images } => write!(
                formatter,
                "Every tenth image of each class is kept for the test: {images} in all."
            ),
        }
    }
}

/// What is wrong with the files, in one sentence or two for the person who offered them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ImportError {
    #[error(
        "None of the {files} files can be used: offer PNG images in folders by class, a ZIP archive of them, \
         a CSV table, or IDX files."
    )]
    NothingUsable { files: usize },
    #[error("{first} is {first_kind}, but {second} is {second_kind}: offer files of one kind.")]
    Mixed {
        first: String,
        first_kind: Kind,
        second: String,
        second_kind: Kind,
    },
    #[error(
        "There are no images in these files: put PNG images in a folder for each class, as `cats/1.png`."
    )]
    NoImages,
    #[error("There are more than {limit} images: offer fewer.")]
    ManyImages { limit: usize },
    #[error(
        "{images} images of {width} x {height} pixels are more than the {limit} pixels that can be used: \
         offer fewer or smaller ones."
    )]
    ManyPixels {
        images: usize,
        width: usize,
        height: usize,
        limit: usize,
    },
    #[error("The files unpack to more than {limit} bytes: offer fewer or smaller ones.")]
    ManyBytes { limit: u64 },
    #[error("All images are of the class `{class}`: at least two classes are needed.")]
    OneClass { class: String },
    #[error(
        "{file} brings more than {limit} classes, `{class}` among them: offer fewer. \
         Is it the class that its folders or its label column name?"
    )]
    ManyClasses {
        file: String,
        class: String,
        limit: usize,
    },
    #[error("The class `{class}` has one image only: each needs at least two.")]
    FewImages { class: String },
    #[error("The class `{class}` has test images only: put some of it into the training set.")]
    NoTrainingImages { class: String },
    #[error(
        "{file} lies in a folder whose name is longer than {limit} bytes: give the class a shorter name."
    )]
    LongClass { file: String, limit: usize },
    #[error("{file} is a damaged ZIP archive: {reason}. Pack it anew.")]
    Zip { file: String, reason: String },
    #[error("{file} cannot be unpacked: {reason}. Pack the archive anew.")]
    ZipEntry { file: String, reason: String },
    #[error(
        "{file} is packed by a method that cannot be read: pack the archive with Deflate, the usual one."
    )]
    Compression { file: String },
    #[error("{file} is encrypted: pack the archive without a password.")]
    Encrypted { file: String },
    #[error("{file} is larger than {limit} bytes: scale the image down.")]
    LargePng { file: String, limit: usize },
    #[error(
        "{file} claims {width} x {height} pixels; 1 to {limit} a side can be used: scale the image down."
    )]
    PngSide {
        file: String,
        width: u32,
        height: u32,
        limit: u32,
    },
    #[error("{file} is a damaged PNG image: {reason}. Leave it out or save it anew.")]
    Png { file: String, reason: String },
    #[error("{file} is a damaged gzip file: {reason}. Pack it anew.")]
    Gzip { file: String, reason: String },
    #[error(
        "{file} is no table of images: its first line has one column only, split by comma, semicolon or tab."
    )]
    OneColumn { file: String },
    #[error(
        "{file}, line {line} is longer than {limit} bytes: write one image a line, and close all quotes."
    )]
    LongLine {
        file: String,
        line: u64,
        limit: usize,
    },
    #[error("{file}, line {line} has more than {limit} columns: use smaller images.")]
    ManyColumns {
        file: String,
        line: u64,
        limit: usize,
    },
    #[error("{file} has pixels but no labels: add a column `label` that names each image's class.")]
    NoLabels { file: String },
    #[error(
        "{file} has {columns} pixel columns, which make no square: each line is a label and the pixels of a square \
         image, 784 for 28 x 28."
    )]
    NotSquare { file: String, columns: usize },
    #[error(
        "{file} has images of {pixels} pixels and the table before of {expected}: they must agree."
    )]
    Unequal {
        file: String,
        pixels: usize,
        expected: usize,
    },
    #[error(
        "{file}, line {line} has {columns} columns, and the first line {expected}: they must agree."
    )]
    Columns {
        file: String,
        line: u64,
        columns: usize,
        expected: usize,
    },
    #[error("{file}, line {line} has no label, or one longer than {limit} bytes.")]
    Label {
        file: String,
        line: u64,
        limit: usize,
    },
    #[error(
        "{file}, line {line}, column {column}: `{text}` is no pixel; pixels are numbers from 0 to {largest}."
    )]
    Value {
        file: String,
        line: u64,
        /// Counted from 1.
        column: usize,
        text: String,
        /// 255, or 1 where the values before were 0 to 1.
        largest: u8,
    },
}

/// Files that were told apart.
pub enum Opened {
    /// IDX files, for [`super::Unpacker`].
    Idx(Vec<NamedFile>),
    Other(Box<Importer>),
}

/// Tells what the files are: all of one kind, but for hidden files and files of unknown kinds, which are left out.
pub fn open(files: Vec<NamedFile>) -> Result<Opened, ImportError> {
    let offered = files.len();
    let mut gathered = Gathered::default();
    let mut first: Option<(String, Kind)> = None;
    let mut used = Vec::new();
    for file in files {
        if is_hidden(&file.path) {
            gathered.skip(SkipReason::Hidden, &file.path);
            continue;
        }
        let Some(kind) = Kind::of(&file.bytes) else {
            gathered.skip(SkipReason::OtherKind, &file.path);
            continue;
        };
        let (first, first_kind) = first.get_or_insert_with(|| (file.path.clone(), kind));
        if *first_kind != kind {
            return Err(ImportError::Mixed {
                first: first.clone(),
                first_kind: *first_kind,
                second: file.path,
                second_kind: kind,
            });
        }
        used.push(file);
    }
    let source = match first {
        None => return Err(ImportError::NothingUsable { files: offered }),
        Some((_, Kind::Idx)) => return Ok(Opened::Idx(used)),
        Some((_, Kind::Pictures)) => Source::Pictures(Pictures::new(used)),
        Some((_, Kind::Table)) => Source::Tables(Tables::new(used)),
    };
    Ok(Opened::Other(Importer { source, gathered }.into()))
}

/// Reads pictures or tables piece by piece, so that many files need not hold up other work.
pub struct Importer {
    source: Source,
    gathered: Gathered,
}

enum Source {
    Pictures(Pictures),
    Tables(Tables),
}

impl Importer {
    /// Share of the work that is done, 0 to 1.
    pub fn fraction(&self) -> f32 {
        match &self.source {
            Source::Pictures(pictures) => pictures.fraction(),
            Source::Tables(tables) => tables.fraction(),
        }
    }

    /// Does the next piece: an image, or some kilobytes of a table. All of it when that was the last one; an importer
    /// is of no use after that, or after an error.
    pub fn advance(&mut self) -> Result<Option<Imported>, ImportError> {
        let is_done = match &mut self.source {
            Source::Pictures(pictures) => pictures.advance(&mut self.gathered)?,
            Source::Tables(tables) => tables.advance(&mut self.gathered)?,
        };
        if !is_done {
            return Ok(None);
        }
        std::mem::take(&mut self.gathered).finish().map(Some)
    }
}

/// The folders of a path and the file's name, whichever slash is between them.
fn components(path: &str) -> Vec<&str> {
    path.split(['/', '\\'])
        .filter(|component| !matches!(*component, "" | "."))
        .collect()
}

/// The finite number that `text` writes.
fn number(text: &[u8]) -> Option<f32> {
    let number: f32 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

fn is_hidden(path: &str) -> bool {
    components(path)
        .iter()
        .any(|component| component.starts_with('.') || *component == "__MACOSX")
}

#[cfg(test)]
mod tests;
