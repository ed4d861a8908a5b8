//! Images in memory: 8-bit pixels in one flat buffer, with labels.

use crate::DataError;

/// Labeled images of one size, as 8-bit pixels in one buffer.
///
/// Eight bits are what every source holds; normalized `f32` would take four times the memory and bandwidth, and
/// augmentation by cropping needs no floating point.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Images {
    /// Pixels, `[image, row, column, channel]` (NHWC), `len() * height * width * channels` of them.
    pub pixels: Vec<u8>,
    /// Class of every image, an index into [`Dataset::classes`].
    pub labels: Vec<u32>,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of a pixel: 3 (red, green, blue) or 1 (gray).
    pub channels: usize,
}

/// Room for `count` images of `size` x `size`, black.
///
/// # Errors
/// [`DataError::Config`] when there is less memory than that, instead of the end of the program.
pub(crate) fn allocate(count: usize, size: usize, channels: usize) -> Result<Vec<u8>, DataError> {
    let bytes = count.saturating_mul(size * size * channels);
    let mut pixels = Vec::new();
    if pixels.try_reserve_exact(bytes).is_err() {
        return Err(DataError::config(
            "image_size",
            size,
            format!(
                "images that fit into memory: {count} of {size} x {size} x {channels} take {:.1} GB, more than there is",
                bytes as f64 / 1e9
            ),
        ));
    }
    pixels.resize(bytes, 0);
    Ok(pixels)
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values of one image: height x width x channels.
    pub fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of image `index`, `[row, column, channel]`.
    ///
    /// # Panics
    /// When `index` is not below [`Images::len`].
    pub fn image(&self, index: usize) -> &[u8] {
        let len = self.image_len();
        &self.pixels[index * len..(index + 1) * len]
    }

    /// A copy of the images at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is not below [`Images::len`].
    pub fn subset(&self, indices: &[usize]) -> Images {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_len());
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
            labels.push(self.labels[index]);
        }
        Images {
            pixels,
            labels,
            height: self.height,
            width: self.width,
            channels: self.channels,
        }
    }

    /// How many images every one of `classes` classes has; labels beyond are not counted.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// A data set in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Name for people: `cifar10`, `synthetic`, a folder's name.
    pub name: String,
    /// Names of the classes; a label is an index into this list.
    pub classes: Vec<String>,
    /// The images to train and validate on ([`crate::split`] divides them).
    pub train: Images,
    /// The images that a search never sees, when the source has them.
    pub test: Option<Images>,
}
