//! CSV tables, one image a line: a label and the pixels of a square. The separator is the one that the first line has
//! most of; whether pixels are 0 to 255 or 0 to 1, the first line shows that can tell.

use std::io::{Cursor, Read};

use csv_core::ReadRecordResult;
use flate2::bufread::MultiGzDecoder;

use super::gather::{Gathered, MAX_NAME, Part};
use super::{ImportError, MAX_UNPACKED_BYTES, NamedFile, components, number};
use crate::data::MAX_IMAGE_SIZE;

/// Bytes of a line.
pub const MAX_LINE: usize = 1 << 18;
/// Columns of a line: the largest image's, and some others.
pub const MAX_COLUMNS: usize = MAX_IMAGE_SIZE + 64;
/// Bytes of text taken at a time: some milliseconds of work.
const PIECE: usize = 1 << 16;

pub struct Tables {
    files: std::vec::IntoIter<NamedFile>,
    table: Option<Box<Table>>,
    /// Bytes of all files, and of those that are done.
    all: u64,
    done: u64,
    unpacked: u64,
    /// What makes a value a pixel, once that is known: 1 or 255.
    scale: Option<f32>,
}

impl Tables {
    pub fn new(files: Vec<NamedFile>) -> Tables {
        Tables {
            all: files.iter().map(|file| file.bytes.len() as u64).sum(),
            files: files.into_iter(),
            table: None,
            done: 0,
            unpacked: 0,
            scale: None,
        }
    }

    pub fn fraction(&self) -> f32 {
        let taken = self.table.as_ref().map_or(0, |table| table.input.taken());
        (self.done + taken) as f32 / self.all.max(1) as f32
    }

    /// Does the next piece; whether that was the last one.
    pub fn advance(&mut self, gathered: &mut Gathered) -> Result<bool, ImportError> {
        let Some(table) = &mut self.table else {
            self.table = self.files.next().map(|file| Table::new(file).into());
            let is_done = self.table.is_none();
            if is_done && self.scale.is_none() && gathered.len() > 0 {
                gathered.stretch();
            }
            return Ok(is_done);
        };
        let mut piece = Vec::new();
        let read = table.input.read_piece(&mut piece);
        read.map_err(|error| ImportError::Gzip {
            file: table.file.clone(),
            reason: error.to_string(),
        })?;
        self.unpacked += piece.len() as u64;
        if self.unpacked > MAX_UNPACKED_BYTES {
            return Err(ImportError::ManyBytes {
                limit: MAX_UNPACKED_BYTES,
            });
        }
        if table.take(&piece, &mut self.scale, gathered)? {
            self.done += table.input.taken();
            self.table = None;
        }
        Ok(false)
    }
}

/// A file's bytes, unpacked as they are read.
enum Input {
    Plain(Cursor<Vec<u8>>),
    Gzip(Box<MultiGzDecoder<Cursor<Vec<u8>>>>),
}

impl Input {
    /// Bytes of the file that are read.
    fn taken(&self) -> u64 {
        match self {
            Input::Plain(bytes) => bytes.position(),
            Input::Gzip(decoder) => decoder.get_ref().position(),
        }
    }

    /// Reads up to [`PIECE`] bytes, none only at the end.
    fn read_piece(&mut self, piece: &mut Vec<u8>) -> std::io::Result<usize> {
        match self {
            Input::Plain(bytes) => bytes.take(PIECE as u64).read_to_end(piece),
            Input::Gzip(decoder) => decoder.take(PIECE as u64).read_to_end(piece),
        }
    }
}

/// Which columns are what.
struct Layout {
    columns: usize,
    label: usize,
    /// `[pixels]`, columns.
    pixels: Vec<usize>,
}

struct Table {
    file: String,
    part: Option<Part>,
    input: Input,
    /// Made when the separator is known.
    reader: Option<csv_core::Reader>,
    /// Fields of the line so far, one after the other, then where each of them ends.
    text: Vec<u8>,
    text_length: usize,
    ends: Vec<usize>,
    columns: usize,
    layout: Option<Layout>,
    /// `[pixels]` of the line.
    values: Vec<f32>,
}

impl Table {
    fn new(file: NamedFile) -> Table {
        let bytes = Cursor::new(file.bytes);
        let name = components(&file.path)
            .last()
            .map_or(String::new(), |name| name.to_ascii_lowercase());
        Table {
            part: if name.contains("train") {
                Some(Part::Train)
            } else if name.contains("test") {
                Some(Part::Test)
            } else {
                None
            },
            input: if bytes.get_ref().starts_with(&[0x1f, 0x8b]) {
                Input::Gzip(MultiGzDecoder::new(bytes).into())
            } else {
                Input::Plain(bytes)
            },
            file: file.path,
            reader: None,
            text: vec![0; MAX_LINE],
            text_length: 0,
            ends: vec![0; MAX_COLUMNS],
            columns: 0,
            layout: None,
            values: Vec::new(),
        }
    }

    /// Takes the next piece of text, an empty one at the end; whether the table is at its end.
    fn take(
        &mut self,
        mut piece: &[u8],
        scale: &mut Option<f32>,
        gathered: &mut Gathered,
    ) -> Result<bool, ImportError> {
        let is_last = piece.is_empty();
        // The reader takes no text for the end of it, so it is asked again only while there is some.
        while is_last || !piece.is_empty() {
            let reader = self.reader.get_or_insert_with(|| {
                csv_core::ReaderBuilder::new()
                    .delimiter(separator(piece))
                    .build()
            });
            // Lines are counted as they end: this is the one that begins.
            let line = reader.line();
            let (result, read, written, ended) = reader.read_record(
                piece,
                &mut self.text[self.text_length..],
                &mut self.ends[self.columns..],
            );
            piece = &piece[read..];
            self.text_length += written;
            self.columns += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    return Err(ImportError::LongLine {
                        file: self.file.clone(),
                        line,
                        limit: MAX_LINE,
                    });
                }
                ReadRecordResult::OutputEndsFull => return Err(self.many_columns(line)),
                ReadRecordResult::Record => {
                    self.take_line(line, scale, gathered)?;
                    (self.text_length, self.columns) = (0, 0);
                }
                ReadRecordResult::End => return Ok(true),
            }
        }
        Ok(false)
    }

    fn many_columns(&self, line: u64) -> ImportError {
        ImportError::ManyColumns {
            file: self.file.clone(),
            line,
            limit: MAX_IMAGE_SIZE + 1,
        }
    }

    fn field(&self, column: usize) -> &[u8] {
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[column]]
    }

    fn take_line(
        &mut self,
        line: u64,
        scale: &mut Option<f32>,
        gathered: &mut Gathered,
    ) -> Result<(), ImportError> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => {
                let (layout, is_header) = self.find_layout(line, gathered)?;
                if is_header {
                    self.layout = Some(layout);
                    return Ok(());
                }
                layout
            }
        };
        if self.columns != layout.columns {
            return Err(ImportError::Columns {
                file: self.file.clone(),
                line,
                columns: self.columns,
                expected: layout.columns,
            });
        }
        let label = String::from_utf8_lossy(self.field(layout.label));
        let label = label.trim();
        if label.is_empty() || label.len() > MAX_NAME {
            return Err(ImportError::Label {
                file: self.file.clone(),
                line,
                limit: MAX_NAME,
            });
        }
        let class = gathered.class(label, &self.file)?;
        gathered.check_room(gathered.len() + 1)?;

        let largest = if *scale == Some(255.0) { 1 } else { 255 };
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        for &column in &layout.pixels {
            let value = number(self.field(column))
                .filter(|value| (0.0..=f32::from(largest)).contains(value));
            let Some(value) = value else {
                return Err(ImportError::Value {
                    file: self.file.clone(),
                    line,
                    column: column + 1,
                    text: String::from_utf8_lossy(self.field(column))
                        .chars()
                        .take(20)
                        .collect(),
                    largest,
                });
            };
            values.push(value);
        }
        if scale.is_none() {
            if values.iter().any(|value| *value > 1.0) {
                *scale = Some(1.0);
            } else if values.iter().any(|value| value.fract() != 0.0) {
                *scale = Some(255.0);
                gathered.stretch();
            }
        }
        let factor = scale.unwrap_or(1.0);
        let pixels = values.iter().map(|value| (value * factor + 0.5) as u8);
        gathered.push(class, self.part, pixels);
        self.values = values;
        self.layout = Some(layout);
        Ok(())
    }

    /// What the columns are, by the first line, and whether that is a header.
    fn find_layout(
        &self,
        line: u64,
        gathered: &mut Gathered,
    ) -> Result<(Layout, bool), ImportError> {
        let file = || self.file.clone();
        if self.columns < 2 {
            return Err(ImportError::OneColumn { file: file() });
        }
        let names: Vec<String> = (0..self.columns)
            .map(|column| {
                let name = String::from_utf8_lossy(self.field(column));
                name.trim().to_ascii_lowercase()
            })
            .collect();
        let label = names.iter().position(|name| name == "label");
        let label = label.or(names.iter().position(|name| name == "class"));
        let is_header =
            label.is_some() || (1..self.columns).all(|column| number(self.field(column)).is_none());
        // Where some columns are called pixels, the others are not.
        let is_pixel = |column: &usize| is_header && names[*column].starts_with("pixel");
        let are_named = (0..self.columns).any(|column| is_pixel(&column));
        let label = label.unwrap_or(0);
        if is_pixel(&label) {
            return Err(ImportError::NoLabels { file: file() });
        }
        let pixels: Vec<usize> = (0..self.columns)
            .filter(|column| *column != label && (!are_named || is_pixel(column)))
            .collect();
        if pixels.len() > MAX_IMAGE_SIZE {
            return Err(self.many_columns(line));
        }
        let side = pixels.len().isqrt();
        if side * side != pixels.len() {
            return Err(ImportError::NotSquare {
                file: file(),
                columns: pixels.len(),
            });
        }
        let expected = gathered.width * gathered.height;
        if gathered.len() > 0 && pixels.len() != expected {
            return Err(ImportError::Unequal {
                file: file(),
                pixels: pixels.len(),
                expected,
            });
        }
        (gathered.width, gathered.height) = (side, side);
        let layout = Layout {
            columns: self.columns,
            label,
            pixels,
        };
        Ok((layout, is_header))
    }
}

/// The separator that the first line of `text` has most of outside quotes.
fn separator(text: &[u8]) -> u8 {
    let mut is_quoted = false;
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    let line = text
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace())
        .take_while(|byte| **byte != b'\n' && **byte != b'\r');
    for byte in line {
        is_quoted ^= *byte == b'"';
        for (separator, count) in &mut counts {
            *count += usize::from(!is_quoted && byte == separator);
        }
    }
    // The last of the largest wins: of numbers with commas in a list with semicolons, the list.
    counts
        .iter()
        .max_by_key(|(_, count)| *count)
        .map_or(b',', |(separator, _)| *separator)
}
