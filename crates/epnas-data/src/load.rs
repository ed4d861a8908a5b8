//! Reading a data set into memory, from whichever source.

use crate::cifar::{CIFAR10, CIFAR100, Format};
use crate::{
    DataConfig, DataError, Dataset, Images, Source, UnreadableFile, folder, hub, idx, listing,
    resample, synthetic,
};

/// Reads the data set that `config` names.
///
/// Sets of a fixed size (CIFAR 32 x 32, MNIST 28 x 28) keep their pixels when `image_size` is that size and are
/// resized otherwise.
///
/// # Errors
/// [`DataError`], which names the file or the field, what was found and what was expected.
pub fn load(config: &DataConfig) -> Result<Dataset, DataError> {
    load_reporting(config).map(|(dataset, _)| dataset)
}

/// As [`load`], but an image folder without a test part is not divided: all its images are in [`Dataset::train`], and
/// [`set_test_apart`] divides them.
///
/// # Errors
/// As [`load`].
pub fn load_undivided(config: &DataConfig) -> Result<Dataset, DataError> {
    read(config).map(|(dataset, _)| dataset)
}

/// `dataset` with `test_fraction` of its training images as test images, by `test_seed`. A data set with a test part is
/// copied as it is.
///
/// # Errors
/// [`DataError::Config`] when there are too few images for that.
pub fn set_test_apart(dataset: &Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    match dataset.test {
        Some(_) => Ok(dataset.clone()),
        None => folder::set_apart(dataset, config),
    }
}

/// As [`load`], and also returns what `unreadable = "skip"` left out: image files in the order of
/// the data set, then the directories of classes without training images.
///
/// # Errors
/// As [`load`].
pub fn load_reporting(config: &DataConfig) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
    let (dataset, skipped) = read(config)?;
    match dataset.test {
        Some(_) => Ok((dataset, skipped)),
        None => Ok((set_test_apart(&dataset, config)?, skipped)),
    }
}

fn read(config: &DataConfig) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
    config.validate()?;
    let channels = config.channels.count(config.source);
    let size = config.image_size;
    let dataset = |name: &str, classes: Vec<String>, (train, test): (Images, Images)| {
        Ok(Dataset {
            name: name.to_owned(),
            classes,
            train: resample::conform(train, size, channels)?,
            test: Some(resample::conform(test, size, channels)?),
        })
    };
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    if let Some(dir) = &config.dir {
        listing::require_dir(
            dir,
            &format!("a folder with the files of {}", config.source),
        )?;
    }
    let cifar = |format: &Format| -> Result<Dataset, DataError> {
        match &config.dir {
            Some(dir) => {
                let root = format.root(dir);
                dataset(format.name, format.classes(&root)?, format.load(&root)?)
            }
            None => dataset(format.name, format.class_names(), hub::load(config.source)?),
        }
    };
    let mnist = |classes: &[&str]| -> Result<Dataset, DataError> {
        let parts = match &config.dir {
            Some(dir) => {
                let [train, test] = idx::files(dir);
                (idx::read(&train)?, idx::read(&test)?)
            }
            None => hub::load(config.source)?,
        };
        dataset(config.source.name(), names(classes), parts)
    };
    let dataset = match config.source {
        Source::Synthetic => synthetic::dataset(&config.synthetic, size, channels),
        Source::Cifar10 => cifar(&CIFAR10)?,
        Source::Cifar100 => cifar(&CIFAR100)?,
        Source::Mnist => mnist(&idx::MNIST_CLASSES)?,
        Source::FashionMnist => mnist(&idx::FASHION_CLASSES)?,
        Source::Folder => match &config.dir {
            Some(dir) => return folder::load(dir, config, channels),
            None => {
                return Err(DataError::config(
                    "dir",
                    "none",
                    "a folder with one directory of images per class",
                ));
            }
        },
    };
    tracing::debug!(
        name = dataset.name,
        classes = dataset.classes.len(),
        train = dataset.train.len(),
        test = dataset.test.as_ref().map_or(0, Images::len),
        "data set loaded"
    );
    Ok((dataset, Vec::new()))
}
