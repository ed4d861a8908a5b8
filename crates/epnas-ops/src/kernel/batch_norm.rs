//! Batch normalization: the affine map of every channel, applied to rows of channels.

use std::ops::Range;

use rayon::prelude::*;

use super::channels::{RowLoop, drive, load, load_all, rows_per_task, store};
use crate::batch_norm::Activation;
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

/// The map of every channel: `activation((x - mean) * slope + shift)`.
#[derive(Debug, Clone)]
pub(crate) struct Affine {
    pub(crate) mean: Vec<f32>,
    pub(crate) inverse: Vec<f32>,
    pub(crate) slope: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    pub(crate) activation: Activation,
}

impl Affine {
    /// From scale, shift and saved statistics.
    pub(crate) fn of(scale: &[f32], shift: &[f32], saved: &[f32], activation: Activation) -> Self {
        let (mean, inverse) = saved.split_at(scale.len());
        Affine {
            mean: mean.to_vec(),
            inverse: inverse.to_vec(),
            slope: scale.iter().zip(inverse).map(|(a, b)| a * b).collect(),
            shift: shift.to_vec(),
            activation,
        }
    }

    /// Channels.
    pub(crate) fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Maps pixels to pixels that are `pitch` floats apart, the rest zeros.
    pub(crate) fn apply(&self, x: &[f32], pitch: usize, y: &mut [f32]) {
        match self.activation {
            Activation::None => dispatch(Apply::<false> {
                affine: self,
                x,
                y,
                pitch,
            }),
            Activation::Relu => dispatch(Apply::<true> {
                affine: self,
                x,
                y,
                pitch,
            }),
        }
        clear_tails(self.channels(), pitch, y);
    }
}

/// Zeros behind the channels of pixels that are `pitch` floats apart.
pub(super) fn clear_tails(channels: usize, pitch: usize, pixels: &mut [f32]) {
    if pitch > channels {
        for pixel in pixels.chunks_exact_mut(pitch) {
            pixel[channels..].fill(0.0);
        }
    }
}

/// Mean and inverse standard deviation from a mean and a variance.
pub(crate) fn saved_of(mean: &[f32], variance: &[f32], eps: f64, saved: &mut [f32]) {
    let (to_mean, to_inverse) = saved.split_at_mut(mean.len());
    to_mean.copy_from_slice(mean);
    for (to, &v) in to_inverse.iter_mut().zip(variance) {
        *to = (1.0 / (f64::from(v) + eps).sqrt()) as f32;
    }
}

/// Maps a whole batch.
pub(crate) fn apply(g: &Geometry, affine: &Affine, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(g.task())
        .zip(x.par_chunks(g.task()))
        .for_each(|(y, x)| affine.apply(x, g.c, y));
}

struct Apply<'a, const RELU: bool> {
    affine: &'a Affine,
    x: &'a [f32],
    y: &'a mut [f32],
    pitch: usize,
}

impl<const RELU: bool> Kernel for Apply<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let c = self.affine.channels();
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
        let c = self.affine.channels();
        let map = Map::<S, V>::load(simd, self.affine, first, lanes);
        let zero = simd.splat(0.0);
        for row in rows {
            for v in 0..V {
                let channel = first + v * LANES;
                let x = load(simd, self.x, row * c + channel, lanes);
                let mut value = map.at(simd, v, x).1;
                if RELU {
                    // Not `max`, which would turn NaN into 0 and hide a diverged network.
                    value = simd.select(simd.gt(zero, value), zero, value);
                }
                store(simd, value, self.y, row * self.pitch + channel, lanes);
            }
        }
    }
}

/// The affine map of `V` vectors of channels, in registers.
pub(super) struct Map<S: Simd, const V: usize> {
    mean: [S::V; V],
    pub(super) slope: [S::V; V],
    shift: [S::V; V],
}

impl<S: Simd, const V: usize> Map<S, V> {
    #[inline(always)]
    pub(super) fn load(simd: S, affine: &Affine, first: usize, lanes: usize) -> Self {
        Map {
            mean: load_all(simd, &affine.mean, first, lanes),
            slope: load_all(simd, &affine.slope, first, lanes),
            shift: load_all(simd, &affine.shift, first, lanes),
        }
    }

    /// `x - mean` and the mapped value. Forward and backward both use this, so that they agree on which
    /// values are above zero.
    #[inline(always)]
    pub(super) fn at(&self, simd: S, v: usize, x: S::V) -> (S::V, S::V) {
        let centered = simd.sub(x, self.mean[v]);
        (centered, simd.fma(centered, self.slope[v], self.shift[v]))
    }
}
