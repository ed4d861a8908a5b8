//! Global average and linear layer.

use rayon::prelude::*;

use super::images::{Form, Images};
use super::padded::{Border, Extent};
use crate::elementwise::Accumulate;
use crate::scratch;

/// Extents: `pixels` is height times width.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) pixels: usize,
    pub(crate) c: usize,
    pub(crate) classes: usize,
}

/// Mean over the pixels of each image.
pub(crate) fn average(g: &Geometry, x: Images, pooled: &mut [f32]) {
    let inverse = 1.0 / g.pixels as f32;
    let extent = Extent {
        h: 1,
        w: g.pixels,
        c: g.c,
    };
    let border = Border::default();
    pooled
        .par_chunks_mut(g.c)
        .enumerate()
        .for_each(|(n, pooled)| {
            scratch::with(x.room(extent, border, Form::Floats(g.c)), |room| {
                pooled.fill(0.0);
                for x in x
                    .read(n, extent, border, Form::Floats(g.c), room)
                    .chunks_exact(g.c)
                {
                    for (sum, x) in pooled.iter_mut().zip(x) {
                        *sum += x;
                    }
                }
                for sum in pooled {
                    *sum *= inverse;
                }
            });
        });
}

/// `logits = pooled weight + bias`, or `logits += pooled weight`.
pub(crate) fn linear(
    g: &Geometry,
    pooled: &[f32],
    weight: &[f32],
    bias: &[f32],
    logits: &mut [f32],
    acc: Accumulate,
) {
    for (logits, pooled) in logits
        .chunks_exact_mut(g.classes)
        .zip(pooled.chunks_exact(g.c))
    {
        if acc == Accumulate::Overwrite {
            logits.copy_from_slice(bias);
        }
        for (p, weight) in pooled.iter().zip(weight.chunks_exact(g.classes)) {
            for (logit, w) in logits.iter_mut().zip(weight) {
                *logit += p * w;
            }
        }
    }
}

/// Gradients with respect to weight and bias.
pub(crate) fn backward_weight(
    g: &Geometry,
    pooled: &[f32],
    dlogits: &[f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    dweight.fill(0.0);
    dbias.fill(0.0);
    for (dlogits, pooled) in dlogits
        .chunks_exact(g.classes)
        .zip(pooled.chunks_exact(g.c))
    {
        for (p, dweight) in pooled.iter().zip(dweight.chunks_exact_mut(g.classes)) {
            for (dw, d) in dweight.iter_mut().zip(dlogits) {
                *dw += p * d;
            }
        }
        for (db, d) in dbias.iter_mut().zip(dlogits) {
            *db += d;
        }
    }
}

/// Gradient with respect to the input: the same for every pixel of an image.
pub(crate) fn backward_input(
    g: &Geometry,
    dlogits: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    acc: Accumulate,
) {
    let inverse = 1.0 / g.pixels as f32;
    dx.par_chunks_mut(g.pixels * g.c)
        .zip(dlogits.par_chunks(g.classes))
        .for_each(|(dx, dlogits)| {
            let pixel: Vec<f32> = weight
                .chunks_exact(g.classes)
                .map(|w| w.iter().zip(dlogits).map(|(a, b)| a * b).sum::<f32>() * inverse)
                .collect();
            for dx in dx.chunks_exact_mut(g.c) {
                match acc {
                    Accumulate::Overwrite => dx.copy_from_slice(&pixel),
                    Accumulate::Add => {
                        for (dx, p) in dx.iter_mut().zip(&pixel) {
                            *dx += p;
                        }
                    }
                }
            }
        });
}
