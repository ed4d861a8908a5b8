//! The forward pass: embedding and LSTM cell for 16 architectures side by side.
//!
//! One time step computes, with `z = (b_ih + b_hh + W_ih e) + W_hh h`,
//! `i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)`, `g = tanh(z_g)`,
//! `c' = f c + i g`, `h' = o tanh(c')` (Hochreiter and Schmidhuber, 1997; gates as in PyTorch).
//! The two brackets of `z` are always summed apart and then added, wherever a step is computed:
//! the first depends on the element of the level alone, the second on what came before, which
//! prediction shares among candidates.

use crate::lanes::{LANES, Lane, ZERO, affine, multiply_add, vectorized};
use crate::layout::{Sizes, Weights};
use crate::nonlinear::{sigmoid_all, tanh_all};

/// Embeds `features`, `[F]`, into `embedded`, `[E]`: `sigmoid(W x + b)`.
pub(crate) fn embed(weights: &Weights, features: &[Lane], embedded: &mut [Lane]) {
    affine(
        weights.embedding_bias,
        weights.embedding_weight,
        features,
        embedded,
    );
    vectorized(
        #[inline(always)]
        || sigmoid_all(embedded.as_flattened_mut()),
    );
}

/// What the gates receive from the current element: `b_ih + b_hh + W_ih e`, `[4 H]`.
pub(crate) fn project_input(weights: &Weights, embedded: &[Lane], projected: &mut [Lane]) {
    affine(weights.gate_bias, weights.input_weight, embedded, projected);
}

/// What the gates receive from the steps before: `W_hh h`, `[4 H]`.
pub(crate) fn project_hidden(weights: &Weights, h: &[Lane], projected: &mut [Lane]) {
    projected.fill(ZERO);
    multiply_add(weights.hidden_weight, h, projected);
}

/// Turns the sums `z`, `[4 H]`, into gates and makes the step. `c`, `[H]`, goes from the old cell
/// state to the new; `squashed` and `h`, `[H]`, receive `tanh(c')` and `h'`.
#[inline(always)]
pub(crate) fn step(z: &mut [Lane], c: &mut [Lane], squashed: &mut [Lane], h: &mut [Lane]) {
    let hidden = c.len();
    let (input_forget, rest) = z.split_at_mut(2 * hidden);
    let (cell, output) = rest.split_at_mut(hidden);
    sigmoid_all(input_forget.as_flattened_mut());
    tanh_all(cell.as_flattened_mut());
    sigmoid_all(output.as_flattened_mut());
    let (input, forget) = input_forget.as_flattened().split_at(hidden * LANES);
    let cell = cell.as_flattened();
    for ((((c, s), f), i), g) in c
        .as_flattened_mut()
        .iter_mut()
        .zip(squashed.as_flattened_mut())
        .zip(forget)
        .zip(input)
        .zip(cell)
    {
        *c = f * *c + i * g;
        *s = *c;
    }
    tanh_all(squashed.as_flattened_mut());
    for ((h, o), s) in h
        .as_flattened_mut()
        .iter_mut()
        .zip(output.as_flattened())
        .zip(squashed.as_flattened())
    {
        *h = o * s;
    }
}

/// The output layer before its sigmoid: `b + w h`, summed over the hidden units in order.
#[inline(always)]
pub(crate) fn logit(weights: &Weights, h: &[Lane]) -> Lane {
    let mut sum = [weights.output_bias; LANES];
    for (h, w) in h.iter().zip(weights.output_weight) {
        for lane in 0..LANES {
            sum[lane] += w * h[lane];
        }
    }
    sum
}

/// Sum of two rows of lanes, into the first.
#[inline(always)]
pub(crate) fn add(into: &mut [Lane], from: &[Lane]) {
    let from = from.as_flattened();
    for (a, b) in into.as_flattened_mut().iter_mut().zip(from) {
        *a += b;
    }
}

/// State of the LSTM between two steps, for 16 architectures.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) c: Vec<Lane>,
    pub(crate) h: Vec<Lane>,
    squashed: Vec<Lane>,
    z: Vec<Lane>,
}

impl State {
    /// Before the first step.
    pub(crate) fn new(sizes: Sizes) -> Self {
        State {
            c: vec![ZERO; sizes.hidden],
            h: vec![ZERO; sizes.hidden],
            squashed: vec![ZERO; sizes.hidden],
            z: vec![ZERO; sizes.gates()],
        }
    }

    /// One step, with what [`project_input`] gives for the element.
    pub(crate) fn advance(&mut self, weights: &Weights, projected: &[Lane]) {
        project_hidden(weights, &self.h, &mut self.z);
        vectorized(
            #[inline(always)]
            || {
                add(&mut self.z, projected);
                step(&mut self.z, &mut self.c, &mut self.squashed, &mut self.h);
            },
        );
    }

    /// One step for 16 elements that share what came before: `c` and `hidden` are the cell state
    /// and [`project_hidden`] of the shared prefix, one number per row.
    #[inline(always)]
    pub(crate) fn advance_shared(&mut self, projected: &[Lane], c: &[f32], hidden: &[f32]) {
        for (old, &c) in self.c.iter_mut().zip(c) {
            *old = [c; LANES];
        }
        for ((z, projected), hidden) in self.z.iter_mut().zip(projected).zip(hidden) {
            for lane in 0..LANES {
                z[lane] = hidden + projected[lane];
            }
        }
        step(&mut self.z, &mut self.c, &mut self.squashed, &mut self.h);
    }
}
