//! Batches of images as kernels read them: as they are, or mapped by a batch norm on the way into the cache.
//!
//! What a convolution reads is copied next to a border of zeros anyway. Doing the affine map of a batch norm, its
//! ReLU, or the way of a gradient back through both in that copy saves writing and reading the whole batch once each.

use super::batch_norm::Affine;
use super::norm_gradient::Backflow;
use super::padded::{Border, Extent, frame, widen};

/// A batch of images.
#[derive(Clone, Copy)]
pub(crate) enum Images<'a> {
    /// As they lie in memory.
    Plain(&'a [f32]),
    /// Normalized, and perhaps rectified, images.
    Normalized { x: &'a [f32], affine: &'a Affine },
    /// The gradient `dy` of normalized images, as a gradient of the images `x` before normalization.
    Through {
        dy: &'a [f32],
        x: &'a [f32],
        affine: &'a Affine,
        flow: &'a Backflow,
    },
}

impl<'a> Images<'a> {
    /// Floats of room that [`Images::read`] needs.
    pub(crate) fn room(&self, extent: Extent, border: Border, lanes: usize) -> usize {
        match self.is_readable(extent, border, lanes) {
            true => 0,
            false => extent.bordered(border).widened(lanes).len(),
        }
    }

    /// Image `n` with a border, its pixels `lanes >= extent.c` floats wide, the rest zeros; in `room` unless it lies
    /// in memory just so.
    pub(crate) fn read<'r>(
        &self,
        n: usize,
        extent: Extent,
        border: Border,
        lanes: usize,
        room: &'r mut [f32],
    ) -> &'r [f32]
    where
        'a: 'r,
    {
        let first = n * extent.len();
        if let Images::Plain(all) = self
            && self.is_readable(extent, border, lanes)
        {
            return &all[first..][..extent.len()];
        }
        let room = &mut room[..extent.bordered(border).widened(lanes).len()];
        if border.is_none() {
            self.pixels(first, extent.h * extent.w, extent.c, lanes, room);
        } else {
            frame(extent, border, lanes, room, |row, inside| {
                let first = first + row * extent.row();
                self.pixels(first, extent.w, extent.c, lanes, inside);
            });
        }
        room
    }

    fn is_readable(&self, extent: Extent, border: Border, lanes: usize) -> bool {
        matches!(self, Images::Plain(_)) && border.is_none() && lanes == extent.c
    }

    /// Writes consecutive pixels of `c` floats, from float `first` on, `lanes` floats apart.
    fn pixels(&self, first: usize, count: usize, c: usize, lanes: usize, to: &mut [f32]) {
        let of = |all: &'a [f32]| &all[first..][..count * c];
        match *self {
            Images::Plain(all) if lanes == c => to.copy_from_slice(of(all)),
            Images::Plain(all) => widen(of(all), c, lanes, to),
            Images::Normalized { x, affine } => affine.apply(of(x), lanes, to),
            Images::Through {
                dy,
                x,
                affine,
                flow,
            } => flow.apply(affine, of(x), of(dy), lanes, to),
        }
    }
}
