//! The shared weights: an ordered map from a path to a tensor (Perez-Rua et al., 2018, section 3.2).
//!
//! Two networks that name the same path use the same tensor; nothing is copied. A tensor is created the first time
//! that a network asks for it, and its values depend on the store's seed and on the path alone, never on the order in
//! which networks came.

mod bytes;
mod initial;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use epnas_arch::Param;

pub use bytes::WeightBytesError;

use crate::{error::SupernetError, host};

/// Weights and batch-norm statistics by path, all contiguous `f32`.
///
/// Cloning a `WeightStore` is cheap and shares the tensors; [`WeightStore::deep_clone`] copies them.
#[derive(Debug, Clone)]
pub struct WeightStore {
    seed: u64,
    device: Device,
    tensors: BTreeMap<String, Tensor>,
}

impl WeightStore {
    /// An empty store on the CPU whose tensors will be created from `seed`.
    pub fn new(seed: u64) -> WeightStore {
        WeightStore::on(seed, Device::Cpu)
    }

    /// An empty store on a device.
    pub fn on(seed: u64, device: Device) -> WeightStore {
        WeightStore {
            seed,
            device,
            tensors: BTreeMap::new(),
        }
    }

    /// The seed that new tensors are created from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The device that the tensors live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of tensors created so far.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True before the first tensor is created.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Memory of all tensors, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tensors
            .values()
            .map(|t| 4 * t.elem_count() as u64)
            .sum()
    }

    /// The tensor of a path, if it exists.
    pub fn tensor(&self, path: &str) -> Option<&Tensor> {
        self.tensors.get(path)
    }

    /// Paths and tensors in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors
            .iter()
            .map(|(path, tensor)| (path.as_str(), tensor))
    }

    /// The tensor of a parameter, created on first use.
    ///
    /// Convolutions: normal with variance 2 / fan, where fan is `k * k * outputs` for dense weights (torch's
    /// `kaiming_normal_(mode="fan_out", nonlinearity="relu")`) and `k * k` for depthwise ones. A 1x1 convolution over
    /// several sources is stored as one slice per source, and each slice takes the rule by itself, that is variance
    /// 2 / C: a slice is shared by layers with different sources, so its values cannot depend on how many there are;
    /// the batch norm behind the sum takes the scale out. Linear: weights uniform within `1 / sqrt(inputs)` as in
    /// torch, biases zero (torch draws them too, but a bias alone does not know its inputs, and they do not matter
    /// for learning). Batch norm: scale 1, shift 0, running mean 0, running variance 1.
    ///
    /// # Errors
    /// [`SupernetError::WeightShape`] when the path exists with another shape.
    pub fn get(&mut self, param: &Param) -> Result<Tensor, SupernetError> {
        if let Some(tensor) = self.tensors.get(&param.path) {
            if tensor.dims() != param.shape.as_slice() {
                return Err(SupernetError::WeightShape {
                    path: param.path.clone(),
                    found: tensor.dims().to_vec(),
                    expected: param.shape.clone(),
                });
            }
            return Ok(tensor.clone());
        }
        let values = initial::values(param, self.seed);
        let tensor = Tensor::from_vec(values, param.shape.as_slice(), &self.device)?;
        self.tensors.insert(param.path.clone(), tensor.clone());
        Ok(tensor)
    }

    /// A copy with its own tensors.
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn deep_clone(&self) -> Result<WeightStore, SupernetError> {
        let mut tensors = BTreeMap::new();
        for (path, tensor) in &self.tensors {
            tensors.insert(path.clone(), tensor.copy()?);
        }
        Ok(WeightStore {
            seed: self.seed,
            device: self.device.clone(),
            tensors,
        })
    }

    /// A store with copies of the tensors of `params` only, in their current state (created where missing).
    ///
    /// # Errors
    /// As [`WeightStore::get`].
    pub fn extract<'a>(
        &mut self,
        params: impl IntoIterator<Item = &'a Param>,
    ) -> Result<WeightStore, SupernetError> {
        let mut store = WeightStore::on(self.seed, self.device.clone());
        for param in params {
            store
                .tensors
                .insert(param.path.clone(), self.get(param)?.copy()?);
        }
        Ok(store)
    }

    /// The same on the CPU; as it is, if it is there.
    ///
    /// # Errors
    /// When the device refuses the copy.
    pub fn on_cpu(mut self) -> Result<WeightStore, SupernetError> {
        for tensor in self.tensors.values_mut() {
            *tensor = tensor.to_device(&Device::Cpu)?;
        }
        self.device = Device::Cpu;
        Ok(self)
    }

    /// Sets a tensor, replacing one of the same path.
    ///
    /// # Errors
    /// [`SupernetError::WeightType`] unless it is `f32`.
    pub fn insert(&mut self, path: impl Into<String>, tensor: Tensor) -> Result<(), SupernetError> {
        let path = path.into();
        if tensor.dtype() != DType::F32 {
            return Err(SupernetError::WeightType {
                path,
                found: format!("{:?}", tensor.dtype()),
            });
        }
        self.tensors
            .insert(path, tensor.contiguous()?.to_device(&self.device)?);
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.tensors.remove(path);
    }
}

/// The values of some tensors at a moment, to go back to.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    values: Vec<(String, Tensor, Vec<f32>)>,
    created: Vec<String>,
}

impl Backup {
    /// Remembers the tensors of `params`; those that the store lacks are remembered as missing.
    pub(crate) fn before(store: &WeightStore, params: &[&Param]) -> Result<Backup, SupernetError> {
        let mut backup = Backup {
            values: Vec::new(),
            created: Vec::new(),
        };
        for param in params {
            match store.tensor(&param.path) {
                Some(tensor) => {
                    backup
                        .values
                        .push((param.path.clone(), tensor.clone(), host::read(tensor)?))
                }
                None => backup.created.push(param.path.clone()),
            }
        }
        Ok(backup)
    }

    /// Replaces the remembered values by the current ones of tensors that all exist.
    pub(crate) fn of(store: &WeightStore, params: &[&Param]) -> Result<Backup, SupernetError> {
        let backup = Backup::before(store, params)?;
        match backup.created.first() {
            Some(path) => Err(SupernetError::MissingWeight { path: path.clone() }),
            None => Ok(backup),
        }
    }

    /// Writes the remembered values back into the very same tensors and removes those that were missing.
    pub(crate) fn restore(&self, store: &mut WeightStore) -> Result<(), SupernetError> {
        for (_, tensor, values) in &self.values {
            host::write(tensor, values)?;
        }
        for path in &self.created {
            store.remove(path);
        }
        Ok(())
    }
}
