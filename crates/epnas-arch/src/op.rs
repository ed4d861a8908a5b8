//! The operations a layer or a block can apply (Perez-Rua et al., 2018, section 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One operation of the search space.
///
/// Every operation keeps the number of channels and pads by half its kernel, so that at stride 1 it keeps
/// the resolution too. The order of the variants is the order of the encodings.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Op {
    /// Max pooling, 3x3.
    #[serde(rename = "max_pool_3x3")]
    MaxPool3x3,
    /// Average pooling, 3x3; the padding counts as zeros.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool3x3,
    /// Convolution 3x3, batch norm, ReLU.
    #[serde(rename = "conv_3x3")]
    Conv3x3,
    /// Convolution 5x5, batch norm, ReLU.
    #[serde(rename = "conv_5x5")]
    Conv5x5,
    /// Depthwise 3x3, pointwise 1x1, batch norm, ReLU.
    #[serde(rename = "dw_conv_3x3")]
    DwConv3x3,
    /// Depthwise 5x5, pointwise 1x1, batch norm, ReLU.
    #[serde(rename = "dw_conv_5x5")]
    DwConv5x5,
    /// The input itself; at stride 2 a factorized reduction.
    #[serde(rename = "identity")]
    Identity,
    /// Depthwise 7x7, pointwise 1x1, batch norm, ReLU.
    #[serde(rename = "dw_conv_7x7")]
    DwConv7x7,
}

impl Op {
    /// The six operations of the macro space.
    pub const MACRO: [Op; 6] = [
        Op::MaxPool3x3,
        Op::AvgPool3x3,
        Op::Conv3x3,
        Op::Conv5x5,
        Op::DwConv3x3,
        Op::DwConv5x5,
    ];

    /// The seven operations of the micro space: the six and the identity.
    pub const MICRO: [Op; 7] = [
        Op::MaxPool3x3,
        Op::AvgPool3x3,
        Op::Conv3x3,
        Op::Conv5x5,
        Op::DwConv3x3,
        Op::DwConv5x5,
        Op::Identity,
    ];

    /// The eight operations of the wide micro space. The published cardinality of 5e14 needs eight.
    pub const MICRO_WIDE: [Op; 8] = [
        Op::MaxPool3x3,
        Op::AvgPool3x3,
        Op::Conv3x3,
        Op::Conv5x5,
        Op::DwConv3x3,
        Op::DwConv5x5,
        Op::Identity,
        Op::DwConv7x7,
    ];

    /// The full name, as in JSON, genotypes and parameter paths: `conv_3x3`.
    pub fn name(self) -> &'static str {
        match self {
            Op::MaxPool3x3 => "max_pool_3x3",
            Op::AvgPool3x3 => "avg_pool_3x3",
            Op::Conv3x3 => "conv_3x3",
            Op::Conv5x5 => "conv_5x5",
            Op::DwConv3x3 => "dw_conv_3x3",
            Op::DwConv5x5 => "dw_conv_5x5",
            Op::Identity => "identity",
            Op::DwConv7x7 => "dw_conv_7x7",
        }
    }

    /// The two-letter code of the text form: `c3`.
    pub fn code(self) -> &'static str {
        match self {
            Op::MaxPool3x3 => "mp",
            Op::AvgPool3x3 => "ap",
            Op::Conv3x3 => "c3",
            Op::Conv5x5 => "c5",
            Op::DwConv3x3 => "d3",
            Op::DwConv5x5 => "d5",
            Op::Identity => "id",
            Op::DwConv7x7 => "d7",
        }
    }

    /// Side of the window in pixels; 1 for the identity.
    pub fn kernel(self) -> usize {
        match self {
            Op::MaxPool3x3 | Op::AvgPool3x3 | Op::Conv3x3 | Op::DwConv3x3 => 3,
            Op::Conv5x5 | Op::DwConv5x5 => 5,
            Op::DwConv7x7 => 7,
            Op::Identity => 1,
        }
    }

    /// Position in [`Op::MICRO_WIDE`]; the shorter lists are its beginnings, so it holds for them too.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The operation of this code or full name.
    pub fn parse(word: &str) -> Option<Op> {
        Op::MICRO_WIDE
            .into_iter()
            .find(|op| op.code() == word || op.name() == word)
    }
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
