//! Writes that survive a kill at any moment: each step is durable before the next begins.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::DiskError;
use crate::fault::point;

/// Writes `bytes` to `path` so that readers, and the file after a crash, see the old content or the new, never a mix.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, None, bytes).map_err(|source| DiskError::new("write", path, source))
}

/// As [`write_atomic`], and what was at `path` is at `previous` afterwards. After a crash there may be nothing at `path`;
/// then the old content is at `previous`.
///
/// # Errors
/// [`DiskError`] when one of them cannot be written.
pub fn write_keeping(path: &Path, previous: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace(path, Some(previous), bytes).map_err(|source| DiskError::new("write", path, source))
}

fn replace(path: &Path, previous: Option<&Path>, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path);
    write_whole(&temporary, bytes)?;
    if let Some(previous) = previous {
        match fs::rename(path, previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => point()?,
        }
    }
    fs::rename(&temporary, path)?;
    point()?;
    sync_parent(path)
}

/// Writes a file of a name that nothing refers to yet. It needs no rename, and its folder is synchronized by whatever
/// refers to it next.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_whole(path, bytes).map_err(|source| DiskError::new("write", path, source))
}

/// Writes a file of its own and makes it durable; a disk that is full is not left fuller than it was.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    let result = write_in_halves(&mut file, bytes)
        .and_then(|()| sync(&file))
        .and_then(|()| point());
    // Of a process that tests let die at this write, half of it stays.
    if result.is_err() && !crate::fault::is_rehearsal() {
        let _ = fs::remove_file(path);
    }
    result
}

/// A file that is written piece by piece beside its place, and takes it when it is whole: for what is too large to hold.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
}

impl Replacement {
    /// Begins to write; what is at `path` stays.
    ///
    /// # Errors
    /// [`DiskError`] names the file and what failed.
    pub fn begin(path: &Path) -> Result<Self, DiskError> {
        let temporary = beside(path);
        let file = File::create(&temporary);
        Ok(Self {
            path: path.to_owned(),
            file: Some(file.map_err(|source| DiskError::new("write", path, source))?),
            temporary,
        })
    }

    /// Adds to it.
    ///
    /// # Errors
    /// As [`Replacement::begin`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let written = match &mut self.file {
            Some(file) => write_in_halves(file, bytes),
            None => Ok(()),
        };
        written.map_err(|source| DiskError::new("write", &self.path, source))
    }

    /// Puts it in its place; it is on disk when this returns.
    ///
    /// # Errors
    /// As [`Replacement::begin`].
    pub fn finish(mut self) -> Result<(), DiskError> {
        let result = self.file.take().map_or(Ok(()), |file| {
            sync(&file)?;
            point()?;
            fs::rename(&self.temporary, &self.path)?;
            point()?;
            sync_parent(&self.path)
        });
        result.map_err(|source| DiskError::new("write", &self.path, source))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Not finished: a disk that is full is not left fuller than it was.
        if self.file.take().is_some() && !crate::fault::is_rehearsal() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Appends one line and makes it durable.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn append(file: &mut File, path: &Path, line: &str) -> Result<(), DiskError> {
    let mut bytes = line.as_bytes().to_vec();
    bytes.push(b'\n');
    let result = write_in_halves(file, &bytes)
        .and_then(|()| sync(file))
        .and_then(|()| point());
    result.map_err(|source| DiskError::new("append to", path, source))
}

/// Opens a file for appending, keeping its first `length` bytes and making it when it does not exist.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn open_truncated(path: &Path, length: u64) -> Result<File, DiskError> {
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
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError::new("read", path, source)),
    }
}

/// Removes a file that need not exist.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    let result = point().and_then(|()| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    result.map_err(|source| DiskError::new("remove", path, source))
}

/// Removes a folder that need not exist, with all that is in it.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn remove_dir(path: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DiskError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`DiskError`] names the file and what failed.
pub fn make_dir(path: &Path) -> Result<(), DiskError> {
    fs::create_dir_all(path).map_err(|source| DiskError::new("make", path, source))
}

/// Where a write may be made to fail, half of the bytes are written first.
fn write_in_halves(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if !cfg!(debug_assertions) {
        return file.write_all(bytes);
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    point()?;
    file.write_all(first)?;
    point()?;
    file.write_all(second)?;
    point()
}

/// Waits until the file is on disk.
fn sync(file: &File) -> io::Result<()> {
    if crate::fault::is_rehearsal() {
        return Ok(());
    }
    file.sync_all()
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
