//! Telling from a folder's files which kind of data set it holds.

use std::path::Path;

use crate::{DataError, Source, cifar, folder, idx};

/// Which source reads the data set in `dir`.
///
/// Looks for the names of the CIFAR and IDX files, then for directories with images. MNIST and Fashion-MNIST have the
/// same file names: it is Fashion-MNIST when the path contains `fashion`, in any case.
///
/// # Errors
/// [`DataError::Missing`] when there is no such folder, [`DataError::Invalid`] when it holds none of the known kinds.
pub fn detect(dir: &Path) -> Result<Source, DataError> {
    folder::require_dir(dir, "a folder with a data set")?;
    for (format, source) in [
        (&cifar::CIFAR10, Source::Cifar10),
        (&cifar::CIFAR100, Source::Cifar100),
    ] {
        let root = format.root(dir);
        if format
            .train
            .iter()
            .chain([&format.test])
            .any(|file| root.join(file).is_file())
        {
            return Ok(source);
        }
    }
    if idx::files(dir)
        .iter()
        .any(|pair| pair.images.is_file() || pair.labels.is_file())
    {
        let fashion = dir
            .canonicalize()
            .unwrap_or_else(|_| dir.to_owned())
            .to_string_lossy()
            .to_lowercase()
            .contains("fashion");
        return Ok(if fashion {
            Source::FashionMnist
        } else {
            Source::Mnist
        });
    }
    if folder::looks_like(dir)? {
        return Ok(Source::Folder);
    }
    Err(DataError::invalid(
        dir,
        "no known data set",
        "CIFAR binary files (data_batch_1.bin or train.bin), IDX files (train-images-idx3-ubyte) or one directory of PNG or JPEG files per class",
    ))
}
