//! What a run is computed on and in, which depends on the machine and not on the configuration alone.

use std::fmt;

use epnas_supernet::{DeviceKind, PrecisionKind};
use serde::{Deserialize, Serialize};

use super::Session;
use super::images::Fingerprint;
use crate::best::Precisions;
use crate::error::SearchError;
use crate::run::RunFolder;
use epnas_disk::{read_json, write_json};

/// `precision.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    children: PrecisionKind,
    device: DeviceKind,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.children, self.device)
    }
}

/// What a run folder says; the default where there is no run yet.
fn recorded(folder: &RunFolder) -> Result<Record, SearchError> {
    if let Some(record) = read_json::<Record>(&folder.precision())? {
        return Ok(record);
    }
    folder.require_no_children(&folder.precision())?;
    Ok(Record {
        children: PrecisionKind::default(),
        device: DeviceKind::default(),
    })
}

/// The kind of device that the children of a run were trained on; the CPU where there is no run yet.
///
/// # Errors
/// [`SearchError`] when the folder's record cannot be read.
pub fn run_device(folder: &RunFolder) -> Result<DeviceKind, SearchError> {
    Ok(recorded(folder)?.device)
}

impl Session {
    /// Compares device and precision of children with `precision.json` in the run folder, or writes it: estimates of
    /// different ones are not mixed.
    pub(super) fn same_computation(
        &self,
        folder: &RunFolder,
        fingerprint: Fingerprint,
    ) -> Result<(), SearchError> {
        let device = self.compute.kind();
        let given = Record {
            children: self.config.training.recipe.precision.available_on(device),
            device,
        };
        if matches!(fingerprint, Fingerprint::Store) {
            return Ok(write_json(&folder.precision(), &given)?);
        }
        let stored = recorded(folder)?;
        if stored == given {
            return Ok(());
        }
        Err(SearchError::OtherComputation {
            dir: folder.dir().to_owned(),
            stored: stored.to_string(),
            given: given.to_string(),
        })
    }

    /// Those of the children in a run folder, and of a retraining on a device.
    pub(super) fn precisions(
        &self,
        folder: &RunFolder,
        device: DeviceKind,
    ) -> Result<Precisions, SearchError> {
        let Record { children, .. } = recorded(folder)?;
        let (_, recipe) = self.config.selection();
        let retrained = recipe.precision.available_on(device);
        Ok(Precisions {
            children: children.to_string(),
            retrained: retrained.to_string(),
        })
    }
}
