//! How well a model does, class by class.

use serde::{Deserialize, Serialize};

use crate::inference::Totals;

/// Hits of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// The class.
    pub class: String,
    /// Images of the class.
    pub images: u64,
    /// How many of them were recognized.
    pub correct: u64,
    /// Their share, 0 to 1; `None` without images.
    pub accuracy: Option<f64>,
}

/// What an evaluation gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Images evaluated.
    pub images: u64,
    /// Share of hits, 0 to 1.
    pub accuracy: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Expected calibration error (Guo et al., 2017), 0 to 1: the mean distance of confidence and accuracy over 15 equal bins
    /// of the confidence, which is the probability of the predicted class.
    pub calibration_error: f64,
    /// Class by class.
    pub per_class: Vec<ClassAccuracy>,
    /// Counts by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u64>>,
}

/// Bins of the calibration error.
const BINS: usize = 15;

/// Predictions of about one confidence.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    images: u64,
    confidence: f64,
    correct: u64,
}

/// Counts predictions.
#[derive(Debug)]
pub(super) struct Confusion<'a> {
    classes: &'a [String],
    counts: Vec<Vec<u64>>,
    bins: [Bin; BINS],
}

impl<'a> Confusion<'a> {
    pub(super) fn new(classes: &'a [String]) -> Confusion<'a> {
        Confusion {
            classes,
            counts: vec![vec![0; classes.len()]; classes.len()],
            bins: [Bin::default(); BINS],
        }
    }

    /// Counts a batch of logits, `[images, classes]`.
    pub(super) fn count(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, label) in logits.chunks_exact(self.classes.len().max(1)).zip(labels) {
            let (label, predicted) = (*label as usize, argmax(row));
            self.counts[label][predicted] += 1;
            let confidence = f64::from(softmax(row)[predicted]);
            let bin = &mut self.bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
            bin.images += 1;
            bin.confidence += confidence;
            bin.correct += u64::from(label == predicted);
        }
    }

    pub(super) fn report(self, totals: Totals) -> EvalReport {
        let per_class = self.classes.iter().enumerate().map(|(class, name)| {
            let images: u64 = self.counts[class].iter().sum();
            let correct = self.counts[class][class];
            let accuracy = (images > 0).then(|| correct as f64 / images as f64);
            ClassAccuracy {
                class: name.clone(),
                images,
                correct,
                accuracy,
            }
        });
        let distance = |bin: &Bin| (bin.confidence - bin.correct as f64).abs();
        let distances: f64 = self.bins.iter().map(distance).sum();
        EvalReport {
            images: totals.images as u64,
            calibration_error: distances / totals.images.max(1) as f64,
            accuracy: totals.accuracy(),
            loss: totals.loss(),
            per_class: per_class.collect(),
            confusion: self.counts,
        }
    }
}

/// The first of the largest, as the loss counts hits.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in row.iter().enumerate() {
        if *logit > row[best] {
            best = class;
        }
    }
    best
}

/// Probabilities of one image.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials
        .iter()
        .map(|value| (value / sum) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Confusion, Totals};

    #[test]
    fn the_calibration_error_is_that_of_its_bins() {
        let classes = ["a", "b"].map(String::from);
        let mut confusion = Confusion::new(&classes);
        // Confidences of 0.9 (right, right, wrong) and 0.6 (wrong): |2.7 - 2| and |0.6 - 0| over four images.
        let row = |p: f32| [(p / (1.0 - p)).ln(), 0.0];
        for (p, label) in [(0.9, 0), (0.9, 0), (0.9, 1), (0.6, 1)] {
            confusion.count(&row(p), &[label]);
        }
        let totals = Totals {
            images: 4,
            ..Totals::default()
        };
        let report = confusion.report(totals);
        assert!(
            (report.calibration_error - (0.7 + 0.6) / 4.0).abs() < 1e-6,
            "{report:?}"
        );
        assert_eq!(report.confusion, [[2, 0], [2, 0]]);
    }
}
