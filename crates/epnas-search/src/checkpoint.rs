//! Checkpoints: everything a search needs to go on, committed by one atomic rename.
//!
//! A checkpoint folder holds `state.json` and the files it names: `weights-N.bin` (the evaluator's state after N
//! children) and `surrogate-M.bin` (the surrogate after M fits). A new generation is written beside the old one; the
//! rename of `state.json` makes it count; only then are files that nothing names any more removed. A kill at any moment
//! leaves the old generation or the new one, whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{self, DiskError};

/// Version of the layout, raised when an older reader could not read it.
const VERSION: u32 = 1;
const STATE: &str = "state.json";

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// `state.json` is not what this version writes.
    #[error("{} is damaged: {message}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The checkpoint is of another version.
    #[error("{} has version {found}, expected {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file does not hold the bytes that were written.
    #[error("{} is damaged: {found}, expected {expected}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its size and checksum.
        found: String,
        /// Those in `state.json`.
        expected: String,
    },
}

/// What `state.json` says about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Blob {
    file: String,
    bytes: u64,
    crc32: u32,
}

impl Blob {
    fn describe(&self) -> String {
        format!("{} bytes with CRC-32 {:08x}", self.bytes, self.crc32)
    }

    fn of(file: String, bytes: &[u8]) -> Self {
        Self {
            file,
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        }
    }
}

/// The part of a checkpoint that is small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Children in the history.
    children: usize,
    /// Wall time so far, over all resumed parts.
    seconds: f64,
    strategy: serde_json::Value,
    weights: Blob,
    surrogate: Option<Blob>,
    /// Fits behind `surrogate`.
    fits: u64,
}

/// A checkpoint as it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) children: usize,
    pub(crate) seconds: f64,
    pub(crate) strategy: serde_json::Value,
    pub(crate) weights: Vec<u8>,
    pub(crate) surrogate: Option<Vec<u8>>,
}

/// What changed since the last commit.
pub(crate) struct Commit<'a> {
    pub(crate) children: usize,
    pub(crate) seconds: f64,
    pub(crate) strategy: serde_json::Value,
    /// The evaluator's state; `None` when no child was evaluated since.
    pub(crate) weights: Option<&'a [u8]>,
    /// The surrogate's state and its number of fits; `None` when it was not fitted since.
    pub(crate) surrogate: Option<(&'a [u8], u64)>,
}

/// A checkpoint folder.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    state: Option<State>,
}

impl Store {
    /// Opens a folder, reading what was committed last. Files of a generation that was never committed are removed.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<Loaded>), CheckpointError> {
        disk::make_dir(dir)?;
        let mut store = Self {
            dir: dir.to_owned(),
            state: None,
        };
        let path = dir.join(STATE);
        let Some(bytes) = disk::read_if_present(&path)? else {
            store.sweep()?;
            return Ok((store, None));
        };
        let damaged = |message: String| CheckpointError::State {
            path: path.clone(),
            message,
        };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        let version = value
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0) as u32;
        if version != VERSION {
            return Err(CheckpointError::Version {
                path,
                found: version,
            });
        }
        let state: State = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        let weights = store.read(&state.weights)?;
        let surrogate = state
            .surrogate
            .as_ref()
            .map(|blob| store.read(blob))
            .transpose()?;
        let loaded = Loaded {
            children: state.children,
            seconds: state.seconds,
            strategy: state.strategy.clone(),
            weights,
            surrogate,
        };
        store.state = Some(state);
        store.sweep()?;
        Ok((store, Some(loaded)))
    }

    /// Number of fits behind the stored surrogate.
    pub(crate) fn fits(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.fits)
    }

    /// The evaluator's state as it was last committed.
    pub(crate) fn weights(&self) -> Result<Vec<u8>, CheckpointError> {
        self.state
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |state| self.read(&state.weights))
    }

    /// Makes `commit` the state to resume from.
    pub(crate) fn commit(&mut self, commit: Commit<'_>) -> Result<(), CheckpointError> {
        let weights = match (commit.weights, &self.state) {
            (Some(bytes), _) => self.write(format!("weights-{}.bin", commit.children), bytes)?,
            (None, Some(state)) => state.weights.clone(),
            (None, None) => self.write("weights-0.bin".into(), &[])?,
        };
        let (surrogate, fits) = match (commit.surrogate, &self.state) {
            (Some((bytes, fits)), _) => (
                Some(self.write(format!("surrogate-{fits}.bin"), bytes)?),
                fits,
            ),
            (None, Some(state)) => (state.surrogate.clone(), state.fits),
            (None, None) => (None, 0),
        };
        let state = State {
            version: VERSION,
            children: commit.children,
            seconds: commit.seconds,
            strategy: commit.strategy,
            weights,
            surrogate,
            fits,
        };
        let path = self.dir.join(STATE);
        let text = serde_json::to_vec_pretty(&state).map_err(|e| CheckpointError::State {
            path: path.clone(),
            message: e.to_string(),
        })?;
        disk::write_atomic(&path, &text)?;
        self.state = Some(state);
        self.sweep()
    }

    fn write(&self, file: String, bytes: &[u8]) -> Result<Blob, CheckpointError> {
        disk::write_new(&self.dir.join(&file), bytes)?;
        Ok(Blob::of(file, bytes))
    }

    fn read(&self, blob: &Blob) -> Result<Vec<u8>, CheckpointError> {
        let path = self.dir.join(&blob.file);
        let Some(bytes) = disk::read_if_present(&path)? else {
            return Err(CheckpointError::Damaged {
                path,
                found: "missing".into(),
                expected: blob.describe(),
            });
        };
        let found = Blob::of(blob.file.clone(), &bytes);
        if found != *blob {
            return Err(CheckpointError::Damaged {
                path,
                found: found.describe(),
                expected: blob.describe(),
            });
        }
        Ok(bytes)
    }

    /// Removes files that `state.json` does not name.
    fn sweep(&self) -> Result<(), CheckpointError> {
        let named: Vec<&str> = self
            .state
            .iter()
            .flat_map(State::files)
            .chain([STATE])
            .collect();
        let entries = std::fs::read_dir(&self.dir)
            .map_err(|source| DiskError::new("read", &self.dir, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| DiskError::new("read", &self.dir, source))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = name.starts_with("weights-")
                || name.starts_with("surrogate-")
                || name.ends_with(".tmp");
            if ours && !named.contains(&name.as_ref()) {
                disk::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

impl State {
    fn files(&self) -> Vec<&str> {
        let surrogate = self.surrogate.iter().map(|blob| blob.file.as_str());
        std::iter::once(self.weights.file.as_str())
            .chain(surrogate)
            .collect()
    }
}

/// The wall time in a checkpoint, without reading the rest.
pub(crate) fn peek_seconds(dir: &Path) -> Result<Option<f64>, CheckpointError> {
    let path = dir.join(STATE);
    let Some(bytes) = disk::read_if_present(&path)? else {
        return Ok(None);
    };
    let state: State = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::State {
        path,
        message: error.to_string(),
    })?;
    Ok(Some(state.seconds))
}
