//! Sums over all rows of a batch, channel by channel: how they are cut into blocks.

use candle_core::Tensor;

use super::memory::Pointer;
use super::queue::{Call, Launch, Params};
use crate::error::Result;

/// Channels, and rows of them, of images.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) count: usize,
    pub(super) channels: usize,
}

/// A division of rows. It depends on the shape alone, so that sums repeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    pub(super) blocks: usize,
    pub(super) rows_per_block: usize,
    threads: [usize; 2],
    tiles: usize,
}

impl Rows {
    /// The pixels of `[n, h, w, c]`.
    pub(super) fn of(images: &Tensor) -> Self {
        let channels = images.dims().last().copied().unwrap_or(1);
        Rows {
            count: images.elem_count() / channels.max(1),
            channels,
        }
    }

    pub(super) fn divide(&self) -> Division {
        /// Enough blocks to fill a large GPU.
        const MOST_BLOCKS: usize = 512;
        let across = self.channels.clamp(1, 128);
        let down = (256 / across).max(1);
        let rows_per_block = self.count.div_ceil(MOST_BLOCKS).max(4 * down);
        Division {
            blocks: self.count.div_ceil(rows_per_block),
            rows_per_block,
            threads: [across, down],
            tiles: self.channels.div_ceil(across),
        }
    }
}

impl Division {
    /// A launch with so many layers of blocks.
    pub(super) fn launch(&self, layers: usize) -> Launch {
        let [across, down] = self.threads;
        Launch {
            blocks: [self.blocks, self.tiles, layers],
            threads: self.threads,
            // A number for every thread, and one for every channel.
            shared: size_of::<f32>() * (across * down + across),
        }
    }
}

/// As in `reduction.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PartsParams {
    parts: Pointer,
    to: Pointer,
    len: i64,
    count: i32,
}

// SAFETY: laid out as in `reduction.cu`.
unsafe impl Params for PartsParams {}

/// Adds `count` parts of `len` floats each, in a fixed order.
pub(super) fn add_parts(
    call: &Call,
    parts: Pointer,
    count: usize,
    to: Pointer,
    len: usize,
) -> Result<()> {
    let params = PartsParams {
        parts,
        to,
        len: len as i64,
        count: count as i32,
    };
    call.launch_plain("add_parts", over_parts::<f32>(len, count, 32, 8), &params)
}

/// A launch with a column of threads for every number of a part, `across` columns a block, each of up to `down` threads
/// that share the parts; and room for one `N` a thread.
pub(super) fn over_parts<N>(len: usize, count: usize, across: usize, down: usize) -> Launch {
    let down = count.clamp(1, down);
    Launch {
        blocks: [len.div_ceil(across), 1, 1],
        threads: [across, down],
        shared: size_of::<N>() * across * down,
    }
}
