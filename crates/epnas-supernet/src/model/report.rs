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
    /// Class by class.
    pub per_class: Vec<ClassAccuracy>,
    /// Counts by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u64>>,
}

/// Counts predictions.
#[derive(Debug)]
pub(super) struct Confusion<'a> {
    classes: &'a [String],
    counts: Vec<Vec<u64>>,
}

impl<'a> Confusion<'a> {
    pub(super) fn new(classes: &'a [String]) -> Confusion<'a> {
        Confusion {
            classes,
            counts: vec![vec![0; classes.len()]; classes.len()],
        }
    }

    /// Counts a batch of logits, `[images, classes]`.
    pub(super) fn count(&mut self, logits: &[f32], labels: &[u32]) {
        for (row, label) in logits.chunks_exact(self.classes.len().max(1)).zip(labels) {
            self.counts[*label as usize][argmax(row)] += 1;
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
        EvalReport {
            images: totals.images as u64,
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
