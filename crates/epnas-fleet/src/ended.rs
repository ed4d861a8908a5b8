//! What a search leaves that has ended by itself.

use std::path::Path;

use epnas_disk::{FileError, write_json};
use epnas_search::{BaselineKind, Record, RunFolder, run_history};
use serde::{Deserialize, Serialize};

use crate::derived::read_derived;
use crate::error::FleetError;

/// `ended.json` in a replica's folder. Of pairs the first is of the search, the second of its baseline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedSearch {
    /// How many children there are.
    pub children: [usize; 2],
    /// Of what they were and reached, so that others are told from them.
    pub checksums: [String; 2],
    /// Why it is not all it should be, when it is not.
    pub notes: [Option<String>; 2],
    /// What the search was allowed to take, which may be more another time.
    pub budget: Option<String>,
    /// What it was compared with, likewise.
    pub baseline: BaselineKind,
}

impl EndedSearch {
    /// Of the search in a replica's folder, and of its baseline's if that `has_baseline`.
    ///
    /// # Errors
    /// When a history cannot be read.
    pub fn of(replica: &RunFolder, has_baseline: bool) -> Result<Self, FleetError> {
        let search = run_history(replica.dir())?;
        let random = match has_baseline {
            true => run_history(&replica.random())?,
            false => Vec::new(),
        };
        Ok(Self {
            children: [search.len(), random.len()],
            checksums: [Record::checksum(&search), Record::checksum(&random)],
            ..Self::default()
        })
    }

    /// The children in the folder of the search (0) or its baseline (1).
    ///
    /// # Errors
    /// When they cannot be read, or are others than those that it ended with.
    pub(crate) fn records(&self, dir: &Path, which: usize) -> Result<Vec<Record>, FleetError> {
        let records = run_history(dir)?;
        let expected = self.children[which];
        if records.len() == expected && Record::checksum(&records) == self.checksums[which] {
            return Ok(records);
        }
        let message = match records.len() == expected {
            true => "holds other children than those that the search ended with".to_owned(),
            false => format!(
                "holds {} children, expected the {expected} that the search ended with",
                records.len()
            ),
        };
        Err(FileError::damaged(&RunFolder::new(dir).history(), message).into())
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
