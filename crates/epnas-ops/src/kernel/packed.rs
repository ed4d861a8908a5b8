//! Weights, rearranged for the block kernel.

use crate::simd::LANES;

/// Vectors of the widest block of channels.
const WIDEST: usize = 3;

/// Channels of the widest block.
pub(super) const WIDEST_LANES: usize = WIDEST * LANES;

/// A block of consecutive output channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelBlock {
    /// First channel.
    pub(crate) first: usize,
    /// Number of channels.
    pub(crate) channels: usize,
    /// The same, rounded up to whole vectors.
    pub(crate) lanes: usize,
}

/// Cuts channels into blocks of at most three vectors, as even as they get (four vectors are 2 + 2).
pub(crate) fn channel_blocks(channels: usize) -> Vec<ChannelBlock> {
    let vectors = channels.div_ceil(LANES);
    let blocks = vectors.div_ceil(WIDEST);
    (0..blocks)
        .map(|block| {
            let first = block * vectors / blocks * LANES;
            let end = (block + 1) * vectors / blocks * LANES;
            ChannelBlock {
                first,
                channels: end.min(channels) - first,
                lanes: end - first,
            }
        })
        .collect()
}

/// Channels rounded up to whole vectors.
pub(crate) fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// Floats of a packed matrix.
pub(crate) fn packed_len(rows: usize, channels: usize) -> usize {
    rows * padded(channels)
}

/// Packs a matrix of `rows x channels` block by block: all rows of the first block, then of the next, the
/// last vector of a row filled with zeros. `fill` writes the channels from `first` on of one row.
pub(crate) fn pack(
    rows: usize,
    blocks: &[ChannelBlock],
    out: &mut [f32],
    fill: impl Fn(usize, usize, &mut [f32]),
) {
    for block in blocks {
        let out = &mut out[rows * block.first..][..rows * block.lanes];
        for (row, out) in out.chunks_exact_mut(block.lanes).enumerate() {
            let (channels, padding) = out.split_at_mut(block.channels);
            fill(row, block.first, channels);
            padding.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_channels_in_order() {
        for channels in 1..200 {
            let mut next = 0;
            for block in channel_blocks(channels) {
                assert_eq!(block.first, next);
                assert!(block.channels > 0 && block.lanes <= WIDEST_LANES);
                assert_eq!(block.lanes, block.channels.next_multiple_of(LANES));
                next += block.channels;
            }
            assert_eq!(next, channels);
        }
    }

    #[test]
    fn four_vectors_are_two_and_two() {
        let lanes: Vec<usize> = channel_blocks(32).iter().map(|block| block.lanes).collect();
        assert_eq!(lanes, [16, 16]);
    }

    #[test]
    fn packing_pads_with_zeros() {
        let blocks = channel_blocks(26);
        let mut out = vec![f32::NAN; packed_len(2, 26)];
        pack(2, &blocks, &mut out, |row, first, channels| {
            for (i, channel) in channels.iter_mut().enumerate() {
                *channel = (100 * row + first + i) as f32;
            }
        });
        // Two blocks of 16 lanes: channels 0..16 of rows 0 and 1, then 16..26 and six zeros of each.
        assert_eq!(out[..2], [0.0, 1.0]);
        assert_eq!(out[16..18], [100.0, 101.0]);
        assert_eq!(out[32..34], [16.0, 17.0]);
        assert_eq!(out[42..48], [0.0; 6]);
        assert_eq!(out[48], 116.0);
    }
}
