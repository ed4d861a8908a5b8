//! Weight stores as safetensors bytes. The same store always gives the same bytes: tensors are written in the order
//! of their paths and all other facts sit in a single metadata entry.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::WeightStore;
use crate::{error::SupernetError, host};

/// Why bytes are not a weight store.
#[derive(Debug, thiserror::Error)]
pub enum WeightBytesError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a valid safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A safetensors file of something else.
    #[error(
        "the safetensors metadata has no entry `{METADATA}`: this file was not written by epnas"
    )]
    Foreign,
    /// An entry that cannot be read.
    #[error("the safetensors metadata entry `{METADATA}` is not valid: {0}")]
    Metadata(serde_json::Error),
    /// A tensor of another element type.
    #[error("tensor `{path}` has element type {found}, expected F32")]
    Type {
        /// The tensor.
        path: String,
        /// What it holds.
        found: String,
    },
}

/// The name of the one metadata entry; one, because the format does not order several.
const METADATA: &str = "epnas";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    seed: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
}

impl WeightStore {
    /// The seed and all tensors as safetensors bytes.
    ///
    /// # Errors
    /// When a tensor cannot be read from its device.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SupernetError> {
        self.to_bytes_with_note("")
    }

    /// As [`WeightStore::to_bytes`], with a text for the reader.
    pub(crate) fn to_bytes_with_note(&self, note: &str) -> Result<Vec<u8>, SupernetError> {
        let mut buffers: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (path, tensor) in self.iter() {
            let bytes = host::with(tensor, |values: &[f32]| {
                let mut bytes = Vec::with_capacity(4 * values.len());
                values
                    .iter()
                    .for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
                bytes
            })?;
            buffers.insert(path, (tensor.dims().to_vec(), bytes));
        }
        let mut views = Vec::with_capacity(buffers.len());
        for (path, (shape, bytes)) in &buffers {
            views.push((
                *path,
                TensorView::new(Dtype::F32, shape.clone(), bytes)
                    .map_err(WeightBytesError::Format)?,
            ));
        }
        let metadata = Metadata {
            seed: self.seed,
            note: note.to_owned(),
        };
        let metadata = serde_json::to_string(&metadata).map_err(WeightBytesError::Metadata)?;
        let metadata = HashMap::from([(METADATA.to_owned(), metadata)]);
        Ok(safetensors::serialize(views, Some(metadata)).map_err(WeightBytesError::Format)?)
    }

    /// A store from bytes, on the CPU.
    ///
    /// # Errors
    /// [`SupernetError::WeightBytes`] with the reason.
    pub fn from_bytes(bytes: &[u8]) -> Result<WeightStore, SupernetError> {
        WeightStore::from_bytes_on(bytes, &Device::Cpu)
    }

    /// A store from bytes, on a device.
    ///
    /// # Errors
    /// [`SupernetError::WeightBytes`] with the reason.
    pub fn from_bytes_on(bytes: &[u8], device: &Device) -> Result<WeightStore, SupernetError> {
        Ok(WeightStore::read_bytes(bytes, device)?.0)
    }

    /// A store and its note from bytes.
    pub(crate) fn read_bytes(
        bytes: &[u8],
        device: &Device,
    ) -> Result<(WeightStore, String), SupernetError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(WeightBytesError::Format)?;
        let metadata = header
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(METADATA));
        let metadata = metadata.ok_or(WeightBytesError::Foreign)?;
        let metadata: Metadata =
            serde_json::from_str(metadata).map_err(WeightBytesError::Metadata)?;
        let mut store = WeightStore::on(metadata.seed, device.clone());
        let file = SafeTensors::deserialize(bytes).map_err(WeightBytesError::Format)?;
        for (path, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                let found = format!("{:?}", view.dtype());
                return Err(WeightBytesError::Type {
                    path: path.to_owned(),
                    found,
                }
                .into());
            }
            let (words, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            store.tensors.insert(
                path.to_owned(),
                Tensor::from_vec(values, view.shape(), device)?,
            );
        }
        Ok((store, metadata.note))
    }
}
