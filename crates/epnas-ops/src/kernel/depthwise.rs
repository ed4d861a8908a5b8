//! Depthwise convolution: jobs over images whose channels are padded to whole vectors.

use rayon::prelude::*;

use super::packed::padded as whole_vectors;
use super::padded::{self, Border, Extent};
use super::window::{Products, Sums, Tap};
use crate::elementwise::Accumulate;
use crate::scratch;
use crate::simd::dispatch;

/// Chunks of images whose weight gradients are summed apart, whatever the number of threads.
const CHUNKS: usize = 16;

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
    fn input(&self) -> Extent {
        Extent {
            h: self.h,
            w: self.w,
            c: self.c,
        }
    }

    fn output(&self) -> Extent {
        Extent {
            h: self.h.div_ceil(self.stride),
            w: self.w.div_ceil(self.stride),
            c: self.c,
        }
    }
}

/// The output pixels `first + spacing * (row, column)` and the taps they see.
struct Lattice {
    first: (usize, usize),
    spacing: usize,
    /// Row and column in the bordered image relative to the lattice point, and the weight.
    taps: Vec<(usize, usize, usize)>,
}

/// Slides `w` over the images of `from`, filling the lattices of the images of `to`.
struct Job<'a> {
    from: &'a [f32],
    from_extent: Extent,
    border: usize,
    /// Distance in the input of neighboring lattice points.
    stride: usize,
    lattices: Vec<Lattice>,
    to_extent: Extent,
    acc: Accumulate,
}

impl Job<'_> {
    fn run(&self, w: &[f32], to: &mut [f32]) {
        let c = self.to_extent.c;
        let lanes = whole_vectors(c);
        let outer = Extent {
            c: lanes,
            ..self.from_extent.bordered(Border::all(self.border))
        };
        scratch::with(w.len() / c * lanes, |wide| {
            padded::widen(w, c, lanes, wide);
            let w = &*wide;
            let taps: Vec<Vec<Tap>> = self
                .lattices
                .iter()
                .map(|lattice| {
                    let tap = |&(row, column, w): &(usize, usize, usize)| Tap {
                        x: (row * outer.w + column) * lanes,
                        w: w * lanes,
                    };
                    lattice.taps.iter().map(tap).collect()
                })
                .collect();
            to.par_chunks_mut(self.to_extent.len())
                .zip(self.from.par_chunks(self.from_extent.len()))
                .for_each(|(to, from)| {
                    scratch::with(outer.len(), |x| {
                        padded::copy_widened(
                            from,
                            self.from_extent,
                            Border::all(self.border),
                            lanes,
                            x,
                        );
                        for (lattice, taps) in self.lattices.iter().zip(&taps) {
                            let points = |extent: usize, first: usize| {
                                extent.saturating_sub(first).div_ceil(lattice.spacing)
                            };
                            let (i, j) = lattice.first;
                            let (rows, columns) =
                                (points(self.to_extent.h, i), points(self.to_extent.w, j));
                            if rows * columns == 0 {
                                continue;
                            }
                            dispatch(Products::new(
                                (x, w, taps),
                                (rows, columns),
                                (self.stride * outer.row(), self.stride * lanes),
                                &mut to[(i * self.to_extent.w + j) * c..],
                                (lattice.spacing * self.to_extent.row(), lattice.spacing * c),
                                c,
                                self.acc,
                            ));
                        }
                    });
                });
        });
    }
}

/// Forward.
pub(crate) fn forward(g: &Geometry, x: &[f32], w: &[f32], y: &mut [f32]) {
    let k = g.kernel;
    let job = Job {
        from: x,
        from_extent: g.input(),
        border: k / 2,
        stride: g.stride,
        lattices: vec![Lattice {
            first: (0, 0),
            spacing: 1,
            taps: (0..k * k).map(|t| (t / k, t % k, t)).collect(),
        }],
        to_extent: g.output(),
        acc: Accumulate::Overwrite,
    };
    job.run(w, y);
}

/// Gradient with respect to the input: `dx[i] = sum over u of dy[(i + k/2 - u) / s] w[u]` over the taps for
/// which the division is exact; with stride 2 each parity of the pixel has its own.
pub(crate) fn backward_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32], acc: Accumulate) {
    let (k, s, pad) = (g.kernel, g.stride, g.kernel / 2);
    let border = pad.div_ceil(s);
    let lattice = |(i, j): (usize, usize)| {
        let exact = |parity: usize| {
            (0..k).filter_map(move |u| {
                let distance = parity + pad + border * s;
                (distance >= u && (distance - u).is_multiple_of(s)).then(|| (u, (distance - u) / s))
            })
        };
        Lattice {
            first: (i, j),
            spacing: s,
            taps: exact(i)
                .flat_map(|(u, row)| exact(j).map(move |(v, column)| (row, column, u * k + v)))
                .collect(),
        }
    };
    let job = Job {
        from: dy,
        from_extent: g.output(),
        border,
        stride: 1,
        lattices: (0..s * s)
            .map(|parity| lattice((parity / s, parity % s)))
            .collect(),
        to_extent: g.input(),
        acc,
    };
    job.run(w, dx);
}

/// Gradient with respect to the weight.
pub(crate) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (c, k) = (g.c, g.kernel);
    let lanes = whole_vectors(c);
    let border = Border::all(k / 2);
    let (input, output) = (g.input(), g.output());
    let outer = Extent {
        c: lanes,
        ..input.bordered(border)
    };
    let wide = Extent { c: lanes, ..output };
    let dy_room = if lanes == c { 0 } else { wide.len() };
    let len = k * k * lanes;
    let per_chunk = g.n.div_ceil(CHUNKS);
    scratch::with(g.n.div_ceil(per_chunk) * len, |sums| {
        sums.fill(0.0);
        sums.par_chunks_mut(len)
            .zip(
                x.par_chunks(per_chunk * input.len())
                    .zip(dy.par_chunks(per_chunk * output.len())),
            )
            .for_each(|(sums, (x, dy))| {
                scratch::with(outer.len() + dy_room, |room| {
                    let (x_room, dy_room) = room.split_at_mut(outer.len());
                    for (x, dy) in x
                        .chunks_exact(input.len())
                        .zip(dy.chunks_exact(output.len()))
                    {
                        padded::copy_widened(x, input, border, lanes, x_room);
                        let dy = if dy_room.is_empty() {
                            dy
                        } else {
                            padded::widen(dy, c, lanes, dy_room);
                            &*dy_room
                        };
                        dispatch(Sums::new(x_room, outer, dy, wide, g.kernel, g.stride, sums));
                    }
                });
            });
        let (total, others) = sums.split_at_mut(len);
        for other in others.chunks_exact(len) {
            for (total, other) in total.iter_mut().zip(other) {
                *total += other;
            }
        }
        for (dw, total) in dw.chunks_exact_mut(c).zip(total.chunks_exact(lanes)) {
            dw.copy_from_slice(&total[..c]);
        }
    });
}
