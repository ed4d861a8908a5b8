//! The search: EPNAS and its baselines over any evaluator and surrogate, with a history that is on disk the moment a
//! child is known, checkpoints that survive a kill at any point, budgets, and the selection of the final architecture.
//!
//! - [`Driver`] runs a [`Strategy`] against an [`Evaluator`](epnas_arch::Evaluator) in a folder.
//! - [`Progressive`] is EPNAS (Perez-Rua et al., 2018, section 3); [`RandomSearch`] is the baseline.
//! - [`History`], [`Record`]: what is known; [`Schedule`]: what a search will do.
//! - [`Selection`](select::Selection) retrains the best few and [`Best`] is the result.
//! - [`rank`]: how much estimates tell of accuracies after retraining.
//! - [`statistics`]: rank correlations, bootstrap intervals, a permutation test.
//! - [`settings`]: strict TOML with suggestions and a reference of every key.
//!
//! With the feature `supernet` (default), `Config` and `Session` compose all of this with the data sets, the shared
//! weights and the LSTM of the other crates. Without it the crate needs no tensors.

mod admission;
pub mod best;
pub mod budget;
mod checkpoint;
pub mod compare;
pub mod config;
pub mod diagnostics;
pub mod driver;
mod error;
mod finding;
pub mod history;
pub mod limits;
pub mod observer;
pub mod pareto;
mod pool;
pub mod rank;
pub mod run;
pub mod schedule;
pub mod select;
pub mod settings;
pub mod statistics;
pub mod strategy;
pub mod table;
mod text;

#[cfg(feature = "supernet")]
pub mod compose;

#[cfg(test)]
#[path = "../tests/fakes/mod.rs"]
mod fakes;
#[cfg(all(test, debug_assertions))]
mod resume_tests;

pub use admission::{Admission, LatencyRecord, Meter};
pub use best::{
    Best, BestRandom, Fronts, Machine, Precisions, RankedCandidate, TotalCost, Versions,
};
pub use budget::Budget;
pub use checkpoint::{CheckpointError, run_history};
pub use compare::table::{Comparison, ComparisonResult};
#[cfg(feature = "supernet")]
pub use compose::{
    CURVE_FILE, DryRun, ForecastBytes, ForecastSeconds, MODEL_IMAGES_FILE, ModelImages,
    NetworkComparison, NetworkComparisonResult, PREVIOUS_TRAINING_FILE, RESULT_FILE, RankOptions,
    Ranked, Session, TRAINING_FILE, TrainReport, TrainingFolders, TrialProgress, Which,
    compare_on_table, data_split, read_curve, read_training, run_device, run_images,
};
pub use config::{
    BaselineConfig, BaselineKind, Continuation, FleetConfig, HistoryPolicy, Known, Parents,
    SearchConfig, SelectConfig, SlurmConfig, StrategyKind, WeightSharing,
};
#[cfg(feature = "supernet")]
pub use config::{Config, FinalConfig, FinalNetwork, FinalPreset, Preset, TrainOn, TrainingConfig};
pub use diagnostics::Diagnostics;
pub use driver::{Driver, Ended, Outcome, StopRule};
pub use epnas_disk::{DiskError, FileError, write_atomic};
pub use error::{ConfigFileError, SearchError};
pub use finding::Finding;
pub use history::{History, HistoryError, HistoryTail, News, Record, Status, read_history};
pub use limits::{LimitedNetwork, Limits, LimitsConfig};
pub use observer::{Event, Observer, Phase, Silent, Total};
pub use pareto::pareto;
pub use pool::{Pool, PoolError};
pub use rank::{Predictor, RankRecord, RankReport, read_rank};
pub use run::{Run, RunError, RunFolder, Start};
pub use schedule::{PlannedStep, Schedule};
pub use settings::{KeyDoc, SettingsError};
pub use strategy::enas::{Enas, EnasConfig};
pub use strategy::evolution::{Evolution, EvolutionConfig};
pub use strategy::local_search::LocalSearch;
pub use strategy::progressive::Progressive;
pub use strategy::random::RandomSearch;
pub use strategy::{Batch, Proposal, Strategy, StrategyError};
pub use table::{Row, Table, TableError, TableEvaluator, TableMeter};
