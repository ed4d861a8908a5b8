//! How well one number ranks another, and how sure that is: rank correlations, precision among the best, bootstrap
//! intervals and a permutation test.
//!
//! What is not defined (too few values, all tied, a value that is not finite) is `None`, never NaN. Random numbers
//! depend on the given seed alone.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Resamples of a [`bootstrap`].
const RESAMPLES: usize = 2000;

/// Permutations of [`permutation_p`], beside the one that was observed.
const PERMUTATIONS: usize = 9999;

/// A 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end, not below `low`.
    pub high: f64,
}

/// Kendall's tau-b (Kendall, 1945) of pairs, -1 to 1: the excess of pairs in the same order over pairs in opposite order,
/// with ties in either number left out of its scale. Quadratic in the number of pairs.
#[must_use]
pub fn kendall_tau(pairs: &[(f64, f64)]) -> Option<f64> {
    require_finite(pairs)?;
    let (mut excess, mut untied_x, mut untied_y) = (0_i64, 0_u64, 0_u64);
    for (index, &(x, y)) in pairs.iter().enumerate() {
        for &(other_x, other_y) in &pairs[..index] {
            let (sign_x, sign_y) = (order(x, other_x), order(y, other_y));
            excess += sign_x * sign_y;
            untied_x += sign_x.unsigned_abs();
            untied_y += sign_y.unsigned_abs();
        }
    }
    let scale = (untied_x as f64 * untied_y as f64).sqrt();
    (scale > 0.0).then(|| (excess as f64 / scale).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation of pairs, -1 to 1; equal numbers share the mean of their ranks.
#[must_use]
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    require_finite(pairs)?;
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (x, y) = (ranks(&x), ranks(&y));
    let mean = (pairs.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let scale = (product(&x, &x) * product(&y, &y)).sqrt();
    (scale > 0.0).then(|| (product(&x, &y) / scale).clamp(-1.0, 1.0))
}

/// The share of the true best `k` that is among the predicted best `k`, 0 to 1, of pairs `(predicted, true)`; more is
/// better in both. Numbers that tie for the last places share them: a prediction that ties all of `n` gets `k / n`, and
/// one that orders as the truth does, ties included, gets 1.
///
/// Not defined unless `1 <= k < n`.
#[must_use]
pub fn precision_at(pairs: &[(f64, f64)], k: usize) -> Option<f64> {
    require_finite(pairs)?;
    if k == 0 || k >= pairs.len() {
        return None;
    }
    let (predicted, truth): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (predicted, truth) = (places(&predicted, k), places(&truth, k));
    let shared = predicted.iter().zip(&truth).map(|(a, b)| a.min(*b));
    Some(shared.sum::<f64>() / k as f64)
}

/// The percentile bootstrap (Efron, 1979) of any statistic: the middle 95% of its values over 2,000 samples drawn with
/// replacement. Draws for which it is not defined are left out; when that is half of them or more, so is the interval.
#[must_use]
pub fn bootstrap<T: Clone>(
    sample: &[T],
    seed: u64,
    statistic: impl Fn(&[T]) -> Option<f64>,
) -> Option<Interval> {
    if sample.len() < 2 {
        return None;
    }
    statistic(sample)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let draw = (0..sample.len()).map(|_| sample[rng.random_range(0..sample.len())].clone());
            statistic(&draw.collect::<Vec<T>>())
        })
        .collect();
    if values.len() * 2 <= RESAMPLES {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some(Interval {
        low: quantile(&values, 0.025),
        high: quantile(&values, 0.975),
    })
}

/// The mean of at least one finite number.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    mean.is_finite().then_some(mean)
}

/// The standard deviation of a sample, with n - 1 in the denominator; none of fewer than two values.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The [`bootstrap`] interval of the mean of at least two numbers.
#[must_use]
pub fn mean_interval(values: &[f64], seed: u64) -> Option<Interval> {
    bootstrap(values, seed, mean)
}

/// The two-sided p-value of a permutation test (Fisher, 1935) of the difference of the means of two samples, from 9,999
/// permutations: how often a random division of all values differs as much, the observed one included. 1 when all values
/// are equal; not defined with fewer than two values on either side.
#[must_use]
pub fn permutation_p(a: &[f64], b: &[f64], seed: u64) -> Option<f64> {
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    let mut all = [a, b].concat();
    let total: f64 = all.iter().sum();
    let size: f64 = all.iter().map(|value| value.abs()).sum();
    if !size.is_finite() {
        return None;
    }
    // With the total fixed, the mean of one part alone orders the differences.
    let expected = total / all.len() as f64;
    let distance = |part: &[f64]| (part.iter().sum::<f64>() / part.len() as f64 - expected).abs();
    // The same values summed in another order differ by rounding.
    let observed = distance(a) - size * 1e-12;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hits = (0..PERMUTATIONS).filter(|_| {
        let (part, _) = all.partial_shuffle(&mut rng, a.len());
        distance(part) >= observed
    });
    Some((1 + hits.count()) as f64 / (1 + PERMUTATIONS) as f64)
}

fn require_finite(pairs: &[(f64, f64)]) -> Option<()> {
    let finite = pairs.iter().all(|(x, y)| x.is_finite() && y.is_finite());
    finite.then_some(())
}

fn order(a: f64, b: f64) -> i64 {
    i64::from(a > b) - i64::from(a < b)
}

/// The rank of each number, from 1 for the least; equal numbers get their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = |value: &f64| {
        let below = sorted.partition_point(|other| other < value);
        let up_to = sorted.partition_point(|other| other <= value);
        (below + 1 + up_to) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// How much of a place among the greatest `k` each number has, 0 to 1; equal numbers share what is left.
fn places(values: &[f64], k: usize) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| f64::total_cmp(b, a));
    let last = sorted[k - 1];
    let above = sorted.partition_point(|other| *other > last);
    let tied = sorted.partition_point(|other| *other >= last) - above;
    let share = (k - above) as f64 / tied as f64;
    let place = |value: &f64| match order(*value, last) {
        1 => 1.0,
        0 => share,
        _ => 0.0,
    };
    values.iter().map(place).collect()
}

/// The quantile of sorted numbers, at least one, interpolated between neighbours (type 7 of Hyndman and Fan, 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}
