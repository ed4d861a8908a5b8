//! Sliding products: the forward convolution, its input gradient and their relatives as one job.
//!
//! A [`Job`] slides weights over images and writes (or adds to) output images. Its [`Pass`]es each fill a
//! lattice of output pixels: one pass with all pixels for most, four with every second row and column for
//! the gradient of a strided convolution, where each parity of the pixel sees other taps.

use rayon::prelude::*;

use super::block::{Grid, Segment, Start};
use super::packed::{ChannelBlock, channel_blocks, pack, packed_len};
use super::padded::{self, Border, Extent};
use crate::elementwise::Accumulate;
use crate::scratch;

/// Bytes of weights that stay in the first-level cache next to the pixels they meet.
const WEIGHT_BYTES: usize = 24 << 10;

/// Output pixels that meet one group of weights before the next: enough to pay for loading it.
const TILE_PIXELS: usize = 64;

/// A batch of images that is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) images: &'a [f32],
    pub(crate) extent: Extent,
    pub(crate) border: Border,
}

/// A run of consecutive floats of the (bordered) input under an output pixel, and its rows of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Which input.
    pub(crate) input: usize,
    /// Row below the output pixel's first.
    pub(crate) row: usize,
    /// Column right of the output pixel's first.
    pub(crate) column: usize,
    /// First channel.
    pub(crate) channel: usize,
    /// Floats, perhaps over several columns.
    pub(crate) len: usize,
    /// First row of the weights.
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

/// Everything one call does.
pub(crate) struct Job<'a> {
    pub(crate) inputs: &'a [Input<'a>],
    /// Distance in the input of neighboring output pixels of a pass.
    pub(crate) stride: usize,
    pub(crate) passes: Vec<Pass>,
    /// Rows of weights over all passes.
    pub(crate) weight_rows: usize,
    pub(crate) output: Extent,
    pub(crate) acc: Accumulate,
}

impl Job<'_> {
    /// Runs over all images of `out`. `weights(row, first, channels)` yields the weights of a row.
    pub(crate) fn run(&self, out: &mut [f32], weights: impl Fn(usize, usize, &mut [f32])) {
        let blocks = channel_blocks(self.output.c);
        scratch::with(packed_len(self.weight_rows, self.output.c), |packed| {
            pack(self.weight_rows, &blocks, packed, weights);
            let packed = &*packed;
            let passes: Vec<(&Pass, Vec<Vec<Tap>>)> = self
                .passes
                .iter()
                .map(|pass| (pass, groups(&pass.taps, &blocks)))
                .collect();
            out.par_chunks_mut(self.output.len())
                .enumerate()
                .for_each(|(n, out)| {
                    self.with_images(n, |images| {
                        let mut segments = Vec::new();
                        for (pass, groups) in &passes {
                            self.pass(pass, groups, images, &blocks, packed, out, &mut segments);
                        }
                    });
                });
        });
    }

    /// Image `n` of every input, with its border.
    fn with_images(&self, n: usize, body: impl FnOnce(&[&[f32]])) {
        let bordered = |input: &Input| match input.border.is_none() {
            true => 0,
            false => input.extent.bordered(input.border).len(),
        };
        scratch::with(self.inputs.iter().map(bordered).sum(), |mut room| {
            let images: Vec<&[f32]> = self
                .inputs
                .iter()
                .map(|input| {
                    let image = &input.images[n * input.extent.len()..][..input.extent.len()];
                    if input.border.is_none() {
                        return image;
                    }
                    let (copy, rest) = std::mem::take(&mut room).split_at_mut(bordered(input));
                    room = rest;
                    padded::copy(image, input.extent, input.border, copy);
                    &*copy
                })
                .collect();
            body(&images);
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one image")]
    fn pass(
        &self,
        pass: &Pass,
        groups: &[Vec<Tap>],
        images: &[&[f32]],
        blocks: &[ChannelBlock],
        packed: &[f32],
        out: &mut [f32],
        segments: &mut Vec<Segment>,
    ) {
        let lattice =
            |extent: usize, first: usize| extent.saturating_sub(first).div_ceil(pass.spacing);
        let rows = lattice(self.output.h, pass.first.0);
        let columns = lattice(self.output.w, pass.first.1);
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
                for block in blocks {
                    for (index, group) in groups.iter().enumerate() {
                        segments.clear();
                        segments.extend(group.iter().map(|tap| {
                            self.segment(tap, images[tap.input], at, size, block, packed)
                        }));
                        let pixel = (pass.first.0 + row * pass.spacing) * self.output.w
                            + pass.first.1
                            + column * pass.spacing;
                        let (end, lanes) =
                            (&out[pixel * self.output.c..], block.first + block.channels);
                        let last = (size.0 - 1) * pass.spacing * self.output.row()
                            + (size.1 - 1) * pass.spacing * self.output.c;
                        assert!(end.len() >= last + lanes, "a tile leaves its image");
                        let start = if index == 0 && self.acc == Accumulate::Overwrite {
                            Start::Zero
                        } else {
                            Start::Output
                        };
                        let grid = Grid {
                            segments,
                            rows: size.0,
                            columns: size.1,
                            channels: block.channels,
                            out: out[pixel * self.output.c + block.first..].as_mut_ptr(),
                            out_row: pass.spacing * self.output.row(),
                            out_column: pass.spacing * self.output.c,
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
        packed: &[f32],
    ) -> Segment {
        let input = &self.inputs[tap.input];
        let extent = input.extent.bordered(input.border);
        let row = row * self.stride + tap.row;
        let column = column * self.stride + tap.column;
        let weights = self.weight_rows * block.first + tap.weights * block.lanes;
        let weights = &packed[weights..][..tap.len * block.lanes];
        let numbers = &image[(row * extent.w + column) * extent.c + tap.channel..];
        // The last output pixel of the grid, and the end of its tap.
        let last = (rows - 1) * self.stride * extent.row() + (columns - 1) * self.stride * extent.c;
        assert!(numbers.len() >= last + tap.len, "a tap leaves its image");
        Segment {
            a: numbers.as_ptr(),
            a_row: self.stride * extent.row(),
            a_column: self.stride * extent.c,
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
            // Taps are runs of consecutive floats, so a run can go on in the middle.
            rest.channel += len;
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
            channel: 0,
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
