//! The `[training]` and `[train]` sections: recipes that start from a preset and override single keys.

use epnas_arch::StageChannels;
use epnas_supernet::TrainConfig;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use crate::settings::overlay;

/// A recipe to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// SGD, batch 128, learning rate 0.05, 3 epochs.
    Fast,
    /// SGD, batch 32, learning rate 0.025, 3 epochs, after NASNet.
    Nasnet,
    /// Adam at 1e-3 with cosine restarts of 1 and 2 epochs, after related code of the paper's authors.
    Mfas,
    /// Learning rate, batch and schedule of NASNet over 600 epochs, the last one counting: for the final network.
    /// NASNet's auxiliary head and scheduled drop-path are not part of it yet.
    Scratch,
}

impl Preset {
    /// The recipe with all its values.
    #[must_use]
    pub fn recipe(self) -> TrainConfig {
        match self {
            Preset::Fast => TrainConfig::fast(),
            Preset::Nasnet => TrainConfig::nasnet(),
            Preset::Mfas => TrainConfig::mfas(),
            Preset::Scratch => TrainConfig::scratch(),
        }
    }
}

/// How each child is trained.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The recipe that all other keys of this section default to: "fast" (default), "nasnet", "mfas" or "scratch". The
    /// defaults named at the keys are those of "fast".
    pub preset: Preset,
    /// The values in force.
    #[serde(flatten)]
    pub recipe: TrainConfig,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            preset: Preset::Fast,
            recipe: Preset::Fast.recipe(),
        }
    }
}

impl<'de> Deserialize<'de> for TrainingConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Table::deserialize(deserializer)?;
        let (preset, recipe) = take_recipe(given, Preset::Fast).map_err(D::Error::custom)?;
        Ok(Self { preset, recipe })
    }
}

/// Which images the final network learns from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// All training images, those that validated the search included.
    #[default]
    All,
    /// Only the training part, without the images that validated the search.
    Training,
}

/// The size of the final network and what it learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FinalNetwork {
    /// Channels. Default none: 200 in the macro space and 96 in the micro space, as in the paper; range 1 to 4096.
    pub channels: Option<usize>,
    /// Cells per stage, for the micro space. Default 3, range 1 to 32.
    pub cells_per_stage: usize,
    /// "constant" (default) or "double": twice the channels after each reduction.
    pub stage_channels: StageChannels,
    /// "all" (default): every training image, the validation part included; or "training": only the training part.
    pub images: TrainOn,
}

impl Default for FinalNetwork {
    fn default() -> Self {
        Self {
            channels: None,
            cells_per_stage: 3,
            stage_channels: StageChannels::Constant,
            images: TrainOn::All,
        }
    }
}

const NETWORK_KEYS: [&str; 4] = ["channels", "cells_per_stage", "stage_channels", "images"];

/// How the found network is trained from scratch.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinalConfig {
    /// The recipe that the training keys of this section default to: "scratch" (default: that of "nasnet" over 600
    /// epochs, the last one counting), "fast", "nasnet" or "mfas". The auxiliary head and the scheduled drop-path that
    /// NASNet's authors train with are not included in any of them yet.
    pub preset: Preset,
    /// Size and images.
    #[serde(flatten)]
    pub network: FinalNetwork,
    /// The values in force.
    #[serde(flatten)]
    pub recipe: TrainConfig,
}

impl Default for FinalConfig {
    fn default() -> Self {
        Self {
            preset: Preset::Scratch,
            network: FinalNetwork::default(),
            recipe: Preset::Scratch.recipe(),
        }
    }
}

impl<'de> Deserialize<'de> for FinalConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut given = Table::deserialize(deserializer)?;
        let network: Table = NETWORK_KEYS
            .iter()
            .filter_map(|&key| given.remove_entry(key))
            .collect();
        let network = network.try_into().map_err(D::Error::custom)?;
        let (preset, recipe) = take_recipe(given, Preset::Scratch).map_err(D::Error::custom)?;
        Ok(Self {
            preset,
            network,
            recipe,
        })
    }
}

/// The preset of a section and its recipe with the keys that the section overrides.
fn take_recipe(
    mut given: Table,
    default: Preset,
) -> Result<(Preset, TrainConfig), toml::de::Error> {
    let preset = match given.remove("preset") {
        Some(word) => word.try_into()?,
        None => default,
    };
    let mut table = Table::try_from(preset.recipe()).map_err(toml::de::Error::custom)?;
    overlay(&mut table, given);
    Ok((preset, table.try_into()?))
}
