//! What can go wrong in a fleet.

use std::path::PathBuf;

use epnas_disk::{DiskError, FileError};
use epnas_search::{RunError, SearchError, SettingsError};

use crate::stage::Stage;

/// Why a fleet cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// A search, a selection or a run folder.
    #[error(transparent)]
    Search(Box<SearchError>),
    /// A file that cannot be read or written, or that was changed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds no fleet.
    #[error("{} holds no fleet (there is no fleet.json in it)", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds searches of a fleet that is not described.
    #[error(
        "{} holds the searches of a fleet but no fleet.json: `epnas fleet run` or `submit` with this folder makes it again",
        dir.display()
    )]
    Lost {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds a run by itself.
    #[error("{} holds a run, not a fleet; name another folder", dir.display())]
    Single {
        /// The folder.
        dir: PathBuf,
    },
    /// There are more replicas than are asked for.
    #[error("{} has {found} replicas and not {asked}: they can become more, not fewer", dir.display())]
    Fewer {
        /// The folder.
        dir: PathBuf,
        /// How many it has.
        found: usize,
        /// How many are asked for.
        asked: usize,
    },
    /// The fleet was begun for another device.
    #[error("{} was begun on {stored}, not on {given}: estimates of different devices are not mixed", dir.display())]
    Device {
        /// The folder.
        dir: PathBuf,
        /// What it was begun on.
        stored: String,
        /// What is asked for.
        given: String,
    },
    /// A history of a search that had ended is not what it was.
    #[error(
        "{source}; put it back from a copy, or delete {} with what is left of the search, and it is done again",
        ended.parent().unwrap_or(ended).display()
    )]
    Altered {
        /// What says that the search has ended.
        ended: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<FleetError>,
    },
    /// A stage needs what an earlier one has not done.
    #[error("{}: {} of {of} pieces of the stage {stage} are not done ({})", dir.display(), missing.len(), listed(missing))]
    Unfinished {
        /// The folder.
        dir: PathBuf,
        /// The earlier stage.
        stage: Stage,
        /// Its missing pieces.
        missing: Vec<usize>,
        /// How many it has.
        of: usize,
    },
    /// A piece that the stage does not have.
    #[error("{}: the stage {stage} has no piece {number}, expected one of {of} from 0", dir.display())]
    Piece {
        /// The folder.
        dir: PathBuf,
        /// The stage.
        stage: Stage,
        /// What was asked for.
        number: usize,
        /// How many it has.
        of: usize,
    },
}

impl FleetError {
    /// Whether another process has what is asked for.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Search(error) => matches!(**error, SearchError::Run(RunError::Locked { .. })),
            _ => false,
        }
    }
}

impl From<SearchError> for FleetError {
    fn from(error: SearchError) -> Self {
        Self::Search(Box::new(error))
    }
}

impl From<RunError> for FleetError {
    fn from(error: RunError) -> Self {
        SearchError::from(error).into()
    }
}

impl From<SettingsError> for FleetError {
    fn from(error: SettingsError) -> Self {
        SearchError::from(error).into()
    }
}

impl From<DiskError> for FleetError {
    fn from(error: DiskError) -> Self {
        Self::File(error.into())
    }
}

/// The first few.
fn listed(numbers: &[usize]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(usize::to_string).collect();
    match numbers.len() {
        0..=SHOWN => shown.join(", "),
        _ => format!("{}, ..", shown.join(", ")),
    }
}
