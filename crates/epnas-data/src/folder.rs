//! Image folders: `dir/<class>/*.png|jpg|jpeg`, or `dir/train/<class>/..` with `dir/test/<class>/..`.
//!
//! Classes are the directories' names in byte order, images the files below them (at any depth, in byte order of
//! their paths). Names that start with a dot are left out, as are files with other extensions. A `train` directory
//! that has directories of its own makes the second layout; its test part is `test`, else `val`, `valid` or
//! `validation`. These names may be capitalized.
//!
//! Classes without a readable training image, those of the test part alone among them, are treated as unreadable
//! images are: an error that lists them, or left out with a warning, by [`DataConfig::unreadable`]. The labels are
//! counted over the classes that remain.

use std::path::Path;

use rayon::prelude::*;

use crate::listing::{self, Listing};
use crate::{
    ClassFinding, ClassProblem, DataConfig, DataError, Dataset, Images, Unreadable, UnreadableFile,
    decode, split,
};

/// The images of the folder, decoded in parallel and kept in the order of the listing, and the files and class
/// directories left out. Without a test part there are no test images yet.
pub(crate) fn load(
    dir: &Path,
    config: &DataConfig,
    channels: usize,
) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
    let listing = listing::list(dir)?;
    if let Some(error) = listing.empty_test() {
        return Err(error);
    }
    let without: Vec<ClassFinding> = listing
        .classes
        .iter()
        .filter_map(|class| Some(class.finding(class.problem()?)))
        .collect();
    if config.unreadable == Unreadable::Fatal && !without.is_empty() {
        return Err(DataError::Classes(without));
    }
    let size = config.image_size;
    let (mut train, mut skipped) = decode_all(&listing.train(), size, channels);
    let mut test = listing.test.is_some().then(|| {
        let (images, failed) = decode_all(&listing.test(), size, channels);
        skipped.extend(failed);
        images
    });
    if config.unreadable == Unreadable::Fatal && !skipped.is_empty() {
        return Err(DataError::Unreadable(skipped));
    }
    for file in &skipped {
        tracing::warn!(path = %file.path.display(), reason = file.reason, "image skipped");
    }
    let classes = leave_out(dir, &listing, &mut train, test.as_mut(), &mut skipped)?;
    let name = listing::name(&dir.canonicalize().unwrap_or_else(|_| dir.to_owned()));
    if let Some(test) = &test {
        if test.is_empty() {
            return Err(DataError::invalid(
                dir,
                "no readable test image",
                "at least one of a class with training images",
            ));
        }
        warn_untested(&name, &classes, test);
    }
    let dataset = Dataset {
        name,
        classes,
        train,
        test,
    };
    Ok((dataset, skipped))
}

/// Leaves out the classes without training images and counts the labels anew; returns the names that remain.
fn leave_out(
    dir: &Path,
    listing: &Listing,
    train: &mut Images,
    test: Option<&mut Images>,
    skipped: &mut Vec<UnreadableFile>,
) -> Result<Vec<String>, DataError> {
    let counts = train.class_counts(listing.classes.len());
    let mut classes = Vec::new();
    let mut labels = Vec::new();
    for (class, &count) in listing.classes.iter().zip(&counts) {
        if count > 0 {
            labels.push(Some(classes.len() as u32));
            classes.push(class.name.clone());
            continue;
        }
        labels.push(None);
        let problem = class.problem().unwrap_or(ClassProblem::NoneReadable);
        tracing::warn!(class = class.name, path = %class.path.display(), %problem, "class skipped");
        skipped.push(UnreadableFile {
            path: class.path.clone(),
            reason: format!("class left out: {problem}"),
        });
    }
    if classes.len() < 2 {
        return Err(DataError::invalid(
            dir,
            match classes.first() {
                None => "no class with a readable training image".to_owned(),
                Some(class) => format!("readable training images of class {class} only"),
            },
            "those of at least 2 classes",
        ));
    }
    if classes.len() < labels.len() {
        relabel(train, &labels);
        if let Some(test) = test {
            relabel(test, &labels);
        }
    }
    Ok(classes)
}

/// Replaces every label by `labels[label]`, without the images that have none.
fn relabel(images: &mut Images, labels: &[Option<u32>]) {
    let kept: Vec<usize> = (0..images.len())
        .filter(|&index| labels[images.labels[index] as usize].is_some())
        .collect();
    if kept.len() < images.len() {
        *images = images.subset(&kept);
    }
    for label in &mut images.labels {
        *label = labels[*label as usize].unwrap_or(*label);
    }
}

fn warn_untested(name: &str, classes: &[String], test: &Images) {
    let untested = split::without_images(classes, &test.class_counts(classes.len()));
    if !untested.is_empty() {
        tracing::warn!(
            folder = name,
            classes = untested,
            "classes without a test image"
        );
    }
}

/// Sets the configured fraction of the training images apart as test images.
pub(crate) fn set_apart(dataset: &Dataset, config: &DataConfig) -> Result<Dataset, DataError> {
    let Dataset {
        name,
        classes,
        train: images,
        ..
    } = dataset;
    let groups = split::by_class(images, 0..images.len() as u32, classes.len());
    let take = (images.len() as f64 * config.test_fraction).round() as usize;
    let (train, test) = split::stratified(&groups, take, config.test_seed).map_err(|expected| {
        let folder = config
            .dir
            .as_ref()
            .map_or_else(|| name.clone(), |dir| dir.display().to_string());
        DataError::config(
            "test_fraction",
            format!("{:?}", config.test_fraction),
            format!("{expected} images of {folder}, got {take}"),
        )
    })?;
    let pick = |indices: Vec<u32>| {
        images.subset(&indices.into_iter().map(|i| i as usize).collect::<Vec<_>>())
    };
    let test = pick(test);
    warn_untested(name, classes, &test);
    Ok(Dataset {
        name: name.clone(),
        classes: classes.clone(),
        train: pick(train),
        test: Some(test),
    })
}

fn decode_all(
    files: &[(&Path, u32)],
    size: usize,
    channels: usize,
) -> (Images, Vec<UnreadableFile>) {
    let decoded: Vec<Result<Vec<u8>, String>> = files
        .par_iter()
        .map(|(path, _)| decode::decode_square(path, size, channels))
        .collect();
    let mut images = Images {
        height: size,
        width: size,
        channels,
        ..Images::default()
    };
    images.pixels.reserve(files.len() * images.image_len());
    let mut unreadable = Vec::new();
    for (&(path, label), result) in files.iter().zip(decoded) {
        match result {
            Ok(pixels) => {
                images.pixels.extend_from_slice(&pixels);
                images.labels.push(label);
            }
            Err(reason) => unreadable.push(UnreadableFile {
                path: path.to_owned(),
                reason,
            }),
        }
    }
    (images, unreadable)
}
