//! What can be wrong with a score, a temperature or a schedule.

use thiserror::Error;

use crate::weight::MIN_TEMPERATURE;

/// A score or a temperature that cannot be sampled with.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SampleError {
    /// A score is NaN, infinite or negative.
    #[error("the score of item {index} is {value}: expected a finite number of at least 0")]
    Score {
        /// Index of the item, as it was pushed.
        index: u64,
        /// The offending score.
        value: f32,
    },
    /// The temperature is NaN, infinite or below [`MIN_TEMPERATURE`].
    #[error("the temperature is {value}: expected a finite number of at least {MIN_TEMPERATURE}")]
    Temperature {
        /// The offending temperature.
        value: f64,
    },
}

/// A field of a [`TemperatureSchedule`](crate::TemperatureSchedule) that is out of range.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TemperatureError {
    /// `initial` or `final` is NaN, infinite or below [`MIN_TEMPERATURE`].
    #[error(
        "temperature.{field} is {value}: expected a finite number of at least {MIN_TEMPERATURE}"
    )]
    Temperature {
        /// Name of the field as it is written in a configuration file.
        field: &'static str,
        /// The offending value.
        value: f64,
    },
    /// `decay` is NaN, infinite, zero or negative.
    #[error("temperature.decay is {value}: expected a finite number above 0, in search steps")]
    Decay {
        /// The offending value.
        value: f64,
    },
}
