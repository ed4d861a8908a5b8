//! 3x3 pooling, image by image.
//!
//! Every pass gathers: a destination pixel combines the at most nine source pixels it shares a window with,
//! so no two threads write one pixel and every sum has a fixed order. Windows are separable: rows are
//! combined along the columns first, each once, and three combined rows make a row of the result. Along a
//! row, neighboring pixels with the same taps form one [`Run`] of consecutive floats, whatever the number of
//! channels, so that vectors are full.

use rayon::prelude::*;

use super::avg_rows::{AvgRow, Ninth};
use super::backward::InputGradient;
use super::images::{Form, Images};
use super::max_rows::{MaxColumns, MaxGradient, MaxRow, MaxRows, Numbers};
use super::padded::{Border, Extent};
use crate::elementwise::Accumulate;
use crate::scratch;
use crate::simd::{LANES, dispatch};

/// Extents of one pooling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) stride: usize,
}

impl Geometry {
    fn ho(&self) -> usize {
        self.h.div_ceil(self.stride)
    }

    fn wo(&self) -> usize {
        self.w.div_ceil(self.stride)
    }

    /// Shape of the output.
    pub(crate) fn output(&self) -> [usize; 4] {
        [self.n, self.ho(), self.wo(), self.c]
    }

    fn image_in(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Runs `body` on image `n` of the input.
    fn with_image(&self, x: Images, n: usize, body: impl FnOnce(&[f32])) {
        let (extent, border) = (
            Extent {
                h: self.h,
                w: self.w,
                c: self.c,
            },
            Border::default(),
        );
        scratch::with(x.room(extent, border, Form::Floats(self.c)), |room| {
            body(x.read(n, extent, border, Form::Floats(self.c), room));
        });
    }

    fn image_out(&self) -> usize {
        self.ho() * self.wo() * self.c
    }

    /// Inputs under output `o` of an axis of `extent` inputs.
    fn inputs(&self, o: usize, extent: usize) -> Taps {
        let mut taps = Taps::default();
        for tap in 0..3 {
            if let Some(at) = (o * self.stride + tap)
                .checked_sub(1)
                .filter(|&at| at < extent)
            {
                taps.push(at, tap);
            }
        }
        taps
    }

    /// Outputs over input `i` of an axis of `extent` outputs: `o stride + tap - 1 = i`.
    fn outputs(&self, i: usize, extent: usize) -> Taps {
        let mut taps = Taps::default();
        for tap in 0..3 {
            if let Some(from) = (i + 1).checked_sub(tap)
                && from.is_multiple_of(self.stride)
                && from / self.stride < extent
            {
                taps.push(from / self.stride, tap);
            }
        }
        taps
    }
}

/// Positions along one axis, at most three, each with its index in the window, which ascends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taps {
    pub(crate) len: usize,
    pub(crate) at: [usize; 3],
    pub(crate) tap: [usize; 3],
}

impl Taps {
    fn push(&mut self, at: usize, tap: usize) {
        self.at[self.len] = at;
        self.tap[self.len] = tap;
        self.len += 1;
    }

    /// Position and index of every tap.
    pub(crate) fn iter(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.len).map(move |i| (self.at[i], self.tap[i]))
    }
}

/// A stretch of floats of a destination row whose taps lie at fixed distances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First float of the destination row.
    pub(crate) to: usize,
    /// Number of floats.
    pub(crate) len: usize,
    /// Where each tap's floats begin in the source row.
    pub(crate) taps: Taps,
}

/// The runs of a row of `columns` pixels.
fn runs(columns: usize, c: usize, taps: impl Fn(usize) -> Taps) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..columns {
        let mut taps = taps(column);
        for at in &mut taps.at[..taps.len] {
            *at *= c;
        }
        if let Some(last) = runs.last_mut() {
            let mut next = last.taps;
            for at in &mut next.at[..next.len] {
                *at += last.len;
            }
            if next == taps {
                last.len += c;
                continue;
            }
        }
        runs.push(Run {
            to: column * c,
            len: c,
            taps,
        });
    }
    runs
}

/// Floats of a row buffer: whole vectors, so that buffers follow each other aligned.
fn row_room(floats: usize) -> usize {
    floats.next_multiple_of(LANES)
}

/// Maximum, and where it came from.
pub(crate) fn max_forward(g: &Geometry, x: Images, y: &mut [f32], argmax: Option<&mut [u8]>) {
    let runs = runs(g.wo(), g.c, |o| g.inputs(o, g.w));
    let row = g.wo() * g.c;
    let image = |x: &[f32], y: &mut [f32], mut argmax: Option<&mut [u8]>| {
        scratch::with(6 * row_room(row), |room| {
            // Input row `i` along its columns: best values and their taps in slot `i % 3`.
            let mut slots: Vec<MaxRow> = room
                .chunks_exact_mut(2 * row_room(row))
                .map(|slot| {
                    let (best, tap) = slot.split_at_mut(row_room(row));
                    MaxRow { best, tap }
                })
                .collect();
            let mut done = 0;
            for (o, y) in y.chunks_exact_mut(row).enumerate() {
                let taps = g.inputs(o, g.h);
                let end = taps.iter().last().map_or(0, |(at, _)| at + 1);
                for i in done..end {
                    let x = &x[i * g.w * g.c..][..g.w * g.c];
                    dispatch(MaxColumns::new(x, &runs, &mut slots[i % 3], row));
                }
                done = done.max(end);
                let argmax = argmax.as_mut().map(|argmax| &mut argmax[o * row..][..row]);
                dispatch(MaxRows::new(&slots, taps, y, argmax));
            }
        });
    };
    let images = y.par_chunks_mut(g.image_out()).enumerate();
    match argmax {
        Some(argmax) => images
            .zip(argmax.par_chunks_mut(g.image_out()))
            .for_each(|((n, y), argmax)| g.with_image(x, n, |x| image(x, y, Some(argmax)))),
        None => images.for_each(|(n, y)| g.with_image(x, n, |x| image(x, y, None))),
    }
}

/// Gradient of the maximum.
pub(crate) fn max_backward(g: &Geometry, dy: &[f32], argmax: &[u8], input: InputGradient) {
    let runs = runs(g.w, g.c, |i| g.outputs(i, g.wo()));
    let row = g.wo() * g.c;
    let InputGradient { dx, acc, finish } = input;
    let epilogue = finish.epilogue;
    dx.par_chunks_mut(g.image_in())
        .zip(
            dy.par_chunks(g.image_out())
                .zip(argmax.par_chunks(g.image_out())),
        )
        .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
        .enumerate()
        .for_each(|(n, ((dx, (dy, argmax)), part))| {
            scratch::with(3 * row_room(row), |room| {
                // The winners of output row `o` as numbers, in slot `o % 3`.
                let mut slots: Vec<&mut [f32]> = room.chunks_exact_mut(row_room(row)).collect();
                let mut done = 0;
                for (i, dx) in dx.chunks_exact_mut(g.w * g.c).enumerate() {
                    let taps = g.outputs(i, g.ho());
                    // Taps ascend, so the outputs they belong to descend.
                    let end = taps.iter().next().map_or(0, |(at, _)| at + 1);
                    for o in done..end {
                        dispatch(Numbers::new(&argmax[o * row..][..row], slots[o % 3]));
                    }
                    done = done.max(end);
                    dispatch(MaxGradient::new(dy, &slots, row, taps, &runs, dx, acc));
                }
            });
            epilogue.image(n, dx, part);
        });
}

/// Mean, padding counted.
pub(crate) fn avg_forward(g: &Geometry, x: Images, y: &mut [f32]) {
    let runs = runs(g.wo(), g.c, |o| g.inputs(o, g.w));
    let (from_row, to_row) = (g.w * g.c, g.wo() * g.c);
    let taps = |o| g.inputs(o, g.h);
    y.par_chunks_mut(g.image_out())
        .enumerate()
        .for_each(|(n, y)| {
            g.with_image(x, n, |x| {
                average(x, from_row, y, to_row, &runs, taps, Accumulate::Overwrite);
            });
        });
}

/// Gradient of the mean.
pub(crate) fn avg_backward(g: &Geometry, dy: &[f32], input: InputGradient) {
    let runs = runs(g.w, g.c, |i| g.outputs(i, g.wo()));
    let (from_row, to_row) = (g.wo() * g.c, g.w * g.c);
    let taps = |i| g.outputs(i, g.ho());
    let InputGradient { dx, acc, finish } = input;
    let epilogue = finish.epilogue;
    dx.par_chunks_mut(g.image_in())
        .zip(dy.par_chunks(g.image_out()))
        .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
        .enumerate()
        .for_each(|(n, ((dx, dy), part))| {
            average(dy, from_row, dx, to_row, &runs, taps, acc);
            epilogue.image(n, dx, part);
        });
}

/// A ninth of the sum over all taps, for one image with rows of `from_row` and `to_row` floats.
fn average(
    from: &[f32],
    from_row: usize,
    to: &mut [f32],
    to_row: usize,
    runs: &[Run],
    taps: impl Fn(usize) -> Taps,
    acc: Accumulate,
) {
    scratch::with(3 * row_room(to_row), |room| {
        // Source row `i` summed along its columns, in slot `i % 3`.
        let mut slots: Vec<&mut [f32]> = room.chunks_exact_mut(row_room(to_row)).collect();
        let mut done = 0;
        for (row, to) in to.chunks_exact_mut(to_row).enumerate() {
            let taps = taps(row);
            let end = taps.iter().map(|(at, _)| at + 1).max().unwrap_or(0);
            for i in done..end {
                let from = &from[i * from_row..][..from_row];
                dispatch(AvgRow::new(from, runs, &mut slots[i % 3][..to_row]));
            }
            done = done.max(end);
            dispatch(Ninth::new(&slots, taps, to, acc));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_pixels_of_stride_1_are_one_run() {
        let g = Geometry {
            n: 1,
            h: 4,
            w: 6,
            c: 5,
            stride: 1,
        };
        let runs = runs(6, 5, |o| g.inputs(o, 6));
        let lens: Vec<usize> = runs.iter().map(|run| run.len).collect();
        assert_eq!(lens, [5, 20, 5]);
        assert_eq!(runs[1].taps.at, [0, 5, 10]);
    }

    #[test]
    fn outputs_invert_inputs() {
        for stride in [1, 2] {
            for extent in 1..9 {
                let g = Geometry {
                    n: 1,
                    h: extent,
                    w: extent,
                    c: 1,
                    stride,
                };
                for o in 0..g.ho() {
                    for (i, tap) in g.inputs(o, extent).iter() {
                        assert!(g.outputs(i, g.ho()).iter().any(|pair| pair == (o, tap)));
                    }
                }
            }
        }
    }
}
