//! The `[training]` and `[train]` sections: recipes that start from a preset and override single keys.

use epnas_arch::StageChannels;
use epnas_supernet::TrainConfig;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use crate::settings::overlay;

/// A recipe for children to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// SGD, batch 128, learning rate 0.05, 3 epochs.
    Fast,
    /// SGD, batch 32, learning rate 0.025, 3 epochs, after NASNet.
    Nasnet,
    /// Adam at 1e-3 with cosine restarts of 1 and 2 epochs, after related code of the paper's authors.
    Mfas,
}

impl Preset {
    /// The recipe with all its values.
    #[must_use]
    pub fn recipe(self) -> TrainConfig {
        match self {
            Preset::Fast => TrainConfig::fast(),
            Preset::Nasnet => TrainConfig::nasnet(),
            Preset::Mfas => TrainConfig::mfas(),
        }
    }
}

/// A recipe for the final network to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinalPreset {
    /// 30 epochs: one rise to a high learning rate and a cosine to zero, Nesterov momentum, label smoothing, cutout, and
    /// averaged weights.
    Fast,
    /// The paper's: 600 epochs of NASNet's recipe; in the micro space with auxiliary head and drop-path.
    Paper,
}

impl FinalPreset {
    /// The recipe with all its values.
    #[must_use]
    pub fn recipe(self) -> TrainConfig {
        match self {
            FinalPreset::Fast => TrainConfig::one_cycle(),
            FinalPreset::Paper => TrainConfig::paper(),
        }
    }
}

/// How each child is trained.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The recipe that all other keys of this section default to: "fast" (default), "nasnet" or "mfas". Setting another takes
    /// all keys from it.
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
        let (preset, recipe) =
            take_recipe(given, Preset::Fast, Preset::recipe).map_err(D::Error::custom)?;
        Ok(Self { preset, recipe })
    }
}

/// Which images the final network learns from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// Only the training part, without the images that validated the search: they validate this training too.
    #[default]
    Training,
    /// All training images, those that validated the search included; nothing is left to validate on.
    All,
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
    /// "training" (default): only the training part, so that the validation part tells how it goes; or "all": every
    /// training image. Test images are never among them.
    pub images: TrainOn,
    /// How often the network is trained, each time from other seeds, for mean and spread. Default 1, range 1 to 100.
    pub seeds: usize,
    /// Weight of the loss of an auxiliary head, in training only; 0 for none. Default: with the preset "paper" 0.4 in the
    /// micro space, else 0. Networks made by hand have no place for one.
    pub auxiliary_head: Option<f64>,
    /// Probability that a branch of a sum is left out for an image at the last step, growing from 0; from 0 to below 1.
    /// Default: with the preset "paper" 0.4 in the micro space, else 0. Macro networks have no sums.
    pub drop_path: Option<f64>,
    /// Mixes images and targets in pairs, with shares from a beta distribution with this parameter. Default 0 for off;
    /// 0.2 is usual.
    pub mixup: f64,
    /// Decay of the moving average of the weights, which is validated and kept; from 0 (off) to below 1. Default: 0.999
    /// with the preset "fast", 0 with "paper".
    pub ema: Option<f64>,
}

impl Default for FinalNetwork {
    fn default() -> Self {
        Self {
            channels: None,
            cells_per_stage: 3,
            stage_channels: StageChannels::Constant,
            images: TrainOn::Training,
            seeds: 1,
            auxiliary_head: None,
            drop_path: None,
            mixup: 0.0,
            ema: None,
        }
    }
}

const NETWORK_KEYS: [&str; 9] = [
    "channels",
    "cells_per_stage",
    "stage_channels",
    "images",
    "seeds",
    "auxiliary_head",
    "drop_path",
    "mixup",
    "ema",
];

/// How the found network is trained from scratch.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FinalConfig {
    /// The recipe that the training keys of this section default to: "fast" (default: 30 epochs, warm-up and cosine,
    /// Nesterov momentum, label smoothing, cutout, averaged weights) or "paper" (600 epochs as NASNet trains).  Setting another preset takes all keys from it but size, images and seeds.
    pub preset: FinalPreset,
    /// Size, images and what goes beyond the recipe of a child.
    #[serde(flatten)]
    pub network: FinalNetwork,
    /// The values in force.
    #[serde(flatten)]
    pub recipe: TrainConfig,
}

impl Default for FinalConfig {
    fn default() -> Self {
        Self {
            preset: FinalPreset::Fast,
            network: FinalNetwork::default(),
            recipe: FinalPreset::Fast.recipe(),
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
        let taken = take_recipe(given, FinalPreset::Fast, FinalPreset::recipe);
        let (preset, recipe) = taken.map_err(D::Error::custom)?;
        Ok(Self {
            preset,
            network,
            recipe,
        })
    }
}

/// The preset of a section and its recipe with the keys that the section overrides.
fn take_recipe<P>(
    mut given: Table,
    default: P,
    recipe: fn(P) -> TrainConfig,
) -> Result<(P, TrainConfig), toml::de::Error>
where
    P: Copy + DeserializeOwned,
{
    let preset = match given.remove("preset") {
        Some(word) => word.try_into()?,
        None => default,
    };
    let mut table = Table::try_from(recipe(preset)).map_err(toml::de::Error::custom)?;
    overlay(&mut table, given);
    Ok((preset, table.try_into()?))
}
