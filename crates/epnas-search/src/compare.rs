//! Strategies side by side: what each has found after so much work, over many trials.
//!
//! On a [`table`] a trial takes no time and what was missed is known. With networks that are trained
//! (`NetworkComparison`, feature `supernet`) a trial is a run of its own, and what it found is retrained.

pub mod table;

use epnas_arch::seed::split;
use serde::{Deserialize, Serialize};

use crate::config::StrategyKind;
use crate::statistics::{Interval, mean, mean_interval, permutation_p};

/// Points of a curve at most.
const POINTS: usize = 80;

/// The mean of a number over trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Bootstrap interval of the mean; `None` with a single trial.
    pub ci95: Option<[f64; 2]>,
    /// Standard deviation over trials.
    pub std: f64,
    /// The mean less that of random search; `None` without random search, and for itself.
    pub less_random: Option<f64>,
    /// Two-sided p-value of a permutation test of the difference of means from random search; `None` without random search,
    /// and for itself.
    pub vs_random_p: Option<f64>,
}

/// A number after some part of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Children, or what else the budget counts.
    pub budget: u64,
    /// Mean over trials.
    pub mean: f64,
    /// Lower end of its 95% interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Sums up the trials of a strategy, each number with random numbers of its own.
pub(crate) struct Summarizer {
    /// That of the comparison.
    pub(crate) seed: u64,
    pub(crate) strategy: StrategyKind,
}

impl Summarizer {
    fn seed(&self, name: &str, budget: u64) -> u64 {
        let strategy = self.strategy.name();
        split(self.seed, &format!("compare/{name}/{strategy}/{budget}"))
    }

    /// The values of trials, one each, beside those of random search.
    pub(crate) fn summary(&self, budget: u64, values: &[f64], random: Option<&[f64]>) -> Summary {
        let ci95 = mean_interval(values, self.seed("interval", budget));
        let p = |random: &[f64]| permutation_p(values, random, self.seed("p", budget));
        Summary {
            mean: mean(values).unwrap_or(0.0),
            ci95: ci95.map(|Interval { low, high }| [low, high]),
            std: deviation(values),
            less_random: random.and_then(|random| Some(mean(values)? - mean(random)?)),
            vs_random_p: random.and_then(p),
        }
    }

    pub(crate) fn point(&self, budget: u64, values: &[f64]) -> Point {
        let mean = mean(values).unwrap_or(0.0);
        let interval = mean_interval(values, self.seed("curve", budget));
        let Interval { low, high } = interval.unwrap_or(Interval {
            low: mean,
            high: mean,
        });
        Point {
            budget,
            mean,
            low,
            high,
        }
    }
}

/// Numbers from 1 to `last`, evenly spread by ratio.
pub(crate) fn steps(last: u64) -> Vec<u64> {
    let mut steps: Vec<u64> = (0..POINTS)
        .map(|i| (last as f64).powf(i as f64 / (POINTS - 1) as f64).round() as u64)
        .filter(|&step| (1..=last).contains(&step))
        .collect();
    steps.dedup();
    steps
}

fn deviation(values: &[f64]) -> f64 {
    let Some(mean) = mean(values).filter(|_| values.len() > 1) else {
        return 0.0;
    };
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}
