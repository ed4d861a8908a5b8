//! Dense convolution as correlations and weight gradients.

use super::backward::{self, Gradient, Outputs, Wanted, Widths};
use super::block::Start;
use super::correlate::{Correlation, Pass, Prepared, Tap};
use super::epilogue::Finish;
use super::images::{Form, Images};
use super::padded::{Border, Extent, Frame};
use super::weight_gradient::{WeightGradient, WeightTap};
use crate::elementwise::Accumulate;
use crate::precision::Precision;
use crate::scratch;

/// Extents of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) co: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) precision: Precision,
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

    /// An input image of `ci` channels, with the border that the taps reach into.
    pub(super) fn input(&self, ci: usize) -> Frame {
        Frame {
            extent: self.extent(self.h, self.w, ci),
            border: Border::all(self.kernel / 2),
        }
    }

    /// An output image with `border`.
    pub(super) fn outputs(&self, border: usize) -> Frame {
        Frame {
            extent: self.extent(self.ho(), self.wo(), self.co),
            border: Border::all(border),
        }
    }
}

/// One summand of a convolution.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) x: Images<'a>,
    pub(crate) w: &'a [f32],
    pub(crate) ci: usize,
}

/// The convolution of sources with so many channels each. The rows of weights are those of all sources in turn, one for
/// every number of the taps.
pub(super) fn forward_correlation(g: &Geometry, channels: &[usize]) -> Correlation {
    let k = g.kernel;
    let mut inputs = Vec::with_capacity(channels.len());
    let mut taps = Vec::with_capacity(channels.len() * k);
    let mut weight_rows = 0;
    for (index, &ci) in channels.iter().enumerate() {
        let len = k * g.precision.numbers(ci);
        inputs.push(g.input(ci));
        for row in 0..k {
            taps.push(Tap {
                input: index,
                row,
                column: 0,
                number: 0,
                len,
                weights: weight_rows,
            });
            weight_rows += len;
        }
    }
    Correlation {
        precision: g.precision,
        inputs,
        stride: g.stride,
        passes: vec![Pass {
            taps,
            first: (0, 0),
            spacing: 1,
        }],
        weight_rows,
        output: g.outputs(0).extent,
    }
}

/// `y = sum over sources of conv(x, w)`.
pub(crate) fn forward(g: &Geometry, sources: &[Source], y: &mut [f32], finish: &mut Finish) {
    let channels: Vec<usize> = sources.iter().map(|source| source.ci).collect();
    let correlation = forward_correlation(g, &channels);
    // First row of weights of every source.
    let firsts: Vec<usize> = channels
        .iter()
        .scan(0, |next, ci| {
            let first = *next;
            *next += g.kernel * g.kernel * g.precision.numbers(*ci);
            Some(first)
        })
        .collect();
    let images: Vec<Images> = sources.iter().map(|source| source.x).collect();
    let weights = |row: usize, half: usize, first: usize, out: &mut [f32]| {
        let index = firsts.partition_point(|&start| start <= row) - 1;
        let Source { w, ci, .. } = sources[index];
        weights_of(g, ci, w, row - firsts[index], half, first, out);
    };
    correlation.run(&images, weights, y, finish);
}

/// The weights, from output channel `first` on, that a half of a number of a source's taps meets. Its weight tensor is a
/// matrix of `kernel kernel ci` rows already.
pub(super) fn weights_of(
    g: &Geometry,
    ci: usize,
    w: &[f32],
    row: usize,
    half: usize,
    first: usize,
    out: &mut [f32],
) {
    let numbers = g.precision.numbers(ci);
    let channel = g.precision.factor(row % numbers, half);
    if channel < ci {
        let at = (row / numbers * ci + channel) * g.co + first;
        out.copy_from_slice(&w[at..at + out.len()]);
    } else {
        out.fill(0.0);
    }
}

/// Gradients with respect to inputs and weights of all sources, each with its number of channels.
pub(crate) fn backward(g: &Geometry, dy: Images, sources: Vec<(usize, Wanted<1>)>) {
    // An exact tap of lattice point `a` reads output `a + (parity + pad - u) / s`; so the outputs read end
    // `ceil(pad / s)` before the first and after the last.
    let border = match sources.iter().any(|(_, source)| source.input.is_some()) {
        true => (g.kernel / 2).div_ceil(g.stride),
        false => 0,
    };
    let frame = g.outputs(border);
    let transposed: Vec<Option<InputCorrelation>> = sources
        .iter()
        .map(|(ci, source)| {
            let wanted = source.input.is_some();
            wanted.then(|| InputCorrelation::new(g, *ci, frame))
        })
        .collect();
    let packed = transposed.iter().flatten();
    let room = packed
        .map(|transposed| transposed.correlation.packed_len())
        .sum();
    scratch::with(room, |mut room| {
        let mut branches = Vec::with_capacity(sources.len());
        let mut inputs = Vec::with_capacity(sources.len());
        let mut gradients = Vec::with_capacity(sources.len());
        for ((ci, source), transposed) in sources.into_iter().zip(&transposed) {
            let mut branch = Branch::default();
            if let (Some(([w], _)), Some(transposed)) = (&source.input, transposed) {
                let len = transposed.correlation.packed_len();
                let (packed, rest) = std::mem::take(&mut room).split_at_mut(len);
                room = rest;
                branch.input = Some(transposed.prepare(g, ci, w, packed));
            }
            let mut gradient = None;
            if let Some((x, [dw])) = source.weight {
                branch.weight = Some((weight_gradient(g, ci, frame), x));
                gradient = Some(dw);
            }
            branches.push(branch);
            inputs.push(source.input.map(|(_, input)| input));
            gradients.push(gradient);
        }
        let outputs = Outputs {
            dy,
            frame,
            precision: g.precision,
            widths: Branch::widths(&branches),
            batch: g.n,
        };
        backward::run(outputs, &branches, inputs, |index, sums| {
            if let (Some(dw), Some((weight, _))) = (&mut gradients[index], &branches[index].weight)
            {
                weight.unpack(sums, |row, from| {
                    dw[row * g.co..][..g.co].copy_from_slice(from);
                });
            }
        });
    });
}

pub(super) fn weight_gradient(g: &Geometry, ci: usize, dy: Frame) -> WeightGradient {
    let tap = |row| WeightTap {
        row,
        column: 0,
        len: g.kernel * ci,
    };
    let taps = (0..g.kernel).map(tap).collect();
    WeightGradient::new(g.precision, g.input(ci), g.stride, taps, dy)
}

/// One input of a dense product in the backward pass.
#[derive(Default)]
pub(super) struct Branch<'a> {
    /// The gradient of the weights, and the input.
    pub(super) weight: Option<(WeightGradient, Images<'a>)>,
    /// The gradient of the input.
    pub(super) input: Option<Prepared<'a>>,
}

impl Branch<'_> {
    pub(super) fn widths(branches: &[Branch]) -> Widths {
        match branches.iter().any(|branch| branch.weight.is_some()) {
            true => Widths::Both,
            false => Widths::Narrow,
        }
    }
}

impl backward::Branch for Branch<'_> {
    fn sums_len(&self) -> usize {
        self.weight
            .as_ref()
            .map_or(0, |(weight, _)| weight.packed_len())
    }

    fn image(
        &self,
        n: usize,
        dy: Gradient,
        start: Start,
        sums: &mut [f32],
        dx: Option<(&mut [f32], Accumulate)>,
    ) {
        if let Some((weight, x)) = &self.weight {
            let Frame { extent, border } = weight.x;
            let form = Form::Floats(extent.c);
            scratch::with(x.room(extent, border, form), |room| {
                let x = x.read(n, extent, border, form, room);
                weight.image(x, dy.wide, start, sums);
            });
        }
        if let (Some(input), Some((dx, acc))) = (&self.input, dx) {
            input.image(&[dy.narrow], acc, dx);
        }
    }
}

/// The gradient with respect to the input as a correlation over the gradient of the output.
///
/// `dx[i] = sum over u of dy[(i + k/2 - u) / s] w[u]` over the taps `u` for which the division is exact: with
/// stride 2 those of one parity, so even and odd rows and columns are passes of their own.
pub(super) struct InputCorrelation {
    pub(super) correlation: Correlation,
    /// Tap `u k + v` of the rows of weights for every pixel of `dy`.
    order: Vec<usize>,
}

impl InputCorrelation {
    pub(super) fn new(g: &Geometry, ci: usize, dy: Frame) -> Self {
        let (k, s, pad, border) = (g.kernel, g.stride, g.kernel / 2, dy.border.top);
        let numbers = g.precision.numbers(g.co);
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
                    number: 0,
                    len: exact(parity.1).count() * numbers,
                    weights: order.len() * numbers,
                });
                order.extend(exact(parity.1).map(|v| u * k + v));
            }
            passes.push(Pass {
                taps,
                first: parity,
                spacing: s,
            });
        }
        let correlation = Correlation {
            precision: g.precision,
            inputs: vec![dy],
            stride: 1,
            passes,
            weight_rows: order.len() * numbers,
            output: g.input(ci).extent,
        };
        InputCorrelation { correlation, order }
    }

    pub(super) fn prepare<'a>(
        &'a self,
        g: &Geometry,
        ci: usize,
        w: &[f32],
        packed: &'a mut [f32],
    ) -> Prepared<'a> {
        let numbers = g.precision.numbers(g.co);
        self.correlation.prepare(packed, |row, half, first, out| {
            let tap = self.order[row / numbers];
            let o = g.precision.factor(row % numbers, half);
            if o >= g.co {
                return out.fill(0.0);
            }
            let w = &w[(tap * ci + first) * g.co + o..];
            for (out, w) in out.iter_mut().zip(w.iter().step_by(g.co)) {
                *out = *w;
            }
        })
    }
}
