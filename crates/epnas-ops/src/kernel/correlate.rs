//! Sliding products: the forward convolution, its input gradient and their relatives as one job.
//!
//! A [`Correlation`] slides weights over images and writes (or adds to) an output image. Its [`Pass`]es each fill a
//! lattice of output pixels: one pass with all pixels for most, four with every second row and column for
//! the gradient of a strided convolution, where each parity of the pixel sees other taps.
//!
//! All is counted in numbers of the [`Precision`]: floats, or pairs of neighboring channels.

use rayon::prelude::*;

use super::block::{Grid, Segment, Start};
use super::epilogue::Finish;
use super::images::{Form, Images};
use super::packed::{ChannelBlock, channel_blocks, pack, packed_len};
use super::padded::{Extent, Frame};
use super::pairs;
use crate::elementwise::Accumulate;
use crate::precision::Precision;
use crate::scratch;

/// Bytes of weights that stay in the first-level cache next to the pixels they meet.
const WEIGHT_BYTES: usize = 24 << 10;

/// Output pixels that meet one group of weights before the next: enough to pay for loading it.
const TILE_PIXELS: usize = 64;

/// A run of consecutive numbers of the (bordered) input under an output pixel, and its rows of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Which input.
    pub(crate) input: usize,
    /// Row below the output pixel's first.
    pub(crate) row: usize,
    /// Column right of the output pixel's first.
    pub(crate) column: usize,
    /// First number of the pixel.
    pub(crate) number: usize,
    /// Numbers, perhaps over several columns.
    pub(crate) len: usize,
    /// First row of the weights, of which there is one for every number.
    pub(crate) weights: usize,
}

/// A lattice of output pixels with one set of taps.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) taps: Vec<Tap>,
    /// First output row and column.
    pub(crate) first: (usize, usize),
    /// Distance of its output rows and columns.
    pub(crate) spacing: usize,
}

/// What is slid over what.
pub(crate) struct Correlation {
    pub(crate) precision: Precision,
    /// The images that are read, with their borders.
    pub(crate) inputs: Vec<Frame>,
    /// Distance in the input of neighboring output pixels of a pass.
    pub(crate) stride: usize,
    pub(crate) passes: Vec<Pass>,
    /// Rows of weights over all passes.
    pub(crate) weight_rows: usize,
    pub(crate) output: Extent,
}

impl Correlation {
    /// Floats that [`Correlation::prepare`] packs the weights into.
    pub(crate) fn packed_len(&self) -> usize {
        packed_len(self.weight_rows, self.output.c)
    }

    /// Packs the weights. `weights(row, half, first, channels)` yields those that meet this half of the row's number (0
    /// where a number is a float), from channel `first` on.
    pub(crate) fn prepare<'a>(
        &'a self,
        packed: &'a mut [f32],
        weights: impl Fn(usize, usize, usize, &mut [f32]),
    ) -> Prepared<'a> {
        let blocks = channel_blocks(self.output.c);
        pack(
            self.weight_rows,
            &blocks,
            packed,
            |row, first, out| match self.precision {
                Precision::F32 => weights(row, 0, first, out),
                Precision::Bf16 => {
                    pairs::of_halves(out, |half, out| weights(row, half, first, out))
                }
            },
        );
        let passes = self
            .passes
            .iter()
            .map(|pass| (pass, groups(&pass.taps, &blocks)));
        Prepared {
            passes: passes.collect(),
            of: self,
            blocks,
            packed,
        }
    }

    /// Writes all images of `out` from those of the sources.
    pub(crate) fn run(
        &self,
        sources: &[Images],
        weights: impl Fn(usize, usize, usize, &mut [f32]),
        out: &mut [f32],
        finish: &mut Finish,
    ) {
        let epilogue = finish.epilogue;
        scratch::with(self.packed_len(), |packed| {
            let prepared = self.prepare(packed, weights);
            out.par_chunks_mut(self.output.len())
                .zip(finish.parts.par_chunks_mut(epilogue.part_len()))
                .enumerate()
                .for_each(|(n, (out, part))| {
                    self.read(sources, n, |images| {
                        prepared.image(images, Accumulate::Overwrite, out);
                    });
                    epilogue.image(n, out, part);
                });
        });
    }

    /// Image `n` of every source, with its border.
    fn read(&self, sources: &[Images], n: usize, body: impl FnOnce(&[&[f32]])) {
        let form = |frame: &Frame| Form::of(self.precision, frame.extent.c);
        let room = |(images, frame): (&Images, &Frame)| {
            images.room(frame.extent, frame.border, form(frame))
        };
        let total = sources.iter().zip(&self.inputs).map(room).sum();
        scratch::with(total, |mut rest| {
            let mut images: Vec<&[f32]> = Vec::with_capacity(sources.len());
            for (source, frame) in sources.iter().zip(&self.inputs) {
                let (own, after) = std::mem::take(&mut rest).split_at_mut(room((source, frame)));
                images.push(source.read(n, frame.extent, frame.border, form(frame), own));
                rest = after;
            }
            body(&images);
        });
    }
}

/// A correlation with packed weights.
pub(crate) struct Prepared<'a> {
    of: &'a Correlation,
    blocks: Vec<ChannelBlock>,
    packed: &'a [f32],
    passes: Vec<(&'a Pass, Vec<Vec<Tap>>)>,
}

impl Prepared<'_> {
    /// Writes one output image from one (bordered) image of every input.
    pub(crate) fn image(&self, images: &[&[f32]], acc: Accumulate, out: &mut [f32]) {
        let mut segments = Vec::new();
        for (pass, groups) in &self.passes {
            self.pass(pass, groups, images, acc, out, &mut segments);
        }
    }

    fn pass(
        &self,
        pass: &Pass,
        groups: &[Vec<Tap>],
        images: &[&[f32]],
        acc: Accumulate,
        out: &mut [f32],
        segments: &mut Vec<Segment>,
    ) {
        let output = self.of.output;
        let lattice =
            |extent: usize, first: usize| extent.saturating_sub(first).div_ceil(pass.spacing);
        let rows = lattice(output.h, pass.first.0);
        let columns = lattice(output.w, pass.first.1);
        if rows * columns == 0 {
            return;
        }
        // A tile is a few whole rows, or, in a single long row, a stretch of it.
        let tile_rows = TILE_PIXELS.div_ceil(columns).min(rows);
        let tile_columns = if rows == 1 {
            columns.min(2 * TILE_PIXELS)
        } else {
            columns
        };
        for row in (0..rows).step_by(tile_rows) {
            for column in (0..columns).step_by(tile_columns) {
                let at = (row, column);
                let size = (
                    tile_rows.min(rows - row),
                    tile_columns.min(columns - column),
                );
                for block in &self.blocks {
                    for (index, group) in groups.iter().enumerate() {
                        segments.clear();
                        segments.extend(
                            group
                                .iter()
                                .map(|tap| self.segment(tap, images[tap.input], at, size, block)),
                        );
                        let pixel = (pass.first.0 + row * pass.spacing) * output.w
                            + pass.first.1
                            + column * pass.spacing;
                        let (end, lanes) = (&out[pixel * output.c..], block.first + block.channels);
                        let last = (size.0 - 1) * pass.spacing * output.row()
                            + (size.1 - 1) * pass.spacing * output.c;
                        assert!(end.len() >= last + lanes, "a tile leaves its image");
                        let start = if index == 0 && acc == Accumulate::Overwrite {
                            Start::Zero
                        } else {
                            Start::Output
                        };
                        let grid = Grid {
                            precision: self.of.precision,
                            segments,
                            rows: size.0,
                            columns: size.1,
                            channels: block.channels,
                            out: out[pixel * output.c + block.first..].as_mut_ptr(),
                            out_row: pass.spacing * output.row(),
                            out_column: pass.spacing * output.c,
                            start,
                        };
                        // SAFETY: the grid's outputs are pixels of `out`, this thread's image, from `pixel`
                        // on. `segment` points into the bordered image, which holds all taps of every output
                        // pixel (the border is chosen so), and into the packed weights, whose rows are whole
                        // vectors; the last tap ends with the last row.
                        unsafe { grid.compute() };
                    }
                }
            }
        }
    }

    fn segment(
        &self,
        tap: &Tap,
        image: &[f32],
        (row, column): (usize, usize),
        (rows, columns): (usize, usize),
        block: &ChannelBlock,
    ) -> Segment {
        let (stride, extent) = (self.of.stride, self.of.inputs[tap.input].outer());
        let extent = extent.widened(self.of.precision.numbers(extent.c));
        let row = row * stride + tap.row;
        let column = column * stride + tap.column;
        let weights = self.of.weight_rows * block.first + tap.weights * block.lanes;
        let weights = &self.packed[weights..][..tap.len * block.lanes];
        let numbers = &image[(row * extent.w + column) * extent.c + tap.number..];
        // The last output pixel of the grid, and the end of its tap.
        let last = (rows - 1) * stride * extent.row() + (columns - 1) * stride * extent.c;
        assert!(numbers.len() >= last + tap.len, "a tap leaves its image");
        Segment {
            a: numbers.as_ptr(),
            a_row: stride * extent.row(),
            a_column: stride * extent.c,
            a_step: 1,
            b: weights.as_ptr(),
            b_step: block.lanes,
            steps: tap.len,
        }
    }
}

/// Cuts taps into groups whose weights for the widest block fit [`WEIGHT_BYTES`]. A pass without taps has one
/// empty group, which writes its zeros.
fn groups(taps: &[Tap], blocks: &[ChannelBlock]) -> Vec<Vec<Tap>> {
    let widest = blocks.iter().map(|block| block.lanes).max().unwrap_or(1);
    let most = WEIGHT_BYTES / (4 * widest);
    let mut groups = vec![Vec::new()];
    let mut filled = 0;
    for &tap in taps {
        let mut rest = tap;
        while rest.len > 0 {
            let fits = rest.len <= most - filled;
            if !fits && filled > 0 {
                groups.push(Vec::new());
                filled = 0;
                continue;
            }
            let len = rest.len.min(most);
            if let Some(group) = groups.last_mut() {
                group.push(Tap { len, ..rest });
            }
            filled += len;
            // Taps are runs of consecutive numbers, so a run can go on in the middle.
            rest.number += len;
            rest.weights += len;
            rest.len -= len;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(len: usize, weights: usize) -> Tap {
        Tap {
            input: 0,
            row: 0,
            column: 0,
            number: 0,
            len,
            weights,
        }
    }

    #[test]
    fn groups_keep_order_and_cover_every_row() {
        let blocks = channel_blocks(24);
        let most = WEIGHT_BYTES / 96;
        let taps = [
            tap(most - 1, 0),
            tap(2, most - 1),
            tap(2 * most + 3, most + 1),
        ];
        let groups = groups(&taps, &blocks);
        let mut next = 0;
        for group in &groups {
            assert!(group.iter().map(|tap| tap.len).sum::<usize>() <= most);
            for tap in group {
                assert_eq!(tap.weights, next);
                next += tap.len;
            }
        }
        assert_eq!(next, 3 * most + 4);
    }

    #[test]
    fn a_pass_without_taps_still_writes() {
        assert_eq!(groups(&[], &channel_blocks(8)), vec![Vec::<Tap>::new()]);
    }
}
