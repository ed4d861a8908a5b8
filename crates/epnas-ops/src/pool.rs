//! 3x3 pooling with padding 1.

use candle_core::Tensor;

use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::pool::{self, Geometry};
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// Maximum over 3x3 windows with padding 1; padding never wins.
///
/// Ties go to the first position in row-major order, as in PyTorch, and NaN wins over numbers, so that a
/// diverged network shows.
///
/// # Shapes
/// - `x`: `[n, h, w, c]`
/// - `y`, `dy`: `[n, ceil(h / stride), ceil(w / stride), c]`
/// - `argmax`: `u8` of the same shape, the position in the window, `3 row + column`, 0 to 8
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaxPool2d {
    /// Step of the window: 1 or 2.
    pub stride: usize,
}

impl MaxPool2d {
    /// Pools `x` into `y` and remembers in `argmax` where each value came from.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, x: &Tensor, y: &Tensor, argmax: &Tensor) -> Result<()> {
        const OP: &str = "max_pool2d.forward";
        let geometry = geometry(OP, self.stride, ("x", x), ("y", y))?;
        shape::expect(OP, "argmax", argmax, &geometry.output())?;
        let reads = [("x", x)];
        let writes = [("y", y), ("argmax", argmax)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes[..1])?;
                let reads = Reads::lock(OP, &reads);
                let x = reads.get(0)?;
                storage::write(OP, writes[1], |argmax| {
                    storage::write(OP, writes[0], |y| {
                        pool::max_forward(&geometry, x, y, Some(argmax));
                        Ok(())
                    })
                })
            }
        }
    }

    /// Pools `x` into `y` when no gradient will be needed.
    ///
    /// # Errors
    /// As for [`MaxPool2d::forward`].
    pub fn forward_eval(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        const OP: &str = "max_pool2d.forward_eval";
        let geometry = geometry(OP, self.stride, ("x", x), ("y", y))?;
        let reads = [("x", x)];
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let x = reads.get(0)?;
                storage::write(OP, ("y", y), |y| {
                    pool::max_forward(&geometry, x, y, None);
                    Ok(())
                })
            }
        }
    }

    /// Sends each output's gradient to the position that won.
    ///
    /// # Errors
    /// As for [`MaxPool2d::forward`].
    pub fn backward(
        &self,
        dy: &Tensor,
        argmax: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "max_pool2d.backward";
        let geometry = geometry(OP, self.stride, ("dx", dx), ("dy", dy))?;
        shape::expect(OP, "argmax", argmax, &geometry.output())?;
        let reads = [("dy", dy), ("argmax", argmax)];
        match storage::check(OP, &reads, &[("dx", dx)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (dy, argmax) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("dx", dx), |dx| {
                    pool::max_backward(&geometry, dy, argmax, dx, acc);
                    Ok(())
                })
            }
        }
    }
}

/// Mean over 3x3 windows with padding 1; padding counts, so every sum is divided by 9.
///
/// # Shapes
/// - `x`: `[n, h, w, c]`
/// - `y`, `dy`: `[n, ceil(h / stride), ceil(w / stride), c]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AvgPool2d {
    /// Step of the window: 1 or 2.
    pub stride: usize,
}

impl AvgPool2d {
    /// Pools `x` into `y`.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        const OP: &str = "avg_pool2d.forward";
        let geometry = geometry(OP, self.stride, ("x", x), ("y", y))?;
        let reads = [("x", x)];
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let x = reads.get(0)?;
                storage::write(OP, ("y", y), |y| {
                    pool::avg_forward(&geometry, x, y);
                    Ok(())
                })
            }
        }
    }

    /// Gradient with respect to `x`.
    ///
    /// # Errors
    /// As for [`AvgPool2d::forward`].
    pub fn backward(&self, dy: &Tensor, dx: &Tensor, acc: Accumulate) -> Result<()> {
        const OP: &str = "avg_pool2d.backward";
        let geometry = geometry(OP, self.stride, ("dx", dx), ("dy", dy))?;
        let reads = [("dy", dy)];
        match storage::check(OP, &reads, &[("dx", dx)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let dy = reads.get(0)?;
                storage::write(OP, ("dx", dx), |dx| {
                    pool::avg_backward(&geometry, dy, dx, acc);
                    Ok(())
                })
            }
        }
    }
}

/// Checks both shapes.
fn geometry(op: &'static str, stride: usize, x: Arg, (y_name, y): Arg) -> Result<Geometry> {
    let geometry = input_geometry(op, stride, x)?;
    shape::expect(op, y_name, y, &geometry.output())?;
    Ok(geometry)
}

/// Checks the stride and the shape of the input.
pub(crate) fn input_geometry(op: &'static str, stride: usize, (name, x): Arg) -> Result<Geometry> {
    shape::stride_1_or_2(op, stride)?;
    let [n, h, w, c] = shape::nhwc(op, name, x)?;
    Ok(Geometry { n, h, w, c, stride })
}
