//! Settings of the LSTM and of its training (Perez-Rua et al., 2018, sections 4 and 5).

use epnas_arch::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::LstmError;

/// What is minimized, as a mean over architectures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Absolute difference of predicted and measured accuracy (the paper).
    #[default]
    L1,
    /// Squared difference.
    Mse,
}

/// Settings of the [`Lstm`](crate::Lstm).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LstmConfig {
    /// How an architecture becomes numbers: one_hot has a feature per operation and per source,
    /// integer the plain indices. Default one_hot.
    pub encoding: Encoding,
    /// Numbers that a layer or block is embedded into. Default 100; 1 to 4096.
    pub embedding: usize,
    /// Hidden units of the LSTM. Default 100; 1 to 4096.
    pub hidden: usize,
    /// What is minimized: l1 (absolute difference) or mse (squared difference). Default l1.
    pub loss: Loss,
    /// Learning rate of Adam, whose moments are kept from fit to fit. Default 0.001; above 0.
    pub learning_rate: f64,
    /// Passes over all measured architectures per fit. Default 50; at least 1.
    pub epochs: usize,
    /// Architectures per update; all of one length. Default 64; at least 1.
    pub batch: usize,
    /// The two linear layers start uniform in -init to init; 1 is the paper's, 0.1 saturates
    /// less. Default 1; above 0.
    pub init: f64,
    /// Bias that the output starts with: 1.8 predicts accuracies around 0.86. Default 1.8.
    pub output_bias: f64,
}

impl Default for LstmConfig {
    fn default() -> Self {
        Self {
            encoding: Encoding::OneHot,
            embedding: 100,
            hidden: 100,
            loss: Loss::L1,
            learning_rate: 1e-3,
            epochs: 50,
            batch: 64,
            init: 1.0,
            output_bias: 1.8,
        }
    }
}

impl LstmConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`LstmError::Config`] with the first field that is out of range.
    pub fn validate(&self) -> Result<(), LstmError> {
        let wrong = |field, value: &dyn std::fmt::Display, expected| {
            Err(LstmError::Config {
                field,
                value: value.to_string(),
                expected,
            })
        };
        for (field, value) in [("embedding", self.embedding), ("hidden", self.hidden)] {
            if !(1..=4096).contains(&value) {
                return wrong(field, &value, "1 to 4096");
            }
        }
        for (field, value) in [("epochs", self.epochs), ("batch", self.batch)] {
            if value == 0 {
                return wrong(field, &value, "at least 1");
            }
        }
        for (field, value) in [("learning_rate", self.learning_rate), ("init", self.init)] {
            if !(value.is_finite() && value > 0.0) {
                return wrong(field, &value, "a finite number above 0");
            }
        }
        if !self.output_bias.is_finite() {
            return wrong("output_bias", &self.output_bias, "a finite number");
        }
        Ok(())
    }
}
