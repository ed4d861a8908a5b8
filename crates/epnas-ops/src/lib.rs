//! Trainable convolutional operators, forward and backward, in place over preallocated candle tensors.
//!
//! Every operator here reads contiguous `f32` tensors in NHWC order and writes into tensors the caller
//! allocated before, so that a training step made of them allocates no activation. Nothing goes through
//! candle's autograd: each operator has explicit `backward_*` methods, and [`autograd`] offers the same
//! kernels as candle custom operations for models that do use it.
//!
//! | concept | operator |
//! |---|---|
//! | dense convolution, also over several sources | [`Conv2d`] |
//! | stride-2 halving by two shifted 1x1 | [`FactorizedConv`] |
//! | depthwise convolution | [`DepthwiseConv2d`] |
//! | depthwise, then 1x1, in one | [`SeparableConv2d`] |
//! | batch normalization, with ReLU fused | [`BatchNorm`] |
//! | 3x3 pooling | [`MaxPool2d`], [`AvgPool2d`] |
//! | sums and copies, also with a factor per image | [`sum`], [`accumulate`], [`accumulate_scaled`] |
//! | mixtures of two images each | [`mix_with_reverse`] |
//! | global average, linear | [`Head`] |
//! | loss, also of mixed labels | [`SoftmaxCrossEntropy`], [`Targets`] |
//! | update, averages of weights | [`Sgd`], [`Adam`], [`average`] |
//! | numbers that change from step to step | [`StepRows`] |
//! | batches of images on a GPU | [`DeviceImages`] |
//!
//! Dense convolutions multiply in `f32`, or in bfloat16 where they are told to: [`Precision`].
//!
//! # Guarantees
//! - Results do not depend on the number of threads: work is cut by shape alone and partial sums are added
//!   in a fixed order.
//! - No operator reads a tensor it writes; asking for that is an [`Error::Aliased`].
//! - Wrong shapes, types, layouts, devices and labels are typed errors that name the operator, the tensor,
//!   what was found and what was expected.

// Kernels hold pointers into tensors. Every block says why it may; no other crate has one.
#![allow(unsafe_code)]

mod allocation;
pub mod autograd;
mod batch;
mod batch_norm;
mod conv;
mod course;
mod cuda;
mod depthwise;
mod device;
mod elementwise;
mod error;
mod factorized;
mod gpus;
mod head;
mod kernel;
mod limits;
mod loss;
mod operand;
mod optimizer;
mod pool;
mod precision;
mod recording;
mod scratch;
mod separable;
mod shape;
mod simd;
mod step_rows;
mod storage;

pub use allocation::{is_out_of_memory, zeros};
pub use batch::{DeviceImages, Distortion, Mirror};
pub use batch_norm::{Activation, BatchNorm, Running};
pub use conv::{Conv2d, ConvGradient};
pub use course::{Course, CourseFailure, CourseNumber, CourseReport};
#[cfg(feature = "cuda-emulation")]
pub use cuda::emulation as cuda_emulation;
pub use depthwise::DepthwiseConv2d;
pub use elementwise::{Accumulate, Term, accumulate, accumulate_scaled, mix_with_reverse, sum};
pub use error::{Error, Result};
pub use factorized::FactorizedConv;
pub use gpus::{Gpu, gpu, gpus};
pub use head::Head;
pub use limits::{copy_rate, peak_flops};
pub use loss::{LossReport, LossSums, SoftmaxCrossEntropy, Targets};
pub use operand::{BatchStatistics, Cotangent, Norm, NormGradient, Operand, Output, Target};
pub use optimizer::{Adam, Nesterov, Rates, Sgd, Slot, average};
pub use pool::{AvgPool2d, MaxPool2d};
pub use precision::Precision;
pub use recording::Recording;
pub use separable::SeparableConv2d;
pub use simd::{SimdLevel, simd_level};
pub use step_rows::StepRows;
