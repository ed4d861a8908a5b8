//! From a score to a tempered weight: `q_i ~ max(s_i, 1e-6)^(1/tau)`.

use crate::error::SampleError;

/// Scores below this count as this, so that a predicted accuracy of 0 keeps a chance.
pub const MIN_SCORE: f32 = 1e-6;

/// Lowest temperature. Below it the exponent overflows; `Selection::TopK` is the limit.
pub const MIN_TEMPERATURE: f64 = 1e-6;

/// Checks a temperature.
pub(crate) fn check_temperature(value: f64) -> Result<(), SampleError> {
    if value.is_finite() && value >= MIN_TEMPERATURE {
        Ok(())
    } else {
        Err(SampleError::Temperature { value })
    }
}

/// Checks the score of item `index`.
pub(crate) fn check_score(index: u64, value: f32) -> Result<(), SampleError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(SampleError::Score { index, value })
    }
}

/// Logarithm of the tempered weight, up to a constant: `ln(max(s, 1e-6)) / tau`.
pub(crate) fn log_weight(score: f32, temperature: f64) -> f64 {
    f64::from(score.max(MIN_SCORE)).ln() / temperature
}

/// Logarithm of a sum of exponentials, kept while the terms come in.
#[derive(Debug, Clone)]
pub(crate) struct LogSumExp {
    largest: f64,
    /// Sum of `exp(term - largest)`.
    sum: f64,
}

impl LogSumExp {
    pub(crate) fn new() -> Self {
        Self {
            largest: f64::NEG_INFINITY,
            sum: 0.0,
        }
    }

    /// Adds `exp(term)`; `term` must be finite.
    pub(crate) fn add(&mut self, term: f64) {
        if term <= self.largest {
            self.sum += (term - self.largest).exp();
        } else {
            self.sum = self.sum * (self.largest - term).exp() + 1.0;
            self.largest = term;
        }
    }

    /// `ln` of the sum so far; minus infinity when nothing was added.
    pub(crate) fn value(&self) -> f64 {
        self.largest + self.sum.ln()
    }
}

/// The tempered distribution `q_i = max(s_i, 1e-6)^(1/tau) / sum_j max(s_j, 1e-6)^(1/tau)`.
///
/// Scaling all scores by one factor changes nothing (as long as none falls below [`MIN_SCORE`]).
/// No scores give an empty vector.
///
/// # Errors
/// [`SampleError`] for a score that is NaN, infinite or negative, or such a temperature.
///
/// ```
/// let q = epnas_sampler::probabilities(&[0.9, 0.6, 0.3], 1.0)?;
/// assert!((q[0] - 1.0 / 2.0).abs() < 1e-6);
/// assert!((q[2] - 1.0 / 6.0).abs() < 1e-6);
/// # Ok::<(), epnas_sampler::SampleError>(())
/// ```
pub fn probabilities(scores: &[f32], temperature: f64) -> Result<Vec<f64>, SampleError> {
    check_temperature(temperature)?;
    let mut total = LogSumExp::new();
    let mut logs = Vec::with_capacity(scores.len());
    for (index, &score) in (0u64..).zip(scores) {
        check_score(index, score)?;
        let log = log_weight(score, temperature);
        total.add(log);
        logs.push(log);
    }
    let total = total.value();
    Ok(logs.into_iter().map(|log| (log - total).exp()).collect())
}
