//! The readers of files, given the bytes of one instead of its path: for those who try them on bytes of every kind, where
//! a file for each try would cost more than reading it.

use std::path::Path;

use crate::cifar::{CIFAR10, CIFAR100};
use crate::{DataError, Images, decode, idx, resample};

/// Whether an IDX file is gzipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// In gzip's format.
    Gzip,
}

/// Images and labels of MNIST's two files.
///
/// # Errors
/// As [`load`](crate::load).
pub fn mnist(images: (&[u8], Packing), labels: (&[u8], Packing)) -> Result<Images, DataError> {
    let name = |stem: &str, packing| match packing {
        Packing::Plain => stem.into(),
        Packing::Gzip => format!("{stem}.gz").into(),
    };
    let pair = idx::Pair {
        images: name("images-idx3-ubyte", images.1),
        labels: name("labels-idx1-ubyte", labels.1),
    };
    idx::read_bytes(&pair, images.0, labels.0)
}

/// The images of a file of CIFAR-10's binary version.
///
/// # Errors
/// As [`load`](crate::load).
pub fn cifar10(bytes: &[u8]) -> Result<Images, DataError> {
    CIFAR10.parse(Path::new("data_batch_1.bin"), bytes)
}

/// The images of a file of CIFAR-100's binary version.
///
/// # Errors
/// As [`load`](crate::load).
pub fn cifar100(bytes: &[u8]) -> Result<Images, DataError> {
    CIFAR100.parse(Path::new("train.bin"), bytes)
}

/// Images brought to a size and a number of channels (1 or 3), as [`load`](crate::load) does.
///
/// # Errors
/// As there, when they do not fit in memory.
pub fn conform(images: Images, size: usize, channels: usize) -> Result<Images, DataError> {
    resample::conform(images, size, channels)
}

/// An image file as `[size, size, channels]` pixels, as [`decode_image`](crate::decode_image) does, if it claims at most
/// `most` pixels.
///
/// # Errors
/// The reason, in one line.
pub fn image(bytes: &[u8], most: u64, size: usize, channels: usize) -> Result<Vec<u8>, String> {
    decode::decode_bytes(bytes, most, |image| decode::square(image, size, channels))
}
