//! Gradients of dense weights, image by image.

use super::block::{Grid, Segment, Start};
use super::packed::{ChannelBlock, channel_blocks, packed_len, padded};
use super::padded::Frame;

/// Pixels that are summed in registers before the gradient's block is stored; they and their gradients stay
/// in the first-level cache while all blocks of the gradient pass over them.
const TILE_PIXELS: usize = 64;

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
pub(crate) struct WeightGradient {
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
    pub(crate) fn new(x: Frame, stride: usize, taps: Vec<WeightTap>, dy: Frame) -> Self {
        WeightGradient {
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
        let a_step = self.stride * bordered.c;
        let a = &x[(row * bordered.w + column) * bordered.c..];
        let (border, lanes) = (self.dy.border, padded(self.dy.extent.c));
        let pixel = (border.top + stretch.row) * self.dy.outer().w + border.left + stretch.column;
        let b = &dy[pixel * lanes + block.first..];
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
