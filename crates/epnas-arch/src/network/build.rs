//! Building the graph: the pieces that both spaces are made of.

use super::config::check_range;
use super::{
    Activation, DepthwiseKind, HeadSharing, Network, NetworkConfig, NetworkError, Node, NodeId,
    NodeKind, Param, ParamKind, PoolKind, Shape, macro_net, micro_net,
};
use crate::{Arch, Op};

impl Network {
    /// The network of an architecture, without its dead parts.
    ///
    /// `space_len` is the number of layers of a full-length macro architecture: it fixes where the
    /// resolution halves, for prefixes too. Micro networks do not use it. `input` is the shape of an image.
    ///
    /// # Errors
    /// When the architecture is ill-formed or longer than `space_len`, or when a size is out of range:
    /// images of 1 to 4096 pixels a side and 1 to 1024 channels, 1 to 1,000,000 classes.
    pub fn build(
        arch: &Arch,
        space_len: usize,
        config: &NetworkConfig,
        input: Shape,
        classes: usize,
    ) -> Result<Network, NetworkError> {
        check(arch, space_len, config, input)?;
        check_classes(classes)?;
        let (mut builder, image) = Builder::new(config, input);
        let stem = builder.conv("stem.conv", &[(image, "stem.conv")], 3, 1, config.channels);
        let stem = builder.batch_norm("stem.bn", stem, Activation::None);
        let last = match arch {
            Arch::Macro(arch) => macro_net::build(&mut builder, arch, space_len, stem),
            Arch::Micro(cell) => micro_net::build(&mut builder, cell, stem),
            Arch::Choices(_) => return Err(NetworkError::NoNetwork),
        };
        builder.head(&[last], arch.len(), classes);
        Ok(builder.finish(input, classes))
    }

    /// Shapes of the outputs H_1 to H_L of a macro network, or of the cells of a micro one, dead parts
    /// included.
    ///
    /// # Errors
    /// As [`Network::build`].
    pub fn layer_shapes(
        arch: &Arch,
        space_len: usize,
        config: &NetworkConfig,
        input: Shape,
    ) -> Result<Vec<Shape>, NetworkError> {
        check(arch, space_len, config, input)?;
        let stages: Vec<usize> = match arch {
            Arch::Macro(_) => (1..=arch.len())
                .map(|l| macro_net::reductions_before(l, space_len))
                .collect(),
            Arch::Micro(_) => micro_net::stages(config.cells_per_stage)
                .map(|cell| cell.reductions)
                .collect(),
            Arch::Choices(_) => return Err(NetworkError::NoNetwork),
        };
        let at = |reductions: usize| {
            (0..reductions)
                .fold(input, |shape, _| shape.strided(2))
                .with_channels(config.channels_at(reductions))
        };
        Ok(stages.into_iter().map(at).collect())
    }
}

fn check(
    arch: &Arch,
    space_len: usize,
    config: &NetworkConfig,
    input: Shape,
) -> Result<(), NetworkError> {
    arch.check()?;
    config.validate()?;
    check_input(input)?;
    match arch {
        Arch::Macro(arch) if arch.layers.len() > space_len => Err(NetworkError::Length {
            found: arch.layers.len(),
            limit: space_len,
        }),
        _ => Ok(()),
    }
}

pub(super) fn check_input(input: Shape) -> Result<(), NetworkError> {
    check_range("image height", input.height, 1, 4096)?;
    check_range("image width", input.width, 1, 4096)?;
    check_range("image channels", input.channels, 1, 1024)
}

pub(super) fn check_classes(classes: usize) -> Result<(), NetworkError> {
    check_range("classes", classes, 1, 1_000_000)
}

/// The graph under construction, dead parts still in it.
pub(super) struct Builder<'a> {
    pub(super) config: &'a NetworkConfig,
    nodes: Vec<Node>,
}

impl<'a> Builder<'a> {
    /// A graph of an image alone, and its node.
    pub(super) fn new(config: &'a NetworkConfig, input: Shape) -> (Self, NodeId) {
        let mut builder = Builder {
            config,
            nodes: Vec::new(),
        };
        let image = builder.push("input", NodeKind::Input, vec![], input);
        (builder, image)
    }

    /// A graph that goes on from these nodes.
    pub(super) fn of(config: &'a NetworkConfig, nodes: Vec<Node>) -> Self {
        Builder { config, nodes }
    }

    /// The nodes as they are.
    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// The network, whose head was added last.
    pub(super) fn finish(self, input: Shape, classes: usize) -> Network {
        Network {
            nodes: live(self.nodes),
            input,
            classes,
        }
    }

    fn push(
        &mut self,
        label: impl Into<String>,
        kind: NodeKind,
        inputs: Vec<NodeId>,
        shape: Shape,
    ) -> NodeId {
        self.nodes.push(Node {
            label: label.into(),
            kind,
            inputs,
            shape,
        });
        self.nodes.len() - 1
    }

    pub(super) fn shape(&self, node: NodeId) -> Shape {
        self.nodes[node].shape
    }

    /// A convolution over inputs, each with the path of its weight (less the final `.weight`). There is at
    /// least one input, and all have one size.
    pub(super) fn conv<P: AsRef<str>>(
        &mut self,
        label: &str,
        inputs: &[(NodeId, P)],
        kernel: usize,
        stride: usize,
        channels: usize,
    ) -> NodeId {
        let weights = inputs.iter().map(|(input, path)| {
            let shape = vec![kernel, kernel, self.shape(*input).channels, channels];
            param(
                format!("{}.weight", path.as_ref()),
                shape,
                ParamKind::ConvWeight,
            )
        });
        let kind = NodeKind::Conv {
            kernel,
            stride,
            weights: weights.collect(),
        };
        let ids: Vec<NodeId> = inputs.iter().map(|(input, _)| *input).collect();
        let shape = self.shape(ids[0]).strided(stride).with_channels(channels);
        self.push(label, kind, ids, shape)
    }

    /// Batch norm; `path` is the label and, with `.scale` and so on, the parameters' path.
    pub(super) fn batch_norm(
        &mut self,
        path: &str,
        input: NodeId,
        activation: Activation,
    ) -> NodeId {
        let shape = self.shape(input);
        let of = |name: &str, kind| param(format!("{path}.{name}"), vec![shape.channels], kind);
        let kind = NodeKind::BatchNorm {
            scale: of("scale", ParamKind::BnScale),
            shift: of("shift", ParamKind::BnShift),
            mean: of("mean", ParamKind::BnMean),
            variance: of("variance", ParamKind::BnVariance),
            activation,
        };
        self.push(path, kind, vec![input], shape)
    }

    pub(super) fn pool(
        &mut self,
        label: &str,
        input: NodeId,
        kind: PoolKind,
        stride: usize,
    ) -> NodeId {
        let shape = self.shape(input).strided(stride);
        self.push(label, NodeKind::Pool { kind, stride }, vec![input], shape)
    }

    /// Factorized reduction to `channels`, then batch norm.
    pub(super) fn factorized(&mut self, path: &str, input: NodeId, channels: usize) -> NodeId {
        let from = self.shape(input);
        let half = |name: &str, to: usize| {
            let shape = vec![1, 1, from.channels, to];
            param(
                format!("{path}.{name}.weight"),
                shape,
                ParamKind::ConvWeight,
            )
        };
        let weights = [
            half("first", channels.div_ceil(2)),
            half("second", channels / 2),
        ];
        let shape = from.strided(2).with_channels(channels);
        let conv = self.push(
            path,
            NodeKind::FactorizedConv { weights },
            vec![input],
            shape,
        );
        self.batch_norm(&format!("{path}.bn"), conv, Activation::None)
    }

    pub(super) fn add(&mut self, label: &str, a: NodeId, b: NodeId) -> NodeId {
        let shape = self.shape(a);
        self.push(label, NodeKind::Add, vec![a, b], shape)
    }

    pub(super) fn relu(&mut self, label: &str, input: NodeId) -> NodeId {
        let shape = self.shape(input);
        self.push(label, NodeKind::Relu, vec![input], shape)
    }

    /// An operation of the space at a stride of 1 or 2. It keeps the channels. The identity at stride 1 is
    /// its input, without a node.
    pub(super) fn op(&mut self, path: &str, op: Op, input: NodeId, stride: usize) -> NodeId {
        let (kernel, channels) = (op.kernel(), self.shape(input).channels);
        let convolved = match op {
            Op::MaxPool3x3 => return self.pool(path, input, PoolKind::Max, stride),
            Op::AvgPool3x3 => return self.pool(path, input, PoolKind::Avg, stride),
            Op::Identity if stride == 1 => return input,
            Op::Identity => return self.factorized(path, input, channels),
            Op::Conv3x3 | Op::Conv5x5 => {
                self.conv(path, &[(input, path)], kernel, stride, channels)
            }
            Op::DwConv3x3 | Op::DwConv5x5 | Op::DwConv7x7 => {
                self.depthwise(path, input, kernel, stride)
            }
        };
        self.batch_norm(&format!("{path}.bn"), convolved, Activation::Relu)
    }

    fn depthwise(&mut self, path: &str, input: NodeId, kernel: usize, stride: usize) -> NodeId {
        let from = self.shape(input);
        let label = format!("{path}.depthwise");
        let shape = vec![kernel, kernel, from.channels];
        let weight = param(format!("{label}.weight"), shape, ParamKind::DepthwiseWeight);
        let kind = NodeKind::Depthwise {
            kernel,
            stride,
            weight,
        };
        let depthwise = self.push(label, kind, vec![input], from.strided(stride));
        match self.config.depthwise {
            DepthwiseKind::Pure => depthwise,
            DepthwiseKind::Separable => {
                let pointwise = format!("{path}.pointwise");
                self.conv(&pointwise, &[(depthwise, &pointwise)], 1, 1, from.channels)
            }
        }
    }

    /// The head over one input or more; `depth` names it where depths do not share it.
    pub(super) fn head(&mut self, inputs: &[NodeId], depth: usize, classes: usize) -> NodeId {
        let path = match self.config.head {
            HeadSharing::Shared => "head".to_owned(),
            HeadSharing::PerDepth => format!("head.{depth}"),
        };
        self.head_at(&path, inputs, classes)
    }

    /// A head of this path.
    pub(super) fn head_at(&mut self, path: &str, inputs: &[NodeId], classes: usize) -> NodeId {
        let channels = inputs.iter().map(|&input| self.shape(input).channels);
        let shape = vec![channels.sum(), classes];
        let kind = NodeKind::Head {
            weight: param(format!("{path}.weight"), shape, ParamKind::LinearWeight),
            bias: param(format!("{path}.bias"), vec![classes], ParamKind::LinearBias),
        };
        self.push(path, kind, inputs.to_vec(), Shape::new(1, 1, classes))
    }
}

fn param(path: String, shape: Vec<usize>, kind: ParamKind) -> Param {
    Param { path, shape, kind }
}

/// The nodes that the last one depends on, renumbered, in their order.
fn live(nodes: Vec<Node>) -> Vec<Node> {
    let mut alive = vec![false; nodes.len()];
    if let Some(last) = alive.last_mut() {
        *last = true;
    }
    // Inputs come before their readers, so one pass from the end marks all.
    for (id, node) in nodes.iter().enumerate().rev() {
        if alive[id] {
            node.inputs.iter().for_each(|&input| alive[input] = true);
        }
    }
    let numbers: Vec<NodeId> = alive
        .iter()
        .scan(0, |next, &alive| {
            let number = *next;
            *next += usize::from(alive);
            Some(number)
        })
        .collect();
    let renumber = |mut node: Node| {
        node.inputs
            .iter_mut()
            .for_each(|input| *input = numbers[*input]);
        node
    };
    nodes
        .into_iter()
        .zip(&alive)
        .filter(|(_, alive)| **alive)
        .map(|(node, _)| renumber(node))
        .collect()
}
