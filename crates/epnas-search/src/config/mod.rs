//! Configuration: the sections of a run as plain values with documented keys.
//!
//! [`SearchConfig`], [`BaselineConfig`] and [`SelectConfig`] drive any evaluator. `Config`, the whole document of the
//! `epnas` command, and the training recipes need the feature `supernet`.

#[cfg(feature = "supernet")]
mod derived;
#[cfg(feature = "supernet")]
mod document;
mod fleet;
mod search;
mod select;
#[cfg(feature = "supernet")]
mod training;

#[cfg(feature = "supernet")]
pub use document::{Config, MAY_DIFFER};
pub use fleet::{FleetConfig, SlurmConfig};
pub(crate) use search::range;
pub use search::{
    BaselineConfig, BaselineKind, Continuation, HistoryPolicy, Known, Parents, SearchConfig,
    StrategyKind, WeightSharing,
};
pub use select::SelectConfig;
#[cfg(feature = "supernet")]
pub use training::{FinalConfig, FinalNetwork, FinalPreset, Preset, TrainOn, TrainingConfig};
