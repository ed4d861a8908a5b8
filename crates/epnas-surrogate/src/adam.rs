//! Adam (Kingma and Ba, 2015), whose moments outlive a fit and can be saved.

use rayon::prelude::*;

/// Decay of the running mean of gradients.
const BETA1: f64 = 0.9;
/// Decay of the running mean of squared gradients.
const BETA2: f64 = 0.999;
/// Added to the root of the second moment.
const EPSILON: f32 = 1e-8;

/// Weights per task; fixed, and any other value gives the same result.
const TASK: usize = 8192;

/// Moments and step count of Adam, with PyTorch's defaults and formula:
/// `w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Adam {
    /// First moments, one per weight.
    pub(crate) mean: Vec<f32>,
    /// Second moments, one per weight.
    pub(crate) square: Vec<f32>,
    /// Updates made so far.
    pub(crate) step: u64,
}

impl Adam {
    /// No updates yet, for `len` weights.
    pub(crate) fn new(len: usize) -> Self {
        Adam {
            mean: vec![0.0; len],
            square: vec![0.0; len],
            step: 0,
        }
    }

    /// One update of `values`. The gradient is the sum of `parts`, added up in their order.
    pub(crate) fn update(&mut self, values: &mut [f32], parts: &[&[f32]], learning_rate: f64) {
        self.step += 1;
        let t = self.step as f64;
        let step_size = (learning_rate / (1.0 - BETA1.powf(t))) as f32;
        let correction = (1.0 - BETA2.powf(t)).sqrt() as f32;
        values
            .par_chunks_mut(TASK)
            .zip(self.mean.par_chunks_mut(TASK))
            .zip(self.square.par_chunks_mut(TASK))
            .enumerate()
            .for_each(|(task, ((values, mean), square))| {
                let start = task * TASK;
                let mut gradient = vec![0.0; values.len()];
                for part in parts {
                    let part = &part[start..start + values.len()];
                    gradient.iter_mut().zip(part).for_each(|(g, p)| *g += p);
                }
                for (((w, m), v), g) in values.iter_mut().zip(mean).zip(square).zip(gradient) {
                    *m = BETA1 as f32 * *m + (1.0 - BETA1) as f32 * g;
                    *v = BETA2 as f32 * *v + (1.0 - BETA2) as f32 * g * g;
                    *w -= step_size * *m / (v.sqrt() / correction + EPSILON);
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two updates of one weight by hand, gradients 0.5 and -1, learning rate 0.1, from 1:
    ///
    /// 1. m = .05, v = .00025; m / (1 - .9) = .5, v / (1 - .999) = .25, so w = 1 - .1 * .5 / .5 = .9.
    /// 2. m = .9 * .05 - .1 = -.055, v = .999 * .00025 + .001 = .00124975;
    ///    m / .19 = -.28947368, v / .001999 = .62518759, root .79068804, so
    ///    w = .9 + .1 * .28947368 / .79068804 = .93661035.
    #[test]
    fn follows_the_formula() {
        let mut adam = Adam::new(1);
        let mut w = [1.0];
        adam.update(&mut w, &[&[0.2], &[0.3]], 0.1);
        assert!((w[0] - 0.9).abs() < 1e-6, "{w:?}");
        adam.update(&mut w, &[&[-1.0]], 0.1);
        assert!((w[0] - 0.936_610_35).abs() < 1e-6, "{w:?}");
        assert!((adam.mean[0] + 0.055).abs() < 1e-8);
        assert!((adam.square[0] - 0.001_249_75).abs() < 1e-9);
        assert_eq!(adam.step, 2);
    }
}
