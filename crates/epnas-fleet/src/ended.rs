//! What a search leaves that has ended by itself.

use std::path::Path;

use epnas_disk::{FileError, write_json};
use epnas_search::{BaselineKind, SearchError, run_history};
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
    pub baseline: BaselineKind,
    /// Of what the children of both were and reached, so that others are told from them.
    pub checksums: [String; 2],
    /// Why it, and its baseline, are not all they should be, when they are not.
    pub notes: [Option<String>; 2],
}

impl EndedSearch {
    /// A checksum of the children in a folder, times aside.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub fn checksum(folder: &Path) -> Result<String, SearchError> {
        let mut hasher = crc32fast::Hasher::new();
        for record in run_history(folder)? {
            let estimate = record.estimate.map_or(u64::MAX, f64::to_bits);
            hasher.update(record.arch.to_string().as_bytes());
            hasher.update(&estimate.to_le_bytes());
        }
        Ok(format!("{:08x}", hasher.finalize()))
    }

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
