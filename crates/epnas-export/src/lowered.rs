//! The network with its weights as other programs lay them out.
//!
//! A convolution over several sources becomes a concatenation of the sources and one convolution, whose weight is that of
//! the slices put together: the sum over sources of slice and source is the same.

use std::borrow::Cow;

use epnas_arch::{Activation, NodeKind, Param, PoolKind, Shape};

use crate::{ExportError, Trained};

/// The number added to variances by batch norm.
pub const BN_EPSILON: f32 = 1e-5;

/// A convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// `[out, in / groups, kernel, kernel]`, row-major.
    pub weight: Vec<f32>,
    /// `[out]`; empty without.
    pub bias: Vec<f32>,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the window.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// 1, or as many as channels.
    pub groups: usize,
}

impl Conv {
    /// Zeros around the image, on each side.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.kernel / 2
    }
}

/// A batch norm as it evaluates; each `[channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Factor.
    pub scale: Vec<f32>,
    /// Term.
    pub shift: Vec<f32>,
    /// Running mean.
    pub mean: Vec<f32>,
    /// Running variance.
    pub variance: Vec<f32>,
}

/// What an operation computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The image.
    Image,
    /// The inputs' channels, one after the other.
    Concat,
    /// A convolution with half-kernel padding.
    Conv(Conv),
    /// A 2x2 convolution of stride 2 without padding but for a row or column of zeros after an odd side. Of its weight only
    /// the first output channels' top left and the others' bottom right are not zero: a factorized reduction.
    Factorized(Conv),
    /// A batch norm.
    BatchNorm(BatchNorm),
    /// max(x, 0).
    Relu,
    /// Pooling over 3x3 with padding 1.
    Pool {
        /// Which.
        kind: PoolKind,
        /// 1 or 2.
        stride: usize,
    },
    /// Sum of two.
    Add,
    /// Average over all pixels.
    Average,
    /// A linear layer.
    Linear {
        /// `[classes, channels]`, row-major.
        weight: Vec<f32>,
        /// `[classes]`.
        bias: Vec<f32>,
    },
}

/// An operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// A unique name: that of the node, with a suffix where a node becomes several operations.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    /// Positions of what it reads, all before it.
    pub inputs: Vec<usize>,
    /// What it gives.
    pub shape: Shape,
}

/// The operations of a network in an order in which they can be computed: first the image, last the logits.
///
/// # Errors
/// [`ExportError`] for weights that are missing or of another size, and for a graph with other nodes than networks have.
pub fn lower(trained: &Trained<'_>) -> Result<Vec<Operation>, ExportError> {
    trained.check()?;
    let mut lowering = Lowering {
        trained,
        operations: Vec::new(),
        of_node: Vec::new(),
    };
    for node in &trained.network.nodes {
        let operation = lowering.node(node)?;
        lowering.of_node.push(operation);
    }
    Ok(lowering.operations)
}

/// How many operations read each.
pub(crate) fn readers(operations: &[Operation]) -> Vec<usize> {
    let mut readers = vec![0; operations.len()];
    for &input in operations.iter().flat_map(|operation| &operation.inputs) {
        readers[input] += 1;
    }
    readers
}

struct Lowering<'a> {
    trained: &'a Trained<'a>,
    operations: Vec<Operation>,
    /// The operation that gives what a node gives.
    of_node: Vec<usize>,
}

impl Lowering<'_> {
    fn push(
        &mut self,
        name: impl Into<String>,
        kind: Kind,
        inputs: Vec<usize>,
        shape: Shape,
    ) -> usize {
        self.operations.push(Operation {
            name: name.into(),
            kind,
            inputs,
            shape,
        });
        self.operations.len() - 1
    }

    fn node(&mut self, node: &epnas_arch::Node) -> Result<usize, ExportError> {
        let (label, shape) = (&node.label, node.shape);
        let inputs: Vec<usize> = node
            .inputs
            .iter()
            .map(|&input| self.of_node[input])
            .collect();
        Ok(match &node.kind {
            NodeKind::Input => self.push("image", Kind::Image, inputs, shape),
            NodeKind::Conv {
                kernel,
                stride,
                weights,
            } => {
                let conv = self.conv(*kernel, *stride, weights)?;
                let input = self.joined(label, &inputs);
                self.push(label, Kind::Conv(conv), vec![input], shape)
            }
            NodeKind::Depthwise {
                kernel,
                stride,
                weight,
            } => {
                let channels = shape.channels;
                let conv = Conv {
                    weight: transposed(&self.trained.values(weight)?, kernel * kernel, channels),
                    bias: Vec::new(),
                    inputs: channels,
                    outputs: channels,
                    kernel: *kernel,
                    stride: *stride,
                    groups: channels,
                };
                self.push(label, Kind::Conv(conv), inputs, shape)
            }
            NodeKind::FactorizedConv { weights } => {
                let conv = self.factorized(weights)?;
                self.push(label, Kind::Factorized(conv), inputs, shape)
            }
            NodeKind::BatchNorm {
                scale,
                shift,
                mean,
                variance,
                activation,
            } => {
                let values = |param| self.trained.values(param);
                let norm = BatchNorm {
                    scale: values(scale)?,
                    shift: values(shift)?,
                    mean: values(mean)?,
                    variance: values(variance)?,
                };
                let norm = self.push(label, Kind::BatchNorm(norm), inputs, shape);
                match activation {
                    Activation::None => norm,
                    Activation::Relu => {
                        self.push(format!("{label}.relu"), Kind::Relu, vec![norm], shape)
                    }
                }
            }
            NodeKind::Pool { kind, stride } => {
                let kind = Kind::Pool {
                    kind: *kind,
                    stride: *stride,
                };
                self.push(label, kind, inputs, shape)
            }
            NodeKind::Add => self.push(label, Kind::Add, inputs, shape),
            NodeKind::Relu => self.push(label, Kind::Relu, inputs, shape),
            NodeKind::Head { weight, bias } => {
                let input = self.joined(label, &inputs);
                let channels = self.operations[input].shape.channels;
                let average = Shape::new(1, 1, channels);
                let name = format!("{label}.average");
                let average = self.push(name, Kind::Average, vec![input], average);
                let linear = Kind::Linear {
                    weight: transposed(&self.trained.values(weight)?, channels, shape.channels),
                    bias: self.trained.values(bias)?,
                };
                self.push(label, linear, vec![average], shape)
            }
        })
    }

    /// The inputs' channels one after the other.
    fn joined(&mut self, label: &str, inputs: &[usize]) -> usize {
        if let [only] = inputs {
            return *only;
        }
        let channels = inputs
            .iter()
            .map(|&input| self.operations[input].shape.channels);
        let shape = self.operations[inputs[0]]
            .shape
            .with_channels(channels.sum());
        self.push(
            format!("{label}.concat"),
            Kind::Concat,
            inputs.to_vec(),
            shape,
        )
    }

    fn conv(&self, kernel: usize, stride: usize, weights: &[Param]) -> Result<Conv, ExportError> {
        let outputs = weights[0].shape[3];
        let inputs: usize = weights.iter().map(|weight| weight.shape[2]).sum();
        // [kernel * kernel, inputs, outputs] of each slice into rows of all inputs.
        let mut joined = vec![0.0; kernel * kernel * inputs * outputs];
        let mut before = 0;
        for param in weights {
            let (values, own) = (self.trained.values(param)?, param.shape[2]);
            for (tap, slice) in values.chunks_exact(own * outputs).enumerate() {
                let start = (tap * inputs + before) * outputs;
                joined[start..start + own * outputs].copy_from_slice(slice);
            }
            before += own;
        }
        Ok(Conv {
            weight: out_first(&joined, kernel * kernel, inputs, outputs),
            bias: Vec::new(),
            inputs,
            outputs,
            kernel,
            stride,
            groups: 1,
        })
    }

    fn factorized(&self, weights: &[Param; 2]) -> Result<Conv, ExportError> {
        let inputs = weights[0].shape[2];
        let outputs: usize = weights.iter().map(|weight| weight.shape[3]).sum();
        let mut weight = vec![0.0; outputs * inputs * 4];
        let mut before = 0;
        // Top left, bottom right.
        for (param, tap) in weights.iter().zip([0, 3]) {
            let (values, own) = (self.trained.values(param)?, param.shape[3]);
            for input in 0..inputs {
                for output in 0..own {
                    let to = ((before + output) * inputs + input) * 4 + tap;
                    weight[to] = values[input * own + output];
                }
            }
            before += own;
        }
        Ok(Conv {
            weight,
            bias: Vec::new(),
            inputs,
            outputs,
            kernel: 2,
            stride: 2,
            groups: 1,
        })
    }
}

/// `[taps, inputs, outputs]` as `[outputs, inputs, taps]`.
fn out_first(values: &[f32], taps: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    for tap in 0..taps {
        for input in 0..inputs {
            for output in 0..outputs {
                turned[(output * inputs + input) * taps + tap] =
                    values[(tap * inputs + input) * outputs + output];
            }
        }
    }
    turned
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    out_first(values, rows, 1, columns)
}

/// A name that programming languages take: dots and signs become underscores.
pub(crate) fn identifier(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name.chars().all(plain) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(
            name.replace('-', "m")
                .chars()
                .map(|c| if plain(c) { c } else { '_' })
                .collect(),
        ),
    }
}
