//! Whether the images are still those that a run was begun with, or a model made with.

use std::path::{Path, PathBuf};

use epnas_data::{DataConfig, Dataset, Source};
use epnas_supernet::{DataFingerprint, Difference};
use serde::{Deserialize, Serialize};

use super::Session;
use crate::error::SearchError;
use crate::run::RunFolder;
use epnas_disk::{self as disk, read_json, write_json};

/// What to do where a run folder has no fingerprint yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fingerprint {
    /// Compare with the stored one, and store it when there is none.
    Compare,
    /// Store it, whatever was there.
    Store,
}

impl Session {
    /// Fails when the images are not those that the run or fleet in a folder was begun with.
    ///
    /// # Errors
    /// [`SearchError::OtherImages`] names what differs.
    pub fn same_images_as(&self, folder: &RunFolder) -> Result<(), SearchError> {
        self.same_images(folder, Fingerprint::Compare)
    }

    /// Compares the images with `data.json` in the run folder, or writes it.
    pub(super) fn same_images(
        &self,
        folder: &RunFolder,
        fingerprint: Fingerprint,
    ) -> Result<(), SearchError> {
        let given = fingerprint_of(self.dataset()?);
        let stored = match fingerprint {
            Fingerprint::Compare => run_images(folder)?,
            Fingerprint::Store => None,
        };
        let Some(stored) = stored else {
            folder.require_no_children(&folder.data())?;
            return Ok(write_json(&folder.data(), &given)?);
        };
        match stored.differences(&given) {
            none if none.is_empty() => Ok(()),
            differences => Err(SearchError::OtherImages {
                dir: folder.dir().to_owned(),
                differences: Difference::list(&differences),
            }),
        }
    }
}

/// The images that the run in `folder` was begun with; `None` when it does not say.
///
/// # Errors
/// [`SearchError`] when the file cannot be read or is damaged.
pub fn run_images(folder: &RunFolder) -> Result<Option<DataFingerprint>, SearchError> {
    Ok(read_json(&folder.data())?)
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
        Ok(read_json(&model.join(MODEL_IMAGES_FILE))?)
    }

    pub(super) fn write(&self, model: &Path) -> Result<(), SearchError> {
        disk::make_dir(model)?;
        Ok(write_json(&model.join(MODEL_IMAGES_FILE), self)?)
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
