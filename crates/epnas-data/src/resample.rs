//! Bringing pixels to the configured size and number of channels.

use image::imageops::{self, FilterType};
use image::{GrayImage, ImageBuffer, Pixel, RgbImage};
use rayon::prelude::*;

use crate::{DataError, Images, images};

/// Bicubic with the Catmull-Rom kernel (Pillow's `BICUBIC`), widened when shrinking so that nothing aliases.
const FILTER: FilterType = FilterType::CatmullRom;

/// The central square of `image`, resized to `size` x `size`.
///
/// The same as resizing the shorter side to `size` and cropping the center, in the cheaper order, and without the
/// huge intermediate that a 10 x 30,000 image would give.
pub(crate) fn square<P>(image: &ImageBuffer<P, Vec<u8>>, size: u32) -> Vec<u8>
where
    P: Pixel<Subpixel = u8> + Send + Sync + 'static,
{
    let (width, height) = image.dimensions();
    let side = width.min(height);
    let view = imageops::crop_imm(image, (width - side) / 2, (height - side) / 2, side, side);
    if side == size {
        view.to_image().into_raw()
    } else {
        imageops::resize(&*view, size, size, FILTER).into_raw()
    }
}

/// Luma of sRGB values as stored: 0.2126 R + 0.7152 G + 0.0722 B (Rec. 709), rounded.
pub(crate) fn luma(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3)
        .map(|p| {
            let sum = 2126 * u32::from(p[0]) + 7152 * u32::from(p[1]) + 722 * u32::from(p[2]);
            ((sum + 5000) / 10_000) as u8
        })
        .collect()
}

/// Images of 1 or 3 channels brought to `size` x `size` and `channels` (1 or 3).
///
/// # Errors
/// [`DataError::Config`] when there is not enough memory for them.
pub(crate) fn conform(images: Images, size: usize, channels: usize) -> Result<Images, DataError> {
    let images = resized(images, size)?;
    let pixels = match (images.channels, channels) {
        (3, 1) => luma(&images.pixels),
        (1, 3) => {
            let mut pixels = images::allocate(images.len(), size, 3)?;
            for (out, &value) in pixels.chunks_exact_mut(3).zip(&images.pixels) {
                out.fill(value);
            }
            pixels
        }
        _ => return Ok(images),
    };
    Ok(Images {
        pixels,
        channels,
        ..images
    })
}

fn resized(images: Images, size: usize) -> Result<Images, DataError> {
    if (images.height, images.width) == (size, size) || images.image_len() == 0 {
        return Ok(images);
    }
    let (height, width, channels) = (images.height as u32, images.width as u32, images.channels);
    let mut pixels = images::allocate(images.len(), size, channels)?;
    pixels
        .par_chunks_exact_mut(size * size * channels)
        .zip(images.pixels.par_chunks_exact(images.image_len()))
        .for_each(|(out, pixels)| {
            let pixels = pixels.to_vec();
            let resized = if channels == 1 {
                GrayImage::from_raw(width, height, pixels).map(|image| square(&image, size as u32))
            } else {
                RgbImage::from_raw(width, height, pixels).map(|image| square(&image, size as u32))
            };
            if let Some(resized) = resized {
                out.copy_from_slice(&resized);
            }
        });
    Ok(Images {
        pixels,
        labels: images.labels,
        height: size,
        width: size,
        channels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_weights() {
        assert_eq!(
            luma(&[255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]),
            [54, 182, 18, 255]
        );
    }

    #[test]
    fn the_center_is_kept() {
        // A 2 x 6 image whose columns are 0, 50, 100, 150, 200, 250: the central square holds columns 2 and 3.
        let row: Vec<u8> = (0..6).map(|x| x * 50).collect();
        let image = GrayImage::from_raw(6, 2, [row.clone(), row].concat()).unwrap();
        assert_eq!(square(&image, 2), [100, 150, 100, 150]);
        assert_eq!(square(&image, 1), [125]);
    }

    #[test]
    fn constant_images_stay_constant() {
        let images = Images {
            pixels: vec![77; 28 * 28],
            labels: vec![0],
            height: 28,
            width: 28,
            channels: 1,
        };
        let got = conform(images, 32, 3).unwrap();
        assert_eq!((got.height, got.width, got.channels), (32, 32, 3));
        assert_eq!(got.pixels, vec![77; 32 * 32 * 3]);
    }
}
