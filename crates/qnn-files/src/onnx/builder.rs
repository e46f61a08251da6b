//! `Builder`: an ONNX graph in the making. It knows how the parts of a graph are written down; what they compute is
//! `export`'s business.

use prost::Message;
use prost::bytes::Bytes;
use qnn_core::spec::NetworkSpec;
use serde_json::json;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto, attribute_type, data_type,
};

/// The first version of the standard operators with `GreaterOrEqual`, of May 2020.
const OPSET: i64 = 12;
/// The version of the file format of that time.
const IR_VERSION: i64 = 7;

/// A graph to which nodes are added in the order in which they run. Every node has the name of the value it gives.
#[derive(Default)]
pub struct Builder {
    graph: GraphProto,
}

/// An attribute of a whole number.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INT,
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// An attribute of whole numbers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::INTS,
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

/// An attribute of a text.
pub fn string(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: attribute_type::STRING,
        s: Some(Bytes::from_static(value.as_bytes())),
        ..AttributeProto::default()
    }
}

/// Little-endian bytes of float32.
pub fn floats(values: &[f32]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.collect()
}

/// A tensor of `[batch, columns]`, or of `[batch]`.
fn value(name: &str, elem_type: i32, columns: Option<usize>, about: &str) -> ValueInfoProto {
    let batch = DimensionProto {
        dim_param: Some("batch".into()),
        ..DimensionProto::default()
    };
    let columns = columns.map(|columns| DimensionProto {
        dim_value: Some(columns as i64),
        ..DimensionProto::default()
    });
    let shape = TensorShapeProto {
        dim: [batch].into_iter().chain(columns).collect(),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type,
                shape: Some(shape),
            }),
        }),
        doc_string: about.into(),
    }
}

impl Builder {
    /// Adds a node of operator `op` that gives the value `output`, whose name comes back.
    pub fn node(
        &mut self,
        op: &str,
        output: impl Into<String>,
        inputs: &[&str],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> String {
        let output = output.into();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).into()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: op.into(),
            domain: String::new(),
            attribute: attributes.into_iter().collect(),
        });
        output
    }

    /// Adds a conversion to the type `to`.
    pub fn cast(&mut self, output: impl Into<String>, input: &str, to: i32) -> String {
        self.node("Cast", output, &[input], [int("to", to.into())])
    }

    /// Adds a constant of little-endian numbers, whose name comes back.
    pub fn constant(
        &mut self,
        name: impl Into<String>,
        data_type: i32,
        shape: &[usize],
        bytes: impl Into<Bytes>,
    ) -> String {
        let name = name.into();
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|length| *length as i64).collect(),
            data_type,
            name: name.clone(),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
        name
    }

    /// Adds a constant that is a single float32.
    pub fn scalar(&mut self, name: impl Into<String>, value: f32) -> String {
        self.constant(name, data_type::FLOAT, &[], floats(&[value]))
    }

    /// Adds a constant list of whole numbers: a shape, or places in a list.
    pub fn indices(&mut self, name: impl Into<String>, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let bytes: Vec<u8> = bytes.collect();
        self.constant(name, data_type::INT64, &[values.len()], bytes)
    }

    /// Declares the input of the graph, uint8 `[batch, pixels]`.
    pub fn input(&mut self, name: &str, pixels: usize) {
        let about = "Images, a row each, from 0, paper, to 255, ink.";
        let input = value(name, data_type::UINT8, Some(pixels), about);
        self.graph.input.push(input);
    }

    /// Declares an output of the graph, `[batch, columns]` or `[batch]`.
    pub fn output(&mut self, name: &str, elem_type: i32, columns: Option<usize>, about: &str) {
        let output = value(name, elem_type, columns, about);
        self.graph.output.push(output);
    }

    /// The file of the graph. Settings and names of classes are its metadata, as in the project's own files.
    pub fn file(mut self, about: &str, spec: &NetworkSpec, classes: &[String]) -> Vec<u8> {
        self.graph.name = "quantized_neural_network".into();
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: key.into(),
            value,
        };
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: OPSET,
            }],
            producer_name: "QNN Playground".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: about.into(),
            graph: Some(self.graph),
            metadata_props: vec![
                entry("spec", json!(spec).to_string()),
                entry("classes", json!(classes).to_string()),
            ],
        };
        model.encode_to_vec()
    }
}
