//! The packed network in a safetensors file: where its parts lie and whether they fit together. `docs/format.md`
//! specifies every field. Whatever the bytes are, this gives a network that answers without a panic or an error.

use core::fmt;

use serde::Deserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};

use crate::network::{Edge, Layer, Levels, Network, Numbers, Thresholds, Weights};
use crate::{
    Encoding, FORMAT_VERSION, MAX_CLASSES, MAX_DIGITS, MAX_EXPONENT, MAX_LAYERS,
    MAX_THRESHOLD_LEVELS, MAX_WIDTH, MIN_EXPONENT,
};

/// Why bytes are no packed network, in one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// No safetensors file, or not all of it.
    Damaged,
    /// A safetensors file of something else.
    Foreign,
    /// Of a version that is not read here.
    Version(u32),
    /// There are no packed layers: a network of floats, or one kept for training only.
    Unpacked,
    /// A layer, counted from 0, lacks a part.
    Missing { layer: usize, part: &'static str },
    /// A part of a layer does not fit the others.
    Misfit { layer: usize, part: &'static str },
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Damaged => formatter
                .write_str("This is not a safetensors file, or it is cut short or damaged."),
            ParseError::Foreign => {
                formatter.write_str("This safetensors file holds no network of the format qnn.")
            }
            ParseError::Version(version) => write!(
                formatter,
                "This network is of format version {version}; this program reads version {FORMAT_VERSION}."
            ),
            ParseError::Unpacked => {
                formatter.write_str("This file holds no packed network, only weights of floats.")
            }
            ParseError::Missing { layer, part } => {
                write!(formatter, "Layer {layer} of this network has no {part}.")
            }
            ParseError::Misfit { layer, part } => {
                write!(
                    formatter,
                    "The {part} of layer {layer} does not fit the rest of this network."
                )
            }
        }
    }
}

impl core::error::Error for ParseError {}

/// What a safetensors header says of a tensor.
#[derive(Clone, Copy, Default)]
struct Tensor<'a> {
    dtype: &'a str,
    shape: [usize; 3],
    rank: usize,
    begin: usize,
    end: usize,
}

/// The parts of a layer, by their names in the file.
const PARTS: [&str; 11] = [
    "weight",
    "thresholds",
    "falling",
    "levels",
    "scale",
    "shift",
    "unit",
    "multiplier",
    "offset",
    "score_shift",
    "exponent",
];

/// What a header says of a network.
#[derive(Default)]
struct Header<'a> {
    is_qnn: bool,
    version: Option<u32>,
    inputs: Option<usize>,
    tensors: [[Option<Tensor<'a>>; PARTS.len()]; MAX_LAYERS],
}

impl<'a> Network<'a> {
    /// The packed network in the bytes of a safetensors file, which it borrows.
    pub fn parse(file: &'a [u8]) -> Result<Network<'a>, ParseError> {
        let (length, rest) = file.split_first_chunk().ok_or(ParseError::Damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (header, data) = rest.split_at_checked(length).ok_or(ParseError::Damaged)?;
        let mut json = serde_json_core::de::Deserializer::new(header, None);
        let mut header = Header::default();
        json.deserialize_map(HeaderVisitor(&mut header))
            .map_err(|_| ParseError::Damaged)?;
        json.end().map_err(|_| ParseError::Damaged)?;
        match header.version {
            _ if !header.is_qnn => Err(ParseError::Foreign),
            Some(FORMAT_VERSION) => header.network(data),
            version => Err(ParseError::Version(version.unwrap_or(0))),
        }
    }
}

/// Whether the bits beyond the first `count` are zeros, of as many bytes as those take.
fn is_padded(bytes: &[u8], count: usize) -> bool {
    let padding = !(u8::MAX >> (8 * bytes.len() - count));
    bytes.last().is_none_or(|byte| byte & padding == 0)
}

/// The tensors of one layer.
struct Parts<'h, 'a> {
    layer: usize,
    tensors: &'h [Option<Tensor<'a>>; PARTS.len()],
    data: &'a [u8],
}

impl<'a> Parts<'_, 'a> {
    fn has(&self, part: &'static str) -> bool {
        self.find(part).is_some()
    }

    fn find(&self, part: &'static str) -> Option<Tensor<'a>> {
        let place = PARTS.iter().position(|known| *known == part)?;
        self.tensors[place]
    }

    fn misfit(&self, part: &'static str) -> ParseError {
        ParseError::Misfit {
            layer: self.layer,
            part,
        }
    }

    fn tensor(&self, part: &'static str) -> Result<Tensor<'a>, ParseError> {
        self.find(part).ok_or(ParseError::Missing {
            layer: self.layer,
            part,
        })
    }

    /// The bytes of a part that is of `dtype`, whose elements have `size` bytes, and of `shape`.
    fn bytes(
        &self,
        part: &'static str,
        (dtype, size): (&str, usize),
        shape: &[usize],
    ) -> Result<&'a [u8], ParseError> {
        let tensor = self.tensor(part)?;
        let bytes = self.data.get(tensor.begin..tensor.end);
        let bytes = bytes.ok_or(ParseError::Damaged)?;
        let expected = shape
            .iter()
            .try_fold(size, |product, length| product.checked_mul(*length));
        let fits = tensor.dtype == dtype
            && tensor.shape.get(..tensor.rank) == Some(shape)
            && expected == Some(bytes.len());
        if fits {
            Ok(bytes)
        } else {
            Err(self.misfit(part))
        }
    }

    fn floats(&self, part: &'static str, count: usize) -> Result<Numbers<'a>, ParseError> {
        let numbers = Numbers(self.bytes(part, ("F32", 4), &[count])?);
        let finite = (0..count).all(|index| numbers.f32(index).is_finite());
        if finite {
            Ok(numbers)
        } else {
            Err(self.misfit(part))
        }
    }

    /// The layer on `inputs` numbers of `input`.
    fn layer(&self, inputs: usize, input: Encoding) -> Result<Layer<'a>, ParseError> {
        let tensor = self.tensor("weight")?;
        let [digits, units, bytes_per_row] = tensor.shape;
        let is_sound = tensor.rank == 3
            && (1..=MAX_DIGITS).contains(&digits)
            && (1..=MAX_WIDTH).contains(&units)
            && bytes_per_row == inputs.div_ceil(8);
        if !is_sound {
            return Err(self.misfit("weight"));
        }
        let bytes = self.bytes("weight", ("U8", 1), &[digits, units, bytes_per_row])?;
        if !bytes
            .chunks_exact(bytes_per_row)
            .all(|row| is_padded(row, inputs))
        {
            return Err(self.misfit("weight"));
        }
        Ok(Layer {
            inputs,
            units,
            input,
            weights: Weights {
                encoding: match digits {
                    1 => Encoding::Sign,
                    _ => Encoding::TwosComplement(digits as u8),
                },
                bytes_per_row,
                bytes,
            },
            edge: self.edge(units)?,
        })
    }

    fn edge(&self, units: usize) -> Result<Edge<'a>, ParseError> {
        if self.has("multiplier") {
            return self.scores(units);
        }
        let [count, ..] = self.tensor("levels")?.shape;
        let levels = Levels(self.bytes("levels", ("I8", 1), &[count])?);
        let levels_of = |index| levels.level(index);
        if count < 2 || !(0..count).map(levels_of).is_sorted_by(|a, b| a < b) {
            return Err(self.misfit("levels"));
        }
        if !self.has("thresholds") {
            let (scale, shift) = (self.floats("scale", units)?, self.floats("shift", units)?);
            let (lowest, highest) = levels.range();
            let adjacent = i16::from(highest) - i16::from(lowest) == count as i16 - 1;
            if !adjacent || lowest >= 0 {
                return Err(self.misfit("levels"));
            }
            return Ok(Edge::Affine {
                scale,
                shift,
                unit: self.floats("unit", 1)?.f32(0),
                levels,
            });
        }
        if count > MAX_THRESHOLD_LEVELS {
            return Err(self.misfit("levels"));
        }
        let values = self.bytes("thresholds", ("I32", 4), &[units, count - 1])?;
        let falling = self.bytes("falling", ("U8", 1), &[units.div_ceil(8)])?;
        if !is_padded(falling, units) {
            return Err(self.misfit("falling"));
        }
        Ok(Edge::Thresholds(Thresholds {
            values: Numbers(values),
            falling,
            levels,
        }))
    }

    fn scores(&self, classes: usize) -> Result<Edge<'a>, ParseError> {
        let multiplier = Numbers(self.bytes("multiplier", ("I32", 4), &[classes])?);
        let offset = Numbers(self.bytes("offset", ("I64", 8), &[classes])?);
        let number = |part| Ok(Numbers(self.bytes(part, ("I32", 4), &[1])?).i32(0));
        let (shift, exponent) = (number("score_shift")?, number("exponent")?);
        // A sum has up to 29 bits and a multiplier 32: with such an offset all fits 64.
        let mut offsets = (0..classes).map(|class| offset.i64(class));
        if !offsets.all(|offset| offset.unsigned_abs() < 1 << 62) {
            return Err(self.misfit("offset"));
        }
        if !(0..64).contains(&shift) {
            return Err(self.misfit("score_shift"));
        }
        if !(MIN_EXPONENT..=MAX_EXPONENT).contains(&exponent) {
            return Err(self.misfit("exponent"));
        }
        Ok(Edge::Scores {
            multiplier,
            offset,
            shift: shift as u32,
            exponent,
        })
    }
}

impl<'a> Header<'a> {
    fn network(&self, data: &'a [u8]) -> Result<Network<'a>, ParseError> {
        let parts = |layer: usize| Parts {
            layer,
            tensors: &self.tensors[layer],
            data,
        };
        let depth = (0..MAX_LAYERS)
            .take_while(|layer| parts(*layer).has("weight"))
            .count();
        let (Some(last), Some(mut inputs)) = (depth.checked_sub(1), self.inputs) else {
            return Err(ParseError::Unpacked);
        };
        if !(1..=MAX_WIDTH).contains(&inputs) {
            return Err(parts(0).misfit("weight"));
        }
        let mut encoding = Encoding::Unsigned8;
        let mut layers = [None; MAX_LAYERS];
        for (index, place) in layers.iter_mut().enumerate().take(depth) {
            let layer = parts(index).layer(inputs, encoding)?;
            let is_last = matches!(layer.edge, Edge::Scores { .. });
            if is_last != (index == last) || (is_last && !(2..=MAX_CLASSES).contains(&layer.units))
            {
                return Err(parts(index).misfit(if is_last { "multiplier" } else { "levels" }));
            }
            (inputs, encoding) = (layer.units, layer.output());
            *place = Some(layer);
        }
        let first = layers[0].ok_or(ParseError::Unpacked)?;
        Ok(Network {
            layers: layers.map(|layer| layer.unwrap_or(first)),
            depth,
        })
    }

    /// Takes note of the tensor `name` if it is a part of a layer.
    fn note(&mut self, name: &str, tensor: Tensor<'a>) {
        let mut words = name.splitn(3, '.');
        let (Some("layers"), Some(layer), Some(part)) = (words.next(), words.next(), words.next())
        else {
            return;
        };
        let layer: Option<usize> = layer.parse().ok();
        let place = PARTS.iter().position(|known| *known == part);
        if let (Some(layer @ ..MAX_LAYERS), Some(place)) = (layer, place) {
            self.tensors[layer][place] = Some(tensor);
        }
    }
}

/// Fills a header in its place: a microcontroller's stack has no room for copies of three kilobytes.
struct HeaderVisitor<'h, 'de>(&'h mut Header<'de>);

impl<'de> Visitor<'de> for HeaderVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the header of a safetensors file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let header = self.0;
        while let Some(name) = map.next_key::<&str>()? {
            if name == "__metadata__" {
                let Metadata {
                    is_qnn,
                    version,
                    inputs,
                } = map.next_value()?;
                (header.is_qnn, header.version, header.inputs) = (is_qnn, version, inputs);
            } else {
                let tensor = map.next_value()?;
                header.note(name, tensor);
            }
        }
        Ok(())
    }
}

/// What of the metadata, texts by names, says how to read the tensors.
#[derive(Default)]
struct Metadata {
    is_qnn: bool,
    version: Option<u32>,
    inputs: Option<usize>,
}

/// Deserializes a map with a visitor that starts from nothing.
macro_rules! map_of {
    ($type:ty, $what:literal, |$value:ident, $name:ident, $map:ident| $entry:expr) => {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct MapVisitor;
            impl<'de> Visitor<'de> for MapVisitor {
                type Value = $type;

                fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    formatter.write_str($what)
                }

                fn visit_map<A: MapAccess<'de>>(self, mut $map: A) -> Result<$type, A::Error> {
                    let mut $value = <$type>::default();
                    while let Some($name) = $map.next_key::<&str>()? {
                        $entry
                    }
                    Ok($value)
                }
            }
            deserializer.deserialize_map(MapVisitor)
        }
    };
}

impl<'de> serde::Deserialize<'de> for Metadata {
    map_of!(Metadata, "metadata", |metadata, name, map| {
        let text = map.next_value::<&str>()?;
        match name {
            "format" => metadata.is_qnn = text == "qnn",
            "version" => metadata.version = text.parse().ok(),
            "inputs" => metadata.inputs = text.parse().ok(),
            _ => {}
        }
    });
}

impl<'de> serde::Deserialize<'de> for Tensor<'de> {
    map_of!(Tensor<'de>, "a tensor", |tensor, name, map| match name {
        "dtype" => tensor.dtype = map.next_value()?,
        "shape" => {
            let Sizes(sizes, rank) = map.next_value()?;
            (tensor.shape, tensor.rank) = (sizes, rank);
        }
        "data_offsets" => {
            let Sizes([begin, end, _], count) = map.next_value()?;
            if count != 2 {
                return Err(A::Error::custom("offsets are two"));
            }
            (tensor.begin, tensor.end) = (begin, end);
        }
        _ => return Err(A::Error::custom("a field that tensors have not")),
    });
}

/// A list of sizes, the first three of them, and how many there are.
struct Sizes([usize; 3], usize);

impl<'de> serde::Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizesVisitor;
        impl<'de> Visitor<'de> for SizesVisitor {
            type Value = Sizes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sizes, A::Error> {
                let mut sizes = Sizes([0; 3], 0);
                while let Some(size) = list.next_element()? {
                    if let Some(place) = sizes.0.get_mut(sizes.1) {
                        *place = size;
                    }
                    sizes.1 += 1;
                }
                Ok(sizes)
            }
        }
        deserializer.deserialize_seq(SizesVisitor)
    }
}
