//! Where a search keeps what it knows: in its folder, or nowhere but in memory.

use std::path::Path;

use crate::checkpoint::{CheckpointError, Generation, Loaded, Store};
use crate::error::SearchError;
use crate::history::{self, HistoryError, Kept, Record};
use epnas_disk::{self as disk, FileError, Lines};

/// What outlives the process, and what a failed child is undone with.
#[derive(Debug)]
pub(super) enum Keep {
    /// Everything is on disk the moment it is known.
    Folder {
        store: Box<Store>,
        file: Lines,
        /// The checksum of the last child's line.
        last: Option<String>,
    },
    /// The evaluator's latest state.
    Memory { weights: Vec<u8> },
}

/// What a run before has left: its checkpoint and the children of it.
pub(super) type Left = (Loaded, Vec<Record>);

impl Keep {
    /// A folder, and what a run before has left in it. Where its latest checkpoint, or the last line of its history, is
    /// damaged, that is the checkpoint before.
    pub(super) fn open(folder: &Path, settings: &str) -> Result<(Self, Option<Left>), SearchError> {
        disk::make_dir(folder)?;
        let mut damage = None;
        let mut left = None;
        for generation in [Generation::Latest, Generation::Previous] {
            match whole(folder, settings, generation) {
                Ok(None) => {}
                Ok(found) => {
                    left = found;
                    break;
                }
                Err(error) if is_damage(&error) => damage = damage.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        match (damage, &left) {
            (Some(error), None) => return Err(error),
            (Some(error), Some((loaded, _))) => {
                let children = loaded.children();
                tracing::warn!(
                    "{error}; going back to the checkpoint before, of {children} children"
                );
            }
            (None, None) => history::require_none(&folder.join("history.jsonl"))?,
            (None, Some(_)) => {}
        }
        let store = Store::open(
            &folder.join("checkpoint"),
            settings,
            left.as_ref().map(|(loaded, _)| loaded),
        )?;
        let (loaded, kept) = left.unzip();
        let (length, records) = kept.map_or((0, Vec::new()), |kept| (kept.length, kept.records));
        let file = Lines::append_at(&folder.join("history.jsonl"), length)?;
        let last = loaded
            .as_ref()
            .and_then(|loaded| loaded.last().map(str::to_owned));
        let store = Box::new(store);
        let keep = Keep::Folder { store, file, last };
        Ok((keep, loaded.map(|loaded| (loaded, records))))
    }

    pub(super) fn append(&mut self, record: &Record) -> Result<(), SearchError> {
        if let Keep::Folder { file, last, .. } = self {
            *last = Some(file.push(record)?);
        }
        Ok(())
    }

    /// The evaluator's state before the latest child.
    pub(super) fn weights(&self) -> Result<Vec<u8>, SearchError> {
        match self {
            Keep::Folder { store, .. } => Ok(store.weights()?),
            Keep::Memory { weights } => Ok(weights.clone()),
        }
    }
}

/// A generation of the checkpoint with its children; `None` when there is none such.
fn whole(
    folder: &Path,
    settings: &str,
    generation: Generation,
) -> Result<Option<(Loaded, Kept)>, SearchError> {
    let Some(loaded) = Loaded::read(&folder.join("checkpoint"), generation)? else {
        return Ok(None);
    };
    loaded.require_settings(settings)?;
    let path = folder.join("history.jsonl");
    let kept = history::kept(&path, loaded.children(), loaded.last())?;
    Ok(Some((loaded, kept)))
}

/// Whether a file holds something else than was written, so that an earlier one may do.
fn is_damage(error: &SearchError) -> bool {
    match error {
        SearchError::Checkpoint(CheckpointError::File(error))
        | SearchError::History(HistoryError::File(error)) => {
            matches!(error, FileError::Damaged { .. })
        }
        SearchError::Checkpoint(CheckpointError::Damaged { .. }) | SearchError::History(_) => true,
        _ => false,
    }
}
