//! Sums and copies of whole tensors.

use candle_core::Tensor;

use crate::device::Backend;
use crate::error::Result;
use crate::kernel;
use crate::shape;
use crate::storage::{self, Reads};

/// What happens to the values a gradient tensor already holds.
///
/// An activation that several consumers read receives one gradient from each: the first overwrites, the
/// others add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// Old values are ignored and replaced.
    Overwrite,
    /// The gradient is added to the old values.
    Add,
}

/// `y = a + b`, all of one shape.
///
/// # Errors
/// Different shapes, types or devices, or `y` sharing its storage with `a` or `b`.
pub fn add(a: &Tensor, b: &Tensor, y: &Tensor) -> Result<()> {
    const OP: &str = "add";
    shape::expect(OP, "b", b, a.dims())?;
    shape::expect(OP, "y", y, a.dims())?;
    let reads = [("a", a), ("b", b)];
    match storage::check(OP, &reads, &[("y", y)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let (a, b) = (reads.get(0)?, reads.get(1)?);
            storage::write(OP, ("y", y), |y| {
                kernel::elementwise::add(a, b, y);
                Ok(())
            })
        }
    }
}

/// `dst = src` or `dst += src`, of one shape.
///
/// # Errors
/// Different shapes, types or devices, or one storage for both.
pub fn accumulate(src: &Tensor, dst: &Tensor, acc: Accumulate) -> Result<()> {
    const OP: &str = "accumulate";
    shape::expect(OP, "dst", dst, src.dims())?;
    let reads = [("src", src)];
    match storage::check(OP, &reads, &[("dst", dst)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let src = reads.get(0)?;
            storage::write(OP, ("dst", dst), |dst| {
                kernel::elementwise::accumulate(src, dst, acc);
                Ok(())
            })
        }
    }
}
