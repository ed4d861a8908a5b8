//! Random crops, flips and cutout: what is drawn for one image, as integers that any device can reproduce.
//!
//! # Exact definition
//! For the image at `position` of a stream with seed `s`, an image of `h` x `w` pixels and padding `p`, with `draw` and
//! `below` of [`crate::counter`]:
//!
//! | channel | value | used as |
//! |---|---|---|
//! | 0 | `below(draw(s, position, 0), 2p + 1)` | `dy`: first row of the window in the padded image |
//! | 1 | `below(draw(s, position, 1), 2p + 1)` | `dx`: first column of the window in the padded image |
//! | 2 | `draw(s, position, 2) >> 63` | 1: the window is mirrored left to right |
//! | 3 | `below(draw(s, position, 3), h)` | `cy`: row of the cutout's center in the output |
//! | 4 | `below(draw(s, position, 4), w)` | `cx`: column of the cutout's center in the output |
//!
//! Output row `y`, column `x`: with `x' = w - 1 - x` when mirrored, else `x`, the source pixel is
//! `(y + dy - p, x' + dx - p)`; outside the image it is black, raw value 0 in every channel, and is normalized like any
//! other pixel. (So does torchvision's `RandomCrop` on the stored image, before `Normalize`; padding normalized tensors
//! would give the mean color instead.) Cutout comes last: with side `k`, the pixels with
//! `cy - k/2 <= y < cy - k/2 + k` and `cx - k/2 <= x < cx - k/2 + k` (integer division) become 0 after normalization,
//! the mean color (DeVries and Taylor, 2017); the square is clipped at the borders.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::counter::{below, draw};

/// Augmentation of training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Pixels of black padding on every side before a window of the original size is cut out at a random place.
    /// Default 4; 0 turns cropping off.
    pub pad: usize,
    /// Mirroring: "horizontal" (default: half of the images, left to right) or "none".
    pub flip: Flip,
    /// Side in pixels of a square set to the mean color at a random place; 0 for none. 16 is usual for CIFAR.
    pub cutout: usize,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            pad: 4,
            flip: Flip::Horizontal,
            cutout: 0,
        }
    }
}

/// Mirroring of training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// Never.
    None,
    /// Left to right, with probability one half.
    Horizontal,
}

/// What is done to one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// Row of the source image that becomes output row 0: `dy - pad`.
    pub top: isize,
    /// Column of the source image that becomes column 0 of the window: `dx - pad`.
    pub left: isize,
    /// Whether the window is mirrored.
    pub flip: Flip,
    /// First row, first column and side of the cutout in the output; side 0 for none.
    pub cutout: (isize, isize, usize),
}

impl Augmentation {
    /// Leaves the image as it is.
    pub const NONE: Augmentation = Augmentation {
        top: 0,
        left: 0,
        flip: Flip::None,
        cutout: (0, 0, 0),
    };

    /// What is drawn for the image at `position` of the stream `stream_seed`, for images of `height` x `width` pixels.
    pub fn draw(
        config: &AugmentConfig,
        stream_seed: u64,
        position: u64,
        height: usize,
        width: usize,
    ) -> Augmentation {
        let random = |channel, bound: usize| {
            below(draw(stream_seed, position, channel), bound as u32) as isize
        };
        let pad = config.pad as isize;
        let half = (config.cutout / 2) as isize;
        Augmentation {
            top: random(0, 2 * config.pad + 1) - pad,
            left: random(1, 2 * config.pad + 1) - pad,
            flip: match config.flip {
                Flip::Horizontal if draw(stream_seed, position, 2) >> 63 == 1 => Flip::Horizontal,
                _ => Flip::None,
            },
            cutout: match config.cutout {
                0 => (0, 0, 0),
                side => (random(3, height) - half, random(4, width) - half, side),
            },
        }
    }

    /// Writes one image, cropped, mirrored, normalized and cut out.
    ///
    /// `pixels` and `out` are `[height, width, channels]`; `table` is [`crate::Normalization::table`].
    pub(crate) fn apply(
        &self,
        pixels: &[u8],
        (height, width, channels): (usize, usize, usize),
        table: &[[f32; 256]],
        out: &mut [f32],
    ) {
        let row_len = width * channels;
        // Columns x of the window with 0 <= x + left < width.
        let first = (-self.left).clamp(0, width as isize) as usize;
        let last = (width as isize - self.left).clamp(first as isize, width as isize) as usize;
        for (y, row) in out.chunks_exact_mut(row_len.max(1)).enumerate() {
            let source = y as isize + self.top;
            if source < 0 || source >= height as isize || first == last {
                black(row, table);
            } else {
                let start = source as usize * row_len;
                let from = (first as isize + self.left) as usize * channels;
                let source = &pixels[start + from..start + from + (last - first) * channels];
                black(&mut row[..first * channels], table);
                normalize(source, table, &mut row[first * channels..last * channels]);
                black(&mut row[last * channels..], table);
            }
            if self.flip == Flip::Horizontal {
                mirror(row, channels);
            }
        }
        let (top, left, side) = self.cutout;
        let clip = |start: isize, len: usize| {
            let end = (start + side as isize).clamp(0, len as isize);
            (start.clamp(0, end) as usize)..(end as usize)
        };
        if side > 0 {
            let columns = clip(left, width);
            for y in clip(top, height) {
                out[y * row_len..][columns.start * channels..columns.end * channels].fill(0.0);
            }
        }
    }
}

fn normalize(source: &[u8], table: &[[f32; 256]], out: &mut [f32]) {
    match table {
        [gray] => {
            for (out, &value) in out.iter_mut().zip(source) {
                *out = gray[usize::from(value)];
            }
        }
        [red, green, blue] => {
            for (out, value) in out.chunks_exact_mut(3).zip(source.chunks_exact(3)) {
                out[0] = red[usize::from(value[0])];
                out[1] = green[usize::from(value[1])];
                out[2] = blue[usize::from(value[2])];
            }
        }
        table => {
            let channels = table.len().max(1);
            for (out, value) in out
                .chunks_exact_mut(channels)
                .zip(source.chunks_exact(channels))
            {
                for ((out, &value), table) in out.iter_mut().zip(value).zip(table) {
                    *out = table[usize::from(value)];
                }
            }
        }
    }
}

fn black(row: &mut [f32], table: &[[f32; 256]]) {
    for pixel in row.chunks_exact_mut(table.len().max(1)) {
        for (out, table) in pixel.iter_mut().zip(table) {
            *out = table[0];
        }
    }
}

fn mirror(row: &mut [f32], channels: usize) {
    let width = row.len() / channels;
    for x in 0..width / 2 {
        let (left, right) = row.split_at_mut((width - 1 - x) * channels);
        left[x * channels..(x + 1) * channels].swap_with_slice(&mut right[..channels]);
    }
}
