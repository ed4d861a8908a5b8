//! Depthwise convolution.

use rayon::prelude::*;

use crate::elementwise::Accumulate;

/// Extents of one depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl Geometry {
    pub(crate) fn ho(&self) -> usize {
        self.h.div_ceil(self.stride)
    }

    pub(crate) fn wo(&self) -> usize {
        self.w.div_ceil(self.stride)
    }
}

fn tap(o: usize, u: usize, g: &Geometry, extent: usize) -> Option<usize> {
    (o * g.stride + u)
        .checked_sub(g.kernel / 2)
        .filter(|&i| i < extent)
}

/// Forward.
pub(crate) fn forward(g: &Geometry, x: &[f32], w: &[f32], y: &mut [f32]) {
    let (ho, wo) = (g.ho(), g.wo());
    y.par_chunks_mut(ho * wo * g.c)
        .enumerate()
        .for_each(|(n, y)| {
            y.fill(0.0);
            let x = &x[n * g.h * g.w * g.c..];
            for (o, y) in y.chunks_exact_mut(g.c).enumerate() {
                for u in 0..g.kernel {
                    let Some(i) = tap(o / wo, u, g, g.h) else {
                        continue;
                    };
                    for v in 0..g.kernel {
                        let Some(j) = tap(o % wo, v, g, g.w) else {
                            continue;
                        };
                        let x = &x[(i * g.w + j) * g.c..];
                        let w = &w[(u * g.kernel + v) * g.c..];
                        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                            *y += x * w;
                        }
                    }
                }
            }
        });
}

/// Gradient with respect to the input.
pub(crate) fn backward_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32], acc: Accumulate) {
    let (ho, wo) = (g.ho(), g.wo());
    dx.par_chunks_mut(g.h * g.w * g.c)
        .enumerate()
        .for_each(|(n, dx)| {
            if acc == Accumulate::Overwrite {
                dx.fill(0.0);
            }
            let dy = &dy[n * ho * wo * g.c..][..ho * wo * g.c];
            for (o, dy) in dy.chunks_exact(g.c).enumerate() {
                for u in 0..g.kernel {
                    let Some(i) = tap(o / wo, u, g, g.h) else {
                        continue;
                    };
                    for v in 0..g.kernel {
                        let Some(j) = tap(o % wo, v, g, g.w) else {
                            continue;
                        };
                        let dx = &mut dx[(i * g.w + j) * g.c..];
                        let w = &w[(u * g.kernel + v) * g.c..];
                        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                            *dx += dy * w;
                        }
                    }
                }
            }
        });
}

/// Gradient with respect to the weight.
pub(crate) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (ho, wo) = (g.ho(), g.wo());
    dw.fill(0.0);
    for n in 0..g.n {
        let x = &x[n * g.h * g.w * g.c..];
        let dy = &dy[n * ho * wo * g.c..][..ho * wo * g.c];
        for (o, dy) in dy.chunks_exact(g.c).enumerate() {
            for u in 0..g.kernel {
                let Some(i) = tap(o / wo, u, g, g.h) else {
                    continue;
                };
                for v in 0..g.kernel {
                    let Some(j) = tap(o % wo, v, g, g.w) else {
                        continue;
                    };
                    let x = &x[(i * g.w + j) * g.c..];
                    let dw = &mut dw[(u * g.kernel + v) * g.c..];
                    for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                        *dw += dy * x;
                    }
                }
            }
        }
    }
}
