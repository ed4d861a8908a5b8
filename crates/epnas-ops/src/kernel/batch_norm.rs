//! Batch normalization: statistics, application, gradients.

use rayon::prelude::*;

use crate::batch_norm::Activation;
use crate::elementwise::Accumulate;

/// Extents: `pixels` is height times width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) pixels: usize,
    pub(crate) c: usize,
}

impl Geometry {
    fn rows(&self) -> usize {
        self.n * self.pixels
    }

    /// Elements of one image.
    fn image(&self) -> usize {
        self.pixels * self.c
    }
}

/// Mean and sum of squared deviations of every channel.
pub(crate) struct Statistics {
    count: f64,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// Per-channel statistics of the batch.
pub(crate) fn statistics(g: &Geometry, x: &[f32]) -> Statistics {
    let c = g.c;
    let parts: Vec<Vec<f64>> = x
        .par_chunks(g.image())
        .map(|x| {
            let m = g.pixels as f64;
            let mut part = vec![0.0f64; 2 * c];
            let (mean, deviation) = part.split_at_mut(c);
            for row in x.chunks_exact(c) {
                for (mean, &x) in mean.iter_mut().zip(row) {
                    *mean += f64::from(x) / m;
                }
            }
            for row in x.chunks_exact(c) {
                for ((d, &x), mean) in deviation.iter_mut().zip(row).zip(&*mean) {
                    let e = f64::from(x) - mean;
                    *d += e * e;
                }
            }
            part
        })
        .collect();
    let mut total = Statistics {
        count: 0.0,
        mean: vec![0.0; c],
        deviation: vec![0.0; c],
    };
    for part in parts {
        let (before, m) = (total.count, g.pixels as f64);
        total.count += m;
        for i in 0..c {
            let delta = part[i] - total.mean[i];
            total.mean[i] += delta * m / total.count;
            total.deviation[i] += part[c + i] + delta * delta * before * m / total.count;
        }
    }
    total
}

impl Statistics {
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

    /// Moves the running variance.
    pub(crate) fn move_variance(&self, momentum: f64, running: &mut [f32]) {
        let freedom = (self.count - 1.0).max(1.0);
        for (running, deviation) in running.iter_mut().zip(&self.deviation) {
            let variance = deviation / freedom;
            *running = ((1.0 - momentum) * f64::from(*running) + momentum * variance) as f32;
        }
    }
}

/// Mean and inverse standard deviation from a mean and a variance.
pub(crate) fn saved_of(mean: &[f32], variance: &[f32], eps: f64) -> Vec<f32> {
    let inverse = variance
        .iter()
        .map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32);
    mean.iter().copied().chain(inverse).collect()
}

/// The affine map of every channel: `(x - mean) * slope + shift`.
pub(crate) struct Affine {
    mean: Vec<f32>,
    inverse: Vec<f32>,
    slope: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    /// From scale, shift and saved statistics.
    pub(crate) fn of(scale: &[f32], shift: &[f32], saved: &[f32]) -> Self {
        let (mean, inverse) = saved.split_at(scale.len());
        Affine {
            mean: mean.to_vec(),
            inverse: inverse.to_vec(),
            slope: scale.iter().zip(inverse).map(|(a, b)| a * b).collect(),
            shift: shift.to_vec(),
        }
    }
}

/// `y = activation((x - mean) * slope + shift)`.
pub(crate) fn apply(
    g: &Geometry,
    affine: &Affine,
    x: &[f32],
    activation: Activation,
    y: &mut [f32],
) {
    y.par_chunks_mut(g.image())
        .zip(x.par_chunks(g.image()))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(g.c).zip(x.chunks_exact(g.c)) {
                for c in 0..g.c {
                    let v = (x[c] - affine.mean[c]) * affine.slope[c] + affine.shift[c];
                    y[c] = match activation {
                        Activation::None => v,
                        Activation::Relu => v.max(0.0),
                    };
                }
            }
        });
}

/// Sums over the batch that every gradient needs.
pub(crate) struct GradientSums {
    shift: Vec<f64>,
    scale: Vec<f64>,
}

impl GradientSums {
    /// Gradient with respect to the scale.
    pub(crate) fn save_scale(&self, dscale: &mut [f32]) {
        for (d, s) in dscale.iter_mut().zip(&self.scale) {
            *d = *s as f32;
        }
    }

    /// Gradient with respect to the shift.
    pub(crate) fn save_shift(&self, dshift: &mut [f32]) {
        for (d, s) in dshift.iter_mut().zip(&self.shift) {
            *d = *s as f32;
        }
    }
}

fn masked(affine: &Affine, c: usize, x: f32, dy: f32, activation: Activation) -> f32 {
    match activation {
        Activation::None => dy,
        Activation::Relu => {
            let v = (x - affine.mean[c]) * affine.slope[c] + affine.shift[c];
            if v > 0.0 { dy } else { 0.0 }
        }
    }
}

/// `sum dz` and `sum dz * normalized x`.
pub(crate) fn gradient_sums(
    g: &Geometry,
    affine: &Affine,
    x: &[f32],
    dy: &[f32],
    activation: Activation,
) -> GradientSums {
    let c = g.c;
    let parts: Vec<Vec<f64>> = x
        .par_chunks(g.image())
        .zip(dy.par_chunks(g.image()))
        .map(|(x, dy)| {
            let mut part = vec![0.0; 2 * c];
            for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
                for i in 0..c {
                    let dz = masked(affine, i, x[i], dy[i], activation);
                    part[i] += f64::from(dz);
                    part[c + i] +=
                        f64::from(dz) * f64::from((x[i] - affine.mean[i]) * affine.inverse[i]);
                }
            }
            part
        })
        .collect();
    let mut sums = GradientSums {
        shift: vec![0.0; c],
        scale: vec![0.0; c],
    };
    for part in parts {
        for i in 0..c {
            sums.shift[i] += part[i];
            sums.scale[i] += part[c + i];
        }
    }
    sums
}

/// Gradient with respect to the input.
#[expect(clippy::too_many_arguments, reason = "one per operand")]
pub(crate) fn input_gradient(
    g: &Geometry,
    affine: &Affine,
    sums: &GradientSums,
    x: &[f32],
    dy: &[f32],
    activation: Activation,
    dx: &mut [f32],
    acc: Accumulate,
) {
    let rows = g.rows() as f64;
    let shift: Vec<f32> = sums.shift.iter().map(|s| (s / rows) as f32).collect();
    let scale: Vec<f32> = sums.scale.iter().map(|s| (s / rows) as f32).collect();
    let c = g.c;
    dx.par_chunks_mut(g.image())
        .zip(x.par_chunks(g.image()))
        .zip(dy.par_chunks(g.image()))
        .for_each(|((dx, x), dy)| {
            for ((dx, x), dy) in dx
                .chunks_exact_mut(c)
                .zip(x.chunks_exact(c))
                .zip(dy.chunks_exact(c))
            {
                for i in 0..c {
                    let dz = masked(affine, i, x[i], dy[i], activation);
                    let normalized = (x[i] - affine.mean[i]) * affine.inverse[i];
                    let d = affine.slope[i] * (dz - shift[i] - normalized * scale[i]);
                    match acc {
                        Accumulate::Overwrite => dx[i] = d,
                        Accumulate::Add => dx[i] += d,
                    }
                }
            }
        });
}
