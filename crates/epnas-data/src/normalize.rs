//! Per-channel normalization, measured on the images that are trained on.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Images;

/// Mean and standard deviation of every channel, of pixel values scaled to `0..=1`.
///
/// A pixel `p` in `0..=255` becomes `(p / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of every channel.
    pub mean: Vec<f32>,
    /// Population standard deviation of every channel; 1 for a channel that never varies.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Measures the images at `indices`; mean 0 and deviation 1 when there are none.
    ///
    /// The sums are of integers, hence exact and independent of the order and the number of threads.
    ///
    /// # Panics
    /// When an index is not below `images.len()`.
    pub fn from_images(images: &Images, indices: &[u32]) -> Normalization {
        let channels = images.channels;
        let zero = || vec![[0u64; 2]; channels];
        let sums = indices
            .par_chunks(256)
            .map(|chunk| {
                let mut sums = zero();
                for &index in chunk {
                    for pixel in images.image(index as usize).chunks_exact(channels.max(1)) {
                        for (sum, &value) in sums.iter_mut().zip(pixel) {
                            let value = u64::from(value);
                            sum[0] += value;
                            sum[1] += value * value;
                        }
                    }
                }
                sums
            })
            .reduce(zero, |mut a, b| {
                for (a, b) in a.iter_mut().zip(b) {
                    a[0] += b[0];
                    a[1] += b[1];
                }
                a
            });
        let count = (indices.len() * images.height * images.width) as f64;
        let (mean, std) = sums
            .iter()
            .map(|&[sum, square]| {
                if count == 0.0 {
                    return (0.0, 1.0);
                }
                let mean = sum as f64 / count;
                let variance = (square as f64 / count - mean * mean).max(0.0);
                // The smallest variance that 8-bit pixels can have without being constant is about 1 / count, far
                // above the rounding of the difference.
                let std = if variance > 1e-9 {
                    variance.sqrt() / 255.0
                } else {
                    1.0
                };
                ((mean / 255.0) as f32, std as f32)
            })
            .unzip();
        Normalization { mean, std }
    }

    /// What every pixel value becomes, per channel: `table[channel][value] = (value / 255 - mean) / std`.
    ///
    /// [`crate::fill_batch`] reads these tables, and a kernel elsewhere that reads the same tables gets the same bits.
    pub fn table(&self) -> Vec<[f32; 256]> {
        self.mean
            .iter()
            .zip(&self.std)
            .map(|(&mean, &std)| std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pixels_by_hand() {
        let images = Images {
            pixels: vec![0, 51, 7, 255, 51, 7, 9, 9, 9, 9, 9, 9],
            labels: vec![0, 0],
            height: 1,
            width: 2,
            channels: 3,
        };
        let got = Normalization::from_images(&images, &[0]);
        // Channel 0 holds 0 and 255: mean and deviation 0.5. The others are constant: 51 / 255 = 0.2.
        assert_eq!(got.mean, [0.5, 0.2, 7.0 / 255.0]);
        assert_eq!(got.std, [0.5, 1.0, 1.0]);
        let table = got.table();
        assert_eq!((table[0][0], table[0][255]), (-1.0, 1.0));
        assert_eq!(table[1][51], 0.0);
    }

    #[test]
    fn no_images_change_nothing() {
        let images = Images {
            height: 1,
            width: 1,
            channels: 1,
            ..Images::default()
        };
        let got = Normalization::from_images(&images, &[]);
        assert_eq!((got.mean, got.std), (vec![0.0], vec![1.0]));
    }
}
