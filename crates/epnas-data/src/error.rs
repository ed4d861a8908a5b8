//! The errors of this crate: one line each, naming the file, field or value and what was expected.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::ClassFinding;

/// A file that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableFile {
    /// Path of the file, as it was opened.
    #[serde(serialize_with = "lossy_path")]
    pub path: PathBuf,
    /// Why it could not be read, in one line.
    pub reason: String,
}

/// What can be wrong with a data set, its configuration or its files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder is not there.
    #[error("{}: not found; expected {expected}", shown(path))]
    Missing {
        /// The path that was looked for.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// The operating system refused to read a file or folder.
    #[error("{}: cannot be read: {source}", shown(path))]
    Io {
        /// The path that was read.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or folder was read, and what it holds is not what it should hold.
    #[error("{}: {found}; expected {expected}", shown(path))]
    Invalid {
        /// The offending file or folder.
        path: PathBuf,
        /// What was found in it.
        found: String,
        /// What was expected instead.
        expected: String,
    },
    /// A value of the configuration is outside its range or contradicts the data.
    #[error("data.{field} = {value}: expected {expected}")]
    Config {
        /// Field of [`crate::DataConfig`], without the leading `data.`.
        field: &'static str,
        /// The offending value.
        value: String,
        /// What was expected instead.
        expected: String,
    },
    /// An image could not be decoded.
    #[error("{}: cannot be read: {reason}", shown(path))]
    Image {
        /// The image file.
        path: PathBuf,
        /// Why it could not be decoded, in one line.
        reason: String,
    },
    /// Images of a data set could not be decoded and `unreadable = "fatal"`.
    #[error("{}", list_unreadable(.0))]
    Unreadable(
        /// Every unreadable file, in the order of the data set; never empty.
        Vec<UnreadableFile>,
    ),
    /// Classes of an image folder cannot be learned from and `unreadable = "fatal"`.
    #[error("{}", list_classes(.0))]
    Classes(
        /// Every such class, in the order of their names; never empty.
        Vec<ClassFinding>,
    ),
    /// A hand-made data set has a label without a class.
    #[error(
        "label {label} of training image {index} of {dataset}: expected a label below {classes}, the number of its classes"
    )]
    Label {
        /// Name of the data set.
        dataset: String,
        /// The offending image, an index into the training images.
        index: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// The data set could not be downloaded.
    #[error(
        "could not download {name} from the Hugging Face hub: {reason}; pass --data DIR with {files} to read it from disk"
    )]
    Download {
        /// The data set that was asked for.
        name: &'static str,
        /// What the client said, in one line.
        reason: String,
        /// The files that the folder should hold.
        files: &'static str,
    },
    /// The downloaded files cannot be decoded, or give something else than documented.
    #[error(
        "the downloaded {name} cannot be used: {reason}; remove its folder in {} to download it again",
        shown(cache)
    )]
    Malformed {
        /// The data set that was asked for.
        name: &'static str,
        /// The folder that the Hugging Face client keeps its downloads in.
        cache: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn missing(path: impl Into<PathBuf>, expected: impl Into<String>) -> Self {
        Self::Missing {
            path: path.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn invalid(
        path: impl Into<PathBuf>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            path: path.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn config(
        field: &'static str,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

/// Items named one by one in an error; the rest is counted.
const SHOWN: usize = 3;

fn first_few(items: impl ExactSizeIterator<Item = String>) -> String {
    let rest = items.len().saturating_sub(SHOWN);
    let mut text: Vec<String> = items.take(SHOWN).collect();
    if rest > 0 {
        text.push(format!("and {rest} more"));
    }
    text.join("; ")
}

fn list_unreadable(files: &[UnreadableFile]) -> String {
    format!(
        "{} unreadable: {} (`--set data.unreadable=skip` leaves such files out)",
        match files.len() {
            1 => "1 image is".to_owned(),
            n => format!("{n} images are"),
        },
        first_few(
            files
                .iter()
                .map(|file| format!("{}: {}", shown(&file.path), file.reason))
        )
    )
}

fn list_classes(findings: &[ClassFinding]) -> String {
    format!(
        "{} without training images: {}; expected at least one image of every class (`--set \
         data.unreadable=skip` leaves such classes out)",
        match findings.len() {
            1 => "1 class".to_owned(),
            n => format!("{n} classes"),
        },
        first_few(findings.iter().map(ToString::to_string))
    )
}

/// A path as it is shown to people: in one line whatever it holds, and without what a terminal would obey.
pub(crate) fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// `text` with its control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A path in JSON, whose text is UTF-8: other bytes become U+FFFD, where serde would give up on the whole report.
pub(crate) fn lossy_path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// As [`lossy_path`].
pub(crate) fn lossy_paths<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}
