//! Memory for tensors, and the error when there is none.

use candle_core::{DType, Device, Shape, Tensor};

use crate::error::{Error, Result};

/// A tensor of zeros.
///
/// # Errors
/// [`Error::Memory`] when the device has no room for it.
pub fn zeros(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    let bytes = (shape.elem_count() * dtype.size_in_bytes()) as u64;
    let full = || Error::Memory {
        device: device.location(),
        bytes,
    };
    #[cfg(feature = "cuda-emulation")]
    if !crate::cuda::emulation::has_room(bytes) {
        return Err(full());
    }
    Tensor::zeros(shape, dtype, device).map_err(|error| match is_out_of_memory(&error) {
        true => full(),
        false => error.into(),
    })
}

/// Whether this is a GPU's lack of memory, as candle tells it.
pub fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY") {
            return true;
        }
        cause = error.source();
    }
    false
}
