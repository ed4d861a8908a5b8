//! Gradients of dense weights.
//!
//! The batch is cut into a fixed number of chunks of images, whatever the number of threads. Each chunk sums
//! its own gradient, and the chunks are added in order, so results repeat exactly.

use rayon::prelude::*;

use super::block::{Grid, Segment, Start};
use super::correlate::Input;
use super::packed::{ChannelBlock, channel_blocks, packed_len, padded as padded_channels};
use super::padded::{self, Extent};
use crate::scratch;
use crate::simd::LANES;

/// Most chunks a batch is cut into.
const CHUNKS: usize = 16;

/// Chunks that even the largest weights get.
const FEWEST_CHUNKS: usize = 4;

/// Floats that all chunks together should not exceed.
const CHUNK_FLOATS: usize = 16 << 20;

/// Pixels that are summed in registers before the gradient's block is stored; they and their gradients stay
/// in the first-level cache while all blocks of the gradient pass over them.
const TILE_PIXELS: usize = 64;

/// Floats per task of the final sum.
const SUM_FLOATS: usize = 1 << 12;

/// A run of consecutive floats of the (bordered) input under an output pixel: as many rows of the gradient.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightTap {
    /// Row below the output pixel's first.
    pub(crate) row: usize,
    /// Column right of the output pixel's first.
    pub(crate) column: usize,
    /// Floats, perhaps over several columns.
    pub(crate) len: usize,
}

/// Everything one call does.
pub(crate) struct WeightJob<'a> {
    pub(crate) x: Input<'a>,
    /// Distance in the input of neighboring output pixels.
    pub(crate) stride: usize,
    /// The rows of the gradient, in order.
    pub(crate) taps: Vec<WeightTap>,
    pub(crate) dy: &'a [f32],
    pub(crate) dy_extent: Extent,
}

/// A stretch of consecutive pixels of one output row.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    row: usize,
    column: usize,
    len: usize,
}

impl WeightJob<'_> {
    /// Computes the gradient and hands its rows, one after the other, to `sink`.
    pub(crate) fn run(&self, mut sink: impl FnMut(usize, &[f32])) {
        let channels = self.dy_extent.c;
        let blocks = channel_blocks(channels);
        let rows: usize = self.taps.iter().map(|tap| tap.len).sum();
        let len = packed_len(rows, channels);
        let batch = self.dy.len() / self.dy_extent.len();
        let most = (CHUNK_FLOATS / len).clamp(FEWEST_CHUNKS, CHUNKS);
        let per_chunk = batch.div_ceil(most);
        let chunks = batch.div_ceil(per_chunk);
        scratch::with(chunks * len, |sums| {
            sums.par_chunks_mut(len)
                .enumerate()
                .for_each(|(chunk, sums)| {
                    let images = chunk * per_chunk..batch.min((chunk + 1) * per_chunk);
                    self.chunk(images, rows, &blocks, sums);
                });
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
            let mut row_of = vec![0.0; channels];
            for row in 0..rows {
                for block in &blocks {
                    let from = &total[rows * block.first + row * block.lanes..][..block.channels];
                    row_of[block.first..][..block.channels].copy_from_slice(from);
                }
                sink(row, &row_of);
            }
        });
    }

    /// Sums the gradient of some images into `sums`, which holds anything before.
    fn chunk(
        &self,
        images: std::ops::Range<usize>,
        rows: usize,
        blocks: &[ChannelBlock],
        sums: &mut [f32],
    ) {
        let bordered = self.x.extent.bordered(self.x.border);
        let lanes = padded_channels(self.dy_extent.c);
        let pixels = self.dy_extent.h * self.dy_extent.w;
        let x_room = if self.x.border.is_none() {
            0
        } else {
            bordered.len()
        };
        let dy_room = if self.dy_extent.c.is_multiple_of(LANES) {
            0
        } else {
            pixels * lanes
        };
        scratch::with(x_room + dy_room, |room| {
            let (x_room, dy_room) = room.split_at_mut(x_room);
            let mut start = Start::Zero;
            let mut segments = Vec::new();
            for n in images {
                let mut x = &self.x.images[n * self.x.extent.len()..][..self.x.extent.len()];
                if !self.x.border.is_none() {
                    padded::copy(x, self.x.extent, self.x.border, x_room);
                    x = x_room;
                }
                let mut dy = &self.dy[n * self.dy_extent.len()..][..self.dy_extent.len()];
                if !dy_room.is_empty() {
                    padded::widen(dy, self.dy_extent.c, lanes, dy_room);
                    dy = dy_room;
                }
                for tile in self.tiles() {
                    for block in blocks {
                        let mut row = 0;
                        for tap in &self.taps {
                            segments.clear();
                            segments.extend(tile.iter().map(|stretch| {
                                self.segment(tap, x, bordered, dy, lanes, block, stretch)
                            }));
                            let out = &mut sums[rows * block.first + row * block.lanes..]
                                [..tap.len * block.lanes];
                            let grid = Grid {
                                segments: &segments,
                                rows: 1,
                                columns: tap.len,
                                channels: block.lanes,
                                out: out.as_mut_ptr(),
                                out_row: 0,
                                out_column: block.lanes,
                                start,
                            };
                            // SAFETY: `out` has `columns` outputs of `lanes` floats and is borrowed by this
                            // thread alone. `segment` points into slices that hold every number and vector
                            // read: the last pixel of a stretch is a pixel of the image, its taps end inside
                            // of the border, and `lanes` is a whole number of vectors.
                            unsafe { grid.compute() };
                            row += tap.len;
                        }
                    }
                    start = Start::Output;
                }
            }
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one image")]
    fn segment(
        &self,
        tap: &WeightTap,
        x: &[f32],
        bordered: Extent,
        dy: &[f32],
        lanes: usize,
        block: &ChannelBlock,
        stretch: &Stretch,
    ) -> Segment {
        let row = stretch.row * self.stride + tap.row;
        let column = stretch.column * self.stride + tap.column;
        let a_step = self.stride * bordered.c;
        let a = &x[(row * bordered.w + column) * bordered.c..];
        let b = &dy[(stretch.row * self.dy_extent.w + stretch.column) * lanes + block.first..];
        assert!(a.len() >= (stretch.len - 1) * a_step + tap.len);
        assert!(b.len() >= (stretch.len - 1) * lanes + block.lanes);
        Segment {
            a: a.as_ptr(),
            a_row: 0,
            a_column: 1,
            a_step,
            b: b.as_ptr(),
            b_step: lanes,
            steps: stretch.len,
        }
    }

    /// Cuts an output image into tiles of whole rows, or of stretches of a row that is long.
    fn tiles(&self) -> Vec<Vec<Stretch>> {
        let (h, w) = (self.dy_extent.h, self.dy_extent.w);
        let len = if h == 1 { w.min(TILE_PIXELS) } else { w };
        let rows = TILE_PIXELS.div_ceil(w).min(h);
        let mut tiles = Vec::new();
        for first in (0..h).step_by(rows) {
            for column in (0..w).step_by(len) {
                let stretch = |row| Stretch {
                    row,
                    column,
                    len: len.min(w - column),
                };
                tiles.push((first..h.min(first + rows)).map(stretch).collect());
            }
        }
        tiles
    }
}
