//! The temperature as a function of the search step (Perez-Rua et al., 2018, section 3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TemperatureError;
use crate::weight::MIN_TEMPERATURE;

/// Schedule of the sampling temperature: `tau(t) = (initial - final) exp(-(t+1)^2 / decay^2) + final`.
///
/// A high temperature draws nearly uniformly, which is right while the surrogate knows little;
/// 1 draws in proportion to the predicted accuracy; below 1 prefers the best ever more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TemperatureSchedule {
    /// Temperature that the search starts from. Default 10; at least 1e-6.
    pub initial: f64,
    /// Temperature that the search cools down to. 1 draws in proportion to the predicted
    /// accuracy, which is close to uniform (accuracies .8 and .6 are drawn 1.33 : 1); 0.2 is
    /// much greedier. Default 1; at least 1e-6.
    #[serde(rename = "final")]
    pub final_: f64,
    /// How long the cooling takes, in search steps: the larger, the slower. Default: the number
    /// of levels of the space (12 layers or 5 blocks); above 0.
    pub decay: Option<f64>,
}

impl Default for TemperatureSchedule {
    fn default() -> Self {
        Self {
            initial: 10.0,
            final_: 1.0,
            decay: None,
        }
    }
}

impl TemperatureSchedule {
    /// Temperature at step `t`, counted from 0 over all iterations of the search.
    ///
    /// `default_decay` (the number of levels of the space) is used where [`decay`](Self::decay)
    /// is not set.
    ///
    /// ```
    /// let schedule = epnas_sampler::TemperatureSchedule::default();
    /// assert!((schedule.at(0, 12.0) - 9.9377).abs() < 1e-4);
    /// assert!((schedule.at(35, 12.0) - 1.0011).abs() < 1e-4);
    /// ```
    #[must_use]
    pub fn at(&self, t: u64, default_decay: f64) -> f64 {
        let decay = self.decay.unwrap_or(default_decay);
        let ratio = (t as f64 + 1.0) / decay;
        (self.initial - self.final_) * (-ratio * ratio).exp() + self.final_
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// [`TemperatureError`] with the first field that is out of range.
    pub fn validate(&self) -> Result<(), TemperatureError> {
        for (field, value) in [("initial", self.initial), ("final", self.final_)] {
            if !(value.is_finite() && value >= MIN_TEMPERATURE) {
                return Err(TemperatureError::Temperature { field, value });
            }
        }
        match self.decay {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(TemperatureError::Decay { value })
            }
            _ => Ok(()),
        }
    }
}
