//! The backward pass of a linear operator: gradients of weights and inputs, image by image.
//!
//! Both need the gradient of the output, which is brought into the cache once for all inputs. The batch is cut into a
//! fixed number of chunks of images, whatever the number of threads. Each chunk sums its own gradient of the weights,
//! and the chunks are added in order, so results repeat exactly.

use std::ops::Range;

use rayon::prelude::*;

use super::block::Start;
use super::epilogue::Finish;
use super::images::{Form, Images};
use super::packed::padded;
use super::padded::Frame;
use super::pairs;
use crate::elementwise::Accumulate;
use crate::precision::Precision;
use crate::scratch;

/// Most chunks a batch is cut into.
const CHUNKS: usize = 16;

/// Chunks that even the largest weights get.
const FEWEST_CHUNKS: usize = 4;

/// Floats that all chunks together should not exceed.
const CHUNK_FLOATS: usize = 16 << 20;

/// Floats per task of the final sum.
const SUM_FLOATS: usize = 1 << 12;

/// One input of the operator, and what is wanted of it.
pub(crate) trait Branch: Sync {
    /// Floats of the gradient of the weights, in a layout of the branch; 0 when it is not wanted.
    fn sums_len(&self) -> usize;

    /// Adds the gradient of the weights for image `n` to `sums`, or writes it there, and writes the gradient of the
    /// input.
    fn image(
        &self,
        n: usize,
        dy: Gradient,
        start: Start,
        sums: &mut [f32],
        dx: Option<(&mut [f32], Accumulate)>,
    );
}

/// The gradient of one output image, with its border.
#[derive(Clone, Copy)]
pub(crate) struct Gradient<'a> {
    /// The channels of each pixel as numbers of the precision.
    pub(crate) narrow: &'a [f32],
    /// Floats, the pixels of whole vectors. Empty for [`Widths::Narrow`].
    pub(crate) wide: &'a [f32],
}

/// How branches read the gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Widths {
    Narrow,
    Both,
}

/// Where the gradient of an input goes.
pub(crate) struct InputGradient<'a> {
    pub(crate) dx: &'a mut [f32],
    pub(crate) acc: Accumulate,
    pub(crate) finish: Finish<'a>,
}

/// What is wanted of one input with `N` weights.
pub(crate) struct Wanted<'a, const N: usize> {
    /// The weights, and where the input's gradient goes.
    pub(crate) input: Option<([&'a [f32]; N], InputGradient<'a>)>,
    /// The input, and where the weights' gradients go.
    pub(crate) weight: Option<(Images<'a>, [&'a mut [f32]; N])>,
}

/// The gradient of the output, `batch` images of it.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    pub(crate) dy: Images<'a>,
    pub(crate) frame: Frame,
    pub(crate) precision: Precision,
    pub(crate) widths: Widths,
    pub(crate) batch: usize,
}

/// The images of a task, its sums, and its part of every branch's input gradient.
struct Chunk<'a> {
    images: Range<usize>,
    sums: &'a mut [f32],
    inputs: Vec<Option<InputGradient<'a>>>,
}

/// Computes the gradients of all branches; `inputs` has an entry for each. The gradient of a branch's weights goes to
/// `sink(branch, sums)`.
pub(crate) fn run<B: Branch>(
    outputs: Outputs,
    branches: &[B],
    inputs: Vec<Option<InputGradient>>,
    mut sink: impl FnMut(usize, &[f32]),
) {
    let batch = outputs.batch;
    let len: usize = branches.iter().map(Branch::sums_len).sum();
    let most = match len {
        0 => batch,
        _ => (CHUNK_FLOATS / len).clamp(FEWEST_CHUNKS, CHUNKS),
    };
    let per_chunk = batch.div_ceil(most);
    let chunks = batch.div_ceil(per_chunk);
    scratch::with(chunks * len, |sums| {
        let mut rest = &mut *sums;
        let mut tasks: Vec<Chunk> = (0..chunks)
            .map(|chunk| {
                let (own, after) = std::mem::take(&mut rest).split_at_mut(len);
                rest = after;
                Chunk {
                    images: chunk * per_chunk..batch.min((chunk + 1) * per_chunk),
                    sums: own,
                    inputs: Vec::with_capacity(branches.len()),
                }
            })
            .collect();
        for input in inputs {
            divide(input, batch, per_chunk, &mut tasks);
        }
        tasks
            .into_par_iter()
            .for_each(|chunk| chunk.run(outputs, branches));

        let (total, others) = sums.split_at_mut(len);
        total
            .par_chunks_mut(SUM_FLOATS)
            .enumerate()
            .for_each(|(piece, total)| {
                for other in others.chunks_exact(len) {
                    for (total, other) in total.iter_mut().zip(&other[piece * SUM_FLOATS..]) {
                        *total += other;
                    }
                }
            });
        let mut total = &*total;
        for (index, branch) in branches.iter().enumerate() {
            let (own, after) = total.split_at(branch.sums_len());
            if !own.is_empty() {
                sink(index, own);
            }
            total = after;
        }
    });
}

/// Gives every task its images of one branch's input gradient.
fn divide<'a>(
    input: Option<InputGradient<'a>>,
    batch: usize,
    per_chunk: usize,
    tasks: &mut [Chunk<'a>],
) {
    let Some(InputGradient { dx, acc, finish }) = input else {
        tasks.iter_mut().for_each(|task| task.inputs.push(None));
        return;
    };
    let images = dx.chunks_mut(dx.len() / batch * per_chunk);
    let parts = finish
        .parts
        .chunks_mut(finish.epilogue.part_len() * per_chunk);
    for (task, (dx, parts)) in tasks.iter_mut().zip(images.zip(parts)) {
        let finish = Finish {
            epilogue: finish.epilogue,
            parts,
        };
        task.inputs.push(Some(InputGradient { dx, acc, finish }));
    }
}

impl Chunk<'_> {
    fn run<B: Branch>(mut self, outputs: Outputs, branches: &[B]) {
        let Outputs {
            dy,
            frame,
            precision,
            widths,
            ..
        } = outputs;
        let Frame { extent, border } = frame;
        let lanes = padded(extent.c);
        let (narrow_form, wide_form) = (Form::of(precision, extent.c), Form::Floats(lanes));
        let narrow = dy.room(extent, border, narrow_form);
        let wide = match widths == Widths::Both && wide_form != narrow_form {
            true => dy.room(extent, border, wide_form),
            false => 0,
        };
        scratch::with(narrow + wide, |room| {
            let (narrow_room, wide_room) = room.split_at_mut(narrow);
            let count = self.images.len();
            for (index, n) in self.images.enumerate() {
                let read = |form, room| dy.read(n, extent, border, form, room);
                let (narrow, wide): (&[f32], &[f32]) = match (widths, precision) {
                    (Widths::Narrow, _) => (read(narrow_form, narrow_room), &[]),
                    (Widths::Both, Precision::F32) => {
                        let narrow = read(narrow_form, narrow_room);
                        match wide_form == narrow_form {
                            true => (narrow, narrow),
                            false => (narrow, read(wide_form, wide_room)),
                        }
                    }
                    (Widths::Both, Precision::Bf16) => {
                        let wide = read(wide_form, wide_room);
                        pairs::of_channels(wide, lanes, extent.c, narrow_room);
                        (narrow_room, wide)
                    }
                };
                let start = if index == 0 {
                    Start::Zero
                } else {
                    Start::Output
                };
                let mut sums = &mut *self.sums;
                for (branch, input) in branches.iter().zip(&mut self.inputs) {
                    let (own, rest) = sums.split_at_mut(branch.sums_len());
                    sums = rest;
                    let gradient = Gradient { narrow, wide };
                    let Some(InputGradient { dx, acc, finish }) = input else {
                        branch.image(n, gradient, start, own, None);
                        continue;
                    };
                    let len = dx.len() / count;
                    let dx = &mut dx[index * len..][..len];
                    branch.image(n, gradient, start, own, Some((&mut *dx, *acc)));
                    let len = finish.epilogue.part_len();
                    let part = &mut finish.parts[index * len..][..len];
                    finish.epilogue.image(n, dx, part);
                }
            }
        });
    }
}
