//! Depthwise convolution: jobs over images whose channels are padded to whole vectors.

use rayon::prelude::*;

use super::backward::{self, Gradient, Outputs, Wanted, Widths};
use super::block::Start;
use super::epilogue::Finish;
use super::images::{Form, Images};
use super::packed::padded as whole_vectors;
use super::padded::{Border, Extent, Frame, widen};
use super::window::{Products, TapRow, WIDEST};
use super::window_gradient::Sums;
use crate::elementwise::Accumulate;
use crate::precision::Precision;
use crate::scratch;
use crate::simd::dispatch;

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
    /// An input image, with the border that the taps reach into.
    pub(super) fn input(&self) -> Frame {
        Frame {
            extent: Extent {
                h: self.h,
                w: self.w,
                c: self.c,
            },
            border: Border::all(self.kernel / 2),
        }
    }

    /// Shape of the output.
    pub(crate) fn output_shape(&self) -> [usize; 4] {
        let Extent { h, w, c } = self.output();
        [self.n, h, w, c]
    }

    pub(super) fn output(&self) -> Extent {
        Extent {
            h: self.h.div_ceil(self.stride),
            w: self.w.div_ceil(self.stride),
            c: self.c,
        }
    }

    /// The gradient of an output image, with the border that the taps of its inputs reach into.
    pub(super) fn gradient(&self) -> Frame {
        Frame {
            extent: self.output(),
            border: Border::all((self.kernel / 2).div_ceil(self.stride)),
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

/// What slides over what. All images are read as whole vectors of channels.
pub(super) struct Sliding {
    from: Frame,
    /// Distance in the input of neighboring lattice points.
    stride: usize,
    lattices: Vec<Lattice>,
    to: Extent,
}

/// A sliding with its weights laid out.
pub(super) struct Prepared<'a> {
    of: &'a Sliding,
    /// Bordered extent of the input, whole vectors.
    outer: Extent,
    w: &'a [f32],
    /// Taps of every lattice.
    taps: Vec<Vec<TapRow>>,
}

impl Sliding {
    /// Floats that [`Sliding::prepare`] lays the weights out in.
    pub(super) fn room(&self) -> usize {
        let taps = self.lattices.iter().map(|lattice| lattice.taps.len());
        taps.sum::<usize>() * whole_vectors(self.to.c)
    }

    pub(super) fn prepare<'a>(&'a self, w: &[f32], room: &'a mut [f32]) -> Prepared<'a> {
        let c = self.to.c;
        let lanes = whole_vectors(c);
        let outer = self.from.outer().widened(lanes);
        let all = self.lattices.iter().flat_map(|lattice| &lattice.taps);
        for (tap, wide) in all.zip(room.chunks_exact_mut(lanes)) {
            widen(&w[tap.weight * c..][..c], c, lanes, wide);
        }
        let mut first = 0;
        let mut taps = Vec::with_capacity(self.lattices.len());
        for lattice in &self.lattices {
            taps.push(tap_rows(&lattice.taps, first, outer));
            first += lattice.taps.len();
        }
        Prepared {
            of: self,
            outer,
            w: room,
            taps,
        }
    }
}

impl Prepared<'_> {
    /// Fills the lattices of one image from one image with its border.
    pub(super) fn image(&self, x: &[f32], acc: Accumulate, to: &mut [f32]) {
        for (lattice, taps) in self.of.lattices.iter().zip(&self.taps) {
            self.fill(lattice, taps, x, acc, to);
        }
    }

    fn fill(&self, lattice: &Lattice, taps: &[TapRow], x: &[f32], acc: Accumulate, to: &mut [f32]) {
        let (i, j) = lattice.first;
        let extent = self.of.to;
        let points =
            |extent: usize, first: usize| extent.saturating_sub(first).div_ceil(lattice.spacing);
        let size = (points(extent.h, i), points(extent.w, j));
        if size.0 * size.1 == 0 {
            return;
        }
        let (c, stride) = (extent.c, self.of.stride);
        dispatch(Products {
            x,
            w: self.w,
            taps,
            size,
            x_step: (stride * self.outer.row(), stride),
            out: &mut to[(i * extent.w + j) * c..],
            out_step: (lattice.spacing * extent.row(), lattice.spacing * c),
            channels: c,
            acc,
        });
    }
}

/// Forward.
pub(crate) fn forward(g: &Geometry, x: Images, w: &[f32], y: &mut [f32], finish: &mut Finish) {
    let sliding = forward_sliding(g);
    let lanes = whole_vectors(g.c);
    let Frame { extent, border } = sliding.from;
    let epilogue = finish.epilogue;
    scratch::with(sliding.room(), |room| {
        let prepared = sliding.prepare(w, room);
        y.par_chunks_mut(sliding.to.len())
            .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
            .enumerate()
            .for_each(|(n, (y, part))| {
                scratch::with(x.room(extent, border, Form::Floats(lanes)), |room| {
                    let x = x.read(n, extent, border, Form::Floats(lanes), room);
                    prepared.image(x, Accumulate::Overwrite, y);
                });
                epilogue.image(n, y, part);
            });
    });
}

pub(super) fn forward_sliding(g: &Geometry) -> Sliding {
    let k = g.kernel;
    let tap = |weight| Tap {
        row: weight / k,
        column: weight % k,
        weight,
    };
    Sliding {
        from: g.input(),
        stride: g.stride,
        lattices: vec![Lattice {
            first: (0, 0),
            spacing: 1,
            taps: (0..k * k).map(tap).collect(),
        }],
        to: g.output(),
    }
}

/// The gradient with respect to the input: `dx[i] = sum over u of dy[(i + k/2 - u) / s] w[u]` over the taps for
/// which the division is exact; with stride 2 each parity of the pixel has its own.
pub(super) fn backward_sliding(g: &Geometry) -> Sliding {
    let (k, s, pad) = (g.kernel, g.stride, g.kernel / 2);
    let border = g.gradient().border.top;
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
    Sliding {
        from: g.gradient(),
        stride: 1,
        lattices: (0..s * s).map(lattice).collect(),
        to: g.input().extent,
    }
}

/// Floats of the gradient of the weights, in whole vectors.
pub(super) fn sums_len(g: &Geometry) -> usize {
    g.kernel * g.kernel * whole_vectors(g.c)
}

/// Takes the gradient of the weights out of whole vectors.
pub(super) fn unpack(g: &Geometry, sums: &[f32], dw: &mut [f32]) {
    let lanes = whole_vectors(g.c);
    for (dw, sums) in dw.chunks_exact_mut(g.c).zip(sums.chunks_exact(lanes)) {
        dw.copy_from_slice(&sums[..g.c]);
    }
}

/// Adds the gradient of the weights for one image, or writes it. Both images have borders and whole vectors.
pub(super) fn sum_weights(g: &Geometry, x: &[f32], dy: &[f32], start: Start, sums: &mut [f32]) {
    if start == Start::Zero {
        sums.fill(0.0);
    }
    let outer = g.input().outer().widened(whole_vectors(g.c));
    dispatch(Sums::new(
        (x, outer),
        (dy, g.gradient()),
        (g.kernel, g.stride),
        sums,
    ));
}

/// Gradients with respect to input and weights.
pub(crate) fn backward(g: &Geometry, dy: Images, wanted: Wanted<1>) {
    let (w, input) = wanted.input.unzip();
    let (x, mut dw) = wanted.weight.unzip();
    let sliding = backward_sliding(g);
    scratch::with(sliding.room(), |room| {
        let branch = Branch {
            g,
            x,
            input: w.map(|[w]| sliding.prepare(w, room)),
        };
        let outputs = Outputs {
            dy,
            frame: g.gradient(),
            precision: Precision::F32,
            widths: Widths::Both,
            batch: g.n,
        };
        backward::run(outputs, &[branch], vec![input], |_, sums| {
            if let Some([dw]) = &mut dw {
                unpack(g, sums, dw);
            }
        });
    });
}

struct Branch<'a> {
    g: &'a Geometry,
    x: Option<Images<'a>>,
    input: Option<Prepared<'a>>,
}

impl backward::Branch for Branch<'_> {
    fn sums_len(&self) -> usize {
        match self.x {
            Some(_) => sums_len(self.g),
            None => 0,
        }
    }

    fn image(
        &self,
        n: usize,
        dy: Gradient,
        start: Start,
        sums: &mut [f32],
        dx: Option<(&mut [f32], Accumulate)>,
    ) {
        let (g, lanes) = (self.g, whole_vectors(self.g.c));
        if let Some(x) = self.x {
            let Frame { extent, border } = g.input();
            scratch::with(x.room(extent, border, Form::Floats(lanes)), |room| {
                let x = x.read(n, extent, border, Form::Floats(lanes), room);
                sum_weights(g, x, dy.wide, start, sums);
            });
        }
        if let (Some(input), Some((dx, acc))) = (&self.input, dx) {
            input.image(dy.wide, acc, dx);
        }
    }
}
