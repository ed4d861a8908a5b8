//! A model's folder: `model.json` and `weights.safetensors`.
//!
//! Both files are written under other names first and then renamed, weights before description. The description holds
//! a digest of the weights, so that files of two models never pass as one, and a checksum of itself.

use std::{fs, path::Path};

use candle_core::Device;
use epnas_disk::FileError;
use serde::{Deserialize, Serialize};

use super::{Model, ModelInfo};
use crate::{error::SupernetError, weights::WeightStore};

/// Name of the file that describes a model.
pub const MODEL_FILE: &str = "model.json";
/// Name of the file with a model's weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";

#[derive(Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    info: ModelInfo,
    weights_digest: String,
}

impl Model {
    /// Writes the model to a folder, which is made if need be. A model that is there already is replaced; if the
    /// writing is interrupted, what was there can still be loaded or is recognized as incomplete.
    ///
    /// # Errors
    /// [`SupernetError::Disk`] when a file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), SupernetError> {
        let weights = self.weights.to_bytes()?;
        let description = Description {
            info: self.info.clone(),
            weights_digest: digest(&weights),
        };
        epnas_disk::make_dir(dir).map_err(FileError::from)?;
        epnas_disk::write_atomic(&dir.join(WEIGHTS_FILE), &weights).map_err(FileError::from)?;
        epnas_disk::write_json(&dir.join(MODEL_FILE), &description)?;
        tracing::debug!(dir = %dir.display(), bytes = weights.len(), "model saved");
        Ok(())
    }

    /// Reads a model from a folder.
    ///
    /// # Errors
    /// [`SupernetError::File`] or [`SupernetError::Disk`] naming the file, and the tensor where one is missing or of another shape.
    pub fn load(dir: &Path) -> Result<Model, SupernetError> {
        let (path, weights_path) = (dir.join(MODEL_FILE), dir.join(WEIGHTS_FILE));
        let json = epnas_disk::read_json::<serde_json::Value>(&path)?;
        let mut json = json.ok_or_else(|| file_error(&path, "there is no such file"))?;
        // Taken out before the rest is read, which rejects unknown keys.
        let expected = json
            .as_object_mut()
            .and_then(|entries| entries.remove("weights_digest"));
        let info: ModelInfo =
            serde_json::from_value(json).map_err(|error| file_error(&path, error))?;
        if info.format != 1 {
            return Err(file_error(
                &path,
                format!("format {} is not known, expected 1", info.format),
            ));
        }
        let bytes = fs::read(&weights_path).map_err(|error| file_error(&weights_path, error))?;
        let found = digest(&bytes);
        match expected.as_ref().and_then(serde_json::Value::as_str) {
            Some(expected) if expected == found => {}
            Some(expected) => {
                let reason = format!(
                    "its digest is {found}, but {MODEL_FILE} names {expected}: it belongs to another model or is damaged"
                );
                return Err(file_error(&weights_path, reason));
            }
            None => return Err(file_error(&path, "the text `weights_digest` is missing")),
        }
        let weights = WeightStore::from_bytes_on(&bytes, &Device::Cpu)
            .map_err(|error| file_error(&weights_path, error))?;
        Model::new(info, weights).map_err(|error| match error {
            SupernetError::WeightShape { .. }
            | SupernetError::MissingWeight { .. }
            | SupernetError::ForeignWeight { .. } => file_error(&weights_path, error),
            other => file_error(&path, other),
        })
    }
}

fn file_error(path: &Path, reason: impl ToString) -> SupernetError {
    SupernetError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// 64-bit FNV-1a over the bytes, in hexadecimal: it tells files apart, it does not protect against forgery.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
