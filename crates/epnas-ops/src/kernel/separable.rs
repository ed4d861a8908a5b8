//! Depthwise and pointwise convolution in one: what lies between them stays in the cache.
//!
//! It is never written to memory; the backward pass computes it again from the input, which it reads anyway.

use rayon::prelude::*;

use super::backward::{self, Gradient, Outputs, Wanted, Widths};
use super::block::Start;
use super::conv::{self, InputCorrelation};
use super::correlate;
use super::depthwise;
use super::epilogue::Finish;
use super::images::{Form, Images};
use super::packed::padded as whole_vectors;
use super::padded::Frame;
use super::weight_gradient::WeightGradient;
use crate::elementwise::Accumulate;
use crate::precision::Precision;
use crate::scratch;

/// Extents of one separable convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) depthwise: depthwise::Geometry,
    /// The convolution that follows.
    pointwise: conv::Geometry,
}

impl Geometry {
    /// A depthwise convolution, then a pointwise one to `co` channels.
    pub(crate) fn new(depthwise: depthwise::Geometry, co: usize, precision: Precision) -> Self {
        let output = depthwise.output();
        let pointwise = conv::Geometry {
            n: depthwise.n,
            h: output.h,
            w: output.w,
            co,
            kernel: 1,
            stride: 1,
            precision,
        };
        Geometry {
            depthwise,
            pointwise,
        }
    }

    /// What lies between, as the pointwise convolution reads it: pixel after pixel.
    fn between(&self) -> Frame {
        self.pointwise.input(self.depthwise.c)
    }

    /// Floats that turning it into numbers of the precision takes.
    fn numbers_room(&self) -> usize {
        let Frame { extent, border } = self.between();
        let form = Form::of(self.pointwise.precision, extent.c);
        Images::Plain(&[]).room(extent, border, form)
    }

    /// It, as numbers of the precision.
    fn numbers<'a>(&self, between: &'a [f32], room: &'a mut [f32]) -> &'a [f32] {
        let Frame { extent, border } = self.between();
        let form = Form::of(self.pointwise.precision, extent.c);
        Images::Plain(between).read(0, extent, border, form, room)
    }
}

/// Forward.
pub(crate) fn forward(
    g: &Geometry,
    x: Images,
    [depthwise, pointwise]: [&[f32]; 2],
    y: &mut [f32],
    finish: &mut Finish,
) {
    let c = g.depthwise.c;
    let sliding = depthwise::forward_sliding(&g.depthwise);
    let correlation = conv::forward_correlation(&g.pointwise, &[c]);
    let form = Form::Floats(whole_vectors(c));
    let Frame { extent, border } = g.depthwise.input();
    let between = g.between().extent.len();
    let epilogue = finish.epilogue;
    scratch::with(sliding.room() + correlation.packed_len(), |room| {
        let (room, packed) = room.split_at_mut(sliding.room());
        let first = sliding.prepare(depthwise, room);
        let second = correlation.prepare(packed, |row, half, first, out| {
            conv::weights_of(&g.pointwise, c, pointwise, row, half, first, out);
        });
        y.par_chunks_mut(correlation.output.len())
            .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
            .enumerate()
            .for_each(|(n, (y, part))| {
                let numbers = g.numbers_room();
                scratch::with(between + numbers + x.room(extent, border, form), |room| {
                    let (between, rest) = room.split_at_mut(between);
                    let (numbers, room) = rest.split_at_mut(numbers);
                    let x = x.read(n, extent, border, form, room);
                    first.image(x, Accumulate::Overwrite, between);
                    let between = g.numbers(between, numbers);
                    second.image(&[between], Accumulate::Overwrite, y);
                });
                epilogue.image(n, y, part);
            });
    });
}

/// Gradients with respect to input and both weights. All of them are wanted.
pub(crate) fn backward(g: &Geometry, dy: Images, wanted: Wanted<2>) {
    let (Some(([depthwise, pointwise], input)), Some((x, [ddepthwise, dpointwise]))) =
        (wanted.input, wanted.weight)
    else {
        return;
    };
    let (c, co) = (g.depthwise.c, g.pointwise.co);
    let frame = g.pointwise.outputs(0);
    let again = depthwise::forward_sliding(&g.depthwise);
    let transposed = InputCorrelation::new(&g.pointwise, c, frame);
    let sliding = depthwise::backward_sliding(&g.depthwise);
    let packed = transposed.correlation.packed_len();
    scratch::with(again.room() + packed + sliding.room(), |room| {
        let (again_room, rest) = room.split_at_mut(again.room());
        let (packed, sliding_room) = rest.split_at_mut(packed);
        let branch = Branch {
            g,
            x,
            again: again.prepare(depthwise, again_room),
            weight: conv::weight_gradient(&g.pointwise, c, frame),
            transposed: transposed.prepare(&g.pointwise, c, pointwise, packed),
            input: sliding.prepare(depthwise, sliding_room),
        };
        let outputs = Outputs {
            dy,
            frame,
            precision: g.pointwise.precision,
            widths: Widths::Both,
            batch: g.depthwise.n,
        };
        let branches = [branch];
        backward::run(outputs, &branches, vec![Some(input)], |index, sums| {
            let weight = &branches[index].weight;
            let (dense, sliding) = sums.split_at(weight.packed_len());
            weight.unpack(dense, |row, from| {
                dpointwise[row * co..][..co].copy_from_slice(from);
            });
            depthwise::unpack(&g.depthwise, sliding, ddepthwise);
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
        self.weight.packed_len() + depthwise::sums_len(&self.g.depthwise)
    }

    fn image(
        &self,
        n: usize,
        dy: Gradient,
        start: Start,
        sums: &mut [f32],
        dx: Option<(&mut [f32], Accumulate)>,
    ) {
        let g = &self.g.depthwise;
        let lanes = whole_vectors(g.c);
        let form = Form::Floats(lanes);
        let (dense, sliding) = sums.split_at_mut(self.weight.packed_len());
        let (outer, inner) = (g.input(), g.gradient());
        let between = g.output().len();
        let x_room = self.x.room(outer.extent, outer.border, form);
        let framed = inner.outer().widened(lanes).len();
        scratch::with(between + x_room + framed, |room| {
            let (between, rest) = room.split_at_mut(between);
            let (x_room, framed) = rest.split_at_mut(x_room);
            let x = self.x.read(n, outer.extent, outer.border, form, x_room);
            self.again.image(x, Accumulate::Overwrite, between);
            self.weight.image(between, dy.wide, start, dense);
            // Its gradient takes the place of what lies between.
            self.transposed
                .image(&[dy.narrow], Accumulate::Overwrite, between);
            let gradient = Images::Plain(between).read(0, inner.extent, inner.border, form, framed);
            depthwise::sum_weights(g, x, gradient, start, sliding);
            if let Some((dx, acc)) = dx {
                self.input.image(gradient, acc, dx);
            }
        });
    }
}
