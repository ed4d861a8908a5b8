//! ONNX: a network that any runtime of the format takes.

mod proto;

use epnas_arch::{PoolKind, Shape};
use prost::Message;

use self::proto::{
    Attribute, AttributeType, Dimension, Entry, Graph, Model, Node, OperatorSet, Size, Tensor,
    TensorShape, TensorType, Type, ValueInfo,
};
use crate::fold::fold;
use crate::lowered::{BN_EPSILON, Conv, Kind, Operation, lower};
use crate::{ExportError, Normalizing, Trained};

/// The version of ONNX's operators that a file asks for.
pub const OPSET: i64 = 17;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;
/// `float` among ONNX's types.
const FLOAT: i32 = 1;

/// The name of the input, `[batch, channels, height, width]`, and of the output, `[batch, classes]`.
const INPUT: &str = "images";
const OUTPUT: &str = "logits";

/// An ONNX file: input `images` of any number of images, `[batch, channels, height, width]` from 0 to 1 (with
/// [`Normalizing::Outside`], normalized), output `logits`, `[batch, classes]`. Batch norms are part of the convolutions before
/// them. Its metadata has `architecture`, `classes` (a JSON array), `normalization`, `mean` and `std`.
///
/// # Errors
/// [`ExportError`] for parts that do not fit each other.
pub fn onnx(trained: &Trained<'_>, normalizing: Normalizing) -> Result<Vec<u8>, ExportError> {
    let operations = fold(lower(trained)?);
    let mut writer = Writer::default();
    if normalizing == Normalizing::Inside {
        writer.normalize(trained.mean, trained.std);
    }
    for (id, operation) in operations.iter().enumerate() {
        writer.operation(&operations, id, operation, normalizing);
    }
    let json = |value: serde_json::Value| value.to_string();
    let metadata = [
        ("architecture", trained.architecture.to_owned()),
        ("classes", json(trained.classes.into())),
        (
            "normalization",
            match normalizing {
                Normalizing::Inside => "inside".to_owned(),
                Normalizing::Outside => "outside".to_owned(),
            },
        ),
        ("mean", json(trained.mean.into())),
        ("std", json(trained.std.into())),
    ];
    let takes = match normalizing {
        Normalizing::Inside => "pixel values from 0 to 1",
        Normalizing::Outside => "pixel values from 0 to 1, less the mean, divided by the deviation",
    };
    let graph = Graph {
        node: writer.nodes,
        name: "epnas".to_owned(),
        initializer: writer.tensors,
        input: vec![value(INPUT, image_dimensions(trained.network.input), takes)],
        output: vec![value(
            OUTPUT,
            vec![batch(), fixed(trained.network.classes)],
            "one number per class, the largest for the most likely; softmax makes them probabilities",
        )],
    };
    let entry = |(key, value): (&str, String)| Entry {
        key: key.to_owned(),
        value,
    };
    let model = Model {
        ir_version: IR_VERSION,
        producer_name: "epnas".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!("{}; takes {takes}", trained.architecture),
        graph: Some(graph),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata.into_iter().map(entry).collect(),
    };
    Ok(model.encode_to_vec())
}

#[derive(Default)]
struct Writer {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl Writer {
    fn tensor(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        self.tensors.push(Tensor {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        });
        name
    }

    fn node(&mut self, kind: &str, name: &str, input: Vec<String>, attribute: Vec<Attribute>) {
        self.nodes.push(Node {
            input,
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: kind.to_owned(),
            attribute,
        });
    }

    fn normalize(&mut self, mean: &[f32], std: &[f32]) {
        let dims = [1, mean.len(), 1, 1];
        let mean = self.tensor("normalize.mean".into(), &dims, mean);
        let std = self.tensor("normalize.std".into(), &dims, std);
        self.node(
            "Sub",
            "normalize.centered",
            vec![INPUT.into(), mean],
            vec![],
        );
        self.node(
            "Div",
            "normalize",
            vec!["normalize.centered".into(), std],
            vec![],
        );
    }

    fn operation(
        &mut self,
        operations: &[Operation],
        id: usize,
        operation: &Operation,
        normalizing: Normalizing,
    ) {
        let name_of = |id: usize| match (id, normalizing) {
            (0, Normalizing::Inside) => "normalize".to_owned(),
            (0, Normalizing::Outside) => INPUT.to_owned(),
            (id, _) if id + 1 == operations.len() => OUTPUT.to_owned(),
            (id, _) => operations[id].name.clone(),
        };
        let (name, mut inputs) = (
            name_of(id),
            operation
                .inputs
                .iter()
                .map(|&input| name_of(input))
                .collect::<Vec<_>>(),
        );
        match &operation.kind {
            Kind::Image => {}
            Kind::Concat => self.node("Concat", &name, inputs, vec![int("axis", 1)]),
            Kind::Conv(conv) => {
                let padding = conv.padding();
                self.conv(&name, inputs, conv, [padding; 4]);
            }
            Kind::Factorized(conv) => {
                let before = operations[operation.inputs[0]].shape;
                self.conv(
                    &name,
                    inputs,
                    conv,
                    [0, 0, before.height % 2, before.width % 2],
                );
            }
            Kind::BatchNorm(norm) => {
                let channels = [norm.scale.len()];
                for (suffix, values) in [
                    ("scale", &norm.scale),
                    ("shift", &norm.shift),
                    ("mean", &norm.mean),
                    ("variance", &norm.variance),
                ] {
                    inputs.push(self.tensor(format!("{name}.{suffix}"), &channels, values));
                }
                let epsilon = Attribute {
                    name: "epsilon".to_owned(),
                    f: Some(BN_EPSILON),
                    kind: AttributeType::Float as i32,
                    ..Attribute::default()
                };
                self.node("BatchNormalization", &name, inputs, vec![epsilon]);
            }
            Kind::Relu => self.node("Relu", &name, inputs, vec![]),
            Kind::Pool { kind, stride } => {
                let mut attributes = vec![
                    ints("kernel_shape", &[3, 3]),
                    ints("strides", &[*stride; 2]),
                    ints("pads", &[1; 4]),
                ];
                let operator = match kind {
                    PoolKind::Max => "MaxPool",
                    PoolKind::Avg => {
                        attributes.push(int("count_include_pad", 1));
                        "AveragePool"
                    }
                };
                self.node(operator, &name, inputs, attributes);
            }
            Kind::Add => self.node("Add", &name, inputs, vec![]),
            Kind::Average => {
                let pooled = format!("{name}.pooled");
                self.node("GlobalAveragePool", &pooled, inputs, vec![]);
                self.node("Flatten", &name, vec![pooled], vec![int("axis", 1)]);
            }
            Kind::Linear { weight, bias } => {
                let (classes, channels) = (bias.len(), weight.len() / bias.len().max(1));
                inputs.push(self.tensor("head.weight".into(), &[classes, channels], weight));
                inputs.push(self.tensor("head.bias".into(), &[classes], bias));
                self.node("Gemm", &name, inputs, vec![int("transB", 1)]);
            }
        }
    }

    fn conv(&mut self, name: &str, mut inputs: Vec<String>, conv: &Conv, pads: [usize; 4]) {
        let dims = [
            conv.outputs,
            conv.inputs / conv.groups,
            conv.kernel,
            conv.kernel,
        ];
        inputs.push(self.tensor(format!("{name}.weight"), &dims, &conv.weight));
        if !conv.bias.is_empty() {
            inputs.push(self.tensor(format!("{name}.bias"), &dims[..1], &conv.bias));
        }
        let attributes = vec![
            ints("kernel_shape", &[conv.kernel; 2]),
            ints("strides", &[conv.stride; 2]),
            ints("pads", &pads),
            int("group", conv.groups as i64),
        ];
        self.node("Conv", name, inputs, attributes);
    }
}

fn int(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: Some(value),
        kind: AttributeType::Int as i32,
        ..Attribute::default()
    }
}

fn ints(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.iter().map(|&value| value as i64).collect(),
        kind: AttributeType::Ints as i32,
        ..Attribute::default()
    }
}

fn value(name: &str, dim: Vec<Dimension>, doc: &str) -> ValueInfo {
    let tensor = TensorType {
        elem_type: FLOAT,
        shape: Some(TensorShape { dim }),
    };
    ValueInfo {
        name: name.to_owned(),
        kind: Some(Type {
            tensor_type: Some(tensor),
        }),
        doc_string: doc.to_owned(),
    }
}

fn image_dimensions(image: Shape) -> Vec<Dimension> {
    vec![
        batch(),
        fixed(image.channels),
        fixed(image.height),
        fixed(image.width),
    ]
}

fn batch() -> Dimension {
    Dimension {
        size: Some(Size::Name("batch".to_owned())),
    }
}

fn fixed(size: usize) -> Dimension {
    Dimension {
        size: Some(Size::Value(size as i64)),
    }
}
