//! How large the structure of an ONNX file is, its tensors' numbers not counted: read from the bytes of the protocol
//! buffers alone, before memory is taken for messages. A message of two bytes takes a hundred times as much of it, so a
//! small file of nothing but empty messages could fill the memory.

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

/// The messages that hold the numbers of tensors.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

impl Kind {
    /// What a field is: another such message, or a tensor's numbers, or structure.
    fn field(self, tag: u32) -> Field {
        match (self, tag) {
            (Kind::Model, 7) => Field::Message(Kind::Graph),
            (Kind::Graph, 1) => Field::Message(Kind::Node),
            (Kind::Graph, 5) => Field::Message(Kind::Tensor),
            (Kind::Node, 5) => Field::Message(Kind::Attribute),
            (Kind::Attribute, 5) => Field::Message(Kind::Tensor),
            // float_data, double_data and raw_data, which take as much memory as bytes, and int32_data, four times that.
            (Kind::Tensor, 4 | 5 | 9 | 10) => Field::Numbers,
            _ => Field::Structure,
        }
    }
}

enum Field {
    Message(Kind),
    Numbers,
    Structure,
}

/// Bytes of structure in a file; `None` where it is damaged.
pub fn structure_bytes(file: &[u8]) -> Option<usize> {
    of_message(Kind::Model, file)
}

fn of_message(kind: Kind, mut bytes: &[u8]) -> Option<usize> {
    let mut structure = 0;
    while bytes.has_remaining() {
        let before = bytes.len();
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        let length = match wire_type {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0).ok()?,
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            // Groups, which the standard does not use.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        structure += before - bytes.len();
        let (content, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        structure += match kind.field(tag) {
            Field::Message(kind) if wire_type == WireType::LengthDelimited => {
                of_message(kind, content)?
            }
            Field::Numbers if wire_type == WireType::LengthDelimited => 0,
            _ => length,
        };
    }
    Some(structure)
}
