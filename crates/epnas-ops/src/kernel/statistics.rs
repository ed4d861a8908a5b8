//! Mean and variance of every channel over a batch.

use std::ops::Range;

use rayon::prelude::*;

use super::batch_norm::Geometry;
use super::channels::{RowLoop, drive, load, load_all, store};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Rows whose mean is subtracted from a task's values before they are squared. Having 16 of `m` rows in it
/// bounds the cancellation in `sum of squares - square of sum` by a factor `m / 16`, whatever the data: the
/// variance is at least `16 / m` of the squared distance from this mean to the task's.
const PIVOT_ROWS: usize = 16;

/// Mean and sum of squared deviations of every channel.
pub(crate) struct Statistics {
    count: f64,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// Floats of one part per channel: see [`moments`].
pub(crate) const PARTS: usize = 3;

/// Statistics of a batch: one pass in `f32` over fixed blocks of rows, combined in order.
pub(crate) fn statistics(g: &Geometry, x: &[f32]) -> Statistics {
    let len = PARTS * g.c;
    let mut parts = vec![0.0f32; x.len().div_ceil(g.task()) * len];
    parts
        .par_chunks_mut(len)
        .zip(x.par_chunks(g.task()))
        .for_each(|(part, x)| moments(g.c, x, part));
    let rows = x.chunks(g.task()).map(|x| x.len() / g.c);
    Statistics::combine(g.c, &parts, rows)
}

/// Sums of some rows: for every channel a pivot, then the sums and the sums of squares of what exceeds it.
pub(crate) fn moments(c: usize, x: &[f32], part: &mut [f32]) {
    part.fill(0.0);
    let (pivot, part) = part.split_at_mut(c);
    let (sums, squares) = part.split_at_mut(c);
    let head = PIVOT_ROWS.min(x.len() / c);
    for row in x.chunks_exact(c).take(head) {
        for (pivot, x) in pivot.iter_mut().zip(row) {
            *pivot += x / head as f32;
        }
    }
    dispatch(Moments {
        x,
        pivot,
        sums,
        squares,
    });
}

impl Statistics {
    /// Combines parts of [`moments`], of so many rows each, in order and in `f64` (Chan, Golub & LeVeque, 1983).
    pub(crate) fn combine(c: usize, parts: &[f32], rows: impl Iterator<Item = usize>) -> Self {
        let mut total = Statistics {
            count: 0.0,
            mean: vec![0.0; c],
            deviation: vec![0.0; c],
        };
        for (part, rows) in parts.chunks_exact(PARTS * c).zip(rows) {
            let (before, rows) = (total.count, rows as f64);
            total.count += rows;
            for i in 0..c {
                let [pivot, sum, square] = [part[i], part[c + i], part[2 * c + i]].map(f64::from);
                let mean = pivot + sum / rows;
                let deviation = (square - sum * sum / rows).max(0.0);
                let delta = mean - total.mean[i];
                total.mean[i] += delta * rows / total.count;
                total.deviation[i] += deviation + delta * delta * before * rows / total.count;
            }
        }
        total
    }

    /// Writes mean and inverse standard deviation.
    pub(crate) fn save(&self, eps: f64, saved: &mut [f32]) {
        let (mean, inverse) = saved.split_at_mut(self.mean.len());
        for i in 0..self.mean.len() {
            mean[i] = self.mean[i] as f32;
            inverse[i] = (1.0 / (self.deviation[i] / self.count + eps).sqrt()) as f32;
        }
    }

    /// Moves the running mean.
    pub(crate) fn move_mean(&self, momentum: f64, running: &mut [f32]) {
        for (running, mean) in running.iter_mut().zip(&self.mean) {
            *running = ((1.0 - momentum) * f64::from(*running) + momentum * mean) as f32;
        }
    }

    /// Moves the running variance, which is unbiased.
    pub(crate) fn move_variance(&self, momentum: f64, running: &mut [f32]) {
        let freedom = (self.count - 1.0).max(1.0);
        for (running, deviation) in running.iter_mut().zip(&self.deviation) {
            let variance = deviation / freedom;
            *running = ((1.0 - momentum) * f64::from(*running) + momentum * variance) as f32;
        }
    }
}

struct Moments<'a> {
    x: &'a [f32],
    pivot: &'a [f32],
    sums: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let c = self.pivot.len();
        drive(simd, self.x.len() / c, c, &mut self);
    }
}

impl RowLoop for Moments<'_> {
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        lanes: usize,
    ) {
        let c = self.pivot.len();
        let pivot: [S::V; V] = load_all(simd, self.pivot, first, lanes);
        let mut sums: [S::V; V] = load_all(simd, self.sums, first, lanes);
        let mut squares: [S::V; V] = load_all(simd, self.squares, first, lanes);
        for row in rows {
            for v in 0..V {
                let x = load(simd, self.x, row * c + first + v * LANES, lanes);
                let centered = simd.sub(x, pivot[v]);
                sums[v] = simd.add(sums[v], centered);
                squares[v] = simd.fma(centered, centered, squares[v]);
            }
        }
        for v in 0..V {
            store(simd, sums[v], self.sums, first + v * LANES, lanes);
            store(simd, squares[v], self.squares, first + v * LANES, lanes);
        }
    }
}
