//! Downloads from the Hugging Face hub, by candle-datasets, for when no folder is given.
//!
//! CIFAR-10 is right but for one thing: `candle_datasets::vision::cifar::load` (0.11.1) takes the decoder's
//! `[row, column, channel]` for `[column, row, channel]` and permutes by (0, 3, 2, 1), so that its
//! `[image, channel, height, width]` tensor has rows and columns swapped. [`cifar_pixels`] undoes exactly that.
//! The MNIST loaders keep the order of the rows.
//!
//! When its attempts are used up, the client (`hf_hub` 1.0.0) logs an ERROR of its own under the `tracing` target
//! `hf_hub::retry`. A program that shows the returned error can silence it with the filter directive
//! `hf_hub::retry=off`; a library must not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use candle_core::{DType, Tensor};
use candle_datasets::vision;

use crate::cifar::CIFAR10;
use crate::{DataError, Images, Source};

/// The training and the test part of `source`, downloaded or from the hub's cache.
///
/// # Errors
/// [`DataError::Download`] without a network, [`DataError::Malformed`] when the files in the hub's cache are damaged or
/// give tensors that are not as documented, and
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
    let malformed = |reason: String| DataError::Malformed {
        name,
        cache: cache_dir(),
        reason,
    };
    let loaded = guarded(|| match source {
        Source::Cifar10 => vision::cifar::load(),
        Source::Mnist => vision::mnist::load(),
        _ => vision::fashion_mnist::load(),
    })
    .map_err(malformed)?;
    let data = loaded.map_err(|error| {
        let text = first_line(&error.to_string());
        match text.strip_prefix(CLIENT) {
            Some(reason) => DataError::Download {
                name,
                reason: without_repetition(reason),
                files,
            },
            None => malformed(text),
        }
    })?;
    let part = |images: &Tensor, labels: &Tensor| {
        match source {
            Source::Cifar10 => cifar_images(images, labels),
            _ => gray_images(images, labels),
        }
        .map_err(|error| malformed(first_line(&error.to_string())))
    };
    Ok((
        part(&data.train_images, &data.train_labels)?,
        part(&data.test_images, &data.test_labels)?,
    ))
}

/// What candle-datasets writes before the client's errors; its other errors are about files that have arrived.
const CLIENT: &str = "Api error: ";

/// Calls candle-datasets; the error is what it panicked with.
///
/// Its parquet readers `unwrap` the decoding of every image (0.11.1), so that a damaged file in the hub's cache would
/// end the program. The closure owns nothing that a panic could leave half done.
fn guarded<T>(load: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(load)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        first_line(text.unwrap_or("its decoder panicked"))
    })
}

/// The folder of the hub's cache, as `hf_hub::constants::resolve_cache_dir` (1.0.0) finds it.
fn cache_dir() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| {
            variable("HF_HOME")
                .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface")))
                .unwrap_or_else(|| {
                    variable("HOME")
                        .unwrap_or_else(|| "/tmp".into())
                        .join(".cache/huggingface")
                })
                .join("hub")
        })
}

/// candle's errors carry a backtrace on further lines when one is asked for.
fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("no reason given").trim().to_owned()
}

/// The client's transport errors end with the address in brackets, twice: it is left out of the line, which names the
/// data set.
fn without_repetition(reason: &str) -> String {
    let reason = reason
        .strip_prefix("HTTP request error: ")
        .unwrap_or(reason);
    let mut words: Vec<&str> = reason.split_whitespace().collect();
    let is_address = |word: &str| word.starts_with("(http") && word.ends_with(')');
    while words.len() > 1 && words.last().is_some_and(|word| is_address(word)) {
        words.pop();
    }
    words.join(" ").trim_end_matches(" for url").to_owned()
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
    fn a_panic_in_the_decoder_is_an_error() {
        let error = guarded(|| -> u8 { panic!("called unwrap on\n{}", "Err(truncated)") });
        assert_eq!(error, Err("called unwrap on".to_owned()));
        assert_eq!(
            guarded(|| -> u8 { std::panic::panic_any(3) }),
            Err("its decoder panicked".to_owned())
        );
        assert_eq!(guarded(|| 3), Ok(3));
    }

    #[test]
    fn the_address_is_not_repeated() {
        let url = "http://127.0.0.1:9/datasets/cifar10";
        assert_eq!(
            without_repetition(&format!(
                "HTTP request error: error sending request for url ({url}) ({url})"
            )),
            "error sending request"
        );
        assert_eq!(
            without_repetition("Repository not found: a/b"),
            "Repository not found: a/b"
        );
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
