use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::data::Images;
use crate::data::MAX_IMAGE_SIZE;

fn import(files: &[(&str, &[u8])]) -> Result<Imported, ImportError> {
    let files = files.iter().map(|(path, bytes)| NamedFile {
        path: path.to_string(),
        bytes: bytes.to_vec(),
    });
    match open(files.collect())? {
        Opened::Idx(_) => panic!("an IDX file"),
        Opened::Other(mut importer) => loop {
            assert!((0.0..=1.0).contains(&importer.fraction()));
            if let Some(imported) = importer.advance()? {
                return Ok(imported);
            }
        },
    }
}

fn refusal(files: &[(&str, &[u8])]) -> ImportError {
    import(files).expect_err("these files should be refused")
}

fn png_of(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 255, 255, 255, 0, 0]);
        encoder.set_trns(vec![255, 255, 0]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

fn grey(width: u32, height: u32, shade: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let data: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| shade(x, y))
        .collect();
    png_of(
        width,
        height,
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        &data,
    )
}

/// An image all of one shade.
fn flat(side: u32, shade: u8) -> Vec<u8> {
    grey(side, side, |_, _| shade)
}

fn zip_by(method: rawzip::CompressionMethod, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (path, content) in files {
        let (mut entry, config) = archive
            .new_file(path)
            .compression_method(method)
            .start()
            .unwrap();
        let descriptor = if method == rawzip::CompressionMethod::DEFLATE {
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, Default::default());
            let mut writer = config.wrap(encoder);
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    zip_by(rawzip::CompressionMethod::DEFLATE, files)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Two classes of 2 x 2 pixels, `count` images of each, by a table of `separator`.
fn table(count: usize, separator: &str) -> String {
    let mut text = ["label", "pixel0", "pixel1", "pixel2", "pixel3\n"].join(separator);
    for image in 0..count {
        for class in ["10", "9"] {
            text += &[class, "0", "0", "0", &format!("{}\n", image + 2)].join(separator);
        }
    }
    text
}

fn shades(images: &Images) -> Vec<u8> {
    images
        .pixels
        .chunks_exact(images.image_size())
        .map(|image| image[image.len() - 1])
        .collect()
}

#[test]
fn folders_are_classes_and_every_tenth_image_is_for_the_test() {
    let paths: Vec<String> = (0..12)
        .map(|image| format!("pets/cats/{image:02}.png"))
        .collect();
    let images: Vec<Vec<u8>> = (0..12).map(|image| flat(8, image)).collect();
    let mut files: Vec<(&str, &[u8])> = paths
        .iter()
        .map(String::as_str)
        .zip(images.iter().map(Vec::as_slice))
        .collect();
    let dog = flat(8, 100);
    files.extend([
        ("pets/dogs/b.png", &*dog),
        ("pets/dogs/a.not-by-name", &*dog),
        ("pets/notes/readme.txt", b"hello"),
        ("pets/cats/.DS_Store", b"x"),
        ("__MACOSX/pets/cats/00.png", b"x"),
    ]);
    let archive = zip(&files);
    let imported = import(&[("pets.zip", &archive)]).unwrap();
    assert_eq!(imported.classes, ["cats", "dogs"]);
    assert_eq!((imported.train.width, imported.train.height), (8, 8));
    assert_eq!(shades(&imported.train)[..4], [0, 100, 2, 3]);
    assert_eq!(imported.train.labels[..4], [0, 1, 0, 0]);
    assert_eq!(shades(&imported.test), [1, 100, 11]);
    assert_eq!(imported.test.labels, [0, 1, 0]);
    let skipped = |reason, files, first: &str| ImportNote::Skipped {
        reason,
        files,
        first: first.into(),
    };
    assert_eq!(
        imported.notes,
        [
            skipped(SkipReason::Hidden, 2, "pets/cats/.DS_Store"),
            skipped(SkipReason::OtherKind, 1, "pets/pets/notes/readme.txt"),
            ImportNote::HeldOut { images: 3 },
        ]
    );
    // The same without an archive, and stored rather than deflated.
    files.remove(14);
    let loose = import(&files).unwrap();
    assert_eq!(
        (&loose.train, &loose.test),
        (&imported.train, &imported.test)
    );
    let stored = zip_by(rawzip::CompressionMethod::STORE, &files);
    assert_eq!(import(&[("a.zip", &stored)]).unwrap().train, imported.train);
}

#[test]
fn folders_or_archives_named_so_split_the_sets() {
    let image = flat(4, 3);
    let imported = import(&[
        ("Training/10/a.png", &image),
        ("Training/9/a.png", &image),
        ("Training/9/b.png", &image),
        ("val/10/a.png", &image),
        ("val/unlabelled.png", &image),
    ])
    .unwrap();
    assert_eq!(imported.classes, ["9", "10"]);
    assert_eq!(imported.train.labels, [0, 1, 0]);
    assert_eq!(imported.test.labels, [1]);
    let archive = zip(&[("x/1.png", &image), ("y\\1.png", &image)]);
    let imported = import(&[("train.zip", &archive), ("Test.ZIP", &archive)]).unwrap();
    assert_eq!((imported.train.len(), imported.test.len()), (2, 2));
    let class = "10".to_string();
    assert_eq!(
        refusal(&[
            ("train/9/a", &image),
            ("train/9/b", &image),
            ("test/10/a", &image),
            ("test/10/b", &image)
        ]),
        ImportError::NoTrainingImages { class }
    );
}

#[test]
fn images_of_any_kind_become_grey() {
    use png::{BitDepth, ColorType};
    let (eight, sixteen) = (BitDepth::Eight, BitDepth::Sixteen);
    // Three black pixels in a border of four, then the one that is told apart.
    let cases: [(ColorType, BitDepth, &[u8], u8); 8] = [
        (ColorType::Grayscale, eight, &[0, 0, 0, 90], 90),
        (
            ColorType::Grayscale,
            sixteen,
            &[0, 0, 0, 0, 0, 0, 90, 7],
            90,
        ),
        (ColorType::Grayscale, BitDepth::One, &[0x00, 0x40], 255),
        (
            ColorType::GrayscaleAlpha,
            eight,
            &[0, 255, 0, 255, 0, 255, 0, 55],
            200,
        ),
        (
            ColorType::Rgb,
            eight,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0],
            77,
        ),
        (
            ColorType::Rgba,
            eight,
            &[0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 0],
            255,
        ),
        (ColorType::Indexed, eight, &[0, 0, 0, 1], 255),
        (ColorType::Indexed, BitDepth::Two, &[0x00, 0x20], 255),
    ];
    for (color, depth, data, expected) in cases {
        let image = png_of(2, 2, color, depth, data);
        let imported = import(&[
            ("a/1", &image),
            ("a/2", &image),
            ("b/1", &image),
            ("b/2", &image),
        ])
        .unwrap();
        assert_eq!(
            imported.train.pixels[..4],
            [0, 0, 0, expected],
            "{color:?} {depth:?}"
        );
    }
}

#[test]
fn large_images_are_averaged_and_centred_on_their_own_shade() {
    // Twice 28 wide, 28 high: halved, with 7 rows of paper above and below.
    let wide = grey(56, 28, |x, y| {
        let is_border = x == 0 || y == 0 || x == 55 || y == 27;
        if is_border {
            255
        } else if x % 2 == 0 {
            100
        } else {
            101
        }
    });
    let small = flat(3, 255);
    let imported = import(&[
        ("a/1", &wide),
        ("a/2", &small),
        ("b/1", &wide),
        ("b/2", &wide),
    ])
    .unwrap();
    assert_eq!((imported.train.width, imported.train.height), (28, 28));
    assert!(imported.notes.contains(&ImportNote::Scaled { side: 28 }));
    assert!(imported.notes.contains(&ImportNote::Inverted));
    let image = imported.train.pixels_of(0..1);
    assert!(
        image[..7 * 28]
            .iter()
            .chain(&image[21 * 28..])
            .all(|pixel| *pixel == 0)
    );
    assert_eq!(image[10 * 28 + 5], 255 - 101);
    // Light on light: nothing but paper, enlarged.
    assert!(
        imported
            .test
            .pixels_of(0..1)
            .iter()
            .all(|pixel| *pixel == 0)
    );
    let large = flat(65, 0);
    let imported = import(&[
        ("a/1", &large),
        ("a/2", &large),
        ("b/1", &large),
        ("b/2", &large),
    ])
    .unwrap();
    assert_eq!(imported.train.width, 28);
}

#[test]
fn averaging_keeps_the_sum_of_a_picture() {
    let point = grey(31, 17, |x, y| if (x, y) == (15, 8) { 255 } else { 0 });
    let other = flat(2, 0);
    let imported = import(&[
        ("a/1", &point),
        ("a/2", &point),
        ("b/1", &other),
        ("b/2", &other),
    ])
    .unwrap();
    let sum: f64 = imported
        .train
        .pixels_of(0..1)
        .iter()
        .map(|pixel| f64::from(*pixel))
        .sum();
    // 28 x 15 pixels show what 31 x 17 did.
    let expected = 255.0 * (28.0 * 15.0) / (31.0 * 17.0);
    assert!((sum - expected).abs() < 3.0, "{sum} for {expected}");
}

#[test]
fn a_picture_is_read_as_ink_on_paper() {
    let shape = |ink: u8, paper: u8| {
        grey(40, 40, move |x, y| {
            match (5..20).contains(&x) && (5..35).contains(&y) {
                true => ink,
                false => paper,
            }
        })
    };
    let read = |bytes: &[u8]| read_picture("a.png", bytes, 8, 8).unwrap();
    let bright = read(&shape(200, 0));
    assert_eq!(bright, read(&shape(55, 255)));
    assert_eq!((bright[3 * 8 + 2], bright[3 * 8 + 6]), (200, 0));
    let refused = read_picture("a.png", b"text", 8, 8).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("a.png is a damaged PNG image")
    );
}

#[test]
fn a_digit_is_placed_as_mnists_are() {
    // A one, tall and thin, in a corner of a large sheet.
    let sheet = grey(300, 200, |x, y| {
        match (250..262).contains(&x) && (80..200).contains(&y) {
            true => 30,
            false => 240,
        }
    });
    let digit = read_digit("1.png", &sheet).unwrap();
    let inked = |index: &usize| digit[*index] > 100;
    let rows: Vec<usize> = (0..28 * 28).filter(inked).map(|index| index / 28).collect();
    let columns: Vec<usize> = (0..28 * 28).filter(inked).map(|index| index % 28).collect();
    assert_eq!(
        (rows.iter().min(), rows.iter().max()),
        (Some(&4), Some(&23))
    );
    assert_eq!(
        (columns.iter().min(), columns.iter().max()),
        (Some(&13), Some(&14))
    );
    // Empty paper has nothing to be placed.
    let empty = read_digit("0.png", &flat(50, 230)).unwrap();
    assert!(empty.iter().all(|ink| *ink <= 25));
}

#[test]
fn tables_of_any_separator_are_read() {
    for separator in [",", ";", "\t"] {
        let text = table(12, separator);
        let imported = import(&[("a.csv", text.as_bytes())]).unwrap();
        assert_eq!(imported.classes, ["9", "10"]);
        assert_eq!((imported.train.width, imported.train.height), (2, 2));
        assert_eq!(shades(&imported.test), [3, 3, 13, 13]);
        assert_eq!(imported.test.labels, [0, 1, 0, 1]);
        assert_eq!(imported.train.len(), 20);
        assert_eq!(imported.notes, [ImportNote::HeldOut { images: 4 }]);
        let packed = gzip(text.as_bytes());
        assert_eq!(import(&[("a.csv.gz", &packed)]).unwrap(), imported);
        let with_mark = ["\u{feff}", &text].concat().replace('\n', "\r\n");
        assert_eq!(import(&[("a", with_mark.as_bytes())]).unwrap(), imported);
    }
}

#[test]
fn labels_may_be_names_anywhere_and_pixels_fractions() {
    let text = "id,pixel1,class\n7,0,\"cat, old\"\n8,1,\"cat, old\"\n9,0.5,dog\n9,\"0\",dog";
    let imported = import(&[("a", text.as_bytes())]).unwrap();
    assert_eq!(imported.classes, ["cat, old", "dog"]);
    assert_eq!(imported.train.pixels, [0, 128]);
    assert_eq!(imported.test.pixels, [255, 0]);
    assert!(imported.notes.contains(&ImportNote::Stretched));
    // Without a header; all pixels 0 and 1, mostly ink along the border, so they are inverted.
    let imported = import(&[("a", b"x,1\nx,1\ny,1\ny,0\n")]).unwrap();
    assert_eq!(imported.train.pixels, [0, 0]);
    assert_eq!(imported.test.pixels, [0, 255]);
}

#[test]
fn two_tables_are_the_two_sets() {
    let (train, test) = (table(5, ","), table(1, ","));
    let imported = import(&[
        ("my_Test.csv", test.as_bytes()),
        ("my_train.csv", train.as_bytes()),
    ])
    .unwrap();
    assert_eq!((imported.train.len(), imported.test.len()), (10, 2));
    assert_eq!(imported.notes, []);
    let other = b"label,a\n9,0\n";
    assert_eq!(
        refusal(&[("a", train.as_bytes()), ("b", other)]),
        ImportError::Unequal {
            file: "b".into(),
            pixels: 1,
            expected: 4
        }
    );
}

#[test]
fn kinds_are_told_by_content_and_do_not_mix() {
    let idx = [0, 0, 8, 3, 0, 0, 0, 0];
    for bytes in [idx.to_vec(), gzip(&idx)] {
        let path = "a.csv".to_string();
        let opened = open(vec![NamedFile { path, bytes }]).unwrap();
        assert!(matches!(opened, Opened::Idx(files) if files.len() == 1));
    }
    let image = flat(4, 0);
    assert_eq!(
        refusal(&[("a/1.png", &image), ("b.txt", b"1,2"), ("c", &[255, 0])]).to_string(),
        "a/1.png is a PNG image or ZIP archive, but b.txt is a text file: offer files of one kind."
    );
    assert_eq!(
        refusal(&[("a.jpg", &[0xff, 0xd8, 0xff, 0xe0, 0, 16]), (".x", b"a")]),
        ImportError::NothingUsable { files: 2 }
    );
    assert_eq!(refusal(&[]), ImportError::NothingUsable { files: 0 });
}

#[test]
fn sets_that_cannot_be_learned_are_refused() {
    let image = flat(4, 0);
    assert_eq!(refusal(&[("1.png", &image)]), ImportError::NoImages);
    assert_eq!(refusal(&[("a.zip", &zip(&[]))]), ImportError::NoImages);
    assert_eq!(refusal(&[("a", b"label,pixel0\n")]), ImportError::NoImages);
    assert_eq!(
        refusal(&[("a/1", &image), ("a/2", &image)]),
        ImportError::OneClass { class: "a".into() }
    );
    assert_eq!(
        refusal(&[("a/1", &image), ("a/2", &image), ("b/2", &image)]),
        ImportError::FewImages { class: "b".into() }
    );
    let text: String = (0..65).map(|class| format!("class {class},0\n")).collect();
    assert_eq!(
        refusal(&[("a", text.as_bytes())]),
        ImportError::ManyClasses {
            file: "a".into(),
            class: "class 64".into(),
            limit: 64
        }
    );
    let long = format!("{}/1.png", "a".repeat(65));
    assert!(matches!(
        refusal(&[(&long, &image)]),
        ImportError::LongClass { limit: 64, .. }
    ));
}

#[test]
fn more_than_can_be_used_is_refused() {
    let text = "x,0\n".repeat(MAX_IMAGES + 1);
    assert_eq!(
        refusal(&[("a", text.as_bytes())]),
        ImportError::ManyImages { limit: MAX_IMAGES }
    );
    let mut gathered = Gathered::default();
    (gathered.width, gathered.height) = (90, 90);
    assert!(gathered.check_room(MAX_PIXELS / 8100).is_ok());
    assert!(matches!(
        gathered.check_room(MAX_PIXELS / 8100 + 1),
        Err(ImportError::ManyPixels { .. })
    ));
    gathered.width = 1;
    assert!(gathered.check_room(MAX_IMAGES + 1).is_err());
}

#[test]
fn bad_tables_are_refused_by_line_and_column() {
    let message = |text: &str| refusal(&[("t.csv", text.as_bytes())]).to_string();
    assert!(message("hello\nworld\n").contains("one column only"));
    assert!(message("1,0,0,0\n").contains("3 pixel columns, which make no square"));
    assert!(message("pixel0,pixel1,pixel2,pixel3\n0,0,0,0\n").contains("pixels but no labels"));
    assert!(message("a,0\nb,0,1\n").contains("line 2 has 3 columns, and the first line 2"));
    assert!(
        message("a,0\nb,300\n")
            .contains("line 2, column 2: `300` is no pixel; pixels are numbers from 0 to 255")
    );
    assert!(message("a,0\n\nb,NaN\n").contains("`NaN` is no pixel"));
    assert!(message("a,0.5\nb,2\n").contains("`2` is no pixel; pixels are numbers from 0 to 1"));
    assert!(message("a,0\n,2\n").contains("line 2 has no label"));
    let packed = gzip(table(1000, ",").as_bytes());
    let error = refusal(&[("t.gz", &packed[..packed.len() - 9])]);
    assert!(matches!(error, ImportError::Gzip { .. }), "{error}");
}

#[test]
fn hostile_tables_are_refused() {
    let columns = format!("label{}\n", ",0".repeat(1_000_000));
    assert!(matches!(
        refusal(&[("a", columns.as_bytes())]),
        ImportError::ManyColumns { line: 1, .. }
    ));
    let columns = format!("label{}\n", ",0".repeat(MAX_IMAGE_SIZE + 1));
    assert!(matches!(
        refusal(&[("a", columns.as_bytes())]),
        ImportError::ManyColumns { line: 1, .. }
    ));
    let long = format!("a,0\na,\"{}", "0".repeat(MAX_LINE));
    assert_eq!(
        refusal(&[("a", long.as_bytes())]),
        ImportError::LongLine {
            file: "a".into(),
            line: 2,
            limit: MAX_LINE
        }
    );
    // A gzip bomb is read piece by piece, and refused at its first line.
    let bomb = gzip(&vec![b' '; 1 << 24]);
    assert!(matches!(
        refusal(&[("a", &bomb)]),
        ImportError::LongLine { .. }
    ));
}

#[test]
fn bad_pictures_are_refused_by_name() {
    let image = grey(9, 9, |x, y| (x * y) as u8);
    let with = |bad: &[u8]| {
        refusal(&[
            ("a/1", &image),
            ("a/2", bad),
            ("b/1", &image),
            ("b/2", &image),
        ])
    };
    let cut = with(&image[..image.len() / 2]);
    assert!(
        matches!(&cut, ImportError::Png { file, .. } if file == "a/2"),
        "{cut}"
    );
    let cut = with(&image[..12]);
    assert!(
        cut.to_string()
            .starts_with("a/2 is a damaged PNG image: it is cut short.")
    );
    let archive = zip(&[("a/1", &image), ("a/2", &image)]);
    let error = refusal(&[("x.zip", &archive[..archive.len() - 30])]);
    assert!(
        matches!(&error, ImportError::Zip { file, .. } if file == "x.zip"),
        "{error}"
    );
    let mut damaged = zip_by(rawzip::CompressionMethod::STORE, &[("a/1", &image)]);
    let end = damaged.windows(4).position(|bytes| bytes == b"IEND");
    damaged[end.unwrap() + 4] ^= 1;
    let error = refusal(&[("x.zip", &damaged)]);
    assert!(
        matches!(&error, ImportError::ZipEntry { file, .. } if file == "x/a/1"),
        "{error}"
    );
    let odd = zip_by(rawzip::CompressionMethod::BZIP2, &[("a/1", &image)]);
    assert_eq!(
        refusal(&[("x.zip", &odd)]),
        ImportError::Compression {
            file: "x/a/1".into()
        }
    );
    let mut encrypted = archive;
    let directory = encrypted
        .windows(4)
        .position(|bytes| bytes == b"PK\x01\x02")
        .unwrap();
    encrypted[directory + 8] |= 1;
    assert_eq!(
        refusal(&[("x.zip", &encrypted)]),
        ImportError::Encrypted {
            file: "x/a/1".into()
        }
    );
}

/// A PNG whose header claims a size that is not there.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = flat(1, 0);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn hostile_pictures_are_refused() {
    let of = |image: &[u8]| refusal(&[("a/1", image), ("b/1", image)]);
    assert_eq!(
        of(&claiming(60_000, 60_000)).to_string(),
        "a/1 claims 60000 x 60000 pixels; 1 to 4096 a side can be used: scale the image down."
    );
    assert!(matches!(of(&claiming(0, 5)), ImportError::PngSide { .. }));
    assert!(
        of(&claiming(4096, 4096))
            .to_string()
            .contains("too short for its size")
    );
    // A ZIP bomb: what begins as an image goes on for long.
    let mut bomb = flat(4, 0);
    bomb.resize(MAX_PNG_BYTES + 1, 0);
    let bomb = zip(&[("a/1.png", &bomb)]);
    assert!(bomb.len() < 1 << 16);
    assert_eq!(
        refusal(&[("bomb.zip", &bomb)]),
        ImportError::LargePng {
            file: "bomb/a/1.png".into(),
            limit: MAX_PNG_BYTES
        }
    );
}

#[test]
fn archives_that_unpack_to_too_much_in_all_are_refused() {
    // One large entry, listed again and again.
    let mut image = flat(4, 0);
    image.resize(MAX_PNG_BYTES, 0);
    let archive = zip(&[("a/1.png", &image)]);
    let place = |magic: &[u8]| archive.windows(4).position(|bytes| bytes == magic).unwrap();
    let (directory, end) = (place(b"PK\x01\x02"), place(b"PK\x05\x06"));
    let count = (MAX_UNPACKED_BYTES / MAX_PNG_BYTES as u64) as u16 + 1;
    let entries = archive[directory..end].repeat(usize::from(count));
    let mut bomb = archive[..directory].to_vec();
    bomb.extend(&entries);
    let new_end = bomb.len();
    bomb.extend(&archive[end..]);
    for field in [8, 10] {
        bomb[new_end + field..][..2].copy_from_slice(&count.to_le_bytes());
    }
    bomb[new_end + 12..][..4].copy_from_slice(&(entries.len() as u32).to_le_bytes());
    assert_eq!(
        refusal(&[("bomb.zip", &bomb)]),
        ImportError::ManyBytes {
            limit: MAX_UNPACKED_BYTES
        }
    );
}

/// Valid files of each kind, to be spoiled.
fn valid(kind: usize) -> Vec<u8> {
    let image = grey(9, 7, |x, y| (x * y) as u8);
    match kind {
        0 => image,
        1 => zip(&[("a/1.png", &image), ("b/2.png", &image)]),
        2 => table(3, ",").into_bytes(),
        _ => gzip(table(3, ";").as_bytes()),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        kind in 0usize..4,
        start in 0usize..40,
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = valid(kind);
        bytes.truncate(start);
        bytes.extend(noise);
        let _ = open(vec![NamedFile { path: "a/1".into(), bytes: bytes.clone() }]);
        let _ = read_digit("a/1", &bytes);
        if Kind::of(&bytes) != Some(Kind::Idx) {
            let _ = import(&[("a/1", &bytes)]);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        kind in 0usize..4,
        keep in 0.0..1.0f64,
        is_cut in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = valid(kind);
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if is_cut {
            bytes.truncate((bytes.len() as f64 * keep) as usize);
        }
        if Kind::of(&bytes) != Some(Kind::Idx) {
            let _ = import(&[("a/1", &bytes)]);
        }
    }
}
