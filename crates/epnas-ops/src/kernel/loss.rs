//! Softmax cross-entropy, row by row in `f64`.

use crate::loss::LossReport;

/// Loss of every row, and the gradient of the mean loss if wanted.
pub(crate) fn rows(
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    smoothing: f64,
    mut dlogits: Option<&mut [f32]>,
) -> LossReport {
    let mut report = LossReport {
        loss_sum: 0.0,
        correct: 0,
    };
    let per_row = 1.0 / labels.len() as f64;
    let uniform = smoothing / classes as f64;
    for (row, (logits, &label)) in logits.chunks_exact(classes).zip(labels).enumerate() {
        let label = label as usize;
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
        report.loss_sum -= (1.0 - smoothing) * log_probability(label);
        if smoothing > 0.0 {
            report.loss_sum -= uniform * (0..classes).map(log_probability).sum::<f64>();
        }
        if let Some(dlogits) = &mut dlogits {
            let dlogits = &mut dlogits[row * classes..(row + 1) * classes];
            for (k, d) in dlogits.iter_mut().enumerate() {
                let target = uniform + if k == label { 1.0 - smoothing } else { 0.0 };
                *d = ((log_probability(k).exp() - target) * per_row) as f32;
            }
        }
    }
    report
}
