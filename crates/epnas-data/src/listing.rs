//! Which files an image folder holds: its layout, its classes, the images of every class.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::shown;
use crate::{ClassFinding, ClassProblem, DataError};

const TRAIN_NAMES: [&str; 1] = ["train"];
const TEST_NAMES: [&str; 4] = ["test", "val", "valid", "validation"];
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Images that are not read, by their extensions.
const OTHER_IMAGES: [&str; 8] = ["gif", "webp", "bmp", "tif", "tiff", "avif", "heic", "heif"];
/// Directories below a class are followed this deep.
const MAX_DEPTH: usize = 8;
/// Why a directory below a class was left out.
pub(crate) const NOT_ENTERED: &str = "a link, or too deep (more than 8 below its class)";

/// What was found in class directories and is not read.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Files that are not PNG or JPEG by their extension.
    pub(crate) files: usize,
    /// Those of them with the extension of another kind of image.
    pub(crate) images: usize,
    /// Directories that are links, which could lead back up, or too deep.
    pub(crate) directories: Vec<PathBuf>,
}

impl LeftOut {
    /// Warns of what a person may have meant to be read: one line of each kind.
    pub(crate) fn warn(&self, dir: &Path) {
        let folder = shown(dir);
        if self.images > 0 {
            tracing::warn!(
                folder,
                images = self.images,
                "images left out: neither PNG nor JPEG"
            );
        }
        if let Some(first) = self.directories.first() {
            tracing::warn!(
                folder,
                directories = self.directories.len(),
                first = shown(first),
                "directories left out: {NOT_ENTERED}"
            );
        }
    }
}

/// One class of an image folder; its label is its place in [`Listing::classes`].
pub(crate) struct Class {
    pub(crate) name: String,
    /// Its training directory; its test directory when it has no other.
    pub(crate) path: PathBuf,
    pub(crate) train: Vec<PathBuf>,
    pub(crate) test: Vec<PathBuf>,
    in_train: bool,
}

impl Class {
    /// What the listing alone tells: classes without training files.
    pub(crate) fn problem(&self) -> Option<ClassProblem> {
        match (self.train.is_empty(), self.in_train) {
            (false, _) => None,
            (true, true) => Some(ClassProblem::Empty),
            (true, false) => Some(ClassProblem::TestOnly),
        }
    }

    pub(crate) fn finding(&self, problem: ClassProblem) -> ClassFinding {
        ClassFinding {
            class: self.name.clone(),
            path: self.path.clone(),
            problem,
        }
    }
}

/// The files of an image folder.
pub(crate) struct Listing {
    /// Every class of either part, in byte order of their names.
    pub(crate) classes: Vec<Class>,
    /// The directory of the test part, when there is one.
    pub(crate) test: Option<PathBuf>,
    /// What is in class directories besides.
    pub(crate) left_out: LeftOut,
}

impl Listing {
    /// Training files with their labels, by class and path.
    pub(crate) fn train(&self) -> Vec<(&Path, u32)> {
        labeled(&self.classes, |class| &class.train)
    }

    /// Test files with their labels, by class and path.
    pub(crate) fn test(&self) -> Vec<(&Path, u32)> {
        labeled(&self.classes, |class| &class.test)
    }

    /// The error of a test directory without images.
    pub(crate) fn empty_test(&self) -> Option<DataError> {
        let test = self.test.as_ref()?;
        self.classes
            .iter()
            .all(|class| class.test.is_empty())
            .then(|| {
                DataError::invalid(
                    test,
                    "no PNG or JPEG file",
                    "test images in one directory per class",
                )
            })
    }
}

fn labeled(classes: &[Class], files: impl Fn(&Class) -> &Vec<PathBuf>) -> Vec<(&Path, u32)> {
    let of = |(label, class)| {
        files(class)
            .iter()
            .map(move |file: &PathBuf| (file.as_path(), label as u32))
    };
    classes.iter().enumerate().flat_map(of).collect()
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
    let (root, _) = parts(dir)?;
    for class in directories(&root)? {
        class_name(&root, &class)?;
        let mut files = Vec::new();
        walk(&class, 0, &mut files, &mut LeftOut::default())?;
        if !files.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Lists classes and files.
pub(crate) fn list(dir: &Path) -> Result<Listing, DataError> {
    require_dir(dir, "an image folder with one directory per class")?;
    let (root, test) = parts(dir)?;
    let train_directories = directories(&root)?;
    if train_directories.len() < 2 {
        return Err(DataError::invalid(
            root,
            match train_directories.len() {
                0 => "no directories".to_owned(),
                n => format!("{n} directory"),
            },
            "at least 2, one per class, with PNG or JPEG files",
        ));
    }
    let mut classes = BTreeMap::new();
    let mut left_out = LeftOut::default();
    for path in train_directories {
        let name = class_name(&root, &path)?;
        let mut train = Vec::new();
        walk(&path, 0, &mut train, &mut left_out)?;
        let class = Class {
            name,
            path,
            train,
            test: Vec::new(),
            in_train: true,
        };
        classes.insert(class.name.clone(), class);
    }
    if let Some(test) = &test {
        for path in directories(test)? {
            let name = class_name(test, &path)?;
            let mut files = Vec::new();
            walk(&path, 0, &mut files, &mut left_out)?;
            let class = classes.entry(name.clone()).or_insert_with(|| Class {
                name,
                path,
                train: Vec::new(),
                test: Vec::new(),
                in_train: false,
            });
            class.test = files;
        }
        // An empty directory of the test part alone is no class.
        classes.retain(|_, class| class.in_train || !class.test.is_empty());
    }
    Ok(Listing {
        classes: classes.into_values().collect(),
        test,
        left_out,
    })
}

/// The directory with the training classes, and that of the test part.
fn parts(dir: &Path) -> Result<(PathBuf, Option<PathBuf>), DataError> {
    match part(dir, &TRAIN_NAMES)? {
        Some(train) if !directories(&train)?.is_empty() => Ok((train, part(dir, &TEST_NAMES)?)),
        _ => Ok((dir.to_owned(), None)),
    }
}

/// The directory with one of these names, the first that there is; in any case when none is spelled so.
fn part(dir: &Path, names: &[&str]) -> Result<Option<PathBuf>, DataError> {
    let directories = directories(dir)?;
    let find = |test: &dyn Fn(&str, &str) -> bool| {
        names.iter().find_map(|&wanted| {
            directories
                .iter()
                .find(|path| test(&name(path), wanted))
                .cloned()
        })
    };
    Ok(find(&|found, wanted| found == wanted)
        .or_else(|| find(&|found, wanted| found.eq_ignore_ascii_case(wanted))))
}

/// The last component of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The name of the class whose directory is `path` in `root`: text, for it is written to models and tables. Two names
/// that are no text could look alike.
fn class_name(root: &Path, path: &Path) -> Result<String, DataError> {
    if path.is_symlink()
        && let (Ok(target), Ok(root)) = (path.canonicalize(), root.canonicalize())
        && root.starts_with(target)
    {
        return Err(DataError::invalid(
            path,
            "a link to a folder that it is in",
            "a directory of images",
        ));
    }
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if !name.contains(char::is_control) => Ok(name.to_owned()),
        _ => Err(DataError::invalid(
            path,
            "a directory whose name is not UTF-8 or has control characters",
            "the name of a class",
        )),
    }
}

/// Whether the name is that of a PNG or JPEG file.
pub(crate) fn is_image(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| {
        extensions
            .iter()
            .any(|known| found.eq_ignore_ascii_case(known))
    })
}

/// What lies in `dir`, without hidden entries, in byte order.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
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

/// The directories in `dir`, and links to directories. What leads nowhere is an error: it could have been a class.
fn directories(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut directories = Vec::new();
    for path in entries(dir)? {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => directories.push(path),
            Ok(_) => {}
            Err(error) => return Err(unknown(&path, error)),
        }
    }
    Ok(directories)
}

/// The error of something that cannot be told to be a directory.
fn unknown(path: &Path, error: io::Error) -> DataError {
    match fs::read_link(path) {
        Ok(target) => DataError::invalid(
            path,
            format!("a link to {}: {error}", shown(&target)),
            "a directory or a file, or no link",
        ),
        Err(_) => DataError::io(path, error),
    }
}

/// The PNG and JPEG files in a directory and below it, in byte order of their paths, without hidden ones, without pipes
/// and devices, and without following directories that are links.
///
/// # Errors
/// [`DataError`] when a directory cannot be read.
pub fn image_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    walk(dir, 0, &mut files, &mut LeftOut::default())?;
    // What cannot be looked at stays, to be named by whoever reads it.
    files.retain(|path| fs::metadata(path).map_or(true, |metadata| metadata.is_file()));
    Ok(files)
}

/// Collects the image files below `dir`, by their names.
fn walk(
    dir: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    left_out: &mut LeftOut,
) -> Result<(), DataError> {
    for path in entries(dir)? {
        let metadata = fs::metadata(&path);
        if metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
            if path.is_symlink() || depth == MAX_DEPTH {
                left_out.directories.push(path);
            } else {
                walk(&path, depth + 1, files, left_out)?;
            }
        } else if is_image(&path) {
            files.push(path);
        } else {
            // It may be a directory of images. A link to nothing is none, and a file that has just gone neither.
            if let Err(error) = metadata
                && error.kind() != ErrorKind::NotFound
            {
                return Err(unknown(&path, error));
            }
            left_out.files += 1;
            left_out.images += usize::from(has_extension(&path, &OTHER_IMAGES));
        }
    }
    Ok(())
}
