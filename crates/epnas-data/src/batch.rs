//! Batches: normalized `f32` images in a given order, the same for any number of threads.

use rayon::prelude::*;

use crate::counter::{below, draw};
use crate::{AugmentConfig, Augmentation, Images, Normalization};

/// Writes the images at `indices` into `out`, normalized and, if asked, augmented, and their labels into `labels`.
///
/// The image `indices[i]` is augmented by what [`Augmentation::draw`] gives for position `first_position + i` of the
/// stream `stream_seed`: a batch depends on these two numbers alone, not on the batches before it or on the threads.
/// Within an epoch, `first_position` is the number of images already drawn; every epoch has a seed of its own.
///
/// # Shapes
/// `out` is `[indices.len(), height, width, channels]`, `labels` is `[indices.len()]`. Both may be longer (buffers for
/// full batches): what lies beyond is not touched.
///
/// # Panics
/// When `out` or `labels` is too short, when an index is not below `images.len()`, or when `normalization` has another
/// number of channels than `images`.
#[allow(
    clippy::too_many_arguments,
    reason = "plain slices, so that a plan can call it without building a struct"
)]
pub fn fill_batch(
    images: &Images,
    indices: &[u32],
    normalization: &Normalization,
    augment: Option<&AugmentConfig>,
    stream_seed: u64,
    first_position: u64,
    out: &mut [f32],
    labels: &mut [u32],
) {
    let table = normalization.table();
    fill(
        images,
        indices,
        &table,
        augment,
        stream_seed,
        first_position,
        out,
        labels,
    );
}

#[allow(clippy::too_many_arguments, reason = "as fill_batch")]
fn fill(
    images: &Images,
    indices: &[u32],
    table: &[[f32; 256]],
    augment: Option<&AugmentConfig>,
    stream_seed: u64,
    first_position: u64,
    out: &mut [f32],
    labels: &mut [u32],
) {
    let len = images.image_len();
    let n = indices.len();
    assert_eq!(
        table.len(),
        images.channels,
        "channels of the normalization and of the images"
    );
    assert!(
        out.len() >= n * len && labels.len() >= n,
        "a batch of {n} images of {len} values does not fit buffers of {} values and {} labels",
        out.len(),
        labels.len()
    );
    if len == 0 {
        return;
    }
    for (label, &index) in labels.iter_mut().zip(indices) {
        *label = images.labels[index as usize];
    }
    let shape = (images.height, images.width, images.channels);
    // Chunks of several images: one image is a microsecond of work, too little to schedule on its own.
    const CHUNK: usize = 8;
    out[..n * len]
        .par_chunks_mut(CHUNK * len)
        .zip(indices.par_chunks(CHUNK))
        .enumerate()
        .for_each(|(chunk, (out, indices))| {
            for (i, (out, &index)) in out.chunks_exact_mut(len).zip(indices).enumerate() {
                let position = first_position + (chunk * CHUNK + i) as u64;
                let augmentation = augment.map_or(Augmentation::NONE, |config| {
                    Augmentation::draw(config, stream_seed, position, shape.0, shape.1)
                });
                augmentation.apply(images.image(index as usize), shape, table, out);
            }
        });
}

/// The batches of one epoch, one after the other, into buffers of the caller.
///
/// Position `i` of the stream is `order[i]`; the batches are those that [`fill_batch`] would write.
#[derive(Debug)]
pub struct BatchStream<'a> {
    images: &'a Images,
    order: &'a [u32],
    batch: usize,
    table: Vec<[f32; 256]>,
    augment: Option<&'a AugmentConfig>,
    seed: u64,
    position: usize,
}

impl<'a> BatchStream<'a> {
    /// Streams the images at `order` in batches of `batch` (at least 1), augmented by draws of `stream_seed`.
    ///
    /// # Panics
    /// When `normalization` has another number of channels than `images`.
    pub fn new(
        images: &'a Images,
        order: &'a [u32],
        batch: usize,
        normalization: &Normalization,
        augment: Option<&'a AugmentConfig>,
        stream_seed: u64,
    ) -> Self {
        let table = normalization.table();
        assert_eq!(
            table.len(),
            images.channels,
            "channels of the normalization and of the images"
        );
        Self {
            images,
            order,
            batch: batch.max(1),
            table,
            augment,
            seed: stream_seed,
            position: 0,
        }
    }

    /// How many batches the epoch has, the last, shorter one included.
    pub fn batches(&self) -> usize {
        self.order.len().div_ceil(self.batch)
    }

    /// How many images have been streamed.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Writes the next batch and returns its number of images: the batch size, less for the last, none at the end.
    ///
    /// # Panics
    /// When `out` is shorter than the batch, `[n, height, width, channels]`, or `labels` shorter than `n`.
    pub fn next_into(&mut self, out: &mut [f32], labels: &mut [u32]) -> Option<usize> {
        let rest = &self.order[self.position..];
        if rest.is_empty() {
            return None;
        }
        let indices = &rest[..rest.len().min(self.batch)];
        let first = self.position as u64;
        fill(
            self.images,
            indices,
            &self.table,
            self.augment,
            self.seed,
            first,
            out,
            labels,
        );
        self.position += indices.len();
        Some(indices.len())
    }
}

/// The images at `indices` in a random order that depends on `seed` alone.
///
/// Fisher and Yates' shuffle from the back: for `i` from `n - 1` down to 1, element `i` is swapped with element
/// `below(draw(seed, i, 0), i + 1)` ([`crate::counter`]).
pub fn epoch_order(indices: &[u32], seed: u64) -> Vec<u32> {
    let mut order = indices.to_vec();
    for i in (1..order.len()).rev() {
        let j = below(draw(seed, i as u64, 0), i as u32 + 1) as usize;
        order.swap(i, j);
    }
    order
}
