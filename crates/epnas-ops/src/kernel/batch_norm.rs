//! Batch normalization: statistics, application, gradients. All are passes over rows of channels.

use std::ops::Range;

use rayon::prelude::*;

use super::channels::{RowLoop, drive, load, load_all, rows_per_task, store};
use crate::batch_norm::Activation;
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Extents: `rows` is batch times height times width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) rows: usize,
    pub(crate) c: usize,
}

impl Geometry {
    /// Floats per parallel task.
    pub(crate) fn task(&self) -> usize {
        rows_per_task(self.c) * self.c
    }
}

/// The affine map of every channel: `(x - mean) * slope + shift`.
pub(crate) struct Affine {
    pub(crate) mean: Vec<f32>,
    pub(crate) inverse: Vec<f32>,
    pub(crate) slope: Vec<f32>,
    pub(crate) shift: Vec<f32>,
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

/// Mean and inverse standard deviation from a mean and a variance.
pub(crate) fn saved_of(mean: &[f32], variance: &[f32], eps: f64) -> Vec<f32> {
    let inverse = variance
        .iter()
        .map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32);
    mean.iter().copied().chain(inverse).collect()
}

/// `y = activation((x - mean) * slope + shift)`.
pub(crate) fn apply(
    g: &Geometry,
    affine: &Affine,
    x: &[f32],
    activation: Activation,
    y: &mut [f32],
) {
    y.par_chunks_mut(g.task())
        .zip(x.par_chunks(g.task()))
        .for_each(|(y, x)| match activation {
            Activation::None => dispatch(Apply::<false> { affine, x, y }),
            Activation::Relu => dispatch(Apply::<true> { affine, x, y }),
        });
}

struct Apply<'a, const RELU: bool> {
    affine: &'a Affine,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<const RELU: bool> Kernel for Apply<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let c = self.affine.mean.len();
        drive(simd, self.x.len() / c, c, &mut self);
    }
}

impl<const RELU: bool> RowLoop for Apply<'_, RELU> {
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        lanes: usize,
    ) {
        let c = self.affine.mean.len();
        let map = Map::<S, V>::load(simd, self.affine, first, lanes);
        let zero = simd.splat(0.0);
        for row in rows {
            for v in 0..V {
                let at = row * c + first + v * LANES;
                let mut value = map.at(simd, v, load(simd, self.x, at, lanes)).1;
                if RELU {
                    // Not `max`, which would turn NaN into 0 and hide a diverged network.
                    value = simd.select(simd.gt(zero, value), zero, value);
                }
                store(simd, value, self.y, at, lanes);
            }
        }
    }
}

/// The affine map of `V` vectors of channels, in registers.
struct Map<S: Simd, const V: usize> {
    mean: [S::V; V],
    slope: [S::V; V],
    shift: [S::V; V],
}

impl<S: Simd, const V: usize> Map<S, V> {
    #[inline(always)]
    fn load(simd: S, affine: &Affine, first: usize, lanes: usize) -> Self {
        Map {
            mean: load_all(simd, &affine.mean, first, lanes),
            slope: load_all(simd, &affine.slope, first, lanes),
            shift: load_all(simd, &affine.shift, first, lanes),
        }
    }

    /// `x - mean` and the mapped value. Forward and backward both use this, so that they agree on which
    /// values are above zero.
    #[inline(always)]
    fn at(&self, simd: S, v: usize, x: S::V) -> (S::V, S::V) {
        let centered = simd.sub(x, self.mean[v]);
        (centered, simd.fma(centered, self.slope[v], self.shift[v]))
    }
}

/// Sums over the batch that every gradient needs.
pub(crate) struct GradientSums {
    /// `sum dz`: gradient with respect to the shift.
    shift: Vec<f64>,
    /// `sum dz (x - mean) / deviation`: gradient with respect to the scale.
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

/// `sum dz` and `sum dz * normalized x`, `dz` being `dy` where the activation lets it through.
pub(crate) fn gradient_sums(
    g: &Geometry,
    affine: &Affine,
    x: &[f32],
    dy: &[f32],
    activation: Activation,
) -> GradientSums {
    let c = g.c;
    let tasks = x.len().div_ceil(g.task());
    let mut parts = vec![0.0f32; tasks * 2 * c];
    parts
        .par_chunks_mut(2 * c)
        .zip(x.par_chunks(g.task()).zip(dy.par_chunks(g.task())))
        .for_each(|(sums, (x, dy))| {
            let (sums, products) = sums.split_at_mut(c);
            match activation {
                Activation::None => dispatch(Sums::<false> {
                    affine,
                    x,
                    dy,
                    sums,
                    products,
                }),
                Activation::Relu => dispatch(Sums::<true> {
                    affine,
                    x,
                    dy,
                    sums,
                    products,
                }),
            }
        });
    let mut total = GradientSums {
        shift: vec![0.0; c],
        scale: vec![0.0; c],
    };
    for part in parts.chunks_exact(2 * c) {
        for i in 0..c {
            total.shift[i] += f64::from(part[i]);
            total.scale[i] += f64::from(part[c + i]);
        }
    }
    for (scale, inverse) in total.scale.iter_mut().zip(&affine.inverse) {
        *scale *= f64::from(*inverse);
    }
    total
}

struct Sums<'a, const RELU: bool> {
    affine: &'a Affine,
    x: &'a [f32],
    dy: &'a [f32],
    sums: &'a mut [f32],
    products: &'a mut [f32],
}

impl<const RELU: bool> Kernel for Sums<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let c = self.affine.mean.len();
        drive(simd, self.x.len() / c, c, &mut self);
    }
}

impl<const RELU: bool> RowLoop for Sums<'_, RELU> {
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        lanes: usize,
    ) {
        let c = self.affine.mean.len();
        let map = Map::<S, V>::load(simd, self.affine, first, lanes);
        let mut sums: [S::V; V] = load_all(simd, self.sums, first, lanes);
        let mut products: [S::V; V] = load_all(simd, self.products, first, lanes);
        for row in rows {
            for v in 0..V {
                let at = row * c + first + v * LANES;
                let (centered, value) = map.at(simd, v, load(simd, self.x, at, lanes));
                let mut dz = load(simd, self.dy, at, lanes);
                if RELU {
                    dz = simd.keep(simd.gt(value, simd.splat(0.0)), dz);
                }
                sums[v] = simd.add(sums[v], dz);
                products[v] = simd.fma(dz, centered, products[v]);
            }
        }
        for v in 0..V {
            store(simd, sums[v], self.sums, first + v * LANES, lanes);
            store(simd, products[v], self.products, first + v * LANES, lanes);
        }
    }
}

/// Gradient with respect to the input:
/// `slope (dz - mean(dz) - normalized x * mean(dz * normalized x))`.
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
    let rows = g.rows as f64;
    let slopes = || affine.slope.iter().map(|&slope| f64::from(slope) / rows);
    // dx = slope dz - offset - tilt (x - mean)
    let offset: Vec<f32> = slopes()
        .zip(&sums.shift)
        .map(|(slope, sum)| (slope * sum) as f32)
        .collect();
    let tilt: Vec<f32> = slopes()
        .zip(&sums.scale)
        .zip(&affine.inverse)
        .map(|((slope, sum), &inverse)| (slope * sum * f64::from(inverse)) as f32)
        .collect();
    let (offset, tilt) = (offset.as_slice(), tilt.as_slice());
    dx.par_chunks_mut(g.task())
        .zip(x.par_chunks(g.task()).zip(dy.par_chunks(g.task())))
        .for_each(|(dx, (x, dy))| match (activation, acc) {
            (Activation::None, Accumulate::Overwrite) => {
                dispatch(InputGradient::<false, false> {
                    affine,
                    offset,
                    tilt,
                    x,
                    dy,
                    dx,
                });
            }
            (Activation::None, Accumulate::Add) => {
                dispatch(InputGradient::<false, true> {
                    affine,
                    offset,
                    tilt,
                    x,
                    dy,
                    dx,
                });
            }
            (Activation::Relu, Accumulate::Overwrite) => {
                dispatch(InputGradient::<true, false> {
                    affine,
                    offset,
                    tilt,
                    x,
                    dy,
                    dx,
                });
            }
            (Activation::Relu, Accumulate::Add) => {
                dispatch(InputGradient::<true, true> {
                    affine,
                    offset,
                    tilt,
                    x,
                    dy,
                    dx,
                });
            }
        });
}

struct InputGradient<'a, const RELU: bool, const ADD: bool> {
    affine: &'a Affine,
    offset: &'a [f32],
    tilt: &'a [f32],
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl<const RELU: bool, const ADD: bool> Kernel for InputGradient<'_, RELU, ADD> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let c = self.affine.mean.len();
        drive(simd, self.x.len() / c, c, &mut self);
    }
}

impl<const RELU: bool, const ADD: bool> RowLoop for InputGradient<'_, RELU, ADD> {
    #[inline(always)]
    fn vectors<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        lanes: usize,
    ) {
        let c = self.affine.mean.len();
        let map = Map::<S, V>::load(simd, self.affine, first, lanes);
        let offset: [S::V; V] = load_all(simd, self.offset, first, lanes);
        let tilt: [S::V; V] = load_all(simd, self.tilt, first, lanes);
        for row in rows {
            for v in 0..V {
                let at = row * c + first + v * LANES;
                let (centered, value) = map.at(simd, v, load(simd, self.x, at, lanes));
                let mut dz = load(simd, self.dy, at, lanes);
                if RELU {
                    dz = simd.keep(simd.gt(value, simd.splat(0.0)), dz);
                }
                let mean = simd.fma(centered, tilt[v], offset[v]);
                let mut dx = simd.sub(simd.mul(map.slope[v], dz), mean);
                if ADD {
                    dx = simd.add(dx, load(simd, self.dx, at, lanes));
                }
                store(simd, dx, self.dx, at, lanes);
            }
        }
    }
}
