//! The one definition of a network: a static graph of operations with named parameters.
//!
//! Search, training from scratch, counting, drawing and export all read this graph, so there is no second
//! definition that could disagree. A graph has only what the output depends on: a layer, cell or calibration
//! that nobody reads is not in it, and so is neither built, trained nor counted.
//!
//! # Structure (Perez-Rua et al., 2018, section 3)
//! - **Stem**: convolution 3x3 and batch norm, no ReLU. Its output is H_0.
//! - **Macro layer**: a 1x1 convolution over its sources (one weight slice per source), batch norm, ReLU,
//!   then the operation at stride 1. After layers floor(L/3) and 2 floor(L/3) the resolution halves (never
//!   when L < 3), where L is the full length of the space even when the network is a prefix. A source read
//!   across such a boundary is pooled once and shared by all its readers.
//! - **Micro network**: n cells, reduction, n cells, reduction, n cells. A reduction has stride 2 on the
//!   operations that read earlier cells; a strided identity is a factorized reduction. The cell before the
//!   previous one is calibrated by a factorized reduction when it lies before a reduction that the previous
//!   one comes after, and by a 1x1 convolution when only its channels differ; neither has a ReLU. The output
//!   of a cell is a 1x1 convolution over the blocks that no other block reads, batch norm, ReLU.
//! - **Head**: global average and a linear layer.
//!
//! Padding is half the kernel everywhere, convolutions have no bias, and an output at stride 2 measures
//! ceil(h / 2).
//!
//! # Names
//! A parameter's path is its identity: two networks that name the same path share that tensor.
//!
//! | path | what |
//! |---|---|
//! | `stem.conv.weight`, `stem.bn.*` | stem |
//! | `layer.{l}.in.{j}.weight`, `layer.{l}.in.bn.*` | slice of layer l for source j, its batch norm |
//! | `layer.{l}.{op}.weight`, or `.depthwise.weight` and `.pointwise.weight`; `.bn.*` | operation of layer l |
//! | `pool.{1 or 2}.{j}.first.weight`, `.second.weight`, `.bn.*` | H_j at a boundary, when factorized |
//! | `cell.{c}.calibrate.{-2 or -1}.*` | calibration of an earlier cell |
//! | `cell.{c}.block.{b}.{0 or 1}.{op}.*` | operation of a block |
//! | `cell.{c}.out.{b}.weight`, `cell.{c}.out.bn.*` | slice of a cell's output for block b |
//! | `head.weight`, `head.bias`, or `head.{depth}.*` | head |
//! | `auxiliary.*` | an auxiliary head, in training only |
//!
//! Hand-made networks have paths of their own, under `stage.{s}` and `dense.{b}`: see [`HandMade`].
//!
//! With [`Sharing::OpAndSource`], `.from_{sources}` follows `{op}`, and `in` before `.bn`.

mod auxiliary;
mod build;
mod config;
mod count;
mod densenet;
mod hand_made;
mod macro_net;
mod micro_net;
mod resnet;

pub use config::{DepthwiseKind, Downsample, HeadSharing, NetworkConfig, Sharing, StageChannels};
pub use hand_made::{DenseForm, HandMade, ParseHandMadeError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ArchError;

/// Height, width and channels of the image or feature map that a node gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// A shape of these sizes.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Shape {
            height,
            width,
            channels,
        }
    }

    /// Number of pixels: height times width.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Number of values: pixels times channels.
    pub fn len(self) -> usize {
        self.pixels() * self.channels
    }

    /// Whether there is no value.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The shape after an operation of this stride and half-kernel padding: each side divided, rounded up.
    #[must_use]
    pub fn strided(self, stride: usize) -> Self {
        Shape {
            height: self.height.div_ceil(stride),
            width: self.width.div_ceil(stride),
            ..self
        }
    }

    /// The same size with other channels.
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        Shape { channels, ..self }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// What a parameter is, and so how its values are laid out, initialized and trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    /// Convolution, `[kernel, kernel, in, out]`.
    ConvWeight,
    /// Depthwise convolution, `[kernel, kernel, channels]`.
    DepthwiseWeight,
    /// Linear layer, `[channels, classes]`.
    LinearWeight,
    /// Linear layer, `[classes]`.
    LinearBias,
    /// Batch norm factor, `[channels]`.
    BnScale,
    /// Batch norm term, `[channels]`.
    BnShift,
    /// Running mean, `[channels]`: a buffer.
    BnMean,
    /// Running variance, `[channels]`: a buffer.
    BnVariance,
}

impl ParamKind {
    /// Whether training changes it by gradient. The running statistics are saved with the weights but are
    /// neither trained nor counted.
    pub fn is_trainable(self) -> bool {
        !matches!(self, ParamKind::BnMean | ParamKind::BnVariance)
    }
}

/// One named tensor of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its identity: see the [module](self).
    pub path: String,
    /// Its dimensions, as its kind lays them out.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: ParamKind,
}

impl Param {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Position of a node in [`Network::nodes`].
pub type NodeId = usize;

/// What follows a batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
}

/// Which pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The greatest value; padding never wins.
    Max,
    /// The sum over nine: padding counts as zeros.
    Avg,
}

/// One operation of the graph and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// The image.
    Input,
    /// Convolution without bias: the sum over the inputs of each convolved with its own slice, which equals one
    /// convolution of their concatenation.
    Conv {
        /// Side of the window.
        kernel: usize,
        /// 1 or 2.
        stride: usize,
        /// One per input, `[kernel, kernel, in, out]`.
        weights: Vec<Param>,
    },
    /// Depthwise convolution without bias.
    Depthwise {
        /// Side of the window.
        kernel: usize,
        /// 1 or 2.
        stride: usize,
        /// `[kernel, kernel, channels]`.
        weight: Param,
    },
    /// Factorized reduction: two 1x1 convolutions of stride 2, concatenated. The first gives ceil(out / 2)
    /// channels and reads the pixels (2i, 2j), the second gives the rest and reads (2i + 1, 2j + 1), zero
    /// beyond the edge.
    FactorizedConv {
        /// `[1, 1, in, ceil(out / 2)]` and `[1, 1, in, floor(out / 2)]`.
        weights: [Param; 2],
    },
    /// Batch norm and what follows it.
    BatchNorm {
        /// Factor, `[channels]`.
        scale: Param,
        /// Term, `[channels]`.
        shift: Param,
        /// Running mean, `[channels]`.
        mean: Param,
        /// Running variance, `[channels]`.
        variance: Param,
        /// What follows.
        activation: Activation,
    },
    /// Pooling over 3x3 with padding 1.
    Pool {
        /// Which.
        kind: PoolKind,
        /// 1 or 2.
        stride: usize,
    },
    /// Sum of two inputs, which may be one and the same node.
    Add,
    /// max(x, 0).
    Relu,
    /// Average over all pixels, then a linear layer: the logits. Several inputs are read as their concatenation.
    Head {
        /// `[channels of all inputs, classes]`.
        weight: Param,
        /// `[classes]`.
        bias: Param,
    },
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// A unique readable name: `layer.3.conv_3x3`.
    pub label: String,
    /// What it computes.
    pub kind: NodeKind,
    /// What it reads, all before it.
    pub inputs: Vec<NodeId>,
    /// What it gives; the head gives `1x1xclasses`.
    pub shape: Shape,
}

/// A network as a static graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The nodes in an order in which they can be computed: first the input, last the head. Each of them
    /// reaches the head.
    pub nodes: Vec<Node>,
    /// Shape of the image.
    pub input: Shape,
    /// Number of classes.
    pub classes: usize,
}

/// Why a network cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// An ill-formed architecture.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// A value that is out of range.
    #[error("{name} = {found} is out of range, expected {min} to {max}")]
    Range {
        /// What it is.
        name: &'static str,
        /// Its value.
        found: usize,
        /// The least.
        min: usize,
        /// The greatest.
        max: usize,
    },
    /// A row of a table.
    #[error("an architecture of plain choices has no network")]
    NoNetwork,
    /// A macro architecture longer than the space it is said to be of.
    #[error("the architecture has {found} layers, expected at most the {limit} of the space")]
    Length {
        /// Its layers.
        found: usize,
        /// The full length.
        limit: usize,
    },
    /// A depth that a hand-made network cannot have.
    #[error("a {family} has a depth of {expected}, found {found}")]
    Depth {
        /// `ResNet`, `DenseNet` or `DenseNet-BC`.
        family: &'static str,
        /// The depth.
        found: usize,
        /// Which depths there are.
        expected: &'static str,
    },
    /// A network without a place for an auxiliary head.
    #[error(
        "this network has no place for an auxiliary head: that takes two layers or cells at least, and networks made by \
         hand have none"
    )]
    NoAuxiliaryHead,
}
