//! Whether the images are still those that a run was begun with.

use epnas_supernet::{DataFingerprint, Difference};

use super::Session;
use crate::disk;
use crate::error::SearchError;
use crate::run::RunFolder;

/// What to do where a run folder has no fingerprint yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fingerprint {
    /// Compare with the stored one, and store it when there is none.
    Compare,
    /// Store it, whatever was there.
    Store,
}

impl Session {
    /// Compares the images with `data.json` in the run folder, or writes it.
    pub(super) fn same_images(
        &self,
        folder: &RunFolder,
        fingerprint: Fingerprint,
    ) -> Result<(), SearchError> {
        let path = folder.data();
        let damaged = |error: serde_json::Error| SearchError::Result {
            path: folder.data(),
            message: error.to_string(),
        };
        let dataset = self.dataset()?;
        let mut given =
            DataFingerprint::new(&dataset.classes, &dataset.train).with("training", &dataset.train);
        if let Some(test) = &dataset.test {
            given = given.with("test", test);
        }
        let stored = match fingerprint {
            Fingerprint::Compare => disk::read_if_present(&path)?,
            Fingerprint::Store => None,
        };
        let Some(stored) = stored else {
            let bytes = serde_json::to_vec_pretty(&given).map_err(damaged)?;
            return Ok(disk::write_atomic(&path, &bytes)?);
        };
        let stored: DataFingerprint = serde_json::from_slice(&stored).map_err(damaged)?;
        match stored.differences(&given) {
            none if none.is_empty() => Ok(()),
            differences => Err(SearchError::OtherImages {
                dir: folder.dir().to_owned(),
                differences: Difference::list(&differences),
            }),
        }
    }
}
