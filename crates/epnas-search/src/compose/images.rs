//! Whether the images are still those that a run was begun with, or a model made with.

use std::path::{Path, PathBuf};

use epnas_data::{DataConfig, Dataset, Source};
use epnas_supernet::{DataFingerprint, Difference};
use serde::{Deserialize, Serialize};

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
        let given = fingerprint_of(self.dataset()?);
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

fn fingerprint_of(dataset: &Dataset) -> DataFingerprint {
    let training =
        DataFingerprint::new(&dataset.classes, &dataset.train).with("training", &dataset.train);
    match &dataset.test {
        Some(test) => training.with("test", test),
        None => training,
    }
}

/// The images that a model was made with: [`MODEL_IMAGES_FILE`] beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelImages {
    /// What kind of data set it was.
    source: Source,
    /// Its folder; null when it has none.
    dir: Option<PathBuf>,
    images: DataFingerprint,
}

/// The name of the file with the [`ModelImages`] of a model, in its folder.
pub const MODEL_IMAGES_FILE: &str = "data.json";

impl ModelImages {
    pub(super) fn new(config: &DataConfig, dataset: &Dataset) -> Self {
        Self {
            source: config.source,
            dir: config.dir.as_deref().map(absolute),
            images: fingerprint_of(dataset),
        }
    }

    /// Those of the model in the folder `model`; `None` when they were not recorded.
    ///
    /// # Errors
    /// [`SearchError`] when the file cannot be read or is damaged.
    pub fn read(model: &Path) -> Result<Option<Self>, SearchError> {
        let path = model.join(MODEL_IMAGES_FILE);
        let Some(bytes) = disk::read_if_present(&path)? else {
            return Ok(None);
        };
        let images = serde_json::from_slice(&bytes).map_err(|error| SearchError::Result {
            path,
            message: error.to_string(),
        })?;
        Ok(Some(images))
    }

    pub(super) fn write(&self, model: &Path) -> Result<(), SearchError> {
        let path = model.join(MODEL_IMAGES_FILE);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| SearchError::Result {
            path: path.clone(),
            message: error.to_string(),
        })?;
        disk::make_dir(model)?;
        Ok(disk::write_atomic(&path, &bytes)?)
    }

    /// Whether `config` reads the images from the same place.
    #[must_use]
    pub fn same_place(&self, config: &DataConfig) -> bool {
        self.source == config.source && self.dir == config.dir.as_deref().map(absolute)
    }

    /// In which counts and checksums `dataset` differs, in one line; `None` when the images are the same.
    #[must_use]
    pub fn differences(&self, dataset: &Dataset) -> Option<String> {
        let differences = self.images.differences(&fingerprint_of(dataset));
        (!differences.is_empty()).then(|| Difference::list(&differences))
    }
}

fn absolute(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
}
