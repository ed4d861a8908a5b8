//! Gradients of dense weights, image by image.

use super::block::{Grid, Segment, Start};
use super::packed::{ChannelBlock, channel_blocks, packed_len, padded};
use super::padded::Frame;
use super::pairs;
use crate::precision::Precision;
use crate::scratch;

/// Pixels that are summed in registers before the gradient's block is stored; they and their gradients stay
/// in the first-level cache while all blocks of the gradient pass over them.
const TILE_PIXELS: usize = 64;
const _: () = assert!(TILE_PIXELS.is_multiple_of(2), "pairs of pixels");

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

/// The gradient of the weights that meet one input.
///
/// Steps are pixels of a row. For [`Precision::Bf16`] they are pairs of neighboring output pixels: the even and the odd
/// gradient, and, at every place of the input, the floats under both.
pub(crate) struct WeightGradient {
    precision: Precision,
    /// The input, with its border.
    pub(crate) x: Frame,
    /// Distance in the input of neighboring output pixels.
    stride: usize,
    /// The rows of the gradient, in order.
    taps: Vec<WeightTap>,
    /// The gradient of the output, with its border.
    dy: Frame,
    rows: usize,
    blocks: Vec<ChannelBlock>,
    tiles: Vec<Vec<Stretch>>,
}

/// A stretch of consecutive pixels of one output row.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    row: usize,
    column: usize,
    len: usize,
}

impl WeightGradient {
    pub(crate) fn new(
        precision: Precision,
        x: Frame,
        stride: usize,
        taps: Vec<WeightTap>,
        dy: Frame,
    ) -> Self {
        WeightGradient {
            precision,
            x,
            stride,
            rows: taps.iter().map(|tap| tap.len).sum(),
            taps,
            blocks: channel_blocks(dy.extent.c),
            tiles: tiles(dy),
            dy,
        }
    }

    /// Floats of the packed gradient.
    pub(crate) fn packed_len(&self) -> usize {
        packed_len(self.rows, self.dy.extent.c)
    }

    /// Adds the gradient of one image to `sums`, or writes it there. The images have their borders; the pixels of `dy`
    /// are whole vectors wide.
    pub(crate) fn image(&self, x: &[f32], dy: &[f32], start: Start, sums: &mut [f32]) {
        if self.precision == Precision::F32 {
            return self.numbers(x, dy, start, sums);
        }
        let gradients = self.dy.extent.h * self.gradient_row();
        scratch::with(x.len() + gradients, |room| {
            let (x_pairs, dy_pairs) = room.split_at_mut(x.len());
            pairs::of_neighbors(x, self.stride * self.x.extent.c, x_pairs);
            let lanes = padded(self.dy.extent.c);
            let (outer, border) = (self.dy.outer().widened(lanes), self.dy.border);
            let rows = dy.chunks_exact(outer.row()).skip(border.top);
            for (row, to) in rows.zip(dy_pairs.chunks_exact_mut(self.gradient_row())) {
                let inside = &row[border.left * lanes..][..self.dy.extent.w * lanes];
                pairs::of_row(inside, lanes, to);
            }
            self.numbers(x_pairs, dy_pairs, start, sums);
        });
    }

    /// Numbers in a row of the gradient of the output, where it is read in pairs.
    fn gradient_row(&self) -> usize {
        self.precision.numbers(self.dy.extent.w) * padded(self.dy.extent.c)
    }

    /// As [`WeightGradient::image`] for numbers of the precision.
    fn numbers(&self, x: &[f32], dy: &[f32], start: Start, sums: &mut [f32]) {
        let rows = self.rows;
        let mut start = start;
        let mut segments = Vec::new();
        for tile in &self.tiles {
            for block in &self.blocks {
                let mut row = 0;
                for tap in &self.taps {
                    segments.clear();
                    segments.extend(
                        tile.iter()
                            .map(|stretch| self.segment(tap, x, dy, block, stretch)),
                    );
                    let out = &mut sums[rows * block.first + row * block.lanes..]
                        [..tap.len * block.lanes];
                    let grid = Grid {
                        precision: self.precision,
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

    /// Hands the rows of a packed gradient, one after the other, to `sink`.
    pub(crate) fn unpack(&self, packed: &[f32], mut sink: impl FnMut(usize, &[f32])) {
        let mut row_of = vec![0.0; self.dy.extent.c];
        for row in 0..self.rows {
            for block in &self.blocks {
                let from = &packed[self.rows * block.first + row * block.lanes..][..block.channels];
                row_of[block.first..][..block.channels].copy_from_slice(from);
            }
            sink(row, &row_of);
        }
    }

    fn segment(
        &self,
        tap: &WeightTap,
        x: &[f32],
        dy: &[f32],
        block: &ChannelBlock,
        stretch: &Stretch,
    ) -> Segment {
        let bordered = self.x.outer();
        let row = stretch.row * self.stride + tap.row;
        let column = stretch.column * self.stride + tap.column;
        let a = &x[(row * bordered.w + column) * bordered.c..];
        let (border, lanes) = (self.dy.border, padded(self.dy.extent.c));
        let steps = self.precision.numbers(stretch.len);
        let (a_step, first) = match self.precision {
            Precision::F32 => {
                let row = (border.top + stretch.row) * self.dy.outer().w;
                let pixel = row + border.left + stretch.column;
                (self.stride * bordered.c, pixel * lanes)
            }
            // Stretches begin at even columns.
            Precision::Bf16 => {
                let pair = stretch.column / 2 * lanes;
                (
                    2 * self.stride * bordered.c,
                    stretch.row * self.gradient_row() + pair,
                )
            }
        };
        let b = &dy[first + block.first..];
        assert!(a.len() >= (steps - 1) * a_step + tap.len);
        assert!(b.len() >= (steps - 1) * lanes + block.lanes);
        Segment {
            a: a.as_ptr(),
            a_row: 0,
            a_column: 1,
            a_step,
            b: b.as_ptr(),
            b_step: lanes,
            steps,
        }
    }
}

/// Cuts an output image into tiles of whole rows, or of stretches of a row that is long.
fn tiles(dy: Frame) -> Vec<Vec<Stretch>> {
    let (h, w) = (dy.extent.h, dy.extent.w);
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
