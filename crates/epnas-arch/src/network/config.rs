//! How an architecture becomes a network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NetworkError;

/// Channels over the stages of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageChannels {
    /// The same everywhere.
    #[default]
    Constant,
    /// Doubled each time the resolution halves.
    Double,
}

/// How a macro network halves the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Downsample {
    /// Max pooling 3x3 of stride 2, without parameters (Perez-Rua et al., 2018, figure 4).
    #[default]
    MaxPool,
    /// Factorized reduction and batch norm, with parameters of its own for each source (ENAS).
    FactorizedReduction,
}

/// What a depthwise operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DepthwiseKind {
    /// Depthwise, then pointwise 1x1, then batch norm and ReLU (ENAS).
    #[default]
    Separable,
    /// Depthwise alone, then batch norm and ReLU.
    Pure,
}

/// Whether networks of different depths share the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadSharing {
    /// One head for all.
    #[default]
    Shared,
    /// One head per number of layers or blocks.
    PerDepth,
}

/// Which operations share weights (Perez-Rua et al., 2018, section 4, footnote 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// The same operation at the same place: layer, or cell, block and slot.
    #[default]
    Op,
    /// The same operation at the same place with the same source, or set of sources.
    OpAndSource,
}

/// How an architecture becomes a network. It is independent of the space, so a found architecture can be
/// built wider or deeper than it was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Channels of the stem and the first stage. Default 24, range 1 to 4096.
    pub channels: usize,
    /// Normal cells before, between and after the two reductions of a micro network: 2 makes 8 cells, 3
    /// makes 11. Not used by macro networks. Default 2, range 1 to 32.
    pub cells_per_stage: usize,
    /// Channels over the stages. `constant`: the same everywhere; `double`: doubled each time the
    /// resolution halves. Default `constant`.
    pub stage_channels: StageChannels,
    /// How a macro network halves the resolution. `max_pool`: without parameters; `factorized_reduction`:
    /// with parameters. Not used by micro networks. Default `max_pool`.
    pub downsample: Downsample,
    /// What a depthwise operation is. `separable`: followed by a pointwise convolution; `pure`: alone.
    /// Default `separable`.
    pub depthwise: DepthwiseKind,
    /// Whether networks of different depths share the head: `shared` or `per_depth`. Default `shared`.
    pub head: HeadSharing,
    /// Which operations share weights. `op`: the same operation at the same place; `op_and_source`: with
    /// the same source too. Default `op`.
    pub sharing: Sharing,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            channels: 24,
            cells_per_stage: 2,
            stage_channels: StageChannels::Constant,
            downsample: Downsample::MaxPool,
            depthwise: DepthwiseKind::Separable,
            head: HeadSharing::Shared,
            sharing: Sharing::Op,
        }
    }
}

impl NetworkConfig {
    /// Checks the ranges that the fields state.
    ///
    /// # Errors
    /// [`NetworkError::Range`] with the key, its value and its range.
    pub fn validate(&self) -> Result<(), NetworkError> {
        check_range("network.channels", self.channels, 1, 4096)?;
        check_range("network.cells_per_stage", self.cells_per_stage, 1, 32)
    }

    /// Channels after `reductions` halvings of the resolution.
    pub(super) fn channels_at(&self, reductions: usize) -> usize {
        match self.stage_channels {
            StageChannels::Constant => self.channels,
            StageChannels::Double => self.channels << reductions,
        }
    }
}

pub(super) fn check_range(
    name: &'static str,
    found: usize,
    min: usize,
    max: usize,
) -> Result<(), NetworkError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(NetworkError::Range {
        name,
        found,
        min,
        max,
    })
}
