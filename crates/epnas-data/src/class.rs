//! What can be wrong with a class of an image folder.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{lossy_path, shown};

/// What is wrong with a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassProblem {
    /// Its directory holds no PNG or JPEG file.
    Empty,
    /// It has training images, and none of them can be decoded.
    NoneReadable,
    /// It has a directory in the test part only.
    TestOnly,
    /// It has a single training image, which is trained on: none validates and, without a test part, none tests.
    SingleImage,
}

impl ClassProblem {
    /// Whether there is nothing to learn the class from: loading stops or leaves the class out, by
    /// [`crate::DataConfig::unreadable`].
    pub const fn is_fatal(self) -> bool {
        !matches!(self, ClassProblem::SingleImage)
    }
}

impl fmt::Display for ClassProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClassProblem::Empty => "no PNG or JPEG file",
            ClassProblem::NoneReadable => "no readable image",
            ClassProblem::TestOnly => "in the test part only",
            ClassProblem::SingleImage => "a single training image, kept to train on",
        })
    }
}

/// A class with a problem. Displayed as `cat (photos/cat): no PNG or JPEG file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassFinding {
    /// Name of the class.
    pub class: String,
    /// Its directory.
    #[serde(serialize_with = "lossy_path")]
    pub path: PathBuf,
    /// What is wrong.
    pub problem: ClassProblem,
}

impl fmt::Display for ClassFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {}",
            self.class,
            shown(&self.path),
            self.problem
        )
    }
}
