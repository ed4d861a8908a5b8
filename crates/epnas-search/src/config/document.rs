//! The whole configuration document of a run.

use std::path::Path;

use epnas_arch::{NetworkConfig, Space};
use epnas_data::{DataConfig, DataError};
use epnas_surrogate::LstmConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BaselineConfig, FinalConfig, FleetConfig, SearchConfig, SelectConfig, TrainingConfig, derived,
};
use crate::settings::{self, KeyDoc, SettingsError};

/// Keys (or whole sections, with a trailing dot) that may change when a run is resumed: they do not change what the
/// search computes, only how long it may take, what follows it and where the images lie (which images they are is
/// compared by itself).
pub const MAY_DIFFER: [&str; 9] = [
    "search.budget",
    "baseline.",
    "select.",
    "train.",
    "data.dir",
    "fleet.replicas",
    "fleet.candidates",
    "fleet.train",
    "fleet.slurm.",
];

/// Everything that decides a run, with the keys of its TOML document.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Root seed: every random choice of a run derives from it. Default 0, range 0 to 2^63-1.
    pub seed: u64,
    /// Images and how they are divided.
    pub data: DataConfig,
    /// What is searched.
    pub space: Space,
    /// The size of children and how they share weights.
    pub network: NetworkConfig,
    /// The search itself.
    pub search: SearchConfig,
    /// The predictor of accuracies.
    pub surrogate: LstmConfig,
    /// How each child is trained.
    pub training: TrainingConfig,
    /// What the search is compared with.
    pub baseline: BaselineConfig,
    /// Brief retraining of the best few.
    pub select: SelectConfig,
    /// Training of the found network from scratch.
    pub train: FinalConfig,
    /// Many searches as one.
    #[serde(skip_serializing_if = "FleetConfig::is_default")]
    pub fleet: FleetConfig,
}

impl Config {
    /// Reads a document; keys not given take their defaults.
    ///
    /// # Errors
    /// [`SettingsError`] with key and line for the first key that is unknown, of the wrong type or out of range.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        Self::from_toml_with(text, &[])
    }

    /// Reads a document and applies `sets` (dotted key, raw value) over it before presets take effect, so that
    /// `training.preset` may be set without losing single keys of the document.
    ///
    /// # Errors
    /// As [`Config::from_toml`].
    pub fn from_toml_with(text: &str, sets: &[(String, String)]) -> Result<Self, SettingsError> {
        let config: Self = settings::parse(text, sets)?;
        config.validate()?;
        Ok(config)
    }

    /// A checksum of everything that decides the children of a search: all keys but those that [`MAY_DIFFER`].
    ///
    /// # Errors
    /// As [`Config::to_toml`].
    pub fn digest(&self) -> Result<String, SettingsError> {
        let leaves = settings::leaves(&settings::parse_table(&self.to_toml()?)?);
        let mut hasher = crc32fast::Hasher::new();
        for (key, value) in leaves {
            if !settings::is_among(&key, &MAY_DIFFER) {
                hasher.update(format!("{key} = {value}\n").as_bytes());
            }
        }
        Ok(format!("{:08x}", hasher.finalize()))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigFileError`](crate::ConfigFileError) naming the file.
    pub fn from_file(
        path: &Path,
        sets: &[(String, String)],
    ) -> Result<Self, crate::ConfigFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| crate::ConfigFileError::Read {
                path: path.to_owned(),
                source,
            })?;
        Self::from_toml_with(&text, sets).map_err(|source| crate::ConfigFileError::Settings {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Replaces one key, such as `("search.iterations", "2")`. The value is read as TOML, or as a bare string.
    ///
    /// # Errors
    /// [`SettingsError`] when the key does not exist or the value does not fit; `self` is unchanged then.
    pub fn set(&mut self, key: &str, raw: &str) -> Result<(), SettingsError> {
        let changed = settings::set(self, key, raw)?;
        changed.validate()?;
        *self = changed;
        Ok(())
    }

    /// The effective configuration, every key that is set included, as TOML.
    ///
    /// # Errors
    /// [`SettingsError`] when a value cannot be written in TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string(self).map_err(|error| SettingsError::Syntax {
            line: None,
            message: error.to_string(),
        })
    }

    /// Every key with type, default and documentation.
    #[must_use]
    pub fn reference() -> Vec<KeyDoc> {
        settings::reference::<Self>()
    }

    /// Checks every range and that the sections fit together.
    ///
    /// # Errors
    /// [`SettingsError::Value`] naming key, value and what was expected.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if i64::try_from(self.seed).is_err() {
            return Err(SettingsError::value(
                "seed",
                self.seed,
                "a whole number from 0 to 2^63-1",
            ));
        }
        self.data.validate().map_err(|error| match error {
            DataError::Config {
                field,
                value,
                expected,
            } => SettingsError::value(format!("data.{field}"), value, expected),
            other => SettingsError::value("data", "refused", other.to_string()),
        })?;
        self.space.validate().map_err(derived::space)?;
        if let Space::Choices(_) = self.space {
            let expected = "\"macro\" or \"micro\": plain choices have no networks to train";
            return Err(SettingsError::value("space.kind", "choices", expected));
        }
        derived::network("network", &self.network)?;
        self.search.validate()?;
        self.surrogate.validate().map_err(derived::surrogate)?;
        derived::recipe("training", &self.training.recipe)?;
        self.select.validate()?;
        derived::recipe("train", &self.train.recipe)?;
        self.fleet.validate()?;
        self.validate_derived()
    }
}
