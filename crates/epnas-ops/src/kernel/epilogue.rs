//! Sums over an image that its producer takes as soon as the image is complete, while it is in the cache.

use super::batch_norm::Affine;
use super::norm_gradient::{self, GradientSums};
use super::statistics::{self, Statistics};

/// Sums over the images of a batch. Every image has a part of its own; parts are combined in the order of the images,
/// so that threads do not matter.
pub(crate) trait Epilogue: Sync {
    /// Floats of a part; at least 1, so that parts can be counted.
    fn part_len(&self) -> usize;

    /// Sums image `n`.
    fn image(&self, n: usize, image: &[f32], part: &mut [f32]);
}

/// An epilogue and the parts of a batch.
pub(crate) struct Finish<'a> {
    pub(crate) epilogue: &'a dyn Epilogue,
    pub(crate) parts: &'a mut [f32],
}

/// Nothing to sum.
pub(crate) struct Nothing;

impl Epilogue for Nothing {
    fn part_len(&self) -> usize {
        1
    }

    fn image(&self, _: usize, _: &[f32], _: &mut [f32]) {}
}

/// Runs `body` on a batch of `n` images with nothing to sum.
pub(crate) fn without_sums(n: usize, body: impl FnOnce(&mut Finish)) {
    body(&mut Finish {
        epilogue: &Nothing,
        parts: &mut vec![0.0; n * Nothing.part_len()],
    });
}

/// What batch statistics need.
pub(crate) struct Moments {
    pub(crate) channels: usize,
}

impl Epilogue for Moments {
    fn part_len(&self) -> usize {
        statistics::PARTS * self.channels
    }

    fn image(&self, _: usize, image: &[f32], part: &mut [f32]) {
        statistics::moments(self.channels, image, part);
    }
}

impl Moments {
    /// Statistics of a batch whose images have so many rows of channels.
    pub(crate) fn combine(&self, parts: &[f32], rows: usize) -> Statistics {
        Statistics::combine(self.channels, parts, std::iter::repeat(rows))
    }
}

/// What the gradients of batch norms need whose result has the gradient that is being written.
pub(crate) struct NormSums<'a> {
    /// Every batch norm and what it normalized.
    pub(crate) norms: Vec<(Affine, &'a [f32])>,
}

impl Epilogue for NormSums<'_> {
    fn part_len(&self) -> usize {
        let channels: usize = self.norms.iter().map(|(affine, _)| affine.channels()).sum();
        (norm_gradient::PARTS * channels).max(1)
    }

    fn image(&self, n: usize, image: &[f32], mut part: &mut [f32]) {
        for (affine, x) in &self.norms {
            let (own, rest) = part.split_at_mut(norm_gradient::PARTS * affine.channels());
            let x = &x[n * image.len()..][..image.len()];
            norm_gradient::part_sums(affine, x, image, own);
            part = rest;
        }
    }
}

impl NormSums<'_> {
    /// The sums of every batch norm.
    pub(crate) fn combine(&self, parts: &[f32]) -> Vec<GradientSums> {
        let mut first = 0;
        let of = |(affine, _): &(Affine, _)| {
            let len = norm_gradient::PARTS * affine.channels();
            let own = parts
                .chunks_exact(self.part_len())
                .map(|part| &part[first..first + len]);
            let sums = GradientSums::combine(affine, own);
            first += len;
            sums
        };
        self.norms.iter().map(of).collect()
    }
}
