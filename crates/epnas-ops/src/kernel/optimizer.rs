//! Update rules over one tensor.

use crate::optimizer::Nesterov;

/// Sum of squares in a fixed order: eight sums side by side, so that they do not wait for each other.
pub(crate) fn sum_of_squares(grad: &[f32]) -> f64 {
    let (whole, rest) = grad.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for part in whole {
        for (sum, &g) in sums.iter_mut().zip(part) {
            *sum += f64::from(g) * f64::from(g);
        }
    }
    let rest: f64 = rest.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Constants of one step of gradient descent.
pub(crate) struct SgdRule {
    pub(crate) lr: f32,
    pub(crate) momentum: f32,
    pub(crate) weight_decay: f32,
    pub(crate) factor: f32,
    pub(crate) nesterov: Nesterov,
}

impl SgdRule {
    /// Updates one tensor.
    pub(crate) fn apply(&self, value: &mut [f32], grad: &[f32], momentum: &mut [f32]) {
        for ((value, grad), momentum) in value.iter_mut().zip(grad).zip(momentum) {
            let g = self.factor * grad + self.weight_decay * *value;
            *momentum = self.momentum * *momentum + g;
            let direction = match self.nesterov {
                Nesterov::Off => *momentum,
                Nesterov::On => g + self.momentum * *momentum,
            };
            *value -= self.lr * direction;
        }
    }
}

/// Constants of one step of Adam.
pub(crate) struct AdamRule {
    pub(crate) step_size: f32,
    pub(crate) root_correction: f32,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) one_minus_beta1: f32,
    pub(crate) one_minus_beta2: f32,
    pub(crate) eps: f32,
    pub(crate) weight_decay: f32,
    pub(crate) factor: f32,
}

impl AdamRule {
    /// Updates one tensor.
    pub(crate) fn apply(
        &self,
        value: &mut [f32],
        grad: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        for (((value, grad), m), v) in value.iter_mut().zip(grad).zip(first).zip(second) {
            let g = self.factor * grad + self.weight_decay * *value;
            *m = self.beta1 * *m + self.one_minus_beta1 * g;
            *v = self.beta2 * *v + self.one_minus_beta2 * g * g;
            *value -= self.step_size * *m / (v.sqrt() * self.root_correction + self.eps);
        }
    }
}

/// Moves an average towards its value.
pub(crate) fn average(decay: f64, value: &[f32], average: &mut [f32]) {
    for (average, &value) in average.iter_mut().zip(value) {
        *average = (decay * f64::from(*average) + (1.0 - decay) * f64::from(value)) as f32;
    }
}
