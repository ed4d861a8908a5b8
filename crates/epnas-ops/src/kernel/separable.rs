//! Depthwise and pointwise convolution in one: what lies between them stays in the cache.
//!
//! It is never written to memory; the backward pass computes it again from the input, which it reads anyway.

use rayon::prelude::*;

use super::backward::{self, Gradient, Outputs, Wanted, Widths};
use super::block::Start;
use super::conv::{self, InputCorrelation};
use super::correlate;
use super::depthwise::{self, Geometry};
use super::epilogue::Finish;
use super::images::Images;
use super::packed::padded as whole_vectors;
use super::padded::Frame;
use super::weight_gradient::WeightGradient;
use crate::elementwise::Accumulate;
use crate::scratch;

/// The pointwise convolution to `co` channels that follows.
fn pointwise(g: &Geometry, co: usize) -> conv::Geometry {
    let output = g.output();
    conv::Geometry {
        n: g.n,
        h: output.h,
        w: output.w,
        co,
        kernel: 1,
        stride: 1,
    }
}

/// Forward.
pub(crate) fn forward(
    g: &Geometry,
    co: usize,
    x: Images,
    [depthwise, pointwise_weight]: [&[f32]; 2],
    y: &mut [f32],
    finish: &mut Finish,
) {
    let sliding = depthwise::forward_sliding(g);
    let correlation = conv::forward_correlation(&pointwise(g, co), &[g.c]);
    let lanes = whole_vectors(g.c);
    let Frame { extent, border } = g.input();
    let between = g.output().len();
    let epilogue = finish.epilogue;
    scratch::with(sliding.room() + correlation.packed_len(), |room| {
        let (room, packed) = room.split_at_mut(sliding.room());
        let first = sliding.prepare(depthwise, room);
        let second = correlation.prepare(packed, |row, first, out| {
            out.copy_from_slice(&pointwise_weight[row * co + first..][..out.len()]);
        });
        y.par_chunks_mut(correlation.output.len())
            .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
            .enumerate()
            .for_each(|(n, (y, part))| {
                scratch::with(between + x.room(extent, border, lanes), |room| {
                    let (between, room) = room.split_at_mut(between);
                    let x = x.read(n, extent, border, lanes, room);
                    first.image(x, Accumulate::Overwrite, between);
                    second.image(&[between], Accumulate::Overwrite, y);
                });
                epilogue.image(n, y, part);
            });
    });
}

/// Gradients with respect to input and both weights. All of them are wanted.
pub(crate) fn backward(g: &Geometry, co: usize, dy: Images, wanted: Wanted<2>) {
    let (Some(([depthwise, pointwise_weight], input)), Some((x, [ddepthwise, dpointwise]))) =
        (wanted.input, wanted.weight)
    else {
        return;
    };
    let dense = pointwise(g, co);
    let frame = dense.outputs(0);
    let again = depthwise::forward_sliding(g);
    let transposed = InputCorrelation::new(&dense, g.c, frame);
    let sliding = depthwise::backward_sliding(g);
    let packed = transposed.correlation.packed_len();
    scratch::with(again.room() + packed + sliding.room(), |room| {
        let (again_room, rest) = room.split_at_mut(again.room());
        let (packed, sliding_room) = rest.split_at_mut(packed);
        let branch = Branch {
            g,
            x,
            again: again.prepare(depthwise, again_room),
            weight: conv::weight_gradient(&dense, g.c, frame),
            transposed: transposed.prepare(&dense, g.c, pointwise_weight, packed),
            input: sliding.prepare(depthwise, sliding_room),
        };
        let outputs = Outputs {
            dy,
            frame,
            widths: Widths::Both,
            batch: g.n,
        };
        let branches = [branch];
        backward::run(outputs, &branches, vec![Some(input)], |index, sums| {
            let weight = &branches[index].weight;
            let (dense, sliding) = sums.split_at(weight.packed_len());
            weight.unpack(dense, |row, from| {
                dpointwise[row * co..][..co].copy_from_slice(from);
            });
            depthwise::unpack(g, sliding, ddepthwise);
        });
    });
}

struct Branch<'a> {
    g: &'a Geometry,
    x: Images<'a>,
    /// Computes what lies between once more.
    again: depthwise::Prepared<'a>,
    /// The gradient of the pointwise weight.
    weight: WeightGradient,
    /// From the gradient of the output to that of what lies between.
    transposed: correlate::Prepared<'a>,
    /// From there to that of the input.
    input: depthwise::Prepared<'a>,
}

impl backward::Branch for Branch<'_> {
    fn sums_len(&self) -> usize {
        self.weight.packed_len() + depthwise::sums_len(self.g)
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
        let (dense, sliding) = sums.split_at_mut(self.weight.packed_len());
        let (outer, inner) = (g.input(), g.gradient());
        let between = g.output().len();
        let x_room = self.x.room(outer.extent, outer.border, lanes);
        let framed = inner.outer().widened(lanes).len();
        scratch::with(between + x_room + framed, |room| {
            let (between, rest) = room.split_at_mut(between);
            let (x_room, framed) = rest.split_at_mut(x_room);
            let x = self.x.read(n, outer.extent, outer.border, lanes, x_room);
            self.again.image(x, Accumulate::Overwrite, between);
            self.weight.image(between, dy.wide, start, dense);
            // Its gradient takes the place of what lies between.
            self.transposed
                .image(&[dy.narrow], Accumulate::Overwrite, between);
            let gradient =
                Images::Plain(between).read(0, inner.extent, inner.border, lanes, framed);
            depthwise::sum_weights(g, x, gradient, start, sliding);
            if let Some((dx, acc)) = dx {
                self.input.image(gradient, acc, dx);
            }
        });
    }
}
