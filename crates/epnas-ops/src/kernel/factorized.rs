//! Factorized reduction as correlations and a weight gradient.

use std::ops::Range;

use super::backward::{self, Outputs, Wanted};
use super::conv::Branch;
use super::correlate::{Correlation, Pass, Tap};
use super::epilogue::Finish;
use super::images::Images;
use super::padded::{Border, Extent, Frame};
use super::weight_gradient::{WeightGradient, WeightTap};
use crate::precision::Precision;
use crate::scratch;

/// Extents of one factorized reduction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) ci: usize,
    pub(crate) co: usize,
    pub(crate) precision: Precision,
}

impl Geometry {
    /// Output channels of the first half.
    fn half(&self) -> usize {
        self.co.div_ceil(2)
    }

    /// The numbers of an output pixel that hold channels of the first half, and of the second.
    fn numbers_of_halves(&self) -> (Range<usize>, Range<usize>) {
        let number = |channels: usize| self.precision.numbers(channels);
        let whole_pairs = number(self.half() + 1) - 1;
        (0..number(self.half()), whole_pairs..number(self.co))
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
    let (split, numbers) = (g.half(), g.precision.numbers(g.ci));
    let tap = |odd: usize| Tap {
        input: 0,
        row: odd,
        column: odd,
        number: 0,
        len: numbers,
        weights: odd * numbers,
    };
    let correlation = Correlation {
        precision: g.precision,
        inputs: vec![g.input()],
        stride: 2,
        passes: vec![Pass {
            taps: vec![tap(0), tap(1)],
            first: (0, 0),
            spacing: 1,
        }],
        weight_rows: 2 * numbers,
        output: g.output().extent,
    };
    let weights = |row: usize, half: usize, first: usize, out: &mut [f32]| {
        let from = g.precision.factor(row % numbers, half);
        for (channel, out) in (first..).zip(out) {
            *out = match (row < numbers, channel < split) {
                _ if from >= g.ci => 0.0,
                (true, true) => w0[from * split + channel],
                (false, false) => w1[from * (g.co - split) + channel - split],
                _ => 0.0,
            };
        }
    };
    correlation.run(&[x], weights, y, finish);
}

/// Gradients with respect to input and weights.
pub(crate) fn backward(g: &Geometry, dy: Images, wanted: Wanted<2>) {
    let (split, frame) = (g.half(), g.output());
    let transposed = input_correlation(g);
    scratch::with(transposed.packed_len(), |packed| {
        let (weights, input) = wanted.input.unzip();
        let (x, mut gradients) = wanted.weight.unzip();
        let branch = Branch {
            weight: x.map(|x| (weight_gradient(g), x)),
            input: weights.map(|[w0, w1]| {
                let (even, odd) = g.numbers_of_halves();
                transposed.prepare(packed, |row, half, first, out| {
                    // A number across the split is read for both halves, with a weight of zero for the other's channel.
                    let (number, own) = match row.checked_sub(even.len()) {
                        None => (row, 0..split),
                        Some(row) => (odd.start + row, split..g.co),
                    };
                    let from = g.precision.factor(number, half);
                    for (channel, out) in (first..).zip(out) {
                        *out = match own.contains(&from) {
                            false => 0.0,
                            true if from < split => w0[channel * split + from],
                            true => w1[channel * (g.co - split) + from - split],
                        };
                    }
                })
            }),
        };
        let branches = [branch];
        let outputs = Outputs {
            dy,
            frame,
            precision: g.precision,
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
                let (first, second) = from.split_at(split);
                match row.checked_sub(g.ci) {
                    None => dw0[row * split..][..split].copy_from_slice(first),
                    Some(row) => {
                        dw1[row * (g.co - split)..][..g.co - split].copy_from_slice(second);
                    }
                }
            });
        });
    });
}

/// Even pixels get their gradient from the first half, odd ones from the second, the others none.
fn input_correlation(g: &Geometry) -> Correlation {
    let (even, odd) = g.numbers_of_halves();
    let weight_rows = even.len() + odd.len();
    let pass = |first: (usize, usize)| {
        let tap = |numbers: &Range<usize>, weights: usize| Tap {
            input: 0,
            row: 0,
            column: 0,
            number: numbers.start,
            len: numbers.len(),
            weights,
        };
        let taps = match first {
            (0, 0) => vec![tap(&even, 0)],
            (1, 1) => vec![tap(&odd, even.len())],
            _ => Vec::new(),
        };
        Pass {
            taps,
            first,
            spacing: 2,
        }
    };
    Correlation {
        precision: g.precision,
        inputs: vec![g.output()],
        stride: 1,
        passes: [(0, 0), (0, 1), (1, 0), (1, 1)].map(pass).to_vec(),
        weight_rows,
        output: g.input().extent,
    }
}

fn weight_gradient(g: &Geometry) -> WeightGradient {
    let tap = |odd: usize| WeightTap {
        row: odd,
        column: odd,
        len: g.ci,
    };
    WeightGradient::new(g.precision, g.input(), 2, vec![tap(0), tap(1)], g.output())
}
