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
        let stored = match fingerprint {
            Fingerprint::Compare => read_json::<Record>(&folder.precision())?,
            Fingerprint::Store => None,
        };
        match stored {
            None => write_json(&folder.precision(), &given),
            Some(stored) if stored == given => Ok(()),
            Some(stored) => Err(SearchError::OtherPrecision {
                dir: folder.dir().to_owned(),
                stored: stored.children.to_string(),
                given: given.children.to_string(),
            }),
        }
    }

    /// Those of the children in a run folder, and of a retraining on this CPU.
    pub(super) fn precisions(&self, folder: &RunFolder) -> Result<Precisions, SearchError> {
        // Earlier versions did not record the only one they had.
        let children = read_json::<Record>(&folder.precision())?;
        let children = children.map_or_else(PrecisionKind::default, |record| record.children);
        let (_, recipe) = self.config.selection();
        Ok(Precisions {
            children: children.to_string(),
            retrained: recipe.precision.available().to_string(),
        })
    }
}
