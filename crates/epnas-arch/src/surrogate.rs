//! Predicted accuracy: the [`Surrogate`] trait.

use std::error::Error;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Arch, Candidates, SpaceError};

/// What a fit gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitReport {
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Passes over the records.
    pub epochs: usize,
    /// Architectures fitted on.
    pub records: usize,
    /// Share of the predictions for these records outside (0.01, 0.99). Near 1, the surrogate no longer
    /// tells candidates apart.
    pub saturation: f64,
}

/// Why a surrogate cannot predict or learn.
#[derive(Debug, Error)]
pub enum SurrogateError {
    /// An architecture of another space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A range that is not within the candidates.
    #[error("candidates {}..{} asked for, expected a range within 0..{len}", range.start, range.end)]
    Range {
        /// What was asked for.
        range: Range<u64>,
        /// How many candidates there are.
        len: u64,
    },
    /// A target that is not an accuracy.
    #[error("accuracy {found} of {arch} is no target, expected a finite number")]
    Target {
        /// The text form of the architecture.
        arch: String,
        /// The value found.
        found: f64,
    },
    /// Bytes that are not a snapshot of this surrogate.
    #[error("not a state of this surrogate: {reason}")]
    Snapshot {
        /// What is wrong with them.
        reason: String,
    },
    /// The library underneath failed.
    #[error("surrogate: {0}")]
    Backend(#[source] Box<dyn Error + Send + Sync>),
}

impl SurrogateError {
    /// A failure of the library underneath.
    pub fn backend(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        SurrogateError::Backend(error.into())
    }
}

/// Something that predicts the accuracy of architectures it has not seen.
///
/// Given the same state, records and seed it must do the same, whatever the number of threads.
pub trait Surrogate {
    /// Scores in (0, 1) of the candidates with these indices, in their order.
    ///
    /// # Errors
    /// When the candidates are of another space or the range is not within them.
    fn predict(
        &self,
        candidates: &Candidates,
        range: Range<u64>,
    ) -> Result<Vec<f32>, SurrogateError>;

    /// Learns from measured architectures, keeping what was learned before. The accuracies are in 0 to 1.
    ///
    /// # Errors
    /// When a record is of another space or no accuracy.
    fn fit(&mut self, records: &[(Arch, f64)], seed: u64) -> Result<FitReport, SurrogateError>;

    /// The whole state, the optimizer's included, as bytes.
    ///
    /// # Errors
    /// When the state cannot be read back.
    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError>;

    /// Takes the state of a [`snapshot`](Surrogate::snapshot).
    ///
    /// # Errors
    /// When the bytes are not such a state.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), SurrogateError>;
}
