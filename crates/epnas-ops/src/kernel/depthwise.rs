//! Depthwise convolution: jobs over images whose channels are padded to whole vectors.

use rayon::prelude::*;

use super::packed::padded as whole_vectors;
use super::padded::{self, Border, Extent};
use super::window::{Products, TapRow, WIDEST};
use super::window_gradient::Sums;
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

    /// Shape of the output.
    pub(crate) fn output_shape(&self) -> [usize; 4] {
        let Extent { h, w, c } = self.output();
        [self.n, h, w, c]
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
    taps: Vec<Tap>,
}

/// Row and column in the bordered image relative to the lattice point, and the weight.
#[derive(Debug, Clone, Copy)]
struct Tap {
    row: usize,
    column: usize,
    weight: usize,
}

/// Joins taps on neighboring pixels; their weights are to be laid out in the order of the taps, from weight
/// `first` on.
fn tap_rows(taps: &[Tap], first: usize, outer: Extent) -> Vec<TapRow> {
    let neighbors = |a: &Tap, b: &Tap| a.row == b.row && a.column + 1 == b.column;
    let mut rows = Vec::new();
    let mut w = first;
    for run in taps.chunk_by(neighbors) {
        // Seven taps are 4 + 3, not 5 + 2.
        let most = run.len().div_ceil(run.len().div_ceil(WIDEST));
        for part in run.chunks(most) {
            rows.push(TapRow {
                x: (part[0].row * outer.w + part[0].column) * outer.c,
                w,
                len: part.len(),
            });
            w += part.len();
        }
    }
    rows
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
        let border = Border::all(self.border);
        let outer = Extent {
            c: lanes,
            ..self.from_extent.bordered(border)
        };
        let count = self
            .lattices
            .iter()
            .map(|lattice| lattice.taps.len())
            .sum::<usize>();
        scratch::with(count * lanes, |wide| {
            let taps = self.lattices.iter().flat_map(|lattice| &lattice.taps);
            for (tap, wide) in taps.zip(wide.chunks_exact_mut(lanes)) {
                padded::widen(&w[tap.weight * c..][..c], c, lanes, wide);
            }
            let w = &*wide;
            let mut first = 0;
            let mut taps = Vec::with_capacity(self.lattices.len());
            for lattice in &self.lattices {
                taps.push(tap_rows(&lattice.taps, first, outer));
                first += lattice.taps.len();
            }
            to.par_chunks_mut(self.to_extent.len())
                .zip(self.from.par_chunks(self.from_extent.len()))
                .for_each(|(to, from)| {
                    scratch::with(outer.len(), |x| {
                        padded::copy_widened(from, self.from_extent, border, lanes, x);
                        for (lattice, taps) in self.lattices.iter().zip(&taps) {
                            self.fill(lattice, taps, (x, outer), w, to);
                        }
                    });
                });
        });
    }

    /// One lattice of one image.
    fn fill(
        &self,
        lattice: &Lattice,
        taps: &[TapRow],
        (x, outer): (&[f32], Extent),
        w: &[f32],
        to: &mut [f32],
    ) {
        let (i, j) = lattice.first;
        let points =
            |extent: usize, first: usize| extent.saturating_sub(first).div_ceil(lattice.spacing);
        let size = (points(self.to_extent.h, i), points(self.to_extent.w, j));
        if size.0 * size.1 == 0 {
            return;
        }
        let c = self.to_extent.c;
        dispatch(Products {
            x,
            w,
            taps,
            size,
            x_step: (self.stride * outer.row(), self.stride),
            out: &mut to[(i * self.to_extent.w + j) * c..],
            out_step: (lattice.spacing * self.to_extent.row(), lattice.spacing * c),
            channels: c,
            acc: self.acc,
        });
    }
}

/// Forward.
pub(crate) fn forward(g: &Geometry, x: &[f32], w: &[f32], y: &mut [f32]) {
    let k = g.kernel;
    let tap = |weight| Tap {
        row: weight / k,
        column: weight % k,
        weight,
    };
    let job = Job {
        from: x,
        from_extent: g.input(),
        border: k / 2,
        stride: g.stride,
        lattices: vec![Lattice {
            first: (0, 0),
            spacing: 1,
            taps: (0..k * k).map(tap).collect(),
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
    // Exact taps of a parity and the (bordered) outputs they lead to, ascending.
    let exact = |parity: usize| {
        let distance = parity + pad + border * s;
        let exact = move |u: &usize| (distance - u).is_multiple_of(s);
        (0..k)
            .rev()
            .filter(exact)
            .map(move |u| (u, (distance - u) / s))
    };
    let lattice = |parity: usize| {
        let (i, j) = (parity / s, parity % s);
        let row = |(u, row)| {
            exact(j).map(move |(v, column)| Tap {
                row,
                column,
                weight: u * k + v,
            })
        };
        Lattice {
            first: (i, j),
            spacing: s,
            taps: exact(i).flat_map(row).collect(),
        }
    };
    let job = Job {
        from: dy,
        from_extent: g.output(),
        border,
        stride: 1,
        lattices: (0..s * s).map(lattice).collect(),
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
