//! Weight gradients of a chunk: sums of outer products, by the same matrix product.

use crate::lanes::{LANES, Lane, ZERO, multiply_add};

/// Weight gradients: sums over time steps and architectures of (gradient of a sum) x (its input).
#[derive(Debug, Clone, Default)]
pub(crate) struct Outer {
    /// The gradients, `[row][time step]`: as one row of numbers per row of the weights.
    rows: Vec<Lane>,
    /// Time steps.
    length: usize,
    /// 16 columns of the input, `[time step x architecture]`.
    panel: Vec<Lane>,
    /// The sums for these columns, one per row of the weights.
    sums: Vec<Lane>,
}

impl Outer {
    /// Takes the gradients, `[time step][row]`.
    pub(crate) fn take(&mut self, d: &[Lane], length: usize) {
        let rows = d.len() / length;
        self.length = length;
        self.rows.clear();
        self.rows
            .extend((0..rows).flat_map(|row| (0..length).map(move |t| d[t * rows + row])));
    }

    /// The gradient of a bias: the sum of each row, over time steps and then over architectures.
    pub(crate) fn bias(&self, gradient: &mut [f32]) {
        for (sum, row) in gradient.iter_mut().zip(self.rows.chunks_exact(self.length)) {
            let mut lanes = ZERO;
            for step in row {
                for lane in 0..LANES {
                    lanes[lane] += step[lane];
                }
            }
            *sum = lanes.iter().sum();
        }
    }

    /// The gradient of a weight matrix, `[rows][columns]`, whose input was `[time step][column]`.
    pub(crate) fn product(&mut self, input: &[Lane], columns: usize, gradient: &mut [f32]) {
        let rows = self.rows.len() / self.length;
        self.panel.resize(self.length * LANES, ZERO);
        for first in (0..columns).step_by(LANES) {
            let width = LANES.min(columns - first);
            self.panel.fill(ZERO);
            for (input, panel) in input
                .chunks_exact(columns)
                .zip(self.panel.as_chunks_mut::<LANES>().0)
            {
                for (column, input) in input[first..first + width].iter().enumerate() {
                    for lane in 0..LANES {
                        panel[lane][column] = input[lane];
                    }
                }
            }
            self.sums.clear();
            self.sums.resize(rows, ZERO);
            multiply_add(self.rows.as_flattened(), &self.panel, &mut self.sums);
            for (row, sums) in gradient.chunks_exact_mut(columns).zip(&self.sums) {
                row[first..first + width].copy_from_slice(&sums[..width]);
            }
        }
    }
}
