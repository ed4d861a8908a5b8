//! The dispatch seam: which backend runs an operator.
//!
//! Every public operator checks its arguments, asks [`Backend::of`] and matches on the answer. A new device
//! is a new variant here; the compiler then lists each operator that has to say what it does on it.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::simd::simd_level;

/// A set of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// `crate::kernel`: SIMD and rayon.
    Cpu,
}

impl Backend {
    /// The backend of a tensor's device.
    pub(crate) fn of(op: &'static str, name: &'static str, tensor: &Tensor) -> Result<Self> {
        match tensor.device() {
            Device::Cpu => {
                simd_level()?;
                Ok(Backend::Cpu)
            }
            other => Err(Error::UnsupportedDevice {
                op,
                tensor: name,
                device: other.location(),
            }),
        }
    }
}
