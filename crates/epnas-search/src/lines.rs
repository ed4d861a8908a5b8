//! Files of JSON lines: read whole, and appended to so that a line that was written stays.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::disk::{self, DiskError};
use crate::error::SearchError;

/// A file that is open to append.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens a file, which need not exist, and reads what it holds; a last line that was cut off is removed.
    pub(crate) fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), SearchError> {
        let bytes = disk::read_if_present(path)?.unwrap_or_default();
        let (records, length) = parse(path, &bytes)?;
        let file = disk::open_truncated(path, length)?;
        let path = path.to_owned();
        Ok((Self { path, file }, records))
    }

    /// Appends a record and makes it durable.
    pub(crate) fn push<T: Serialize>(&mut self, record: &T) -> Result<(), SearchError> {
        let line = serde_json::to_string(record)
            .map_err(|error| DiskError::new("append to", &self.path, error.into()))?;
        Ok(disk::append(&mut self.file, &self.path, &line)?)
    }
}

/// What a file holds; a missing file is empty and a last line that was cut off is left out.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, SearchError> {
    Ok(parse(path, &disk::read_if_present(path)?.unwrap_or_default())?.0)
}

/// The records in complete lines, and the length of these lines in bytes.
fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<(Vec<T>, u64), SearchError> {
    let mut records = Vec::new();
    let mut length = 0;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        let record = serde_json::from_slice(line).map_err(|error| SearchError::Result {
            path: path.to_owned(),
            message: format!("line {}: {error}", number + 1),
        })?;
        records.push(record);
        length += line.len() as u64;
    }
    Ok((records, length))
}
