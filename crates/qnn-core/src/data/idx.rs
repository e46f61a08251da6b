//! IDX files, the format of MNIST, from bytes that may be gzipped, cut short, or something else altogether.
//! Reading a file or fetching it is not done here.

use std::io::Write;

use flate2::write::GzDecoder;
use sha2::{Digest, Sha256};

use super::{DataSet, Images, MAX_CLASSES, TrainingData, numbered};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
/// Bytes after which an unpacked file is refused: five times MNIST's, and what a tab has memory for.
const MAX_BYTES: u64 = 1 << 28;
/// The largest image, in pixels: the widest input that the rest of the house takes.
pub const MAX_IMAGE_SIZE: usize = 8192;

/// A published data set.
struct Known {
    name: &'static str,
    /// SHA-256 of the decompressed files: training images and labels, test images and labels.
    sums: [&'static str; 4],
    classes: [&'static str; 10],
}

const KNOWN: [Known; 2] = [
    Known {
        name: "MNIST",
        sums: [
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ],
        classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    },
    Known {
        name: "Fashion-MNIST",
        sums: [
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ],
        classes: [
            "T-shirt",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
    },
];

/// What is wrong with a file or a set of files, in one sentence for the person who offered it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DataError(pub String);

fn refuse<T>(message: String) -> Result<T, DataError> {
    Err(DataError(message))
}

/// An IDX file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Images { count: u64, height: u64, width: u64 },
    Labels { count: u64 },
}

impl Header {
    /// The header at the start of `bytes`; `None` while there are too few of them.
    fn read(name: &str, bytes: &[u8]) -> Result<Option<Header>, DataError> {
        let number = |index: usize| {
            let bytes = bytes.get(index * 4..)?.first_chunk()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let Some(magic) = number(0) else {
            return Ok(None);
        };
        match magic {
            LABELS_MAGIC => Ok(number(1).map(|count| Header::Labels {
                count: count.into(),
            })),
            IMAGES_MAGIC => {
                let (Some(count), Some(height), Some(width)) = (number(1), number(2), number(3))
                else {
                    return Ok(None);
                };
                let (height, width) = (u64::from(height), u64::from(width));
                if height * width == 0 || height * width > MAX_IMAGE_SIZE as u64 {
                    return refuse(format!(
                        "{name} claims images of {width} x {height} pixels; 1 to {MAX_IMAGE_SIZE} pixels can be used."
                    ));
                }
                Ok(Some(Header::Images {
                    count: count.into(),
                    height,
                    width,
                }))
            }
            _ if bytes[..4]
                .iter()
                .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) =>
            {
                refuse(format!(
                    "{name} looks like a text file, not like IDX images or labels."
                ))
            }
            _ => refuse(format!(
                "{name} is not an IDX file of byte images or labels: it starts with {magic:#010x} instead of \
                 {IMAGES_MAGIC:#010x} or {LABELS_MAGIC:#010x}."
            )),
        }
    }

    /// Bytes of the whole file, header and all.
    fn promised_bytes(self) -> u64 {
        match self {
            Header::Labels { count } => 8 + count,
            Header::Images {
                count,
                height,
                width,
            } => 16 + count * height * width,
        }
    }
}

/// A whole, checked IDX file.
#[derive(Clone, Debug)]
pub struct IdxFile {
    name: String,
    header: Header,
    /// The file's bytes after decompression, header and all.
    bytes: Vec<u8>,
    /// SHA-256 of `bytes`, in hexadecimal.
    sha256: String,
}

/// Unpacks and checks one file piece by piece, so that long files need not hold up other work.
pub struct Unpacker {
    name: String,
    packed: Vec<u8>,
    /// Bytes of `packed` already taken.
    taken: usize,
    output: Output,
    hasher: Sha256,
    hashed: usize,
}

enum Output {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Output {
    fn bytes(&self) -> &Vec<u8> {
        match self {
            Output::Plain(bytes) => bytes,
            Output::Gzip(decoder) => decoder.get_ref(),
        }
    }
}

impl Unpacker {
    /// Packed bytes taken at a time: some milliseconds of work.
    const PIECE: usize = 1 << 16;

    /// Starts on a file called `name` of these bytes, gzipped or not.
    pub fn new(name: &str, packed: Vec<u8>) -> Unpacker {
        let gzipped = packed.starts_with(&[0x1f, 0x8b]);
        Unpacker {
            name: name.into(),
            packed,
            taken: 0,
            output: if gzipped {
                Output::Gzip(GzDecoder::new(Vec::new()).into())
            } else {
                Output::Plain(Vec::new())
            },
            hasher: Sha256::new(),
            hashed: 0,
        }
    }

    /// Share of the file that is done, 0 to 1.
    pub fn fraction(&self) -> f32 {
        self.taken as f32 / self.packed.len().max(1) as f32
    }

    /// Takes the next piece. The whole file when that was the last one.
    pub fn advance(&mut self) -> Result<Option<IdxFile>, DataError> {
        let name = &self.name;
        let piece = &self.packed[self.taken..self.packed.len().min(self.taken + Self::PIECE)];
        self.taken += piece.len();
        match &mut self.output {
            Output::Plain(bytes) => bytes.extend_from_slice(piece),
            Output::Gzip(decoder) => {
                let written = decoder.write_all(piece);
                if let Err(error) = written {
                    return refuse(format!(
                        "{name} is damaged: its gzip stream cannot be read ({error})."
                    ));
                }
            }
        }
        let bytes = self.output.bytes();
        self.hasher.update(&bytes[self.hashed..]);
        self.hashed = bytes.len();
        let header = Header::read(name, bytes)?;
        if let Some(header) = header {
            let promised = header.promised_bytes();
            if promised > MAX_BYTES {
                return refuse(format!(
                    "{name} claims {promised} bytes, more than the {MAX_BYTES} that can be used."
                ));
            }
            if bytes.len() as u64 > promised {
                return refuse(format!(
                    "{name} holds more bytes than the {promised} that its header claims."
                ));
            }
        }
        if self.taken < self.packed.len() {
            return Ok(None);
        }
        self.finish(header).map(Some)
    }

    fn finish(&mut self, header: Option<Header>) -> Result<IdxFile, DataError> {
        let name = &self.name;
        let bytes = match std::mem::replace(&mut self.output, Output::Plain(Vec::new())) {
            Output::Plain(bytes) => bytes,
            Output::Gzip(mut decoder) => {
                // A stream that stops short is told only when it is asked to end.
                if decoder.try_finish().is_err() {
                    return refuse(format!(
                        "{name} is cut short: its gzip stream ends too early."
                    ));
                }
                let mut bytes = std::mem::take(decoder.get_mut());
                self.hasher.update(&bytes[self.hashed..]);
                bytes.shrink_to_fit();
                bytes
            }
        };
        let Some(header) = header.or(Header::read(name, &bytes)?) else {
            return refuse(format!(
                "{name} is cut short: {} bytes are not even an IDX header.",
                bytes.len()
            ));
        };
        let promised = header.promised_bytes();
        if (bytes.len() as u64) != promised {
            return refuse(format!(
                "{name} is cut short: its header claims {promised} bytes and it holds {}.",
                bytes.len()
            ));
        }
        if matches!(header, Header::Labels { .. })
            && let Some(label) = bytes[8..]
                .iter()
                .find(|label| **label as usize >= MAX_CLASSES)
        {
            return refuse(format!(
                "{name} has a label {label}; labels are 0 to {}.",
                MAX_CLASSES - 1
            ));
        }
        let sha256 = self.hasher.finalize_reset();
        Ok(IdxFile {
            name: name.clone(),
            header,
            bytes,
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Puts files together, in any order: training and test images and labels, or one pair of images and labels,
/// whose last tenth is then kept for testing. Classes of files that are no known set are numbered, as many as their labels
/// need. With `claimed` they must be the known set of that name.
pub fn data_set_from_files(
    files: Vec<IdxFile>,
    claimed: Option<&str>,
) -> Result<DataSet, DataError> {
    let (mut images, mut labels): (Vec<IdxFile>, Vec<IdxFile>) = files
        .into_iter()
        .partition(|file| matches!(file.header, Header::Images { .. }));
    if images.len() != labels.len() || images.is_empty() || images.len() > 2 {
        return refuse(format!(
            "A data set is a file of images and a file of labels, for training and for testing; \
             these are {} of images and {} of labels.",
            images.len(),
            labels.len()
        ));
    }
    for files in [&mut images, &mut labels] {
        // Training files first: by name where the names tell, else the larger ones.
        let is_test = |file: &IdxFile| file.name.contains("t10k") || file.name.contains("test");
        let named = files.iter().filter(|file| is_test(file)).count() == 1;
        files.sort_by_key(|file| {
            if named {
                usize::from(is_test(file))
            } else {
                usize::MAX - file.bytes.len()
            }
        });
    }
    let sums: Vec<&str> = images
        .iter()
        .zip(&labels)
        .flat_map(|(images, labels)| [images.sha256.as_str(), labels.sha256.as_str()])
        .collect();
    let known = KNOWN.iter().find(|known| known.sums[..] == sums[..]);
    let name = known.map_or("your files", |known| known.name);
    if let Some(claimed) = claimed.filter(|claimed| *claimed != name) {
        return refuse(format!(
            "These files are not {claimed}: their SHA-256 sums differ from the published ones."
        ));
    }
    let mut sets = images
        .into_iter()
        .zip(labels)
        .map(|(images, labels)| pair(images, labels))
        .collect::<Result<Vec<Images>, DataError>>()?;
    let test = if sets.len() == 2 {
        sets.remove(1)
    } else {
        let tenth = sets[0].len() / 10;
        let train = sets[0].len() - tenth;
        let size = sets[0].image_size();
        Images {
            pixels: sets[0].pixels.split_off(train * size),
            labels: sets[0].labels.split_off(train),
            ..sets[0]
        }
    };
    let train = sets.remove(0);
    if (train.width, train.height) != (test.width, test.height) {
        return refuse(format!(
            "Training images are {} x {} pixels and test images {} x {}; they must agree.",
            train.width, train.height, test.width, test.height
        ));
    }
    if train.len() < 2 || test.is_empty() {
        return refuse(format!(
            "{} training and {} test images are too few to learn from.",
            train.len(),
            test.len()
        ));
    }
    let classes = match known {
        Some(known) => known.classes.map(String::from).into(),
        None => {
            let labels = train.labels.iter().chain(&test.labels);
            let largest = labels.max().copied().unwrap_or(0);
            numbered(usize::from(largest.max(1)) + 1)
        }
    };
    Ok(DataSet {
        name: name.into(),
        classes,
        train: TrainingData::Images(train),
        test,
    })
}

/// Images with their labels.
fn pair(images: IdxFile, labels: IdxFile) -> Result<Images, DataError> {
    let (
        Header::Images {
            count,
            height,
            width,
        },
        Header::Labels { count: label_count },
    ) = (images.header, labels.header)
    else {
        return refuse(format!(
            "{} and {} are not images and labels.",
            images.name, labels.name
        ));
    };
    if count != label_count {
        return refuse(format!(
            "{} has {count} images but {} has {label_count} labels.",
            images.name, labels.name
        ));
    }
    let (mut pixels, mut labels) = (images.bytes, labels.bytes);
    pixels.drain(..16);
    labels.drain(..8);
    Ok(Images {
        width: width as usize,
        height: height as usize,
        pixels,
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn images(count: u32, side: u32) -> Vec<u8> {
        let header = [IMAGES_MAGIC, count, side, side].map(u32::to_be_bytes);
        let pixels = (0..count * side * side).map(|index| index as u8);
        header.into_iter().flatten().chain(pixels).collect()
    }

    fn labels(count: u32) -> Vec<u8> {
        let header = [LABELS_MAGIC, count].map(u32::to_be_bytes);
        header
            .into_iter()
            .flatten()
            .chain((0..count).map(|label| label as u8 % 10))
            .collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(name: &str, bytes: Vec<u8>) -> Result<IdxFile, DataError> {
        let mut unpacker = Unpacker::new(name, bytes);
        loop {
            if let Some(file) = unpacker.advance()? {
                return Ok(file);
            }
        }
    }

    fn refusal(bytes: Vec<u8>) -> String {
        unpack("train-images", bytes).unwrap_err().to_string()
    }

    #[test]
    fn gzipped_or_not_the_same_file() {
        let plain = unpack("a", images(3, 200)[..].to_vec());
        assert!(plain.is_err(), "200 x 200 is larger than any input");
        let bytes = images(3000, 9);
        let plain = unpack("a", bytes.clone()).unwrap();
        let packed = unpack("a", gzip(&bytes)).unwrap();
        assert_eq!((plain.bytes, plain.sha256), (packed.bytes, packed.sha256));
    }

    #[test]
    fn bad_files_are_refused_with_a_sentence() {
        let whole = gzip(&images(50, 28));
        assert!(refusal(whole[..whole.len() / 2].to_vec()).contains("ends too early"));
        assert!(refusal(whole[..whole.len() - 3].to_vec()).contains("ends too early"));
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 40].fill(0x55);
        assert!(refusal(damaged).starts_with("train-images is damaged"));
        assert!(refusal(b"label,pixel1,pixel2\n".to_vec()).contains("text file"));
        assert!(refusal(vec![0, 0, 0x0d, 3, 0, 0, 0, 1]).contains("0x00000d03 instead of"));
        assert!(
            refusal(images(5, 28)[..1000].to_vec()).contains("claims 3936 bytes and it holds 1000")
        );
        assert!(refusal(images(5, 28)[..9].to_vec()).contains("not even an IDX header"));
        assert!(refusal(vec![]).contains("not even an IDX header"));
        let mut longer = images(5, 28);
        longer.push(0);
        assert!(refusal(longer).contains("holds more bytes"));
        let huge = [IMAGES_MAGIC, u32::MAX, 90, 90]
            .map(u32::to_be_bytes)
            .concat();
        assert!(refusal(huge).contains("more than the 268435456"));
        let mut wrong = labels(20);
        wrong[12] = 64;
        assert!(refusal(wrong).contains("a label 64; labels are 0 to 63"));
    }

    #[test]
    fn sets_are_put_together_from_any_order() {
        let file = |name: &str, bytes| unpack(name, bytes).unwrap();
        let set = data_set_from_files(
            vec![
                file("labels-b", labels(30)),
                file("images-a", images(20, 5)),
                file("images-b", images(30, 5)),
                file("labels-a", labels(20)),
            ],
            None,
        )
        .unwrap();
        assert_eq!((set.train.epoch_length(), set.test.len()), (30, 20));
        let one_pair = vec![file("images", images(30, 5)), file("labels", labels(30))];
        let set = data_set_from_files(one_pair.clone(), None).unwrap();
        assert_eq!((set.train.epoch_length(), set.test.len()), (27, 3));
        let error = data_set_from_files(one_pair, Some("MNIST")).unwrap_err();
        assert!(error.to_string().starts_with("These files are not MNIST"));
    }

    #[test]
    fn there_are_as_many_classes_as_the_labels_need() {
        let classes = |train: u8, test: u8| {
            let file = |name: &str, bytes| unpack(name, bytes).unwrap();
            let labels = |label: u8| {
                let mut bytes = labels(20);
                bytes[8..].fill(0);
                bytes[15] = label;
                bytes
            };
            let files = vec![
                file("train-i", images(20, 5)),
                file("train-l", labels(train)),
                file("test-i", images(20, 5)),
                file("test-l", labels(test)),
            ];
            data_set_from_files(files, None).unwrap().classes
        };
        assert_eq!(classes(2, 1), ["0", "1", "2"]);
        assert_eq!(classes(1, 11).len(), 12);
        assert_eq!(classes(63, 0).len(), MAX_CLASSES);
        assert_eq!(classes(0, 0), ["0", "1"]);
    }

    #[test]
    fn sets_that_disagree_are_refused() {
        let file = |name: &str, bytes| unpack(name, bytes).unwrap();
        let refusal = |files| data_set_from_files(files, None).unwrap_err().to_string();
        assert!(
            refusal(vec![file("i", images(30, 5)), file("l", labels(29))])
                .contains("i has 30 images but l has 29")
        );
        assert!(refusal(vec![file("i", images(30, 5))]).contains("1 of images and 0 of labels"));
        assert!(refusal(vec![]).contains("0 of images"));
        let sizes = vec![
            file("train-i", images(30, 5)),
            file("test-i", images(30, 6)),
            file("train-l", labels(30)),
            file("test-l", labels(30)),
        ];
        assert!(refusal(sizes).contains("5 x 5 pixels and test images 6 x 6"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4) {
            let start: &[u8] = match kind {
                0 => &[],
                1 => &[0, 0, 8, 3],
                2 => &[0, 0, 8, 1],
                _ => &[0x1f, 0x8b, 8, 0],
            };
            bytes.splice(..start.len().min(bytes.len()), start.iter().copied());
            let _ = unpack("any", bytes);
        }
    }
}
