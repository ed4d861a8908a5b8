//! Image folders: `dir/<class>/*.png|jpg|jpeg`, or `dir/train/<class>/..` with `dir/test/<class>/..`.
//!
//! Classes are the directories' names in byte order, images the files below them (at any depth, in byte order of
//! their paths). Names that start with a dot are left out, as are files with other extensions. A `train` directory
//! that has directories of its own makes the second layout; its test part is `test`, else `val` or `valid`.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{DataConfig, DataError, Dataset, Images, Unreadable, UnreadableFile, decode, split};

const TEST_NAMES: [&str; 3] = ["test", "val", "valid"];
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Directories below a class are followed this deep.
const MAX_DEPTH: usize = 8;

/// The files of an image folder.
pub(crate) struct Listing {
    pub(crate) classes: Vec<String>,
    /// Path and label, by class and path.
    pub(crate) train: Vec<(PathBuf, u32)>,
    pub(crate) test: Option<Vec<(PathBuf, u32)>>,
    /// Files in class directories that are not images by their extension.
    pub(crate) others: usize,
}

pub(crate) fn require_dir(dir: &Path, expected: &str) -> Result<(), DataError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::invalid(dir, "a file", expected)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::missing(dir, expected))
        }
        Err(error) => Err(DataError::io(dir, error)),
    }
}

/// Whether some directory of `dir` holds an image file.
pub(crate) fn looks_like(dir: &Path) -> Result<bool, DataError> {
    for class in directories(&train_root(dir)?.unwrap_or_else(|| dir.to_owned()))? {
        let (mut files, mut others) = (Vec::new(), 0);
        walk(&class, 0, &mut files, &mut others)?;
        if !files.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists classes and files.
pub(crate) fn list(dir: &Path) -> Result<Listing, DataError> {
    require_dir(dir, "an image folder with one directory per class")?;
    let train_dir = train_root(dir)?;
    let root = train_dir.clone().unwrap_or_else(|| dir.to_owned());
    let directories_of_classes = directories(&root)?;
    if directories_of_classes.len() < 2 {
        return Err(DataError::invalid(
            root,
            match directories_of_classes.len() {
                0 => "no directories".to_owned(),
                n => format!("{n} directory"),
            },
            "at least 2, one per class, with PNG or JPEG files",
        ));
    }
    let classes: Vec<String> = directories_of_classes
        .iter()
        .map(|path| name(path))
        .collect();
    let mut others = 0;
    let mut train = Vec::new();
    for (label, class) in directories_of_classes.iter().enumerate() {
        let mut files = Vec::new();
        walk(class, 0, &mut files, &mut others)?;
        if files.is_empty() {
            return Err(DataError::invalid(
                class,
                "no PNG or JPEG files",
                "at least one image in every class directory",
            ));
        }
        train.extend(files.into_iter().map(|file| (file, label as u32)));
    }
    let test_dir = train_dir
        .is_some()
        .then(|| {
            TEST_NAMES
                .iter()
                .map(|name| dir.join(name))
                .find(|path| path.is_dir())
        })
        .flatten();
    let test = match test_dir {
        None => None,
        Some(test_dir) => Some(list_test(&test_dir, &classes, &mut others)?),
    };
    Ok(Listing {
        classes,
        train,
        test,
        others,
    })
}

fn list_test(
    dir: &Path,
    classes: &[String],
    others: &mut usize,
) -> Result<Vec<(PathBuf, u32)>, DataError> {
    let mut test = Vec::new();
    for class in directories(dir)? {
        let Some(label) = classes.iter().position(|known| *known == name(&class)) else {
            return Err(DataError::invalid(
                class,
                "a class that has no training images",
                format!("one of the {} classes of the training part", classes.len()),
            ));
        };
        let mut files = Vec::new();
        walk(&class, 0, &mut files, others)?;
        test.extend(files.into_iter().map(|file| (file, label as u32)));
    }
    if test.is_empty() {
        return Err(DataError::invalid(
            dir,
            "no PNG or JPEG files",
            "test images in one directory per class",
        ));
    }
    test.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    Ok(test)
}

/// The images of the folder, decoded in parallel and kept in the order of the listing, and the files left out.
pub(crate) fn load(
    dir: &Path,
    config: &DataConfig,
    channels: usize,
) -> Result<(Dataset, Vec<UnreadableFile>), DataError> {
    let listing = list(dir)?;
    let size = config.image_size;
    let (train, mut unreadable) = decode_all(&listing.train, size, channels);
    let test = listing.test.as_deref().map(|files| {
        let (images, failed) = decode_all(files, size, channels);
        unreadable.extend(failed);
        images
    });
    if !unreadable.is_empty() {
        if config.unreadable == Unreadable::Fatal {
            return Err(DataError::Unreadable(unreadable));
        }
        for file in &unreadable {
            tracing::warn!(path = %file.path.display(), reason = file.reason, "image skipped");
        }
    }
    let counts = train.class_counts(listing.classes.len());
    if let Some(class) = counts.iter().position(|&count| count == 0) {
        return Err(DataError::invalid(
            dir,
            format!("no readable image of class {}", listing.classes[class]),
            "at least one in every class",
        ));
    }
    let (train, test) = match test {
        Some(test) if test.is_empty() => {
            return Err(DataError::invalid(
                dir,
                "no readable test image",
                "at least one",
            ));
        }
        Some(test) => (train, test),
        None => set_apart(&train, &listing.classes, config)?,
    };
    for (class, &count) in listing
        .classes
        .iter()
        .zip(&test.class_counts(listing.classes.len()))
    {
        if count == 0 {
            tracing::warn!(class, "no test image of this class");
        }
    }
    let dataset = Dataset {
        name: name(&dir.canonicalize().unwrap_or_else(|_| dir.to_owned())),
        classes: listing.classes,
        train,
        test: Some(test),
    };
    Ok((dataset, unreadable))
}

/// Sets the configured fraction apart as test images.
fn set_apart(
    images: &Images,
    classes: &[String],
    config: &DataConfig,
) -> Result<(Images, Images), DataError> {
    let all: Vec<u32> = (0..images.len() as u32).collect();
    let take = (all.len() as f64 * config.test_fraction).round() as usize;
    let (train, test) =
        split::stratified(images, classes, &all, take, config.test_seed).map_err(|expected| {
            DataError::config(
                "test_fraction",
                format!("{:?}", config.test_fraction),
                format!("{expected}, got {take}"),
            )
        })?;
    let pick = |indices: Vec<u32>| {
        images.subset(&indices.into_iter().map(|i| i as usize).collect::<Vec<_>>())
    };
    Ok((pick(train), pick(test)))
}

fn decode_all(
    files: &[(PathBuf, u32)],
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
    for ((path, label), result) in files.iter().zip(decoded) {
        match result {
            Ok(pixels) => {
                images.pixels.extend_from_slice(&pixels);
                images.labels.push(*label);
            }
            Err(reason) => unreadable.push(UnreadableFile {
                path: path.clone(),
                reason,
            }),
        }
    }
    (images, unreadable)
}

fn train_root(dir: &Path) -> Result<Option<PathBuf>, DataError> {
    let train = dir.join("train");
    Ok((train.is_dir() && !directories(&train)?.is_empty()).then_some(train))
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = fs::read_dir(dir)
        .map_err(|error| DataError::io(dir, error))?
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|error| DataError::io(dir, error))
        })
        .collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| !name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(dir)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// Collects the image files below `dir`. Directories that are links are not followed, they could lead back up.
fn walk(
    dir: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    others: &mut usize,
) -> Result<(), DataError> {
    for path in entries(dir)? {
        if path.is_dir() {
            if !path.is_symlink() && depth < MAX_DEPTH {
                walk(&path, depth + 1, files, others)?;
            }
        } else if path.extension().is_some_and(|extension| {
            EXTENSIONS
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        }) {
            files.push(path);
        } else {
            *others += 1;
        }
    }
    Ok(())
}
