//! Sums, copies and mixtures of whole tensors.

use candle_core::Tensor;

use crate::cuda;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel;
use crate::kernel::elementwise::Summand;
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

/// What [`sum`] adds.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// `[n, h, w, c]`
    pub x: &'a Operand,
    /// A factor of every image, `f32`, `[n]`; none: 1.
    pub factors: Option<&'a Tensor>,
}

impl<'a> From<&'a Operand> for Term<'a> {
    fn from(x: &'a Operand) -> Self {
        Term { x, factors: None }
    }
}

/// `y[i] = sum of factors[i] x[i]` over all terms, for every image `i`; all `[n, h, w, c]`, with batch norms where they
/// are read.
///
/// A factor of 0 is a factor as any other: what is not finite does not become 0.
///
/// # Errors
/// No term; different shapes, types or devices, or `y` sharing its storage with a term.
pub fn sum(terms: &[Term], y: &Tensor) -> Result<()> {
    const OP: &str = "sum";
    let [n, h, w, c] = shape::nhwc(OP, "y", y)?;
    if terms.is_empty() {
        return Err(Error::Setting {
            op: OP,
            setting: "number of inputs",
            found: "0".to_string(),
            expected: "at least 1",
        });
    }
    let mut reads = Vec::new();
    for Term { x, factors } in terms {
        shape::expect(OP, "x", &x.x, y.dims())?;
        x.list(OP, "x", &mut reads)?;
        if let Some(factors) = factors {
            shape::expect(OP, "factors", factors, &[n])?;
            reads.push(("factors", factors));
        }
    }
    match storage::check(OP, &reads, &[("y", y)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let mut cursor = Cursor::new(&reads);
            let mut held = Vec::with_capacity(terms.len());
            for Term { x, factors } in terms {
                let x = x.hold(&mut cursor)?;
                held.push((x, factors.map(|_| cursor.take()).transpose()?));
            }
            let summands: Vec<Summand> = held.iter().map(|(x, f)| (x.images(), *f)).collect();
            storage::write(OP, ("y", y), |y| {
                kernel::elementwise::sum(&summands, Extent { h, w, c }, y);
                Ok(())
            })
        }
        Backend::Cuda(queue) => cuda::elementwise::sum(&queue, OP, terms, y),
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

/// `dst[i] = factors[i] src[i]` or `dst[i] += factors[i] src[i]` for every image `i`: the gradient of a term of [`sum`].
///
/// # Shapes
/// - `src`, `dst`: `[n, h, w, c]`
/// - `factors`: `f32`, `[n]`
///
/// # Errors
/// Shapes that do not fit; different types or devices; `dst` sharing its storage with another.
pub fn accumulate_scaled(
    src: &Tensor,
    factors: &Tensor,
    dst: &Tensor,
    acc: Accumulate,
) -> Result<()> {
    const OP: &str = "accumulate_scaled";
    let [n, ..] = shape::nhwc(OP, "src", src)?;
    shape::expect(OP, "factors", factors, &[n])?;
    shape::expect(OP, "dst", dst, src.dims())?;
    let reads = [("src", src), ("factors", factors)];
    match storage::check(OP, &reads, &[("dst", dst)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let (src, factors) = (reads.get(0)?, reads.get(1)?);
            storage::write(OP, ("dst", dst), |dst| {
                kernel::elementwise::accumulate_scaled(src, factors, dst, acc);
                Ok(())
            })
        }
        Backend::Cuda(queue) => {
            cuda::elementwise::accumulate_scaled(&queue, OP, [src, factors], dst, acc)
        }
    }
}

/// Mixes every image with the one as far from the end, in place: image `i` becomes `share x[i] + (1 - share) x[n - 1 - i]`,
/// with both from before. The middle one of an odd number stays. [`Targets`](crate::Targets) mixes labels the same way.
///
/// # Shapes
/// - `x`: `[n, h, w, c]`
/// - `share`: `f32`, `[1]`, from 0 to 1, which is not checked: it lies on the device
///
/// # Errors
/// Shapes that do not fit; wrong type or layout; different devices; one storage for both.
pub fn mix_with_reverse(x: &Tensor, share: &Tensor) -> Result<()> {
    const OP: &str = "mix_with_reverse";
    let [n, ..] = shape::nhwc(OP, "x", x)?;
    shape::expect(OP, "share", share, &[1])?;
    let reads = [("share", share)];
    match storage::check(OP, &reads, &[("x", x)])? {
        Backend::Cpu => {
            let reads = Reads::lock(OP, &reads);
            let share: &[f32] = reads.get(0)?;
            storage::write(OP, ("x", x), |x| {
                kernel::elementwise::mix_with_reverse(x, n, share[0]);
                Ok(())
            })
        }
        Backend::Cuda(queue) => cuda::elementwise::mix_with_reverse(&queue, OP, x, share),
    }
}
