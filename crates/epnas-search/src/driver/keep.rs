//! Where a search keeps what it knows: in its folder, or nowhere but in memory.

use std::path::Path;

use crate::checkpoint::{Loaded, Store};
use crate::disk;
use crate::error::SearchError;
use crate::history::{HistoryFile, Record};

/// What outlives the process, and what a failed child is undone with.
#[derive(Debug)]
pub(super) enum Keep {
    /// Everything is on disk the moment it is known.
    Folder { store: Store, file: HistoryFile },
    /// The evaluator's latest state.
    Memory { weights: Vec<u8> },
}

/// What a run before has left: its checkpoint and the children of it.
pub(super) type Left = (Loaded, Vec<Record>);

impl Keep {
    /// A folder, and what a run before has left in it.
    pub(super) fn open(folder: &Path) -> Result<(Self, Option<Left>), SearchError> {
        disk::make_dir(folder)?;
        let (store, loaded) = Store::open(&folder.join("checkpoint"))?;
        let children = loaded.as_ref().map_or(0, |loaded| loaded.children);
        let (file, records) = HistoryFile::open(&folder.join("history.jsonl"), children)?;
        Ok((
            Keep::Folder { store, file },
            loaded.map(|loaded| (loaded, records)),
        ))
    }

    pub(super) fn append(&mut self, record: &Record) -> Result<(), SearchError> {
        match self {
            Keep::Folder { file, .. } => Ok(file.append(record)?),
            Keep::Memory { .. } => Ok(()),
        }
    }

    /// The evaluator's state before the latest child.
    pub(super) fn weights(&self) -> Result<Vec<u8>, SearchError> {
        match self {
            Keep::Folder { store, .. } => Ok(store.weights()?),
            Keep::Memory { weights } => Ok(weights.clone()),
        }
    }
}
