//! Gradients of batch normalization: sums over the batch, then the input's gradient.

use std::ops::Range;

use rayon::prelude::*;

use super::batch_norm::{Affine, Geometry, Map};
use super::channels::{RowLoop, drive, load, load_all, store};
use crate::batch_norm::Activation;
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd, dispatch};

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
