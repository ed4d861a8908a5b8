//! Networks and recipes that follow from several sections: those of the selection and of the final training. The run
//! uses them from here, and the configuration is checked against them before anything is trained.

use epnas_arch::{HeadSharing, NetworkConfig, NetworkError, Space, SpaceError, StageChannels};
use epnas_supernet::{DeviceKind, Refinements, TrainConfig, TrainConfigError};
use epnas_surrogate::LstmError;

use super::{Config, FinalPreset};
use crate::settings::SettingsError;

impl Config {
    /// Network and recipe of the brief retraining: those of the children with what `[select]` changes.
    #[must_use]
    pub fn selection(&self) -> (NetworkConfig, TrainConfig) {
        let select = &self.select;
        let mut network = self.network.clone();
        network.channels = select.channels.unwrap_or(network.channels);
        network.cells_per_stage = select.cells_per_stage.unwrap_or(network.cells_per_stage);
        let mut recipe = self.training.recipe.clone();
        recipe.epochs = select.epochs;
        recipe.batch = select.batch.unwrap_or(recipe.batch);
        recipe.learning_rate = select.learning_rate.unwrap_or(recipe.learning_rate);
        (network, recipe)
    }

    /// What a retraining depends on besides the architecture, as records of it say.
    ///
    /// # Errors
    /// [`SettingsError`] when it has no text form.
    pub fn selection_key(&self, device: DeviceKind) -> Result<String, SettingsError> {
        let (network, mut recipe) = self.selection();
        recipe.precision = recipe.precision.available_on(device);
        let key = match device {
            DeviceKind::Cpu => serde_json::to_string(&(self.seed, network, recipe)),
            DeviceKind::Cuda => serde_json::to_string(&(self.seed, network, recipe, device)),
        };
        key.map_err(|error| SettingsError::Syntax {
            line: None,
            message: error.to_string(),
        })
    }

    /// The network of the final training: that of the children with what `[train]` changes.
    #[must_use]
    pub fn final_network(&self) -> NetworkConfig {
        let train = &self.train.network;
        // The channels of Perez-Rua et al., 2018, section 5, tables 1 and 2, smaller networks.
        let default = match self.space {
            Space::Macro(_) => 200,
            _ => 96,
        };
        NetworkConfig {
            channels: train.channels.unwrap_or(default),
            cells_per_stage: train.cells_per_stage,
            stage_channels: train.stage_channels,
            ..self.network.clone()
        }
    }

    /// What the final training does beyond the recipe of a child. The preset's auxiliary head and drop-path are NASNet's, for
    /// cells (Perez-Rua et al., 2018, section 4.2).
    #[must_use]
    pub fn refinements(&self) -> Refinements {
        let train = &self.train.network;
        let of_cells = match (self.train.preset, &self.space) {
            (FinalPreset::Paper, Space::Micro(_)) => 0.4,
            _ => 0.0,
        };
        let ema = match self.train.preset {
            FinalPreset::Fast => 0.999,
            FinalPreset::Paper => 0.0,
        };
        Refinements {
            ema: train.ema.unwrap_or(ema),
            mixup: train.mixup,
            drop_path: train.drop_path.unwrap_or(of_cells),
            auxiliary_head: train.auxiliary_head.unwrap_or(of_cells),
        }
    }

    /// Checks what several sections decide together; each by itself has been checked.
    pub(super) fn validate_derived(&self) -> Result<(), SettingsError> {
        if let Space::Macro(_) = self.space
            && self.network.stage_channels == StageChannels::Double
            && self.network.head == HeadSharing::Shared
        {
            let expected = "\"constant\", or network.head = \"per_depth\" with it: macro networks of different lengths \
                            end with different numbers of channels, and one head cannot serve them";
            return Err(SettingsError::value(
                "network.stage_channels",
                "double",
                expected,
            ));
        }
        if self.fleet.pooled && !self.search.strategy.is_progressive() {
            let expected = "false, or a search.strategy with a surrogate: \"epnas\" or \"pnas\"";
            return Err(SettingsError::value("fleet.pooled", true, expected));
        }
        let (network_of_selection, recipe_of_selection) = self.selection();
        network("select", &network_of_selection)?;
        network("train", &self.final_network())?;
        if !(1..=100).contains(&self.train.network.seeds) {
            let seeds = self.train.network.seeds;
            return Err(SettingsError::value("train.seeds", seeds, "1 to 100"));
        }
        let refined = self.refinements().check(&self.train.recipe);
        refined.map_err(|error| out_of_range("train", &error))?;
        if self.select.top == 0 {
            return Ok(());
        }
        recipe("select", &recipe_of_selection)
    }
}

/// Checks a network that `section` decides.
pub(super) fn network(section: &str, network: &NetworkConfig) -> Result<(), SettingsError> {
    network.validate().map_err(|error| match error {
        NetworkError::Range {
            name,
            found,
            min,
            max,
        } => {
            let name = name.rsplit('.').next().unwrap_or(name);
            SettingsError::value(
                format!("{section}.{name}"),
                found,
                format!("{min} to {max}"),
            )
        }
        other => SettingsError::value(section, "refused", other.to_string()),
    })
}

/// Checks a recipe that `section` decides.
pub(super) fn recipe(section: &str, recipe: &TrainConfig) -> Result<(), SettingsError> {
    let checked = recipe.check();
    checked.map_err(|error| out_of_range(section, &error))
}

fn out_of_range(section: &str, error: &TrainConfigError) -> SettingsError {
    let TrainConfigError {
        key,
        value,
        expected,
    } = error;
    SettingsError::value(format!("{section}.{key}"), value, *expected)
}

pub(super) fn space(error: SpaceError) -> SettingsError {
    match error {
        SpaceError::Size {
            field,
            found,
            expected,
        } => SettingsError::value(format!("space.{field}"), found, expected),
        other => SettingsError::value("space", "refused", other.to_string()),
    }
}

pub(super) fn surrogate(error: LstmError) -> SettingsError {
    match error {
        LstmError::Config {
            field,
            value,
            expected,
        } => SettingsError::value(format!("surrogate.{field}"), value, expected),
        other => SettingsError::value("surrogate", "refused", other.to_string()),
    }
}
