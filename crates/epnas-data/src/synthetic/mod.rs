//! The built-in data set: textured shapes on cluttered ground, ten classes, drawn by seed.
//!
//! Every image is a pure function of (seed, part, index, size): it can be drawn alone, on any thread. A class is a
//! shape and a texture (a *striped disc*); place, size, rotation, colors, the ground's own texture, clutter, light and
//! noise are random and equally distributed in all classes. Mean color, mean brightness and single pixels therefore
//! tell nothing, the texture alone leaves five classes, and the shape alone leaves two.
//!
//! How hard it is, measured at 32 x 32 with 8,000 training images, 8 epochs of SGD and 24 channels, on 2,000 test
//! images: one pooling layer between stem and head 18%; two or three convolutions with
//! pools between 59%; a macro network of 3x3, depthwise 3x3 and 5x5 convolutions and a max pool 94%.
//! A linear softmax on the pixels (4,000 images, 40 epochs) reaches 12%, hardly more than chance.
//!
//! Lengths scale with the image, so below about 24 x 24 pixels the textures are finer than the grid can show.

mod scene;

use rayon::prelude::*;

use crate::counter::{Sequence, mix};
use crate::{Dataset, Images, SyntheticConfig, resample};
use scene::Scene;

/// Names of the classes: five shapes, each striped and checkered.
pub const CLASSES: [&str; 10] = [
    "striped_disc",
    "striped_ring",
    "striped_square",
    "striped_triangle",
    "striped_cross",
    "checkered_disc",
    "checkered_ring",
    "checkered_square",
    "checkered_triangle",
    "checkered_cross",
];

/// Training or test images: two independent streams of the same distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The images that [`crate::Dataset::train`] holds.
    Train,
    /// The images that [`crate::Dataset::test`] holds.
    Test,
}

/// The data set of `config`, `size` x `size` pixels, with 3 channels or 1.
pub fn dataset(config: &SyntheticConfig, size: usize, channels: usize) -> Dataset {
    let part = |stream, count| {
        let color = images(config.seed, stream, count, size);
        match channels {
            1 => Images {
                pixels: resample::luma(&color.pixels),
                channels,
                ..color
            },
            _ => color,
        }
    };
    Dataset {
        name: "synthetic".to_owned(),
        classes: CLASSES.iter().map(|&name| name.to_owned()).collect(),
        train: part(Stream::Train, config.train),
        test: Some(part(Stream::Test, config.test)),
    }
}

/// The first `count` images of a stream, `[image, size, size, 3]`. Image `i` is of class `i % 10`.
pub fn images(seed: u64, stream: Stream, count: usize, size: usize) -> Images {
    let mut pixels = vec![0; count * size * size * 3];
    if size > 0 {
        pixels
            .par_chunks_exact_mut(size * size * 3)
            .enumerate()
            .for_each(|(index, out)| draw(seed, stream, index as u64, size, out));
    }
    Images {
        pixels,
        labels: (0..count)
            .map(|index| (index % CLASSES.len()) as u32)
            .collect(),
        height: size,
        width: size,
        channels: 3,
    }
}

/// Draws image `index` of a stream into `out`, `[size, size, 3]`.
fn draw(seed: u64, stream: Stream, index: u64, size: usize, out: &mut [u8]) {
    let stream = match stream {
        Stream::Train => 0x7472_6169_6e00_0000,
        Stream::Test => 0x7465_7374_0000_0000,
    };
    let mut random = Sequence::new(mix(seed ^ stream), index);
    let label = (index % CLASSES.len() as u64) as usize;
    Scene::random(&mut random, label).render(&mut random, size, out);
}
