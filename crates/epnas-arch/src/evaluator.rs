//! Measured accuracy: the [`Evaluator`] trait and what goes in and out of it.
//!
//! The supernet, a table of known accuracies and a user's own training are all evaluators, and the search
//! cannot tell them apart.

use std::error::Error;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Arch;

/// What it costs to run a network on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates of convolutions and linear layers, per image.
    pub macs: u64,
}

/// One pass over the training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochReport {
    /// Which epoch, counted from 1.
    pub epoch: usize,
    /// Mean training loss, in nats.
    pub loss: f64,
    /// Validation accuracy, 0 to 1.
    pub accuracy: f64,
    /// Wall-clock time in seconds, validation included.
    pub seconds: f64,
}

/// What evaluating one child gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Validation accuracy, 0 to 1, or the value of a table.
    pub estimate: f64,
    /// Trainable parameters of the child, dead parts not counted.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// Image passes trained: images times epochs.
    pub images: u64,
    /// Epoch by epoch; empty where nothing is trained.
    pub epochs: Vec<EpochReport>,
}

/// Why a child has no measurement.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// This child failed and is recorded as failed; the search goes on.
    #[error("{reason}")]
    Child {
        /// What went wrong.
        reason: String,
    },
    /// Nothing further can be evaluated; the search stops.
    #[error("evaluation cannot go on: {0}")]
    Fatal(#[source] Box<dyn Error + Send + Sync>),
}

impl EvaluateError {
    /// A failure of one child.
    pub fn child(reason: impl Into<String>) -> Self {
        EvaluateError::Child {
            reason: reason.into(),
        }
    }

    /// A failure that stops the search.
    pub fn fatal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        EvaluateError::Fatal(error.into())
    }
}

/// How far a child's training has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Image passes done.
    pub images: u64,
    /// Image passes there will be.
    pub total_images: u64,
    /// Latest training loss, in nats.
    pub loss: f64,
}

/// One child to evaluate.
pub struct Job<'a> {
    /// The architecture, which may be partial.
    pub arch: &'a Arch,
    /// This child's own seed: the order of images, their augmentation.
    pub seed: u64,
    /// Called now and then while the child trains.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("arch", &self.arch)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Something that measures how good an architecture is.
///
/// It may keep state between children, as the shared weights of a supernet. That state travels through
/// [`snapshot`](Evaluator::snapshot) and [`restore`](Evaluator::restore), and a run resumed from a snapshot
/// must continue exactly as the uninterrupted one would.
pub trait Evaluator {
    /// Trains or looks up one child.
    ///
    /// # Errors
    /// [`EvaluateError::Child`] when this child failed, [`EvaluateError::Fatal`] when the search must stop.
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError>;

    /// What the child costs, without evaluating it; `None` when unknown.
    fn cost(&self, _arch: &Arch) -> Option<Cost> {
        None
    }

    /// The whole state as bytes; empty for an evaluator that has none.
    ///
    /// # Errors
    /// [`EvaluateError::Fatal`] when the state cannot be read back.
    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError>;

    /// Takes the state of a [`snapshot`](Evaluator::snapshot).
    ///
    /// # Errors
    /// [`EvaluateError::Fatal`] when the bytes are not such a state.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), EvaluateError>;

    /// Forgets everything and starts from fresh shared weights of this seed.
    ///
    /// # Errors
    /// [`EvaluateError::Fatal`] when the weights cannot be made.
    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError>;
}
