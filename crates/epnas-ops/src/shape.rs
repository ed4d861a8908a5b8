//! Checks of shapes and settings, each naming the operator and the argument.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Fails unless `tensor` has exactly the shape `expected`.
pub(crate) fn expect(
    op: &'static str,
    name: &'static str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<()> {
    if tensor.dims() == expected {
        Ok(())
    } else {
        Err(mismatch(op, name, tensor, format!("{expected:?}")))
    }
}

/// The four dimensions of an activation `[batch, height, width, channels]`, none of them zero.
pub(crate) fn nhwc(op: &'static str, name: &'static str, tensor: &Tensor) -> Result<[usize; 4]> {
    match *tensor.dims() {
        [n, h, w, c] if n * h * w * c > 0 => Ok([n, h, w, c]),
        _ => Err(mismatch(
            op,
            name,
            tensor,
            "[batch, height, width, channels], none of them 0".to_string(),
        )),
    }
}

/// The two dimensions of a matrix, none of them zero.
pub(crate) fn matrix(
    op: &'static str,
    name: &'static str,
    tensor: &Tensor,
    meaning: &'static str,
) -> Result<[usize; 2]> {
    match *tensor.dims() {
        [a, b] if a * b > 0 => Ok([a, b]),
        _ => Err(mismatch(
            op,
            name,
            tensor,
            format!("{meaning}, none of them 0"),
        )),
    }
}

/// A shape error.
pub(crate) fn mismatch(
    op: &'static str,
    name: &'static str,
    tensor: &Tensor,
    expected: String,
) -> Error {
    Error::Shape {
        op,
        tensor: name,
        found: tensor.dims().to_vec(),
        expected,
    }
}

/// Fails unless the kernel is odd and the stride 1 or 2.
pub(crate) fn kernel_and_stride(op: &'static str, kernel: usize, stride: usize) -> Result<()> {
    if kernel.is_multiple_of(2) {
        return Err(Error::Setting {
            op,
            setting: "kernel",
            found: kernel.to_string(),
            expected: "an odd number",
        });
    }
    stride_1_or_2(op, stride)
}

/// Fails unless the stride is 1 or 2.
pub(crate) fn stride_1_or_2(op: &'static str, stride: usize) -> Result<()> {
    if stride == 1 || stride == 2 {
        Ok(())
    } else {
        Err(Error::Setting {
            op,
            setting: "stride",
            found: stride.to_string(),
            expected: "1 or 2",
        })
    }
}

/// Output extent of a strided window with padding `kernel / 2`: `ceil(extent / stride)`.
pub(crate) fn strided(extent: usize, stride: usize) -> usize {
    extent.div_ceil(stride)
}
