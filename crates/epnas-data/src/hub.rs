//! Downloads from the Hugging Face hub, by candle-datasets, for when no folder is given.
//!
//! CIFAR-10 is right but for one thing: `candle_datasets::vision::cifar::load` (0.11.1) takes the decoder's
//! `[row, column, channel]` for `[column, row, channel]` and permutes by (0, 3, 2, 1), so that its
//! `[image, channel, height, width]` tensor has rows and columns swapped. [`cifar_pixels`] undoes exactly that.
//! The MNIST loaders keep the order of the rows.

use candle_core::{DType, Tensor};
use candle_datasets::vision;

use crate::cifar::CIFAR10;
use crate::{DataError, Images, Source};

/// The training and the test part of `source`, downloaded or from the hub's cache.
///
/// # Errors
/// [`DataError::Download`] without a network, [`DataError::Malformed`] when the tensors are not as documented, and
/// [`DataError::Config`] for sources that cannot be downloaded.
pub(crate) fn load(source: Source) -> Result<(Images, Images), DataError> {
    let (name, files) = match source {
        Source::Cifar10 => (
            "cifar10",
            "data_batch_1.bin .. data_batch_5.bin and test_batch.bin",
        ),
        Source::Mnist => ("mnist", "train-images-idx3-ubyte and its kin"),
        Source::FashionMnist => ("fashion_mnist", "train-images-idx3-ubyte and its kin"),
        Source::Cifar100 | Source::Folder | Source::Synthetic => {
            return Err(DataError::config(
                "dir",
                "none",
                format!("a folder: source = \"{source}\" cannot be downloaded"),
            ));
        }
    };
    tracing::info!(
        source = name,
        "no folder given: asking the Hugging Face hub"
    );
    let loaded = match source {
        Source::Cifar10 => vision::cifar::load(),
        Source::Mnist => vision::mnist::load(),
        _ => vision::fashion_mnist::load(),
    };
    let data = loaded.map_err(|error| DataError::Download {
        name,
        reason: one_line(&error.to_string()),
        files,
    })?;
    let part = |images: &Tensor, labels: &Tensor| {
        match source {
            Source::Cifar10 => cifar_images(images, labels),
            _ => gray_images(images, labels),
        }
        .map_err(|error| DataError::Malformed {
            name,
            reason: one_line(&error.to_string()),
        })
    };
    Ok((
        part(&data.train_images, &data.train_labels)?,
        part(&data.test_images, &data.test_labels)?,
    ))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cifar_images(images: &Tensor, labels: &Tensor) -> candle_core::Result<Images> {
    let (_, channels, width, height) = images.dims4()?;
    Ok(Images {
        pixels: cifar_pixels(images)?,
        labels: checked_labels(labels, CIFAR10.name)?,
        height,
        width,
        channels,
    })
}

/// Pixels `[image, row, column, channel]` from candle-datasets' transposed `[image, channel, column, row]` of
/// `value / 255`.
fn cifar_pixels(images: &Tensor) -> candle_core::Result<Vec<u8>> {
    bytes(&images.permute((0, 3, 2, 1))?)
}

/// `[image, row x column]` of `value / 255` to square images of one channel.
fn gray_images(images: &Tensor, labels: &Tensor) -> candle_core::Result<Images> {
    let (_, len) = images.dims2()?;
    let side = len.isqrt();
    if side * side != len {
        candle_core::bail!("images of {len} pixels; expected a square, 784 pixels");
    }
    Ok(Images {
        pixels: bytes(images)?,
        labels: checked_labels(labels, "mnist")?,
        height: side,
        width: side,
        channels: 1,
    })
}

fn bytes(values: &Tensor) -> candle_core::Result<Vec<u8>> {
    // v / 255 in f32, times 255, is within half of v for every byte; + 0.5 because the cast truncates.
    (values.contiguous()?.flatten_all()?.to_dtype(DType::F32)? * 255.0)?
        .affine(1.0, 0.5)?
        .to_dtype(DType::U8)?
        .to_vec1()
}

fn checked_labels(labels: &Tensor, name: &str) -> candle_core::Result<Vec<u32>> {
    let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    match labels.iter().position(|&label| label > 9) {
        Some(index) => {
            candle_core::bail!(
                "label {} of image {index} of {name}; expected 0 to 9",
                labels[index]
            )
        }
        None => Ok(labels),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// What candle-datasets 0.11.1 does with the decoder's bytes, for one 2 x 3 image (height x width).
    fn as_candle_gives_it(rows: &[u8], height: usize, width: usize) -> Tensor {
        // Its from_vec names the axes (samples, 32, 32, 3); the memory is [row, column, channel].
        (Tensor::from_vec(rows.to_vec(), (1, height, width, 3), &Device::Cpu)
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap()
            .permute((0, 3, 2, 1))
            .unwrap()
            / 255.)
            .unwrap()
    }

    #[test]
    fn the_transposition_is_undone() {
        let pixels: Vec<u8> = (0..2 * 3 * 3).map(|v| v * 14).collect();
        let tensor = as_candle_gives_it(&pixels, 2, 3);
        assert_eq!(
            tensor.dims(),
            [1, 3, 3, 2],
            "channel, column, row: the defect"
        );
        assert_eq!(cifar_pixels(&tensor).unwrap(), pixels);
        let labels = Tensor::new(&[4u8], &Device::Cpu).unwrap();
        let images = cifar_images(&tensor, &labels).unwrap();
        assert_eq!((images.height, images.width, images.channels), (2, 3, 3));
        assert_eq!((images.pixels, images.labels), (pixels, vec![4]));
    }

    #[test]
    fn every_byte_survives_the_float() {
        let all: Vec<u8> = (0..=255).collect();
        let tensor = (Tensor::new(all.clone(), &Device::Cpu)
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap()
            / 255.)
            .unwrap();
        assert_eq!(bytes(&tensor).unwrap(), all);
    }

    #[test]
    fn wrong_labels_and_shapes_are_errors() {
        let labels = Tensor::new(&[3u8, 10], &Device::Cpu).unwrap();
        let error = checked_labels(&labels, "cifar10").unwrap_err().to_string();
        assert!(error.contains("label 10 of image 1 of cifar10"), "{error}");
        let flat = Tensor::zeros((2, 10), DType::F32, &Device::Cpu).unwrap();
        let error = gray_images(&flat, &labels).unwrap_err().to_string();
        assert!(error.contains("10 pixels"), "{error}");
    }

    #[test]
    fn sources_without_a_download_ask_for_a_folder() {
        let error = load(Source::Cifar100).unwrap_err().to_string();
        assert_eq!(
            error,
            "data.dir = none: expected a folder: source = \"cifar100\" cannot be downloaded"
        );
    }
}
