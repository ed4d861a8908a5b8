//! The search: EPNAS and its baselines over any evaluator and surrogate, with a history that is on disk the moment a
//! child is known, checkpoints that survive a kill at any point, budgets, and the selection of the final architecture.
//!
//! - [`Driver`] runs a [`Strategy`] against an [`Evaluator`](epnas_arch::Evaluator) in a folder.
//! - [`Progressive`] is EPNAS (Perez-Rua et al., 2018, section 3); [`RandomSearch`] is the baseline.
//! - [`History`], [`Record`]: what is known; [`Schedule`]: what a search will do.
//! - [`Selection`](select::Selection) retrains the best few and [`Best`] is the result.
//! - [`settings`]: strict TOML with suggestions and a reference of every key.
//!
//! With the feature `supernet` (default), `Config` and `Session` compose all of this with the data sets, the shared
//! weights and the LSTM of the other crates. Without it the crate needs no tensors.

pub mod best;
pub mod budget;
mod checkpoint;
pub mod config;
mod disk;
pub mod driver;
mod error;
pub mod history;
pub mod observer;
pub mod progressive;
pub mod random;
pub mod run;
pub mod schedule;
pub mod select;
pub mod settings;
pub mod strategy;
mod text;

#[cfg(feature = "supernet")]
pub mod compose;

#[cfg(test)]
#[path = "../tests/fakes/mod.rs"]
mod fakes;
#[cfg(test)]
mod resume_tests;

pub use best::{Best, BestRandom, Machine, Precisions, RankedCandidate, TotalCost, Versions};
pub use checkpoint::CheckpointError;
#[cfg(feature = "supernet")]
pub use compose::{
    DryRun, ForecastBytes, ForecastSeconds, MODEL_IMAGES_FILE, ModelImages, Session, TrainReport,
    Which, data_split, run_device, run_images,
};
pub use config::{
    BaselineConfig, BaselineKind, Continuation, HistoryPolicy, SearchConfig, SelectConfig,
    StrategyKind,
};
#[cfg(feature = "supernet")]
pub use config::{Config, FinalConfig, FinalNetwork, Preset, TrainOn, TrainingConfig};
pub use disk::DiskError;
pub use driver::{Driver, Ended, Outcome, StopRule};
pub use error::{ConfigFileError, SearchError};
pub use history::{History, HistoryError, Record, Status, read_history};
pub use observer::{Event, Observer, Phase, Silent, Total};
pub use progressive::Progressive;
pub use random::{RandomBudget, RandomSearch};
pub use run::{Run, RunError, RunFolder, Start};
pub use schedule::{PlannedStep, Schedule};
pub use settings::{KeyDoc, SettingsError};
pub use strategy::{Batch, Proposal, Strategy, StrategyError};
