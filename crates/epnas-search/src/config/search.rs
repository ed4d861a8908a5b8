//! The `[search]` and `[baseline]` sections.

use std::time::Duration;

use epnas_sampler::{Selection, TemperatureError, TemperatureSchedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::SettingsError;

/// Who proposes the children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Progressive search with a surrogate (Perez-Rua et al., 2018, section 3).
    #[default]
    Epnas,
    /// Full-length architectures, uniform over the space.
    Random,
}

/// What iterations after the first start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// Every iteration grows architectures anew from one layer or block.
    #[default]
    Restart,
    /// Later iterations keep the full-length parents and replace one level at a time.
    Refine,
}

/// Which accuracy stands for an architecture that was trained more than once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryPolicy {
    /// The highest.
    #[default]
    Best,
    /// The most recent, measured on the most mature shared weights.
    Latest,
}

/// How the search runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SearchConfig {
    /// Who proposes children: "epnas" (default) or "random" (full-length architectures, uniform over the space, as many
    /// as the progressive search would train).
    pub strategy: StrategyKind,
    /// Passes over all levels of the space; weights, surrogate and history are kept from one to the next. Default 3,
    /// the paper's 3 to 5; range 1 to 1000.
    pub iterations: usize,
    /// Children drawn and trained in each step (K of the paper). The first step of the first iteration trains every
    /// architecture of one layer or block instead. Default 25, range 1 to 100,000.
    pub children_per_step: usize,
    /// What iterations after the first start from: "restart" (default) or "refine".
    pub continuation: Continuation,
    /// How children are chosen by predicted accuracy: "sample" (default), "top_k" or "uniform".
    pub selection: Selection,
    /// Temperature of sampling over the steps of the whole search.
    pub temperature: TemperatureSchedule,
    /// Which accuracy counts for an architecture that was trained more than once: "best" (default) or "latest".
    pub history: HistoryPolicy,
    /// Wall time for the whole run, resumed parts included, such as "90s", "45m" or "2h 30m". The run ends after the
    /// child in progress with the best so far; some of the time is kept for the baseline and the selection. Default
    /// none: until done.
    pub budget: Option<String>,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyKind::Epnas,
            iterations: 3,
            children_per_step: 25,
            continuation: Continuation::Restart,
            selection: Selection::Sample,
            temperature: TemperatureSchedule::default(),
            history: HistoryPolicy::Best,
            budget: None,
        }
    }
}

impl SearchConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`SettingsError::Value`] for the first key out of range.
    pub fn validate(&self) -> Result<(), SettingsError> {
        range("search.iterations", self.iterations, 1, 1000)?;
        range(
            "search.children_per_step",
            self.children_per_step,
            1,
            100_000,
        )?;
        self.temperature.validate().map_err(|error| match error {
            TemperatureError::Temperature { field, value } => SettingsError::value(
                format!("search.temperature.{field}"),
                value,
                "a finite number of at least 1e-6",
            ),
            TemperatureError::Decay { value } => SettingsError::value(
                "search.temperature.decay",
                value,
                "a finite number above 0, in search steps",
            ),
        })?;
        self.budget().map(|_| ())
    }

    /// The time budget.
    ///
    /// # Errors
    /// [`SettingsError::Value`] when it is not a duration above zero.
    pub fn budget(&self) -> Result<Option<Duration>, SettingsError> {
        let Some(text) = &self.budget else {
            return Ok(None);
        };
        match humantime::parse_duration(text) {
            Ok(budget) if !budget.is_zero() => Ok(Some(budget)),
            _ => Err(SettingsError::value(
                "search.budget",
                format!("\"{text}\""),
                "a duration above zero such as \"90s\", \"45m\" or \"2h 30m\"",
            )),
        }
    }
}

/// Whether something simpler is run beside the search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaselineKind {
    /// Nothing.
    #[default]
    None,
    /// Random search over full-length architectures.
    Random,
}

/// What the search is compared with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BaselineConfig {
    /// "none" (default) or "random": random search on its own shared weights with the same number of training
    /// multiply-accumulates as the search spent, then the same selection.
    pub kind: BaselineKind,
}

/// Checks that `low <= value <= high`.
pub(crate) fn range(key: &str, value: usize, low: usize, high: usize) -> Result<(), SettingsError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::value(
        key,
        value,
        format!("a whole number from {low} to {high}"),
    ))
}
