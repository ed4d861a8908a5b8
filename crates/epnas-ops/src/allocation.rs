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
    #[cfg(feature = "cuda-emulation")]
    crate::cuda::emulation::allocate(device.location(), bytes)?;
    Tensor::zeros(shape, dtype, device).map_err(|error| match is_out_of_memory(&error) {
        true => Error::Memory {
            device: device.location(),
            bytes,
        },
        false => error.into(),
    })
}

/// Whether this is a GPU's lack of memory, as the driver and cuDNN tell it through candle's errors and ours.
pub fn is_out_of_memory(error: &(dyn std::error::Error + 'static)) -> bool {
    const NAMES: [&str; 2] = ["CUDA_ERROR_OUT_OF_MEMORY", "CUDNN_STATUS_ALLOC_FAILED"];
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if NAMES.iter().any(|name| text.contains(name)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_memory_is_known_by_its_names() {
        let of = |message: &str| Error::Cuda {
            op: "conv2d.forward",
            message: message.to_string(),
        };
        let full = of("8 bytes for sums: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")");
        assert!(full.is_out_of_memory());
        assert!(of("cuDNN, CudnnError(CUDNN_STATUS_ALLOC_FAILED)").is_out_of_memory());
        assert!(!of("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)").is_out_of_memory());
        let wrapped = candle_core::Error::wrap(full);
        assert!(is_out_of_memory(&wrapped));
    }
}
