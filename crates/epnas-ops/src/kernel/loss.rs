//! Softmax cross-entropy, row by row in `f64`.

use crate::loss::{LossReport, SoftmaxCrossEntropy};

/// Loss of every row, and the gradient of the mean loss if wanted. With a share, what is left of it goes to the label of
/// the row as far from the end.
pub(crate) fn rows(
    op: &SoftmaxCrossEntropy,
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    share: Option<f32>,
    mut dlogits: Option<&mut [f32]>,
) -> LossReport {
    let mut report = LossReport {
        loss_sum: 0.0,
        correct: 0,
    };
    let smoothing = op.label_smoothing;
    let per_row = op.weight / labels.len() as f64;
    let uniform = smoothing / classes as f64;
    let own = (1.0 - smoothing) * share.map_or(1.0, f64::from);
    let other = (1.0 - smoothing) * (1.0 - share.map_or(1.0, f64::from));
    for (row, (logits, &label)) in logits.chunks_exact(classes).zip(labels).enumerate() {
        let label = label as usize;
        let partner = labels[labels.len() - 1 - row] as usize;
        let mut best = 0;
        for (k, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = k;
            }
        }
        report.correct += usize::from(best == label && !logits[label].is_nan());
        let largest = f64::from(logits[best]);
        let total: f64 = logits.iter().map(|&v| (f64::from(v) - largest).exp()).sum();
        let log_total = total.ln() + largest;
        let log_probability = |k: usize| f64::from(logits[k]) - log_total;
        report.loss_sum -= own * log_probability(label);
        if other != 0.0 {
            report.loss_sum -= other * log_probability(partner);
        }
        if smoothing > 0.0 {
            report.loss_sum -= uniform * (0..classes).map(log_probability).sum::<f64>();
        }
        if let Some(dlogits) = &mut dlogits {
            let dlogits = &mut dlogits[row * classes..(row + 1) * classes];
            for (k, d) in dlogits.iter_mut().enumerate() {
                let mut target = uniform + if k == label { own } else { 0.0 };
                if k == partner {
                    target += other;
                }
                *d = ((log_probability(k).exp() - target) * per_row) as f32;
            }
        }
    }
    report.loss_sum *= op.weight;
    report
}
