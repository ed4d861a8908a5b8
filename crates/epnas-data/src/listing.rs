//! Which files an image folder holds: its layout, its classes, the images of every class.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{ClassFinding, ClassProblem, DataError};

const TRAIN_NAMES: [&str; 1] = ["train"];
const TEST_NAMES: [&str; 4] = ["test", "val", "valid", "validation"];
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Directories below a class are followed this deep.
const MAX_DEPTH: usize = 8;

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
    /// Files in class directories that are not images by their extension.
    pub(crate) others: usize,
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
    let mut others = 0;
    for path in train_directories {
        let mut train = Vec::new();
        walk(&path, 0, &mut train, &mut others)?;
        let class = Class {
            name: name(&path),
            path,
            train,
            test: Vec::new(),
            in_train: true,
        };
        classes.insert(class.name.clone(), class);
    }
    if let Some(test) = &test {
        for path in directories(test)? {
            let mut files = Vec::new();
            walk(&path, 0, &mut files, &mut others)?;
            let class = classes.entry(name(&path)).or_insert_with(|| Class {
                name: name(&path),
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
        others,
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

/// Whether the name is that of a PNG or JPEG file.
pub(crate) fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        EXTENSIONS
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
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

fn directories(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(dir)?
        .into_iter()
        .filter(|path| path.is_dir())
        .collect())
}

/// The PNG and JPEG files in a directory and below it, in byte order of their paths, without hidden ones and without following
/// directories that are links.
///
/// # Errors
/// [`DataError`] when a directory cannot be read.
pub fn image_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    walk(dir, 0, &mut files, &mut 0)?;
    Ok(files)
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
        } else if is_image(&path) {
            files.push(path);
        } else {
            *others += 1;
        }
    }
    Ok(())
}
