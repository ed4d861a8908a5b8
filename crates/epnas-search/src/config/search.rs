//! The `[search]` and `[baseline]` sections.

use std::time::Duration;

use epnas_sampler::{Selection, TemperatureError, TemperatureSchedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::LimitsConfig;
use crate::settings::SettingsError;
use crate::strategy::enas::EnasConfig;
use crate::strategy::evolution::EvolutionConfig;

/// Who proposes the children.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Progressive search with a surrogate (Perez-Rua et al., 2018, section 3).
    #[default]
    Epnas,
    /// The same greedily: one pass that keeps the best predicted, and weights of its own for every child (Liu et al., 2018).
    Pnas,
    /// Full-length architectures, uniform over the space.
    Random,
    /// Aging evolution (Real et al., 2019).
    RegularizedEvolution,
    /// Climbing from random architectures (White et al., 2021).
    LocalSearch,
    /// A controller trained by reinforcement (Pham et al., 2018).
    Enas,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: [StrategyKind; 6] = [
        StrategyKind::Epnas,
        StrategyKind::Pnas,
        StrategyKind::Random,
        StrategyKind::RegularizedEvolution,
        StrategyKind::LocalSearch,
        StrategyKind::Enas,
    ];

    /// As it is written in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            StrategyKind::Epnas => "epnas",
            StrategyKind::Pnas => "pnas",
            StrategyKind::Random => "random",
            StrategyKind::RegularizedEvolution => "regularized_evolution",
            StrategyKind::LocalSearch => "local_search",
            StrategyKind::Enas => "enas",
        }
    }

    /// Whether it grows architectures level by level, led by a surrogate.
    #[must_use]
    pub fn is_progressive(self) -> bool {
        matches!(self, StrategyKind::Epnas | StrategyKind::Pnas)
    }
}

impl std::str::FromStr for StrategyKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("expected one of {names}")
        })
    }
}

/// Which weights a child starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightSharing {
    /// Those that the children before have left, where they have the same operation at the same depth.
    #[default]
    Shared,
    /// Fresh ones, which nobody else gets.
    None,
}

/// What iterations after the first start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// Every iteration grows architectures anew from one layer or block.
    #[default]
    Restart,
    /// Later iterations keep the full-length parents and replace one level at a time, from the first to the last.
    Refine,
    /// Later iterations replace any one level of the parents, whichever is predicted to gain most.
    Improve,
}

/// What a step extends or changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parents {
    /// The children of the step before.
    #[default]
    Latest,
    /// The best of their length by estimate, of whichever step.
    Best,
}

/// Whether what was measured may be drawn again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Known {
    /// It is trained again, on weights that have matured since.
    #[default]
    Again,
    /// It is left out of the candidates.
    Never,
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
    /// Who proposes children: "epnas" (default), "pnas" (its greedy ancestor: one pass, always the best predicted),
    /// "random" (uniform over the space), "regularized_evolution", "local_search" or "enas".
    pub strategy: StrategyKind,
    /// Children in all, failed ones included; the search ends there even within a step. Default: what `iterations` and
    /// `children_per_step` plan, for every strategy.
    pub children: Option<u64>,
    /// Whether children train "shared" weights or start from fresh ones ("none"). Default shared, but none for "pnas".
    pub sharing: Option<WeightSharing>,
    /// Passes over all levels of the space; weights, surrogate and history are kept from one to the next. Default 3,
    /// the paper's 3 to 5; range 1 to 1000.
    pub iterations: usize,
    /// Children drawn and trained in each step (K of the paper). The first step of the first iteration trains every
    /// architecture of one layer or block instead. Default 25, range 1 to 100,000.
    pub children_per_step: usize,
    /// What iterations after the first do: "restart" (default), "refine" (replace one level after the other) or "improve"
    /// (replace any one level).
    pub continuation: Continuation,
    /// What a step extends or changes: the "latest" children (default), those of the step before, or as many of the "best"
    /// of their length that were ever measured.
    pub parents: Parents,
    /// Whether a candidate that was measured before may be drawn "again" (default) or "never".
    pub known: Known,
    /// How children are chosen by predicted accuracy: "sample" (default), "top_k" or "uniform".
    pub selection: Selection,
    /// Temperature of sampling over the steps of the whole search.
    pub temperature: TemperatureSchedule,
    /// Which accuracy counts for an architecture that was trained more than once: "best" (default) or "latest".
    pub history: HistoryPolicy,
    /// Regularized evolution.
    pub evolution: EvolutionConfig,
    /// ENAS.
    pub enas: EnasConfig,
    /// What every child may cost at most.
    pub limits: LimitsConfig,
    /// Wall time for the whole run, resumed parts included, such as "90s", "45m" or "2h 30m". The run ends after the
    /// child in progress with the best so far; some of the time is kept for the baseline and the selection. Default
    /// none: until done.
    pub budget: Option<String>,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyKind::Epnas,
            children: None,
            sharing: None,
            iterations: 3,
            children_per_step: 25,
            continuation: Continuation::Restart,
            parents: Parents::Latest,
            known: Known::Again,
            selection: Selection::Sample,
            temperature: TemperatureSchedule::default(),
            history: HistoryPolicy::Best,
            evolution: EvolutionConfig::default(),
            enas: EnasConfig::default(),
            limits: LimitsConfig::default(),
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
        if self.children == Some(0) {
            return Err(SettingsError::value("search.children", 0, "at least 1"));
        }
        self.evolution.validate()?;
        self.enas.validate()?;
        self.limits.parse()?;
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

    /// What is in force: [`StrategyKind::Pnas`] makes one pass and takes the best predicted, whatever is configured.
    #[must_use]
    pub fn in_force(&self) -> Self {
        match self.strategy {
            StrategyKind::Pnas => Self {
                iterations: 1,
                selection: Selection::TopK,
                ..self.clone()
            },
            _ => self.clone(),
        }
    }

    /// Which weights children start from.
    #[must_use]
    pub fn weight_sharing(&self) -> WeightSharing {
        self.sharing.unwrap_or(match self.strategy {
            StrategyKind::Pnas => WeightSharing::None,
            _ => WeightSharing::Shared,
        })
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
