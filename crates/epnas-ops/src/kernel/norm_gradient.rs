//! Gradients of batch normalization: sums over the batch, then the input's gradient.

use std::ops::Range;

use rayon::prelude::*;

use super::batch_norm::{Affine, Geometry, Map, clear_tails};
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

/// Floats of one part per channel: see [`part_sums`].
pub(crate) const PARTS: usize = 2;

/// `sum dz` and `sum dz * normalized x`, `dz` being `dy` where the activation lets it through.
pub(crate) fn gradient_sums(g: &Geometry, affine: &Affine, x: &[f32], dy: &[f32]) -> GradientSums {
    let len = PARTS * g.c;
    let mut parts = vec![0.0f32; x.len().div_ceil(g.task()) * len];
    parts
        .par_chunks_mut(len)
        .zip(x.par_chunks(g.task()).zip(dy.par_chunks(g.task())))
        .for_each(|(part, (x, dy))| part_sums(affine, x, dy, part));
    GradientSums::combine(affine, parts.chunks_exact(len))
}

/// Sums of some rows: for every channel that of `dz`, then that of `dz (x - mean)`.
pub(crate) fn part_sums(affine: &Affine, x: &[f32], dy: &[f32], part: &mut [f32]) {
    part.fill(0.0);
    let (sums, products) = part.split_at_mut(affine.channels());
    match affine.activation {
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
}

impl GradientSums {
    /// Adds parts of [`part_sums`], in order and in `f64`.
    pub(crate) fn combine<'a>(affine: &Affine, parts: impl Iterator<Item = &'a [f32]>) -> Self {
        let c = affine.channels();
        let mut total = GradientSums {
            shift: vec![0.0; c],
            scale: vec![0.0; c],
        };
        for part in parts {
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

/// The way of a gradient back through the statistics:
/// `dx = slope dz - offset - tilt (x - mean)`, which is
/// `slope (dz - mean(dz) - normalized x * mean(dz * normalized x))`.
#[derive(Debug, Clone)]
pub(crate) struct Backflow {
    offset: Vec<f32>,
    tilt: Vec<f32>,
}

impl Backflow {
    /// From the gradients of scale and shift, over so many rows.
    pub(crate) fn of(affine: &Affine, dscale: &[f32], dshift: &[f32], rows: usize) -> Self {
        let mean = |slope: f32, sum: f32| f64::from(slope) * f64::from(sum) / rows as f64;
        let offset = affine.slope.iter().zip(dshift);
        let tilt = affine.slope.iter().zip(dscale).zip(&affine.inverse);
        Backflow {
            offset: offset
                .map(|(&slope, &sum)| mean(slope, sum) as f32)
                .collect(),
            tilt: tilt
                .map(|((&slope, &sum), &inverse)| (mean(slope, sum) * f64::from(inverse)) as f32)
                .collect(),
        }
    }

    /// Writes the gradient of some pixels to pixels that are `pitch` floats apart, the rest zeros.
    pub(crate) fn apply(
        &self,
        affine: &Affine,
        x: &[f32],
        dy: &[f32],
        pitch: usize,
        dx: &mut [f32],
    ) {
        self.run::<false>(affine, x, dy, pitch, dx);
        clear_tails(affine.channels(), pitch, dx);
    }

    fn run<const ADD: bool>(
        &self,
        affine: &Affine,
        x: &[f32],
        dy: &[f32],
        pitch: usize,
        dx: &mut [f32],
    ) {
        match affine.activation {
            Activation::None => dispatch(InputGradient::<false, ADD> {
                affine,
                flow: self,
                x,
                dy,
                dx,
                pitch,
            }),
            Activation::Relu => dispatch(InputGradient::<true, ADD> {
                affine,
                flow: self,
                x,
                dy,
                dx,
                pitch,
            }),
        }
    }
}

/// Gradient of a whole batch with respect to the input.
pub(crate) fn input_gradient(
    g: &Geometry,
    affine: &Affine,
    flow: &Backflow,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    acc: Accumulate,
) {
    dx.par_chunks_mut(g.task())
        .zip(x.par_chunks(g.task()).zip(dy.par_chunks(g.task())))
        .for_each(|(dx, (x, dy))| match acc {
            Accumulate::Overwrite => flow.run::<false>(affine, x, dy, g.c, dx),
            Accumulate::Add => flow.run::<true>(affine, x, dy, g.c, dx),
        });
}

struct InputGradient<'a, const RELU: bool, const ADD: bool> {
    affine: &'a Affine,
    flow: &'a Backflow,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    pitch: usize,
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
        let offset: [S::V; V] = load_all(simd, &self.flow.offset, first, lanes);
        let tilt: [S::V; V] = load_all(simd, &self.flow.tilt, first, lanes);
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
                let to = row * self.pitch + first + v * LANES;
                if ADD {
                    dx = simd.add(dx, load(simd, self.dx, to, lanes));
                }
                store(simd, dx, self.dx, to, lanes);
            }
        }
    }
}
