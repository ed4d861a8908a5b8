//! The operators as candle custom operations, so that any candle model can train with them.
//!
//! These functions take and return ordinary tensors, allocate their results, and have gradients that
//! `Tensor::backward` follows. They are the same kernels as the operators of the crate; what they add is
//! memory for results and gradients. Compared with candle's own operations they are NHWC, have fast
//! depthwise and strided convolutions, and gradients for 3x3 pooling with overlapping windows.
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//!
//! # fn main() -> candle_core::Result<()> {
//! let device = Device::Cpu;
//! let x = Tensor::randn(0f32, 1., (2, 8, 8, 3), &device)?;
//! let w = Var::randn(0f32, 0.2, (3, 3, 3, 16), &device)?;
//! let y = epnas_ops::autograd::conv2d(&x, &w, 1)?;
//! let y = epnas_ops::autograd::max_pool2d(&y, 2)?;
//! assert_eq!(y.dims(), [2, 4, 4, 16]);
//! let gradients = y.sqr()?.mean_all()?.backward()?;
//! assert_eq!(gradients.get(&w).map(|g| g.dims().to_vec()), Some(vec![3, 3, 3, 16]));
//! # Ok(())
//! # }
//! ```

mod batch_norm;
mod conv;
mod pool;

pub use batch_norm::batch_norm_train;
pub use conv::{conv2d, depthwise_conv2d};
pub use pool::{avg_pool2d, max_pool2d};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, Layout, Result, Shape, Storage, Tensor, WithDType};

use crate::device::Backend;

/// The elements of an argument. The public functions made it contiguous.
fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = f32::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!(
            "not contiguous: shape {:?}, strides {:?}",
            layout.dims(),
            layout.stride()
        ),
    }
}

/// Memory for a gradient of the shape of `like`.
fn gradient(like: &Tensor) -> Result<Tensor> {
    Tensor::zeros(like.shape(), like.dtype(), like.device())
}

/// A result that a GPU computed before candle asks for it: to kernels, tensors have addresses, which the storages that
/// candle hands out do not tell. On the CPU there is none.
struct Ahead(Option<Tensor>);

impl Ahead {
    /// `compute` writes the result, `f32` of this shape on the device of `x`.
    fn compute(
        backend: &Backend,
        x: &Tensor,
        shape: impl Into<Shape>,
        compute: impl FnOnce(&Tensor) -> crate::Result<()>,
    ) -> Result<Self> {
        match backend {
            Backend::Cpu => Ok(Ahead(None)),
            Backend::Cuda(_) => {
                let y = crate::zeros(shape, x.dtype(), x.device())?;
                compute(&y)?;
                Ok(Ahead(Some(y)))
            }
        }
    }

    /// For candle on the CPU, where the kernels are emulated.
    fn cpu(&self) -> Option<(CpuStorage, Shape)> {
        let y = self.0.as_ref()?;
        match &*y.storage_and_layout().0 {
            Storage::Cpu(storage) => Some((storage.clone(), y.shape().clone())),
            _ => None,
        }
    }

    /// For candle on a GPU.
    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        let Some(y) = &self.0 else {
            candle_core::bail!("arguments on a GPU among others on the CPU")
        };
        let (storage, layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, y.shape().clone())),
            _ => candle_core::bail!("a result on another device than its arguments"),
        }
    }
}
