//! What can go wrong in a run.

use std::path::PathBuf;

use epnas_arch::{EvaluateError, SpaceError};

use crate::checkpoint::CheckpointError;
use crate::history::HistoryError;
use crate::pool::PoolError;
use crate::run::RunError;
use crate::settings::SettingsError;
use crate::strategy::StrategyError;
use epnas_disk::{DiskError, FileError};

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something that is not understood.
    #[error("{}: {source}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What.
        #[source]
        source: Box<SettingsError>,
    },
}

/// Why a run ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file that holds something else than was written.
    #[error(transparent)]
    File(FileError),
    /// The history file.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The strategy or its surrogate.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// The search space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The evaluator cannot go on.
    #[error("{arch}: {source}")]
    Evaluate {
        /// The child it was evaluating.
        arch: String,
        /// Why.
        #[source]
        source: EvaluateError,
    },
    /// The evaluator's state cannot be saved or restored.
    #[error("state of the evaluator: {source}")]
    Snapshot {
        /// Why.
        #[source]
        source: EvaluateError,
    },
    /// Nothing in the run can be used for what was asked.
    #[error("{}: {reason}", dir.display())]
    Nothing {
        /// The run folder.
        dir: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A training ended early because someone asked for it; it can go on from its checkpoint.
    #[error("{}: stopped on request after epoch {done} of {total}; --resume continues it", dir.display())]
    Stopped {
        /// The folder with the checkpoint.
        dir: PathBuf,
        /// Epochs done.
        done: usize,
        /// Epochs of the whole training.
        total: usize,
    },
    /// A run that has no result yet.
    #[error("{}: there is no result yet", path.display())]
    NoResult {
        /// The file that would hold it.
        path: PathBuf,
    },
    /// A result file is not what this version writes.
    #[error("{}: {message}", path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Not one candidate of the selection could be retrained; `best.json` is written, with estimates only.
    #[error("{}: no candidate could be retrained; {arch}: {reason}", dir.display())]
    Selection {
        /// The run folder.
        dir: PathBuf,
        /// The first of them.
        arch: String,
        /// Why it failed.
        reason: String,
    },
    /// The images are not those that the run was begun with.
    #[error("{} was begun with other images: {differences}", dir.display())]
    OtherImages {
        /// The run folder.
        dir: PathBuf,
        /// Each as `what (stored, given)`.
        differences: String,
    },
    /// Children would be trained in another precision or on another device than those that the run has.
    #[error(
        "{} was begun with children trained in {stored}, here they would be trained in {given}: estimates would not \
         compare; continue it as it was begun, or begin another", dir.display()
    )]
    OtherComputation {
        /// The run folder.
        dir: PathBuf,
        /// What the run was begun with, as in `bf16 on cuda`.
        stored: String,
        /// What it would go on with.
        given: String,
    },
    /// The checkpoint of a final training cannot be taken up.
    #[cfg(feature = "supernet")]
    #[error("{}: {source}; --restart replaces it", path.display())]
    TrainingCheckpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<epnas_supernet::SupernetError>,
    },
    /// A final training whose loss is no longer a number.
    #[cfg(feature = "supernet")]
    #[error(
        "{source}; begin anew with a lower train.learning_rate, a longer train.warmup_epochs or train.clip = 1, and \
         --restart ({} epochs are in {})", done, dir.display()
    )]
    TrainingDiverged {
        /// Where and how.
        #[source]
        source: Box<epnas_supernet::SupernetError>,
        /// Epochs that were trained before.
        done: usize,
        /// Where the models of the best and the last of them are.
        dir: PathBuf,
    },
    /// The images.
    #[cfg(feature = "supernet")]
    #[error(transparent)]
    Data(#[from] epnas_data::DataError),
    /// A network that cannot be built or trained.
    #[cfg(feature = "supernet")]
    #[error(transparent)]
    Supernet(#[from] epnas_supernet::SupernetError),
    /// The surrogate cannot be built.
    #[cfg(feature = "supernet")]
    #[error(transparent)]
    Surrogate(#[from] epnas_arch::SurrogateError),
}

impl From<FileError> for SearchError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Disk(error) => Self::Disk(error),
            error => Self::File(error),
        }
    }
}

impl SearchError {
    /// Whether a search can go on once another has come further.
    #[must_use]
    pub fn waits_for_another(&self) -> bool {
        match self {
            Self::Strategy(StrategyError::Pool(error)) => {
                matches!(**error, PoolError::Behind { .. })
            }
            _ => false,
        }
    }

    pub(crate) fn snapshot(source: EvaluateError) -> Self {
        Self::Snapshot { source }
    }
}
