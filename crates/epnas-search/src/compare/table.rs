//! Strategies side by side on a table: what they missed after so many children, over many trials.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use epnas_arch::Surrogate;
use epnas_arch::seed::split;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Point, Summarizer, Summary, steps};
use crate::admission::Admission;
use crate::budget::Budget;
use crate::config::{HistoryPolicy, SearchConfig, StrategyKind};
use crate::driver::Driver;
use crate::error::SearchError;
use crate::history::{History, Record};
use crate::limits::{Limits, Quantity};
use crate::observer::Silent;
use crate::settings::SettingsError;
use crate::statistics::mean;
use crate::strategy;
use crate::table::{Table, TableEvaluator, TableMeter};

/// What is compared.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Each with its number of trials, in the order of the result's `strategies`.
    pub trials: BTreeMap<StrategyKind, u64>,
    /// Numbers of children after which regret is told, ascending.
    pub budgets: Vec<u64>,
    /// Root seed. Trial t of every strategy sees the same recorded training of the table.
    pub seed: u64,
    /// How strategies search; its `strategy`, `iterations` and `children` do not count.
    pub search: SearchConfig,
}

/// How a strategy did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyResult {
    /// Trials.
    pub trials: u64,
    /// Wall time of a trial in seconds, on average, with as many others beside it as there are threads.
    pub seconds_per_trial: f64,
    /// By number of children: points of accuracy between the best architecture and the one that looks best, both by mean
    /// accuracy over the recorded trainings.
    pub regret: BTreeMap<u64, Summary>,
    /// The same after every so many children.
    pub curve: Vec<Point>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonResult {
    /// The table.
    pub table: String,
    /// Its architectures.
    pub architectures: usize,
    /// Its highest mean accuracy, 0 to 1; with limits, of those within.
    pub best_accuracy: f64,
    /// What searches kept to.
    #[serde(skip_serializing_if = "Limits::is_unlimited", default)]
    pub limits: Limits,
    /// Root seed.
    pub seed: u64,
    /// By name.
    pub strategies: BTreeMap<String, StrategyResult>,
}

/// Regret in points after each child of one trial.
type Curve = Vec<f64>;

impl Comparison {
    /// Runs all trials, as many at a time as there are threads; results do not depend on their number. `surrogate` makes an
    /// untrained one under a seed; `progress` is told of each finished trial.
    ///
    /// # Errors
    /// What ends a search.
    pub fn run<S: Surrogate + 'static>(
        &self,
        table: &Arc<Table>,
        surrogate: impl Fn(u64) -> Result<S, SearchError> + Sync,
        progress: &(dyn Fn(StrategyKind) + Sync),
    ) -> Result<ComparisonResult, SearchError> {
        if let Some(latency) = &self.search.limits.latency {
            let key = Quantity::Latency.key();
            let expected = "none: a table has no network that could be timed";
            return Err(SettingsError::value(key, latency, expected).into());
        }
        let limits = self.search.limits.parse()?;
        let best = self.best(table, limits)?;
        let jobs: Vec<(StrategyKind, u64)> = self
            .trials
            .iter()
            .flat_map(|(&kind, &trials)| (0..trials).map(move |trial| (kind, trial)))
            .collect();
        let outcomes: Vec<(Curve, f64)> = jobs
            .par_iter()
            .with_max_len(1)
            .map(|&(kind, trial)| {
                let clock = Instant::now();
                let curve = self.trial(kind, trial, table, best, &surrogate)?;
                progress(kind);
                Ok((curve, clock.elapsed().as_secs_f64()))
            })
            .collect::<Result<_, SearchError>>()?;
        let mut curves: BTreeMap<StrategyKind, Vec<(Curve, f64)>> = BTreeMap::new();
        for ((kind, _), outcome) in jobs.into_iter().zip(outcomes) {
            curves.entry(kind).or_default().push(outcome);
        }
        let random = curves.get(&StrategyKind::Random);
        let results = curves.iter().map(|(&kind, trials)| {
            let random = random
                .map(Vec::as_slice)
                .filter(|_| kind != StrategyKind::Random);
            (kind.name().to_owned(), self.summarize(kind, trials, random))
        });
        Ok(ComparisonResult {
            table: table.name().to_owned(),
            architectures: table.len(),
            best_accuracy: best,
            limits,
            seed: self.seed,
            strategies: results.collect(),
        })
    }

    /// The highest mean accuracy of what is within the limits.
    fn best(&self, table: &Arc<Table>, limits: Limits) -> Result<f64, SearchError> {
        let meter = TableMeter(Arc::clone(table));
        let admission = Admission::new(table.space(), limits, meter, None)?;
        let mut best = f64::MIN;
        for (arch, row) in table.full_length() {
            if admission.admits(arch)? {
                best = best.max(row.mean());
            }
        }
        match admission.nothing_left() {
            Some(error) if best == f64::MIN => Err(error.into()),
            _ => Ok(best),
        }
    }

    fn longest(&self) -> u64 {
        self.budgets.iter().copied().max().unwrap_or(0)
    }

    fn trial<S: Surrogate + 'static>(
        &self,
        kind: StrategyKind,
        trial: u64,
        table: &Arc<Table>,
        best: f64,
        surrogate: impl Fn(u64) -> Result<S, SearchError>,
    ) -> Result<Curve, SearchError> {
        let seed = split(self.seed, &format!("trial/{trial}"));
        let config = SearchConfig {
            strategy: kind,
            // The budget ends the search.
            iterations: usize::MAX,
            children: None,
            ..self.search.clone()
        };
        let made = || surrogate(split(seed, "surrogate"));
        let meter = TableMeter(Arc::clone(table));
        let limits = config.limits.parse()?;
        let admission = Admission::new(table.space(), limits, meter, None)?;
        let mut strategy =
            strategy::configured(table.space(), &config, admission, None, made, seed)?;
        let mut evaluator = TableEvaluator::new(Arc::clone(table), split(seed, "table"));
        let driver = Driver {
            folder: None,
            space: table.space().clone(),
            policy: HistoryPolicy::Best,
            seed,
            settings: String::new(),
            budget: Budget::children(self.longest()),
            stop: None,
        };
        let outcome = driver.run(&mut evaluator, &mut *strategy, &mut Silent)?;
        let mut curve = regrets(table, best, &outcome.history);
        // One that has nothing more to propose stays where it is.
        let last = curve.last().copied().unwrap_or(100.0 * best);
        curve.resize(usize::try_from(self.longest()).unwrap_or(usize::MAX), last);
        Ok(curve)
    }

    fn summarize(
        &self,
        kind: StrategyKind,
        trials: &[(Curve, f64)],
        random: Option<&[(Curve, f64)]>,
    ) -> StrategyResult {
        let summarizer = Summarizer {
            seed: self.seed,
            strategy: kind,
        };
        let after = |trials: &[(Curve, f64)], children: u64| -> Vec<f64> {
            let at = usize::try_from(children)
                .unwrap_or(usize::MAX)
                .saturating_sub(1);
            trials
                .iter()
                .filter_map(|(curve, _)| curve.get(at).copied())
                .collect()
        };
        let summary = |&children: &u64| {
            let against = random.map(|random| after(random, children));
            let values = after(trials, children);
            (
                children,
                summarizer.summary(children, &values, against.as_deref()),
            )
        };
        let point = |children| summarizer.point(children, &after(trials, children));
        let seconds: Vec<f64> = trials.iter().map(|(_, seconds)| *seconds).collect();
        StrategyResult {
            trials: trials.len() as u64,
            seconds_per_trial: mean(&seconds).unwrap_or(0.0),
            regret: self.budgets.iter().map(summary).collect(),
            curve: steps(self.longest()).into_iter().map(point).collect(),
        }
    }
}

/// Points of accuracy that the best-looking architecture is worse than the best, after each child.
fn regrets(table: &Table, best: f64, history: &History) -> Curve {
    // Without any success, all is missed.
    let (mut highest, mut regret) = (f64::MIN, 100.0 * best);
    let after = |record: &Record| {
        if let (Some(seen), Some(row)) = (record.estimate, table.get(&record.arch))
            && table.is_full_length(&record.arch)
            && seen > highest
        {
            (highest, regret) = (seen, 100.0 * (best - row.mean()));
        }
        regret
    };
    history.records().iter().map(after).collect()
}
