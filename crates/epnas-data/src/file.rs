//! Opening the files that a data set is made of.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::DataError;

/// What is said of a pipe, a socket or a device.
pub(crate) const NO_FILE: &str = "a pipe, a socket or a device, no file";

/// Opens a file that a folder should hold. What is no regular file is refused unopened: reading a pipe waits for
/// somebody to write, and some devices never end.
pub(crate) fn open(path: &Path, expected: impl FnOnce() -> String) -> Result<File, DataError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            File::open(path).map_err(|error| DataError::io(path, error))
        }
        Ok(metadata) => Err(DataError::invalid(
            path,
            if metadata.is_dir() {
                "a folder"
            } else {
                NO_FILE
            },
            expected(),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DataError::missing(path, expected()))
        }
        Err(error) => Err(DataError::io(path, error)),
    }
}

/// All bytes of a file that a folder should hold; one of more than `most` bytes is an error before they are read.
pub(crate) fn read(
    path: &Path,
    most: u64,
    expected: impl FnOnce() -> String,
) -> Result<Vec<u8>, DataError> {
    let file = open(path, expected)?;
    let io = |error| DataError::io(path, error);
    let mut bytes = Vec::new();
    let mut size = file.metadata().map_err(io)?.len();
    if size <= most {
        // It may be growing.
        file.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
        size = bytes.len() as u64;
    }
    if size > most {
        return Err(DataError::invalid(
            path,
            format!("{size} bytes or more"),
            format!("at most {most}"),
        ));
    }
    Ok(bytes)
}
