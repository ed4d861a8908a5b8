//! What the convolutions of a run are computed in, which depends on the CPU and not on the configuration alone.

use epnas_supernet::PrecisionKind;
use serde::{Deserialize, Serialize};

use super::Session;
use super::images::{Fingerprint, read_json, write_json};
use crate::best::Precisions;
use crate::error::SearchError;
use crate::run::RunFolder;

/// `precision.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    children: PrecisionKind,
}

impl Session {
    /// Compares the precision of children on this CPU with `precision.json` in the run folder, or writes it: estimates
    /// of different precisions are not mixed.
    pub(super) fn same_precision(
        &self,
        folder: &RunFolder,
        fingerprint: Fingerprint,
    ) -> Result<(), SearchError> {
        let given = Record {
            children: self.config.training.recipe.precision.available(),
        };
        if matches!(fingerprint, Fingerprint::Store) {
            return write_json(&folder.precision(), &given);
        }
        let stored = Self::recorded(folder)?;
        if stored == given {
            return Ok(());
        }
        Err(SearchError::OtherPrecision {
            dir: folder.dir().to_owned(),
            stored: stored.children.to_string(),
            given: given.children.to_string(),
        })
    }

    /// What a run folder says; earlier versions did not record the only one they had.
    fn recorded(folder: &RunFolder) -> Result<Record, SearchError> {
        let record = read_json::<Record>(&folder.precision())?;
        Ok(record.unwrap_or_else(|| Record {
            children: PrecisionKind::default(),
        }))
    }

    /// Those of the children in a run folder, and of a retraining on this CPU.
    pub(super) fn precisions(&self, folder: &RunFolder) -> Result<Precisions, SearchError> {
        let Record { children } = Self::recorded(folder)?;
        let (_, recipe) = self.config.selection();
        Ok(Precisions {
            children: children.to_string(),
            retrained: recipe.precision.available().to_string(),
        })
    }
}
