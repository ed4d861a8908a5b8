//! Writes that survive a kill at any moment: each step is durable before the next begins.
//!
//! A file is either appended to and synchronized, or written whole beside its place and renamed over it. In tests every
//! step is a point where the process can be made to "die", with half of the bytes written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    /// What was attempted: "read", "write", ...
    pub action: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Writes `bytes` to `path` so that readers, and the file after a crash, see the old content or the new, never a mix.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let result = (|| {
        let mut file = File::create(&temporary)?;
        write_in_halves(&mut file, bytes)?;
        sync(&file)?;
        point()?;
        fs::rename(&temporary, path)?;
        point()?;
        sync_parent(path)
    })();
    result.map_err(|source| DiskError::new("write", path, source))
}

/// Writes a file of a name that nothing refers to yet. It needs no rename, and its folder is synchronized by whatever
/// refers to it next.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let result = (|| {
        let mut file = File::create(path)?;
        write_in_halves(&mut file, bytes)?;
        sync(&file)?;
        point()
    })();
    result.map_err(|source| DiskError::new("write", path, source))
}

/// Appends one line and makes it durable.
pub(crate) fn append(file: &mut File, path: &Path, line: &str) -> Result<(), DiskError> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.push(b'\n');
    let result = write_in_halves(file, &bytes)
        .and_then(|()| sync(file))
        .and_then(|()| point());
    result.map_err(|source| DiskError::new("append to", path, source))
}

/// Opens a file for appending, keeping its first `length` bytes and making it when it does not exist.
pub(crate) fn open_truncated(path: &Path, length: u64) -> Result<File, DiskError> {
    let result = (|| {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
            sync(&file)?;
        }
        point()?;
        sync_parent(path)?;
        Ok(file)
    })();
    result.map_err(|source| DiskError::new("open", path, source))
}

/// The content, or `None` when there is no such file.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}

/// Removes a file that need not exist.
pub(crate) fn remove(path: &Path) -> Result<(), DiskError> {
    let result = point().and_then(|()| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    result.map_err(|source| DiskError::new("remove", path, source))
}

/// Removes a folder that need not exist, with all that is in it.
pub(crate) fn remove_dir(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(|source| DiskError::new("make", path, source))
}

fn write_in_halves(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if cfg!(test) {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        point()?;
        file.write_all(first)?;
        point()?;
        file.write_all(second)?;
        return point();
    }
    file.write_all(bytes)
}

/// Waits until the file is on disk. Tests kill the process and not the machine, and need not wait.
fn sync(file: &File) -> io::Result<()> {
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// A rename is durable only once its folder is synchronized; platforms that cannot open folders need no such step.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            sync(&File::open(parent)?)
        }
        _ => Ok(()),
    }
}

#[cfg(not(test))]
fn point() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use fault::{die_at, point, points_passed};

#[cfg(test)]
mod fault {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static REMAINING: Cell<Option<usize>> = const { Cell::new(None) };
        static PASSED: Cell<usize> = const { Cell::new(0) };
    }

    /// Makes the write point number `at` (from 0) of this thread fail, and all after it; `None` for none.
    pub(crate) fn die_at(at: Option<usize>) {
        REMAINING.set(at);
        PASSED.set(0);
    }

    /// How many write points this thread has passed since the last [`die_at`].
    pub(crate) fn points_passed() -> usize {
        PASSED.get()
    }

    pub(crate) fn point() -> io::Result<()> {
        PASSED.set(PASSED.get() + 1);
        match REMAINING.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the process dies here")),
            Some(left) => {
                REMAINING.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
