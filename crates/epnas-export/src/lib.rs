//! Trained networks for other programs: ONNX files, PyTorch modules and safetensors, made from a network graph and its
//! weights alone.
//!
//! [`Trained`] is what all forms are made of; [`onnx()`], [`pytorch()`] and [`safetensors()`] make them. Other programs keep
//! images as `[batch, channels, height, width]` and weights as `[out, in, height, width]`; [`lowered`] is the network in that
//! order, with the convolutions over several sources as convolutions of their concatenation.

mod error;
mod fold;
pub mod lowered;
mod onnx;
mod pytorch;
mod quoted;
mod tensors;
mod trained;

pub use error::ExportError;
pub use onnx::{OPSET, onnx};
pub use pytorch::{PyTorch, pytorch};
pub use tensors::safetensors;
pub use trained::{Normalizing, Trained};
