//! Strategies side by side: on a table with the LSTM of a configuration, or with networks that are trained.

mod networks;
mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;

use epnas_surrogate::Lstm;

pub use networks::{NetworkComparison, NetworkComparisonResult, TrialProgress};

use crate::compare::table::{Comparison, ComparisonResult};
use crate::config::{Config, StrategyKind};
use crate::error::SearchError;
use crate::table::Table;

/// Compares strategies on a table, as `config` says how each searches: so many trials of each, regret after so many
/// children. `progress` is told of each finished trial.
///
/// # Errors
/// What ends a search.
pub fn compare_on_table(
    config: &Config,
    table: &Arc<Table>,
    trials: BTreeMap<StrategyKind, u64>,
    budgets: Vec<u64>,
    progress: &(dyn Fn(StrategyKind) + Sync),
) -> Result<ComparisonResult, SearchError> {
    let comparison = Comparison {
        trials,
        budgets,
        seed: config.seed,
        search: config.search.clone(),
    };
    let surrogate = |seed: u64| {
        let made = Lstm::new(&config.surrogate, table.space(), seed);
        made.map_err(|error| SearchError::Surrogate(error.into()))
    };
    comparison.run(table, surrogate, progress)
}
