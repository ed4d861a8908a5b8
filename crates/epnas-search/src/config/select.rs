//! The `[select]` section: brief retraining of the best few.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::range;
use crate::settings::SettingsError;

/// How the final architecture is picked among the best by estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// How many of the best architectures by estimate are retrained from scratch; 0 skips the selection. Default 5,
    /// range 0 to 1000.
    pub top: usize,
    /// Epochs of each retraining. Default 10, range 1 to 10,000.
    pub epochs: usize,
    /// Images in a training step. Default: that of `training.batch`; range 1 to 65,536.
    pub batch: Option<usize>,
    /// Highest learning rate. Default: that of `training.learning_rate`; above 0.
    pub learning_rate: Option<f64>,
    /// Channels of the retrained networks. Default: that of `network.channels`; range 1 to 4096.
    pub channels: Option<usize>,
    /// Cells per stage of the retrained networks, for the micro space. Default: that of `network.cells_per_stage`; range
    /// 1 to 32.
    pub cells_per_stage: Option<usize>,
}

impl Default for SelectConfig {
    fn default() -> Self {
        Self {
            top: 5,
            epochs: 10,
            batch: None,
            learning_rate: None,
            channels: None,
            cells_per_stage: None,
        }
    }
}

impl SelectConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for the first key out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        range("select.top", self.top, 0, 1000)?;
        range("select.epochs", self.epochs, 1, 10_000)?;
        for (key, value, high) in [
            ("select.batch", self.batch, 65_536),
            ("select.channels", self.channels, 4096),
            ("select.cells_per_stage", self.cells_per_stage, 32),
        ] {
            if let Some(value) = value {
                range(key, value, 1, high)?;
            }
        }
        match self.learning_rate {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => Err(SettingsError::value(
                "select.learning_rate",
                rate,
                "a finite number above 0",
            )),
            _ => Ok(()),
        }
    }
}
