//! Files that are made of others: where one is damaged, it is made again.

use std::path::Path;

use epnas_disk::{FileError, read_json};
use serde::de::DeserializeOwned;

/// What a file says; `None` when there is none, or another version wrote it, or it was changed since.
pub(crate) fn read_derived<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    match read_json(path) {
        Err(error @ FileError::Damaged { .. }) => {
            tracing::warn!("{error}; it does not count, and is made again");
            Ok(None)
        }
        read => read,
    }
}
