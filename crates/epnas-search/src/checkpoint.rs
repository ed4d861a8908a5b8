//! Checkpoints: everything a search needs to go on, committed by one atomic rename.
//!
//! A checkpoint folder holds two generations: `state.json` and, of the one before, `previous.json`, with the files they
//! name: `weights-N.bin` (the evaluator's state after N children) and `surrogate-M.bin` (the surrogate after M fits, twice). A new
//! generation is written beside the old ones; the rename of `state.json` makes it count; only then are files that nothing
//! names any more removed. A kill at any moment leaves the old generation or the new one, whole, and when one is damaged the
//! search steps back to the other.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::SearchError;
use crate::history::{self, Record};

use epnas_disk::{self as disk, DiskError, FileError, seal};

/// Version of the layout, raised when an older reader could not read it.
const VERSION: u32 = 2;
const STATE: &str = "state.json";
const PREVIOUS: &str = "previous.json";

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written, or is not what this version writes.
    #[error(transparent)]
    File(#[from] FileError),
    /// The checkpoint is of another version.
    #[error("{} has version {found}, expected {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The checkpoint is of a search with other settings.
    #[error("{} is of a search with other settings ({found:?}, expected {expected:?})", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Those of its search.
        found: String,
        /// Those of this one.
        expected: String,
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

    /// The file's second copy. Both generations mostly have one surrogate, so that there is none to step back to.
    fn copy(&self) -> String {
        self.file.replace(".bin", ".copy.bin")
    }

    /// As [`Blob::read`], or from the second copy, which mends the first.
    fn read_either(&self, dir: &Path) -> Result<Vec<u8>, CheckpointError> {
        let error = match self.read(dir) {
            Err(error) => error,
            read => return read,
        };
        let copy = Self {
            file: self.copy(),
            ..self.clone()
        };
        let Ok(bytes) = copy.read(dir) else {
            return Err(error);
        };
        tracing::warn!("{error}; its copy is whole and replaces it");
        disk::write_atomic(&dir.join(&self.file), &bytes).map_err(FileError::from)?;
        Ok(bytes)
    }

    fn read(&self, dir: &Path) -> Result<Vec<u8>, CheckpointError> {
        let path = dir.join(&self.file);
        let bytes = disk::read_if_present(&path).map_err(FileError::from)?;
        let found = bytes.as_ref().map_or_else(
            || "missing".into(),
            |bytes| Self::of(self.file.clone(), bytes).describe(),
        );
        match bytes {
            Some(bytes) if found == self.describe() => Ok(bytes),
            _ => Err(CheckpointError::Damaged {
                path,
                found,
                expected: self.describe(),
            }),
        }
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
    /// What decided the children, as the driver was told.
    settings: String,
    /// Children in the history.
    children: usize,
    /// The checksum of the last one's line.
    last: Option<String>,
    /// Wall time so far, over all resumed parts.
    seconds: f64,
    strategy: serde_json::Value,
    weights: Blob,
    surrogate: Option<Blob>,
    /// Fits behind `surrogate`.
    fits: u64,
}

/// Which of the two that a checkpoint folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    Latest,
    Previous,
}

impl Generation {
    fn file(self) -> &'static str {
        match self {
            Self::Latest => STATE,
            Self::Previous => PREVIOUS,
        }
    }
}

/// A checkpoint as it was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    path: PathBuf,
    generation: Generation,
    state: State,
    pub(crate) weights: Vec<u8>,
    pub(crate) surrogate: Option<Vec<u8>>,
}

impl Loaded {
    /// Reads a generation; `None` when the folder has none such.
    pub(crate) fn read(
        dir: &Path,
        generation: Generation,
    ) -> Result<Option<Self>, CheckpointError> {
        let path = dir.join(generation.file());
        let Some(state) = State::read(&path)? else {
            return Ok(None);
        };
        let weights = state.weights.read(dir)?;
        let surrogate = state.surrogate.as_ref().map(|blob| blob.read_either(dir));
        Ok(Some(Self {
            path,
            generation,
            weights,
            surrogate: surrogate.transpose()?,
            state,
        }))
    }

    /// Fails when it is of a search with other settings.
    pub(crate) fn require_settings(&self, settings: &str) -> Result<(), CheckpointError> {
        if self.state.settings == settings {
            return Ok(());
        }
        Err(CheckpointError::Settings {
            path: self.path.clone(),
            found: self.state.settings.clone(),
            expected: settings.to_owned(),
        })
    }

    pub(crate) fn children(&self) -> usize {
        self.state.children
    }

    /// The checksum of the last child's line.
    pub(crate) fn last(&self) -> Option<&str> {
        self.state.last.as_deref()
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.state.seconds
    }

    pub(crate) fn strategy(&self) -> &serde_json::Value {
        &self.state.strategy
    }
}

/// What changed since the last commit.
pub(crate) struct Commit<'a> {
    pub(crate) children: usize,
    /// The checksum of the last one's line.
    pub(crate) last: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) strategy: serde_json::Value,
    /// The evaluator's state; `None` when no child was evaluated since.
    pub(crate) weights: Option<&'a [u8]>,
    /// The surrogate's state and its number of fits; `None` when it was not fitted since.
    pub(crate) surrogate: Option<(&'a [u8], u64)>,
}

/// A checkpoint folder, to commit to.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    settings: String,
    state: Option<State>,
    /// The files of the generation before, which is there to step back to.
    previous: Vec<String>,
}

impl Store {
    /// Goes on from what was loaded, or from nothing. What was committed later, or never, is removed.
    pub(crate) fn open(
        dir: &Path,
        settings: &str,
        from: Option<&Loaded>,
    ) -> Result<Self, CheckpointError> {
        disk::make_dir(dir).map_err(FileError::from)?;
        let previous = match from.map(|loaded| loaded.generation) {
            Some(Generation::Latest) => State::read(&dir.join(PREVIOUS)).ok().flatten(),
            Some(Generation::Previous) => {
                disk::remove(&dir.join(STATE)).map_err(FileError::from)?;
                None
            }
            None => None,
        };
        let store = Self {
            dir: dir.to_owned(),
            settings: settings.to_owned(),
            state: from.map(|loaded| loaded.state.clone()),
            previous: previous.map_or_else(Vec::new, |state: State| state.files()),
        };
        store.sweep()?;
        Ok(store)
    }

    /// Number of fits behind the stored surrogate.
    pub(crate) fn fits(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.fits)
    }

    /// The evaluator's state as it was last committed.
    pub(crate) fn weights(&self) -> Result<Vec<u8>, CheckpointError> {
        self.state
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), |state| state.weights.read(&self.dir))
    }

    /// Makes `commit` the state to resume from.
    pub(crate) fn commit(&mut self, commit: Commit<'_>) -> Result<(), CheckpointError> {
        let weights = match (commit.weights, &self.state) {
            (Some(bytes), _) => self.write(format!("weights-{}.bin", commit.children), bytes)?,
            (None, Some(state)) => state.weights.clone(),
            (None, None) => self.write("weights-0.bin".into(), &[])?,
        };
        let (surrogate, fits) = match (commit.surrogate, &self.state) {
            (Some((bytes, fits)), _) => {
                let blob = self.write(format!("surrogate-{fits}.bin"), bytes)?;
                disk::write_new(&self.dir.join(blob.copy()), bytes).map_err(FileError::from)?;
                (Some(blob), fits)
            }
            (None, Some(state)) => (state.surrogate.clone(), state.fits),
            (None, None) => (None, 0),
        };
        let state = State {
            version: VERSION,
            settings: self.settings.clone(),
            children: commit.children,
            last: commit.last,
            seconds: commit.seconds,
            strategy: commit.strategy,
            weights,
            surrogate,
            fits,
        };
        let path = self.dir.join(STATE);
        let text = seal::json_pretty(&state)
            .map_err(|error| FileError::damaged(&path, error.to_string()))?;
        // What changes no weights replaces its generation: the one before is kept for its other weights.
        let content = text.content.as_bytes();
        match commit.weights {
            Some(_) => {
                disk::write_keeping(&path, &self.dir.join(PREVIOUS), content)
                    .map_err(FileError::from)?;
                let before = self.state.replace(state);
                self.previous = before.map_or_else(Vec::new, |state| state.files());
            }
            None => {
                disk::write_atomic(&path, content).map_err(FileError::from)?;
                self.state = Some(state);
            }
        }
        self.sweep()
    }

    fn write(&self, file: String, bytes: &[u8]) -> Result<Blob, CheckpointError> {
        disk::write_new(&self.dir.join(&file), bytes).map_err(FileError::from)?;
        Ok(Blob::of(file, bytes))
    }

    /// Removes files that neither generation names.
    fn sweep(&self) -> Result<(), CheckpointError> {
        let latest = self.state.as_ref().map_or_else(Vec::new, State::files);
        let named = [latest, self.previous.clone()].concat();
        let failed = |source| FileError::from(DiskError::new("read", &self.dir, source));
        for entry in std::fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = name.starts_with("weights-")
                || name.starts_with("surrogate-")
                || name.ends_with(".tmp");
            if ours && !named.iter().any(|other| *other == name) {
                disk::remove(&entry.path()).map_err(FileError::from)?;
            }
        }
        Ok(())
    }
}

impl State {
    fn read(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let read = disk::read_json::<Self>(path);
        let is_ours = |state: &Option<Self>| state.as_ref().is_none_or(|s| s.version == VERSION);
        if !read.as_ref().is_ok_and(is_ours)
            && let Some(found) = other_version(path)
        {
            let path = path.to_owned();
            return Err(CheckpointError::Version { path, found });
        }
        Ok(read?)
    }

    fn files(&self) -> Vec<String> {
        let mut files = vec![self.weights.file.clone()];
        if let Some(surrogate) = &self.surrogate {
            files.extend([surrogate.file.clone(), surrogate.copy()]);
        }
        files
    }
}

/// The children of the search in `folder`: all lines of its history, which have to begin with those of its checkpoint, if it
/// has one.
///
/// # Errors
/// [`SearchError`] when the history cannot be read, was changed, or is shorter than its checkpoint or of another search.
pub fn run_history(folder: &Path) -> Result<Vec<Record>, SearchError> {
    let (dir, path) = (folder.join("checkpoint"), folder.join("history.jsonl"));
    let state = |name| State::read(&dir.join(name)).ok().flatten();
    let state = state(STATE).or_else(|| state(PREVIOUS));
    let behind = state.map_or((0, None), |state| (state.children, state.last));
    Ok(history::whole(&path, behind.0, behind.1.as_deref())?)
}

/// The version of a file that another version wrote: the first had no checksums.
fn other_version(path: &Path) -> Option<u64> {
    let bytes = disk::read_if_present(path).ok()??;
    let object = match seal::open_json(&bytes) {
        Ok(sealed) => sealed.content,
        Err(_) => bytes,
    };
    let value: serde_json::Value = serde_json::from_slice(&object).ok()?;
    let version = value.get("version")?.as_u64()?;
    (value.get("crc32").is_none() && version != u64::from(VERSION)).then_some(version)
}

/// Children and wall time in a checkpoint, without reading the rest; `None` when there is none.
pub(crate) fn peek(dir: &Path) -> Result<Option<(usize, f64)>, CheckpointError> {
    let of = |state: State| (state.children, state.seconds);
    let latest = State::read(&dir.join(STATE));
    match latest {
        Ok(Some(state)) => Ok(Some(of(state))),
        latest => match State::read(&dir.join(PREVIOUS)) {
            Ok(Some(previous)) => Ok(Some(of(previous))),
            _ => latest.map(|_| None),
        },
    }
}
