//! Batches of images as kernels read them: as they are, or mapped by a batch norm on the way into the cache.
//!
//! What a convolution reads is copied next to a border of zeros anyway. Doing the affine map of a batch norm, its
//! ReLU, or the way of a gradient back through both in that copy saves writing and reading the whole batch once each.

use super::batch_norm::Affine;
use super::norm_gradient::Backflow;
use super::padded::{Border, Extent, frame, widen};
use super::pairs;
use crate::precision::Precision;

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

/// What the pixels of an image are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// So many floats: the channels, then zeros.
    Floats(usize),
    /// Pairs of channels in bfloat16.
    Pairs,
}

impl Form {
    /// Pixels of `c` channels without more, as numbers of a precision.
    pub(crate) fn of(precision: Precision, c: usize) -> Self {
        match precision {
            Precision::F32 => Form::Floats(c),
            Precision::Bf16 => Form::Pairs,
        }
    }

    /// Floats or pairs of a pixel with `c` channels.
    fn width(self, c: usize) -> usize {
        match self {
            Form::Floats(lanes) => lanes,
            Form::Pairs => Precision::Bf16.numbers(c),
        }
    }
}

/// Pixels that become pairs at a time, in the first-level cache.
const STRETCH: usize = 64;

impl<'a> Images<'a> {
    /// Floats of room that [`Images::read`] needs.
    pub(crate) fn room(&self, extent: Extent, border: Border, form: Form) -> usize {
        if self.is_readable(extent, border, form) {
            return 0;
        }
        let image = extent.bordered(border).widened(form.width(extent.c)).len();
        match (form, self) {
            (Form::Floats(_), _) | (_, Images::Plain(_)) => image,
            (Form::Pairs, _) => image + STRETCH * extent.c,
        }
    }

    /// Image `n` with a border; in `room` unless it lies in memory just so.
    pub(crate) fn read<'r>(
        &self,
        n: usize,
        extent: Extent,
        border: Border,
        form: Form,
        room: &'r mut [f32],
    ) -> &'r [f32]
    where
        'a: 'r,
    {
        let first = n * extent.len();
        if let Images::Plain(all) = self
            && self.is_readable(extent, border, form)
        {
            return &all[first..][..extent.len()];
        }
        let width = form.width(extent.c);
        let (image, stretch) = room.split_at_mut(extent.bordered(border).widened(width).len());
        let mut pixels = |first: usize, count: usize, to: &mut [f32]| match form {
            Form::Floats(lanes) => self.pixels(first, count, extent.c, lanes, to),
            Form::Pairs => self.pairs(first, count, extent.c, stretch, to),
        };
        if border.is_none() {
            pixels(first, extent.h * extent.w, image);
        } else {
            frame(extent, border, width, image, |row, inside| {
                pixels(first + row * extent.row(), extent.w, inside);
            });
        }
        image
    }

    fn is_readable(&self, extent: Extent, border: Border, form: Form) -> bool {
        matches!(self, Images::Plain(_)) && border.is_none() && form == Form::Floats(extent.c)
    }

    /// Writes consecutive pixels of `c` channels as pairs, from float `first` on. `stretch` is room for a few.
    fn pairs(&self, first: usize, count: usize, c: usize, stretch: &mut [f32], to: &mut [f32]) {
        if let Images::Plain(all) = self {
            return pairs::of_channels(&all[first..][..count * c], c, c, to);
        }
        let to = to.chunks_mut(STRETCH * Form::Pairs.width(c));
        for (index, to) in to.enumerate() {
            let done = index * STRETCH;
            let count = STRETCH.min(count - done);
            let floats = &mut stretch[..count * c];
            self.pixels(first + done * c, count, c, c, floats);
            pairs::of_channels(floats, c, c, to);
        }
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
