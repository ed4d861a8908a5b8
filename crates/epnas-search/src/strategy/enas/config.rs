//! The `[search.enas]` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::range;
use crate::settings::SettingsError;

/// The `[search.enas]` section: an LSTM controller trained by REINFORCE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnasConfig {
    /// Children of an update of the controller. Default 10 (ENAS: 20 in its macro space, 10 in its micro space), range
    /// 1 to 10,000.
    pub batch: usize,
    /// Units of the LSTM, and length of the embeddings. Default 64, as ENAS; range 1 to 1024.
    pub hidden: usize,
    /// Learning rate of the controller. Default 0.01 (ENAS: 0.001 in its macro space, 0.0035 in its micro space, for a
    /// thousand times as many updates); above 0.
    pub learning_rate: f64,
    /// Added to the root of the second moment in the controller's optimizer: gradients far below it make small steps.
    /// Default 1e-8, so that the step does not depend on how far apart accuracies are (ENAS: 1e-3); above 0.
    pub epsilon: f64,
    /// Logits are divided by it. Default 1, as in ENAS's scripts for images; above 0.
    pub temperature: f64,
    /// Bound of the logits: no choice is more than e^(2 of it) times as probable as another. Default 1.5, as in ENAS's
    /// macro space (micro: 1.1 for sources, 0.44 for operations); above 0, at most 100.
    pub tanh_constant: f64,
    /// What a nat of a child's entropy adds to its reward. Default 1e-4, as ENAS; 0 or more.
    pub entropy_weight: f64,
    /// Share of the baseline that a new reward leaves. Default 0.9 (ENAS: 0.99); from 0, below 1.
    pub baseline_decay: f64,
    /// How often a free source of a layer should be read, in a macro space. Default 0.4, as ENAS; between 0 and 1.
    pub skip_target: f64,
    /// What missing it costs. Default 0.8, as ENAS; 0 or more.
    pub skip_weight: f64,
}

impl Default for EnasConfig {
    fn default() -> Self {
        Self {
            batch: 10,
            hidden: 64,
            learning_rate: 0.01,
            epsilon: 1e-8,
            temperature: 1.0,
            tanh_constant: 1.5,
            entropy_weight: 1e-4,
            baseline_decay: 0.9,
            skip_target: 0.4,
            skip_weight: 0.8,
        }
    }
}

impl EnasConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for the first key out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        range("search.enas.batch", self.batch, 1, 10_000)?;
        range("search.enas.hidden", self.hidden, 1, 1024)?;
        let positive = "a finite number above 0";
        let share = "a number between 0 and 1";
        let weight = "a finite number of at least 0";
        let above = |x: f64| x.is_finite() && x > 0.0;
        let from = |x: f64| x.is_finite() && x >= 0.0;
        for (key, value, valid, expected) in [
            (
                "learning_rate",
                self.learning_rate,
                above(self.learning_rate),
                positive,
            ),
            ("epsilon", self.epsilon, above(self.epsilon), positive),
            (
                "temperature",
                self.temperature,
                above(self.temperature),
                positive,
            ),
            (
                "tanh_constant",
                self.tanh_constant,
                above(self.tanh_constant) && self.tanh_constant <= 100.0,
                "a number above 0 and at most 100",
            ),
            (
                "entropy_weight",
                self.entropy_weight,
                from(self.entropy_weight),
                weight,
            ),
            (
                "baseline_decay",
                self.baseline_decay,
                from(self.baseline_decay) && self.baseline_decay < 1.0,
                "a number from 0 and below 1",
            ),
            (
                "skip_target",
                self.skip_target,
                above(self.skip_target) && self.skip_target < 1.0,
                share,
            ),
            (
                "skip_weight",
                self.skip_weight,
                from(self.skip_weight),
                weight,
            ),
        ] {
            if !valid {
                let key = format!("search.enas.{key}");
                return Err(SettingsError::value(key, value, expected));
            }
        }
        Ok(())
    }
}
