//! Telling from a folder's files which kind of data set it holds.

use std::path::Path;

use crate::cifar::{CIFAR10, CIFAR100};
use crate::{DataError, Source, idx, listing};

/// Which source reads the data set in `dir`.
///
/// Looks, in this order, for one of
/// 1. the files of CIFAR-10's binary version (`data_batch_1.bin` .. `test_batch.bin`), in `dir` or in
///    `dir/cifar-10-batches-bin`;
/// 2. the IDX files of MNIST (`train-images-idx3-ubyte` ..), plain or `.gz`, in `dir` or in `dir/raw`. Fashion-MNIST has
///    the same names: it is Fashion-MNIST when the absolute path contains `fashion`, in any case;
/// 3. CIFAR-100's `train.bin` or `test.bin` in `dir/cifar-100-binary`, or in `dir` unless it has directories of images,
///    for these two names say little;
/// 4. directories with PNG or JPEG files.
///
/// One file of a set is enough, so that an incomplete copy is named for what it is when it is read.
///
/// # Errors
/// [`DataError::Missing`] when there is no such folder, [`DataError::Invalid`] when it holds none of these: the error
/// says what was looked for and, where it can be told, what is there instead.
pub fn detect(dir: &Path) -> Result<Source, DataError> {
    listing::require_dir(dir, "a folder with a data set")?;
    if CIFAR10.any_in(&CIFAR10.root(dir)) {
        return Ok(Source::Cifar10);
    }
    if idx::any(&idx::files(dir)) {
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
    let root = CIFAR100.root(dir);
    let cifar100 = CIFAR100.any_in(&root);
    if cifar100 && root != dir {
        return Ok(Source::Cifar100);
    }
    if listing::looks_like(dir)? {
        return Ok(Source::Folder);
    }
    if cifar100 {
        return Ok(Source::Cifar100);
    }
    Err(DataError::invalid(
        dir,
        instead(dir)?,
        "CIFAR binary files (data_batch_1.bin, or train.bin of CIFAR-100), IDX files (train-images-idx3-ubyte) or one directory of PNG or JPEG files per class",
    ))
}

/// What is in a folder that holds no known data set.
fn instead(dir: &Path) -> Result<String, DataError> {
    for format in [CIFAR10, CIFAR100] {
        if format.is_pickled(dir) {
            return Ok(format!("the Python version of {}", format.name));
        }
    }
    let entries = listing::entries(dir)?;
    let named = |wanted: &dyn Fn(&str) -> bool| {
        entries
            .iter()
            .map(|path| listing::name(path))
            .find(|name| wanted(&name.to_lowercase()))
    };
    if entries.is_empty() {
        return Ok("an empty folder".to_owned());
    }
    if entries.iter().any(|path| listing::is_image(path)) {
        return Ok("no known data set: images, but not in directories by class".to_owned());
    }
    let archive = named(&|name| {
        [".tar.gz", ".tgz", ".tar", ".zip"]
            .iter()
            .any(|ending| name.ends_with(ending))
    });
    Ok(match archive {
        Some(archive) => format!("no known data set but the archive {archive}, not unpacked"),
        None => "no known data set".to_owned(),
    })
}
