//! The dispatch seam: which backend runs an operator.
//!
//! Every public operator checks its arguments, asks [`Backend::of`] and matches on the answer. A new device
//! is a new variant here; the compiler then lists each operator that has to say what it does on it.

use candle_core::{Device, Tensor};

use crate::cuda::Queue;
use crate::error::{Error, Result};
use crate::simd::simd_level;

/// A set of kernels.
#[derive(Debug, Clone)]
pub(crate) enum Backend {
    /// `crate::kernel`: SIMD and rayon.
    Cpu,
    /// `crate::cuda`: kernels on a GPU.
    #[cfg_attr(
        not(any(feature = "cuda", feature = "cuda-emulation")),
        expect(dead_code, reason = "no device to make it for")
    )]
    Cuda(Queue),
}

impl Backend {
    /// The backend of a tensor's device.
    pub(crate) fn of(op: &'static str, name: &'static str, tensor: &Tensor) -> Result<Self> {
        Backend::on(op, name, tensor.device())
    }

    /// The backend of the device of the tensor `name`.
    pub(crate) fn on(op: &'static str, name: &'static str, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => {
                #[cfg(feature = "cuda-emulation")]
                if let Some(queue) = crate::cuda::emulation::queue() {
                    return Ok(Backend::Cuda(queue));
                }
                simd_level()?;
                Ok(Backend::Cpu)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => match crate::cuda::device::queue(device) {
                Ok(queue) => Ok(Backend::Cuda(queue)),
                Err(message) => Err(Error::Cuda { op, message }),
            },
            other => Err(Error::UnsupportedDevice {
                op,
                tensor: name,
                device: other.location(),
            }),
        }
    }
}
