//! What a ranking found: how well each predictor orders architectures, how sure that is, and what it costs.

use std::path::Path;

use epnas_arch::seed::split;
use serde::{Deserialize, Serialize};

use super::{Origin, Predictor, RankRecord};
use crate::error::SearchError;
use crate::history::Status;
use crate::statistics::{bootstrap, kendall_tau, mean, precision_at, spearman};
use epnas_disk as disk;

/// A statistic with its 95% bootstrap interval over architectures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Of the architectures as they are.
    pub value: f64,
    /// Lower and upper end; `None` when most resamples leave it undefined.
    pub ci95: Option<(f64, f64)>,
}

/// How well a predictor orders architectures; a score is `None` where it is not defined, as when all values tie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictorScores {
    /// Which.
    pub predictor: Predictor,
    /// Architectures that have its value and a retrained accuracy.
    pub architectures: usize,
    /// Kendall's tau-b with the retrained accuracy, -1 to 1.
    pub kendall_tau: Option<Score>,
    /// Its tau less that of the search's estimate, over the architectures that have both.
    pub tau_less_search: Option<Score>,
    /// Spearman's correlation with the retrained accuracy, -1 to 1.
    pub spearman: Option<Score>,
    /// The share of the truly best `k` among the predicted best `k`, 0 to 1.
    pub precision_at_k: Option<Score>,
    /// What `k` is here: a fifth of the architectures, at least 1.
    pub k: usize,
    /// Mean wall time per architecture; `None` when it was not measured, being next to nothing.
    pub seconds: Option<f64>,
}

/// The accuracies that the predictors are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrainedSummary {
    /// Epochs from scratch.
    pub epochs: usize,
    /// Lowest accuracy, 0 to 1.
    pub lowest: f64,
    /// Mean accuracy.
    pub mean: f64,
    /// Highest accuracy.
    pub highest: f64,
    /// Mean wall time per architecture.
    pub seconds: f64,
}

/// `rank.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankReport {
    /// Architectures with a retrained accuracy.
    pub architectures: usize,
    /// Architectures that could not be retrained; they are left out.
    pub failed: usize,
    /// What the search itself goes by: brief training, and batch norm as it is configured.
    pub search_estimate: Predictor,
    /// The truth; `None` without any.
    pub retrained: Option<RetrainedSummary>,
    /// Over all architectures, in the order of [`Predictor`].
    pub all: Vec<PredictorScores>,
    /// Over the children of the run alone.
    pub run: Vec<PredictorScores>,
    /// Over those drawn from the space alone.
    pub space: Vec<PredictorScores>,
    /// The root seed of the ranking.
    pub seed: u64,
    /// Why the result is not all it should be; empty when it is.
    pub notes: Vec<String>,
}

impl RankReport {
    /// Compares orders. `search_estimate` is the predictor that the search goes by.
    #[must_use]
    pub fn new(
        records: &[RankRecord],
        search_estimate: Predictor,
        seed: u64,
        notes: Vec<String>,
    ) -> Self {
        let scores = |chosen: &dyn Fn(&RankRecord) -> bool| {
            let chosen: Vec<&RankRecord> = records.iter().filter(|record| chosen(record)).collect();
            scores(&chosen, search_estimate, split(seed, "rank/bootstrap"))
        };
        let accuracies: Vec<f64> = records.iter().filter_map(truth).collect();
        let failed = |record: &&RankRecord| record.retrained.status == Status::Failed;
        Self {
            architectures: accuracies.len(),
            failed: records.iter().filter(failed).count(),
            search_estimate,
            retrained: summary(records, &accuracies),
            all: scores(&|_| true),
            run: scores(&|record| record.origin == Origin::Run),
            space: scores(&|record| record.origin == Origin::Space),
            seed,
            notes,
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`SearchError::Disk`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SearchError> {
        Ok(disk::write_json(path, self)?)
    }
}

fn truth(record: &RankRecord) -> Option<f64> {
    record.retrained.retrained_accuracy
}

fn summary(records: &[RankRecord], accuracies: &[f64]) -> Option<RetrainedSummary> {
    let good = || records.iter().filter(|record| truth(record).is_some());
    let seconds: Vec<f64> = good().map(|record| record.retrained.seconds).collect();
    Some(RetrainedSummary {
        epochs: good().map(|record| record.retrained.epochs.len()).max()?,
        lowest: accuracies.iter().copied().reduce(f64::min)?,
        mean: mean(accuracies)?,
        highest: accuracies.iter().copied().reduce(f64::max)?,
        seconds: mean(&seconds)?,
    })
}

/// All predictors that have a value of any of these architectures.
fn scores(records: &[&RankRecord], search: Predictor, seed: u64) -> Vec<PredictorScores> {
    let predictors: std::collections::BTreeSet<Predictor> = records
        .iter()
        .flat_map(|record| record.estimates.keys().copied())
        .collect();
    let score = |predictor| predictor_scores(records, predictor, search, seed);
    predictors.into_iter().map(score).collect()
}

fn predictor_scores(
    records: &[&RankRecord],
    predictor: Predictor,
    search: Predictor,
    seed: u64,
) -> PredictorScores {
    let of =
        |record: &RankRecord, predictor| Some((*record.estimates.get(&predictor)?, truth(record)?));
    let pairs: Vec<(f64, f64)> = (records.iter())
        .filter_map(|record| of(record, predictor))
        .collect();
    let beside: Vec<[(f64, f64); 2]> = (records.iter())
        .filter_map(|record| Some([of(record, predictor)?, of(record, search)?]))
        .collect();
    let tau_of = |beside: &[[(f64, f64); 2]], side: usize| {
        kendall_tau(&beside.iter().map(|pair| pair[side]).collect::<Vec<_>>())
    };
    let difference = |beside: &[[(f64, f64); 2]]| Some(tau_of(beside, 0)? - tau_of(beside, 1)?);
    let k = (pairs.len() / 5).max(1);
    let seconds: Vec<f64> = (records.iter())
        .filter_map(|record| record.estimate_seconds.get(&predictor).copied())
        .collect();
    PredictorScores {
        predictor,
        architectures: pairs.len(),
        // One seed for all: predictors are compared over the same resamples.
        kendall_tau: score(&pairs, seed, kendall_tau),
        tau_less_search: match predictor == search {
            true => None,
            false => score(&beside, seed, difference),
        },
        spearman: score(&pairs, seed, spearman),
        precision_at_k: score(&pairs, seed, |pairs| precision_at(pairs, k)),
        k,
        seconds: mean(&seconds),
    }
}

fn score<T: Clone>(
    sample: &[T],
    seed: u64,
    statistic: impl Fn(&[T]) -> Option<f64>,
) -> Option<Score> {
    let value = statistic(sample)?;
    let interval = bootstrap(sample, seed, statistic);
    let ci95 = interval.map(|interval| (interval.low, interval.high));
    Some(Score { value, ci95 })
}
