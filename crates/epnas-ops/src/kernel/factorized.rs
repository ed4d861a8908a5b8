//! Factorized reduction as correlations and a weight gradient.

use super::backward::{self, Outputs, Wanted};
use super::conv::Branch;
use super::correlate::{Correlation, Pass, Tap};
use super::epilogue::Finish;
use super::images::Images;
use super::padded::{Border, Extent, Frame};
use super::weight_gradient::{WeightGradient, WeightTap};
use crate::scratch;

/// Extents of one factorized reduction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) ci: usize,
    pub(crate) co: usize,
}

impl Geometry {
    /// Output channels of the first half.
    fn half(&self) -> usize {
        self.co.div_ceil(2)
    }

    /// The input, completed to even rows and columns by zeros.
    fn input(&self) -> Frame {
        Frame {
            extent: Extent {
                h: self.h,
                w: self.w,
                c: self.ci,
            },
            border: Border {
                bottom: self.h % 2,
                right: self.w % 2,
                ..Border::default()
            },
        }
    }

    fn output(&self) -> Frame {
        Frame {
            extent: Extent {
                h: self.h.div_ceil(2),
                w: self.w.div_ceil(2),
                c: self.co,
            },
            border: Border::default(),
        }
    }
}

/// One convolution with two taps, the even and the odd pixel, whose weights are zero in the other's half of
/// the channels: twice the products, but whole vectors and one pass.
pub(crate) fn forward(
    g: &Geometry,
    x: Images,
    [w0, w1]: [&[f32]; 2],
    y: &mut [f32],
    finish: &mut Finish,
) {
    let half = g.half();
    let tap = |odd: usize| Tap {
        input: 0,
        row: odd,
        column: odd,
        channel: 0,
        len: g.ci,
        weights: odd * g.ci,
    };
    let correlation = Correlation {
        inputs: vec![g.input()],
        stride: 2,
        passes: vec![Pass {
            taps: vec![tap(0), tap(1)],
            first: (0, 0),
            spacing: 1,
        }],
        weight_rows: 2 * g.ci,
        output: g.output().extent,
    };
    let weights = |row: usize, first: usize, out: &mut [f32]| {
        for (channel, out) in (first..).zip(out) {
            *out = match (row < g.ci, channel < half) {
                (true, true) => w0[row * half + channel],
                (false, false) => w1[(row - g.ci) * (g.co - half) + channel - half],
                _ => 0.0,
            };
        }
    };
    correlation.run(&[x], weights, y, finish);
}

/// Gradients with respect to input and weights.
pub(crate) fn backward(g: &Geometry, dy: Images, wanted: Wanted<2>) {
    let (half, frame) = (g.half(), g.output());
    let transposed = input_correlation(g);
    scratch::with(transposed.packed_len(), |packed| {
        let (weights, input) = wanted.input.unzip();
        let (x, mut gradients) = wanted.weight.unzip();
        let branch = Branch {
            weight: x.map(|x| (weight_gradient(g), x)),
            input: weights.map(|[w0, w1]| {
                transposed.prepare(packed, |row, first, out| {
                    for (channel, out) in (first..).zip(out) {
                        *out = match row.checked_sub(half) {
                            None => w0[channel * half + row],
                            Some(row) => w1[channel * (g.co - half) + row],
                        };
                    }
                })
            }),
        };
        let branches = [branch];
        let outputs = Outputs {
            dy,
            frame,
            widths: Branch::widths(&branches),
            batch: g.n,
        };
        backward::run(outputs, &branches, vec![input], |_, sums| {
            let (Some([dw0, dw1]), [branch]) = (&mut gradients, &branches) else {
                return;
            };
            let Some((weight, _)) = &branch.weight else {
                return;
            };
            // Both taps meet all output channels; each half is kept where it belongs.
            weight.unpack(sums, |row, from| {
                let (first, second) = from.split_at(half);
                match row.checked_sub(g.ci) {
                    None => dw0[row * half..][..half].copy_from_slice(first),
                    Some(row) => dw1[row * (g.co - half)..][..g.co - half].copy_from_slice(second),
                }
            });
        });
    });
}

/// Even pixels get their gradient from the first half, odd ones from the second, the others none.
fn input_correlation(g: &Geometry) -> Correlation {
    let half = g.half();
    let pass = |first: (usize, usize)| {
        let tap = |channel: usize, len: usize| Tap {
            input: 0,
            row: 0,
            column: 0,
            channel,
            len,
            weights: channel,
        };
        let taps = match first {
            (0, 0) => vec![tap(0, half)],
            (1, 1) => vec![tap(half, g.co - half)],
            _ => Vec::new(),
        };
        Pass {
            taps,
            first,
            spacing: 2,
        }
    };
    Correlation {
        inputs: vec![g.output()],
        stride: 1,
        passes: [(0, 0), (0, 1), (1, 0), (1, 1)].map(pass).to_vec(),
        weight_rows: g.co,
        output: g.input().extent,
    }
}

fn weight_gradient(g: &Geometry) -> WeightGradient {
    let tap = |odd: usize| WeightTap {
        row: odd,
        column: odd,
        len: g.ci,
    };
    WeightGradient::new(g.input(), 2, vec![tap(0), tap(1)], g.output())
}
