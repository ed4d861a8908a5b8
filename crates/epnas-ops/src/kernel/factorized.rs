//! Factorized reduction as jobs of the sliding and the weight-gradient engines.

use super::correlate::{Input, Job, Pass, Tap};
use super::padded::{Border, Extent};
use super::weight_gradient::{WeightJob, WeightTap};
use crate::elementwise::Accumulate;

/// Extents of one factorized reduction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
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
    fn input<'a>(&self, images: &'a [f32]) -> Input<'a> {
        Input {
            images,
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

    fn output(&self) -> Extent {
        Extent {
            h: self.h.div_ceil(2),
            w: self.w.div_ceil(2),
            c: self.co,
        }
    }
}

/// One convolution with two taps, the even and the odd pixel, whose weights are zero in the other's half of
/// the channels: twice the products, but whole vectors and one pass.
pub(crate) fn forward(g: &Geometry, x: &[f32], w0: &[f32], w1: &[f32], y: &mut [f32]) {
    let half = g.half();
    let tap = |odd: usize| Tap {
        input: 0,
        row: odd,
        column: odd,
        channel: 0,
        len: g.ci,
        weights: odd * g.ci,
    };
    let job = Job {
        inputs: &[g.input(x)],
        stride: 2,
        passes: vec![Pass {
            taps: vec![tap(0), tap(1)],
            first: (0, 0),
            spacing: 1,
        }],
        weight_rows: 2 * g.ci,
        output: g.output(),
        acc: Accumulate::Overwrite,
    };
    job.run(y, |row, first, out| {
        for (channel, out) in (first..).zip(out) {
            *out = match (row < g.ci, channel < half) {
                (true, true) => w0[row * half + channel],
                (false, false) => w1[(row - g.ci) * (g.co - half) + channel - half],
                _ => 0.0,
            };
        }
    });
}

/// Gradient with respect to the input: even pixels from the first half, odd ones from the second, the others
/// none.
pub(crate) fn backward_input(
    g: &Geometry,
    dy: &[f32],
    w0: &[f32],
    w1: &[f32],
    dx: &mut [f32],
    acc: Accumulate,
) {
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
    let job = Job {
        inputs: &[Input {
            images: dy,
            extent: g.output(),
            border: Border::default(),
        }],
        stride: 1,
        passes: [(0, 0), (0, 1), (1, 0), (1, 1)].map(pass).to_vec(),
        weight_rows: g.co,
        output: Extent {
            h: g.h,
            w: g.w,
            c: g.ci,
        },
        acc,
    };
    job.run(dx, |row, first, out| {
        for (channel, out) in (first..).zip(out) {
            *out = match row.checked_sub(half) {
                None => w0[channel * half + row],
                Some(row) => w1[channel * (g.co - half) + row],
            };
        }
    });
}

/// Gradients with respect to the weights: both taps meet all output channels; each half is kept where it
/// belongs.
pub(crate) fn backward_weight(
    g: &Geometry,
    x: &[f32],
    dy: &[f32],
    dw0: &mut [f32],
    dw1: &mut [f32],
) {
    let half = g.half();
    let tap = |odd: usize| WeightTap {
        row: odd,
        column: odd,
        len: g.ci,
    };
    let job = WeightJob {
        x: g.input(x),
        stride: 2,
        taps: vec![tap(0), tap(1)],
        dy,
        dy_extent: g.output(),
    };
    job.run(|row, gradient| {
        let (first, second) = gradient.split_at(half);
        match row.checked_sub(g.ci) {
            None => dw0[row * half..][..half].copy_from_slice(first),
            Some(row) => dw1[row * (g.co - half)..][..g.co - half].copy_from_slice(second),
        }
    });
}
