//! What a search leaves that has ended by itself.

use std::path::Path;

use epnas_disk::{FileError, write_json};
use serde::{Deserialize, Serialize};

use crate::derived::read_derived;

/// `ended.json` in a replica's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedSearch {
    /// Children of the search.
    pub children: usize,
    /// Children of its baseline.
    pub random: usize,
    /// What it was allowed to take, which may be more another time.
    pub budget: Option<String>,
    /// What it was compared with, likewise.
    pub baseline: String,
    /// Why it, and its baseline, are not all they should be, when they are not.
    pub notes: [Option<String>; 2],
}

impl EndedSearch {
    /// Reads it; `None` while the search has not ended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, FileError> {
        read_derived(path)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        write_json(path, self)
    }
}
