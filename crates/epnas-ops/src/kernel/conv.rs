//! Dense convolution as jobs of the sliding and the weight-gradient engines.

use super::correlate::{Input, Job, Pass, Tap};
use super::padded::{Border, Extent};
use super::weight_gradient::{WeightJob, WeightTap};
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

    /// Pixel by pixel: the image may be read as one long row.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    /// Extent of one image with `c` channels at the input's or the output's resolution.
    fn extent(&self, h: usize, w: usize, c: usize) -> Extent {
        match self.is_pointwise() {
            true => Extent { h: 1, w: h * w, c },
            false => Extent { h, w, c },
        }
    }
}

/// One summand of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) w: &'a [f32],
    pub(crate) ci: usize,
}

/// `y = sum over sources of conv(x, w)`.
pub(crate) fn forward(g: &Geometry, sources: &[Source], y: &mut [f32]) {
    let k = g.kernel;
    let mut inputs = Vec::with_capacity(sources.len());
    let mut taps = Vec::with_capacity(sources.len() * k);
    // First row of weights of every source: its weight tensor is a matrix of k k ci rows already.
    let mut firsts = Vec::with_capacity(sources.len());
    let mut weight_rows = 0;
    for (index, source) in sources.iter().enumerate() {
        inputs.push(Input {
            images: source.x,
            extent: g.extent(g.h, g.w, source.ci),
            border: Border::all(k / 2),
        });
        firsts.push(weight_rows);
        for row in 0..k {
            taps.push(Tap {
                input: index,
                row,
                column: 0,
                channel: 0,
                len: k * source.ci,
                weights: weight_rows,
            });
            weight_rows += k * source.ci;
        }
    }
    let job = Job {
        inputs: &inputs,
        stride: g.stride,
        passes: vec![Pass {
            taps,
            first: (0, 0),
            spacing: 1,
        }],
        weight_rows,
        output: g.extent(g.ho(), g.wo(), g.co),
        acc: Accumulate::Overwrite,
    };
    job.run(y, |row, first, out| {
        let index = firsts.partition_point(|&start| start <= row) - 1;
        let at = (row - firsts[index]) * g.co + first;
        out.copy_from_slice(&sources[index].w[at..at + out.len()]);
    });
}

/// Gradient with respect to the input.
///
/// `dx[i] = sum over u of dy[(i + k/2 - u) / s] w[u]` over the taps `u` for which the division is exact: with
/// stride 2 those of one parity, so even and odd rows and columns are passes of their own.
pub(crate) fn backward_input(g: &Geometry, dy: &[f32], w: &[f32], dx: &mut [f32], acc: Accumulate) {
    let (k, s, pad) = (g.kernel, g.stride, g.kernel / 2);
    // An exact tap of lattice point `a` reads output `a + (parity + pad - u) / s`; so the outputs read end
    // `ceil(pad / s)` before the first and after the last.
    let border = pad.div_ceil(s);
    // Tap (u, v) of every row block of the weights.
    let mut order = Vec::with_capacity(k * k);
    let mut passes = Vec::with_capacity(s * s);
    for parity in (0..s).flat_map(|i| (0..s).map(move |j| (i, j))) {
        let exact = |parity: usize| {
            (0..k)
                .rev()
                .filter(move |u| (parity + pad + k * s - u).is_multiple_of(s))
        };
        let offset = |parity: usize, u: usize| (parity + pad + border * s - u) / s;
        let mut taps = Vec::new();
        for u in exact(parity.0) {
            // Descending taps are ascending columns of dy: one run.
            let Some(v) = exact(parity.1).next() else {
                continue;
            };
            taps.push(Tap {
                input: 0,
                row: offset(parity.0, u),
                column: offset(parity.1, v),
                channel: 0,
                len: exact(parity.1).count() * g.co,
                weights: order.len() * g.co,
            });
            order.extend(exact(parity.1).map(|v| u * k + v));
        }
        passes.push(Pass {
            taps,
            first: parity,
            spacing: s,
        });
    }
    let dy_extent = g.extent(g.ho(), g.wo(), g.co);
    let job = Job {
        inputs: &[Input {
            images: dy,
            extent: dy_extent,
            border: Border::all(border),
        }],
        stride: 1,
        passes,
        weight_rows: order.len() * g.co,
        output: g.extent(g.h, g.w, g.ci),
        acc,
    };
    job.run(dx, |row, first, out| {
        let (tap, o) = (order[row / g.co], row % g.co);
        let w = &w[(tap * g.ci + first) * g.co + o..];
        for (out, w) in out.iter_mut().zip(w.iter().step_by(g.co)) {
            *out = *w;
        }
    });
}

/// Gradient with respect to the weight.
pub(crate) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let k = g.kernel;
    let job = WeightJob {
        x: Input {
            images: x,
            extent: g.extent(g.h, g.w, g.ci),
            border: Border::all(k / 2),
        },
        stride: g.stride,
        taps: (0..k)
            .map(|row| WeightTap {
                row,
                column: 0,
                len: k * g.ci,
            })
            .collect(),
        dy,
        dy_extent: g.extent(g.ho(), g.wo(), g.co),
    };
    job.run(|row, gradient| dw[row * g.co..][..g.co].copy_from_slice(gradient));
}
