//! How well the surrogate predicted the children before they were trained (Perez-Rua et al., 2018, section 4).
//!
//! A history holds each child's prediction from before its training and its estimate from after, so this can be told of
//! every run at any time. Estimates are those of shared weights: this says how well the surrogate foresees the search, and
//! not how well it foresees trained networks.

use serde::{Deserialize, Serialize};

use crate::history::{History, Record};
use crate::statistics::{kendall_tau, mean};

/// Predictions outside of this are saturated: there the output's slope is so small that candidates look alike.
const SATURATED: std::ops::Range<f64> = 0.01..0.99;

/// Groups of a calibration at most.
const GROUPS: usize = 10;

/// Predictions against estimates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Children with both.
    pub children: usize,
    /// Kendall's tau-b of predictions and estimates, -1 to 1; `None` where it is not defined, as with one child.
    pub kendall_tau: Option<f64>,
    /// Mean absolute difference.
    pub error: f64,
    /// Mean prediction less mean estimate: above 0, the surrogate hopes for too much.
    pub bias: f64,
    /// Share of predictions below 0.01 or above 0.99.
    pub saturation: f64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepAgreement {
    /// Iteration, from 0.
    pub iteration: usize,
    /// Step, from 1.
    pub step: usize,
    /// How well its children were predicted.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// Children of similar predictions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationGroup {
    /// Children.
    pub children: usize,
    /// Mean prediction.
    pub predicted: f64,
    /// Mean estimate: the same, where predictions are calibrated.
    pub measured: f64,
}

/// How a surrogate did in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// All children that were predicted.
    pub overall: Agreement,
    /// The same by predicted accuracy, in up to ten groups of equal size, ascending.
    pub calibration: Vec<CalibrationGroup>,
    /// Step by step. Tau within a step is what drawing depends on: over all steps it also profits from the accuracy that
    /// comes with length.
    pub steps: Vec<StepAgreement>,
}

impl Diagnostics {
    /// Those of a history; `None` when nothing was predicted.
    #[must_use]
    pub fn of(history: &History) -> Option<Self> {
        let predicted: Vec<(&Record, (f64, f64))> = history
            .records()
            .iter()
            .filter_map(|record| Some((record, (record.predicted?, record.estimate?))))
            .collect();
        let all: Vec<(f64, f64)> = predicted.iter().map(|(_, pair)| *pair).collect();
        let place = |record: &Record| (record.iteration, record.step);
        let steps = predicted.chunk_by(|(a, _), (b, _)| place(a) == place(b));
        let steps = steps.filter_map(|step| {
            let pairs: Vec<(f64, f64)> = step.iter().map(|(_, pair)| *pair).collect();
            let (iteration, number) = place(step.first()?.0);
            Some(StepAgreement {
                iteration,
                step: number,
                agreement: Agreement::of(&pairs)?,
            })
        });
        Some(Self {
            overall: Agreement::of(&all)?,
            calibration: calibration(&all),
            steps: steps.collect(),
        })
    }
}

impl Agreement {
    /// That of pairs (prediction, estimate); `None` without any.
    fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let over = |of: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(of).collect::<Vec<_>>());
        Some(Self {
            children: pairs.len(),
            kendall_tau: kendall_tau(pairs),
            error: over(|(predicted, estimate)| (predicted - estimate).abs())?,
            bias: over(|(predicted, estimate)| predicted - estimate)?,
            saturation: over(|(predicted, _)| f64::from(u8::from(!SATURATED.contains(predicted))))?,
        })
    }
}

fn calibration(pairs: &[(f64, f64)]) -> Vec<CalibrationGroup> {
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = sorted.len().div_ceil(GROUPS).max(1);
    let of = |group: &[(f64, f64)]| {
        let over =
            |of: fn(&(f64, f64)) -> f64| group.iter().map(of).sum::<f64>() / group.len() as f64;
        CalibrationGroup {
            children: group.len(),
            predicted: over(|pair| pair.0),
            measured: over(|pair| pair.1),
        }
    };
    sorted.chunks(size).map(of).collect()
}

#[cfg(test)]
mod tests {
    use epnas_arch::{Arch, Space};

    use super::*;
    use crate::config::HistoryPolicy;
    use crate::history::Status;

    fn record(step: usize, predicted: Option<f64>, estimate: Option<f64>) -> Record {
        Record {
            index: 0,
            iteration: 1,
            step,
            arch: "macro:c3.0".parse::<Arch>().expect("an architecture"),
            estimate,
            status: Status::Ok,
            reason: None,
            seconds: 0.0,
            params: None,
            macs: None,
            images: 0,
            predicted,
            probability: None,
            temperature: None,
            epochs: Vec::new(),
        }
    }

    fn diagnosed(records: Vec<Record>) -> Option<Diagnostics> {
        let history = History::from_records(Space::default(), HistoryPolicy::Best, records);
        Diagnostics::of(&history)
    }

    #[test]
    fn steps_are_told_apart_and_add_up() {
        let found = diagnosed(vec![
            record(1, None, Some(0.3)),
            record(2, Some(0.5), Some(0.4)),
            record(2, Some(0.6), Some(0.5)),
            record(2, Some(0.995), None),
            record(3, Some(0.995), Some(0.5)),
            record(3, Some(0.5), Some(0.6)),
        ]);
        let found = found.expect("predictions");
        let steps: Vec<_> = found
            .steps
            .iter()
            .map(|step| (step.iteration, step.step))
            .collect();
        assert_eq!(steps, [(1, 2), (1, 3)]);
        let [second, third] = [&found.steps[0].agreement, &found.steps[1].agreement];
        // Both pairs in order, each predicted 0.1 too high.
        assert_eq!((second.children, second.kendall_tau), (2, Some(1.0)));
        assert!((second.error - 0.1).abs() < 1e-12 && (second.bias - 0.1).abs() < 1e-12);
        assert_eq!(second.saturation, 0.0);
        // In opposite order: 0.495 too high and 0.1 too low.
        assert_eq!((third.kendall_tau, third.saturation), (Some(-1.0), 0.5));
        assert!((third.error - 0.2975).abs() < 1e-12 && (third.bias - 0.1975).abs() < 1e-12);
        assert_eq!(found.overall.children, 4);
        let groups: Vec<_> = found
            .calibration
            .iter()
            .map(|group| group.children)
            .collect();
        assert_eq!(groups, [1, 1, 1, 1]);
        assert_eq!(found.calibration[3].measured, 0.5);
    }

    #[test]
    fn calibration_has_ten_groups_at_most_and_means_within_them() {
        let records = (0..95).map(|i| {
            let predicted = f64::from(i) / 100.0;
            record(2, Some(predicted), Some(predicted / 2.0))
        });
        let found = diagnosed(records.collect()).expect("predictions");
        assert_eq!(found.calibration.len(), 10);
        for group in found.calibration {
            assert!((group.measured - group.predicted / 2.0).abs() < 1e-12);
        }
    }

    #[test]
    fn predictions_at_either_end_are_saturated() {
        let pairs = [0.005, 0.02, 0.5, 0.98, 0.995, 0.999].map(|predicted| (predicted, 0.5));
        assert_eq!(Agreement::of(&pairs).expect("pairs").saturation, 0.5);
    }

    #[test]
    fn without_predictions_there_is_nothing_to_tell() {
        assert_eq!(diagnosed(vec![record(1, None, Some(0.3))]), None);
    }
}
