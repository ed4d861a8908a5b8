//! Dense convolution.

use rayon::prelude::*;

use crate::elementwise::Accumulate;

/// Extents of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) ci: usize,
    pub(crate) co: usize,
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

    /// Shape of the output.
    pub(crate) fn output(&self) -> [usize; 4] {
        [self.n, self.ho(), self.wo(), self.co]
    }
}

/// One summand of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) w: &'a [f32],
    pub(crate) ci: usize,
}

/// Position in the input of tap `u` of output `o`, if inside.
fn tap(o: usize, u: usize, g: &Geometry, extent: usize) -> Option<usize> {
    (o * g.stride + u)
        .checked_sub(g.kernel / 2)
        .filter(|&i| i < extent)
}

/// `y = sum over sources of conv(x, w)`.
pub(crate) fn forward(g: &Geometry, sources: &[Source], y: &mut [f32]) {
    let (ho, wo) = (g.ho(), g.wo());
    y.par_chunks_mut(ho * wo * g.co)
        .enumerate()
        .for_each(|(n, y)| {
            y.fill(0.0);
            for source in sources {
                let ci = source.ci;
                let x = &source.x[n * g.h * g.w * ci..][..g.h * g.w * ci];
                for (o, y) in y.chunks_exact_mut(g.co).enumerate() {
                    for u in 0..g.kernel {
                        let Some(i) = tap(o / wo, u, g, g.h) else {
                            continue;
                        };
                        for v in 0..g.kernel {
                            let Some(j) = tap(o % wo, v, g, g.w) else {
                                continue;
                            };
                            for c in 0..ci {
                                let value = x[(i * g.w + j) * ci + c];
                                let w = &source.w[((u * g.kernel + v) * ci + c) * g.co..][..g.co];
                                for (y, w) in y.iter_mut().zip(w) {
                                    *y += value * w;
                                }
                            }
                        }
                    }
                }
            }
        });
}

/// Gradient with respect to the input.
pub(crate) fn backward_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32], acc: Accumulate) {
    let (ho, wo) = (g.ho(), g.wo());
    dx.par_chunks_mut(g.h * g.w * g.ci)
        .enumerate()
        .for_each(|(n, dx)| {
            if acc == Accumulate::Overwrite {
                dx.fill(0.0);
            }
            let dy = &dy[n * ho * wo * g.co..][..ho * wo * g.co];
            for (o, dy) in dy.chunks_exact(g.co).enumerate() {
                for u in 0..g.kernel {
                    let Some(i) = tap(o / wo, u, g, g.h) else {
                        continue;
                    };
                    for v in 0..g.kernel {
                        let Some(j) = tap(o % wo, v, g, g.w) else {
                            continue;
                        };
                        for c in 0..g.ci {
                            let w = &w[((u * g.kernel + v) * g.ci + c) * g.co..][..g.co];
                            dx[(i * g.w + j) * g.ci + c] +=
                                dy.iter().zip(w).map(|(a, b)| a * b).sum::<f32>();
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
        let x = &x[n * g.h * g.w * g.ci..][..g.h * g.w * g.ci];
        let dy = &dy[n * ho * wo * g.co..][..ho * wo * g.co];
        for (o, dy) in dy.chunks_exact(g.co).enumerate() {
            for u in 0..g.kernel {
                let Some(i) = tap(o / wo, u, g, g.h) else {
                    continue;
                };
                for v in 0..g.kernel {
                    let Some(j) = tap(o % wo, v, g, g.w) else {
                        continue;
                    };
                    for c in 0..g.ci {
                        let value = x[(i * g.w + j) * g.ci + c];
                        let dw = &mut dw[((u * g.kernel + v) * g.ci + c) * g.co..][..g.co];
                        for (dw, dy) in dw.iter_mut().zip(dy) {
                            *dw += value * dy;
                        }
                    }
                }
            }
        }
    }
}
