//! NVIDIA GPUs: the operators as kernels in CUDA C++, and what launches them.
//!
//! Each file here describes the launches of one operator whose kernels stand in the `.cu` file of the same name under
//! `kernels/`. The tensors have been checked by the operator; images are `f32` or bfloat16, everything else is `f32`.
//! Kernels run in the order of their launches. The same launches also run on the CPU, through the kernels compiled for it
//! (`emulation`): that is how they are tested where there is no GPU.

pub(crate) mod batch;
pub(crate) mod batch_norm;
pub(crate) mod conv;
mod conv_gather;
#[cfg(feature = "cuda")]
mod cudnn;
pub(crate) mod depthwise;
#[cfg(feature = "cuda")]
pub(crate) mod device;
pub(crate) mod elementwise;
#[cfg(feature = "cuda-emulation")]
pub mod emulation;
pub(crate) mod head;
mod images;
pub(crate) mod library;
pub(crate) mod loss;
mod memory;
pub(crate) mod optimizer;
pub(crate) mod pool;
mod queue;
mod reduction;
pub(crate) mod step_rows;
mod tiling;

pub(crate) use queue::{Call, DensePass, Queue, Recorded};
