//! Which GPUs there are, and taking one.

use candle_core::Device;

use crate::error::Result;

/// An NVIDIA GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// Its number, from 0: the one of `CUDA_VISIBLE_DEVICES`, where that is set.
    pub ordinal: usize,
    /// What it is called.
    pub name: String,
    /// All its memory, in bytes.
    pub memory: u64,
    /// Compute capability: generation and revision.
    pub capability: (i32, i32),
    /// Why it cannot be used; nothing when it can.
    pub unusable: Option<String>,
}

/// The GPUs of this machine, those that cannot be used among them.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) when there is none, or when build or driver do not allow any: one line that says what
/// was looked for, and what helps.
pub fn gpus() -> Result<Vec<Gpu>> {
    backend::gpus()
}

/// A GPU by its number, as a device for tensors. All work on it is in one order; it may come from any thread, one at a
/// time.
///
/// # Errors
/// As for [`gpus`], and when there is no usable GPU of this number.
pub fn gpu(ordinal: usize) -> Result<Device> {
    backend::gpu(ordinal)
}

#[cfg(feature = "cuda")]
use crate::cuda::device as backend;

#[cfg(not(feature = "cuda"))]
mod backend {
    use candle_core::Device;

    use super::Gpu;
    use crate::error::{Error, Result};

    fn none() -> Error {
        Error::Gpu(
            "this build works without GPUs: `cargo xtask cuda build` makes one that uses them (feature `cuda`)"
                .to_string(),
        )
    }

    pub(super) fn gpus() -> Result<Vec<Gpu>> {
        Err(none())
    }

    pub(super) fn gpu(_: usize) -> Result<Device> {
        Err(none())
    }
}
