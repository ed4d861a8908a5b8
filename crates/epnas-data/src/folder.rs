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

use crate::error::shown;
use crate::listing::{self, Listing};
use crate::{
    ClassFinding, ClassProblem, DataConfig, DataError, Dataset, Images, Unreadable, UnreadableFile,
    decode, images, split,
};

/// The images of the folder, decoded in parallel and kept in the order of the listing, and the files and class
/// directories left out. Without a test part there are no test images yet.
pub(crate) fn load(
    dir: &Path,
    config: &DataConfig,
    channels: usize,
) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
    read(dir, &listing::list(dir)?, config, channels)
}

/// The images of a listing; files may have changed since it was made.
fn read(
    dir: &Path,
    listing: &Listing,
    config: &DataConfig,
    channels: usize,
) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
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
    let (mut train, mut skipped) = decode_all(&listing.train(), size, channels)?;
    let mut test = None;
    if listing.test.is_some() {
        let (images, failed) = decode_all(&listing.test(), size, channels)?;
        skipped.extend(failed);
        test = Some(images);
    }
    if config.unreadable == Unreadable::Fatal && !skipped.is_empty() {
        return Err(DataError::Unreadable(skipped));
    }
    listing.left_out.warn(dir);
    for file in &skipped {
        tracing::warn!(
            path = shown(&file.path),
            reason = file.reason,
            "image skipped"
        );
    }
    let classes = leave_out(dir, listing, &mut train, test.as_mut(), &mut skipped)?;
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
        tracing::warn!(class = class.name, path = shown(&class.path), %problem, "class skipped");
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
            .map_or_else(|| name.clone(), |dir| shown(dir));
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

/// Decodes into one buffer, so that no image is held twice, and closes the gaps of those that cannot be decoded.
fn decode_all(
    files: &[(&Path, u32)],
    size: usize,
    channels: usize,
) -> Result<(Images, Vec<UnreadableFile>), DataError> {
    let mut images = Images {
        pixels: images::allocate(files.len(), size, channels)?,
        labels: Vec::new(),
        height: size,
        width: size,
        channels,
    };
    let len = images.image_len();
    let failures: Vec<Option<String>> = images
        .pixels
        .par_chunks_exact_mut(len)
        .zip(files)
        .map(|(out, (path, _))| {
            decode::decode_found(path, |image| {
                out.copy_from_slice(&decode::square(image, size, channels));
            })
            .err()
        })
        .collect();
    let mut unreadable = Vec::new();
    for (index, (&(path, label), failure)) in files.iter().zip(failures).enumerate() {
        match failure {
            None => {
                let to = images.len() * len;
                images
                    .pixels
                    .copy_within(index * len..(index + 1) * len, to);
                images.labels.push(label);
            }
            Some(reason) => unreadable.push(UnreadableFile {
                path: path.to_owned(),
                reason,
            }),
        }
    }
    images.pixels.truncate(images.len() * len);
    Ok((images, unreadable))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::{Rgb, RgbImage};

    use super::*;

    /// The listing is made, then files go: as unreadable as any other, and labels stay with their images.
    #[test]
    fn files_may_vanish_after_they_were_listed() {
        let dir = tempfile::tempdir().unwrap();
        for (class, value) in [("ant", 10), ("bee", 20), ("cow", 30)] {
            fs::create_dir(dir.path().join(class)).unwrap();
            for i in 0..3 {
                RgbImage::from_pixel(4, 4, Rgb([value + i; 3]))
                    .save(dir.path().join(format!("{class}/{i}.png")))
                    .unwrap();
            }
        }
        let listing = listing::list(dir.path()).unwrap();
        let gone = dir.path().join("ant/1.png");
        fs::remove_file(&gone).unwrap();
        fs::remove_dir_all(dir.path().join("bee")).unwrap();
        let mut config = DataConfig {
            image_size: 4,
            ..DataConfig::default()
        };
        match read(dir.path(), &listing, &config, 3) {
            Err(DataError::Unreadable(files)) => {
                assert_eq!(files.len(), 4);
                assert_eq!(files[0].path, gone);
                assert!(files[0].reason.contains("No such file"), "{files:?}");
            }
            other => panic!("{other:?}"),
        }
        config.unreadable = Unreadable::Skip;
        let (dataset, skipped) = read(dir.path(), &listing, &config, 3).unwrap();
        assert_eq!(skipped.len(), 5, "four files and the class: {skipped:?}");
        assert_eq!(dataset.classes, ["ant", "cow"]);
        let images = &dataset.train;
        assert_eq!(images.labels, [0, 0, 1, 1, 1]);
        let values: Vec<u8> = (0..5).map(|index| images.image(index)[0]).collect();
        assert_eq!(values, [10, 12, 30, 31, 32]);
        assert_eq!(images.pixels.len(), 5 * images.image_len());
    }
}
