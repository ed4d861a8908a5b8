//! Failures of the LSTM beyond those every surrogate has.

use epnas_arch::{SpaceError, SurrogateError};
use thiserror::Error;

/// Why an [`Lstm`](crate::Lstm) cannot be made, predict or learn.
#[derive(Debug, Error)]
pub enum LstmError {
    /// A setting that is out of range.
    #[error("surrogate.{field} is {value}, expected {expected}")]
    Config {
        /// The configuration key.
        field: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// A space that is none.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Candidates of another space than the one the LSTM was made for.
    #[error("candidates of the space {found} for a surrogate of the space {expected}")]
    OtherSpace {
        /// The space of the candidates.
        found: String,
        /// The space of the surrogate.
        expected: String,
    },
    /// The weights became infinite or NaN in training; the state before the fit is kept.
    #[error(
        "training diverged: the loss is {loss}; lower surrogate.learning_rate, now {learning_rate}"
    )]
    Diverged {
        /// The loss that was seen.
        loss: f64,
        /// The learning rate it was trained with.
        learning_rate: f64,
    },
}

impl From<LstmError> for SurrogateError {
    fn from(error: LstmError) -> Self {
        match error {
            LstmError::Space(error) => SurrogateError::Space(error),
            error => SurrogateError::backend(error),
        }
    }
}
