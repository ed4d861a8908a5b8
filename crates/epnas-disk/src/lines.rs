//! Files of JSON lines: read whole, and appended to so that a line that was written stays.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{DiskError, FileError, file, seal};

/// A line that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<T> {
    /// What it says.
    pub value: T,
    /// Where the next one begins, in bytes.
    pub end: u64,
    /// Its checksum, which tells it from others.
    pub crc32: String,
}

/// A file that is open to append.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// Opens a file, which need not exist, and reads what it holds; a last line that was cut off is removed.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read or written, or a complete line was changed or is of another version.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>), FileError> {
        let bytes = file::read_if_present(path)?.unwrap_or_default();
        let lines = parse_lines(path, &bytes)?;
        let length = lines.last().map_or(0, |line| line.end);
        let values = lines.into_iter().map(|line| line.value).collect();
        Ok((Self::append_at(path, length)?, values))
    }

    /// Opens a file to append after its first `length` bytes, and drops what lies beyond.
    ///
    /// # Errors
    /// [`DiskError`] when it cannot be written.
    pub fn append_at(path: &Path, length: u64) -> Result<Self, DiskError> {
        Ok(Self {
            path: path.to_owned(),
            file: file::open_truncated(path, length)?,
        })
    }

    /// Appends a value with its checksum, which is returned; it is on disk when this returns.
    ///
    /// # Errors
    /// [`FileError::Disk`] when it cannot be written.
    pub fn push<T: Serialize>(&mut self, value: &T) -> Result<String, FileError> {
        let line = seal::json_line(value)
            .map_err(|error| DiskError::new("append to", &self.path, error.into()))?;
        file::append(&mut self.file, &self.path, &line.content)?;
        Ok(line.crc32)
    }
}

/// What a file holds; a missing file is empty and a last line that was cut off is left out.
///
/// # Errors
/// [`FileError`] when it cannot be read, or a complete line was changed or is of another version.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, FileError> {
    let bytes = file::read_if_present(path)?.unwrap_or_default();
    let lines = parse_lines(path, &bytes)?;
    Ok(lines.into_iter().map(|line| line.value).collect())
}

/// The complete lines in `bytes`, which are those of the file at `path`.
///
/// # Errors
/// [`FileError::Damaged`] for a line that was changed or is of another version.
pub fn parse_lines<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<Line<T>>, FileError> {
    let mut lines = Vec::new();
    let mut end = 0;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let damaged = |message| FileError::Damaged {
            path: path.to_owned(),
            line: Some(number + 1),
            message,
        };
        let Some(text) = line.strip_suffix(b"\n") else {
            // A line that was cut off ends before its end, and not with another byte in its place.
            let all_but_end = line.split_last().map_or(line, |(_, rest)| rest);
            if seal::open_json(all_but_end).is_ok() {
                return Err(damaged("its end has changed since it was written".into()));
            }
            break;
        };
        end += line.len() as u64;
        let object = seal::open_json(text).map_err(damaged)?;
        let value = serde_json::from_slice(&object.content)
            .map_err(|error| damaged(format!("not what this version of epnas writes: {error}")))?;
        lines.push(Line {
            value,
            end,
            crc32: object.crc32,
        });
    }
    Ok(lines)
}
