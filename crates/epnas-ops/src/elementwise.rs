//! Sums and copies of whole tensors.

use candle_core::Tensor;

use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel;
use crate::kernel::images::Images;
use crate::kernel::padded::Extent;
use crate::operand::{Cursor, Operand};
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

/// `y = sum of inputs`, all `[n, h, w, c]`, with batch norms where they are read.
///
/// # Errors
/// No input; different shapes, types or devices, or `y` sharing its storage with an input.
pub fn sum(inputs: &[&Operand], y: &Tensor) -> Result<()> {
    const OP: &str = "sum";
    let [_, h, w, c] = shape::nhwc(OP, "y", y)?;
    if inputs.is_empty() {
        return Err(Error::Setting {
            op: OP,
            setting: "number of inputs",
            found: "0".to_string(),
            expected: "at least 1",
        });
    }
    let mut reads = Vec::new();
    for input in inputs {
        shape::expect(OP, "x", &input.x, y.dims())?;
        input.list(OP, "x", &mut reads)?;
    }
    match storage::check(OP, &reads, &[("y", y)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let mut cursor = Cursor::new(&reads);
            let mut held = Vec::with_capacity(inputs.len());
            for input in inputs {
                held.push(input.hold(&mut cursor)?);
            }
            let images: Vec<Images> = held.iter().map(|held| held.images()).collect();
            storage::write(OP, ("y", y), |y| {
                kernel::elementwise::sum(&images, Extent { h, w, c }, y);
                Ok(())
            })
        }
        Backend::Cuda(queue) => cuda::elementwise::sum(&queue, OP, inputs, y),
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
        Backend::Cuda(queue) => cuda::elementwise::accumulate(&queue, OP, src, dst, acc),
    }
}
