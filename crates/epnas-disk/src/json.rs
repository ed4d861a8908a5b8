//! One JSON object in a file of its own.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{FileError, file, seal};

/// Replaces the file by `value` and its checksum; readers see the old value or the new one, whole.
///
/// # Errors
/// [`FileError::Disk`] when it cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let text = seal::json_pretty(value)
        .map_err(|error| FileError::damaged(path, format!("cannot be written: {error}")))?;
    Ok(file::write_atomic(path, text.content.as_bytes())?)
}

/// What [`write_json`] has written, or `None` when there is no such file.
///
/// # Errors
/// [`FileError`] when it cannot be read, was changed or is of another version.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let Some(bytes) = file::read_if_present(path)? else {
        return Ok(None);
    };
    let damaged = |message| FileError::damaged(path, format!("damaged: {message}"));
    let object = seal::open_json(&bytes).map_err(damaged)?;
    let value = serde_json::from_slice(&object.content);
    value.map(Some).map_err(|error| {
        FileError::damaged(
            path,
            format!("not what this version of epnas writes: {error}"),
        )
    })
}
