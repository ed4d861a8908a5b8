//! 3x3 pooling with padding 1.

use candle_core::Tensor;

use crate::cuda;
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::pool::{self, Geometry};
use crate::operand::{self, Cursor, OpenTarget, Operand, Target};
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
        self.forward_fused(&x.into(), y, Some(argmax))
    }

    /// Pools `x` into `y` when no gradient will be needed.
    ///
    /// # Errors
    /// As for [`MaxPool2d::forward`].
    pub fn forward_eval(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        self.pool("max_pool2d.forward_eval", &x.into(), y, None)
    }

    /// As [`MaxPool2d::forward`], or, without `argmax`, [`MaxPool2d::forward_eval`], with a batch norm where `x` is
    /// read.
    ///
    /// # Errors
    /// As for [`MaxPool2d::forward`].
    pub fn forward_fused(&self, x: &Operand, y: &Tensor, argmax: Option<&Tensor>) -> Result<()> {
        self.pool("max_pool2d.forward", x, y, argmax)
    }

    fn pool(
        &self,
        op: &'static str,
        x: &Operand,
        y: &Tensor,
        argmax: Option<&Tensor>,
    ) -> Result<()> {
        let geometry = geometry(op, self.stride, ("x", &x.x), ("y", y))?;
        let (mut reads, mut writes) = (Vec::new(), vec![("y", y)]);
        x.list(op, "x", &mut reads)?;
        if let Some(argmax) = argmax {
            shape::expect(op, "argmax", argmax, &geometry.output())?;
            writes.push(("argmax", argmax));
        }
        match storage::check(op, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(op, &reads);
                let x = x.hold(&mut Cursor::new(&reads))?;
                storage::write(op, writes[0], |y| match argmax {
                    Some(argmax) => storage::write(op, ("argmax", argmax), |argmax| {
                        pool::max_forward(&geometry, x.images(), y, Some(argmax));
                        Ok(())
                    }),
                    None => {
                        pool::max_forward(&geometry, x.images(), y, None);
                        Ok(())
                    }
                })
            }
            Backend::Cuda(queue) => cuda::pool::max_forward(&queue, op, &geometry, x, y, argmax),
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
        self.backward_fused(dy, argmax, &Target::new(dx, acc))
    }

    /// As [`MaxPool2d::backward`], with the gradients of batch norms that `x` came from.
    ///
    /// # Errors
    /// As for [`MaxPool2d::forward`].
    pub fn backward_fused(&self, dy: &Tensor, argmax: &Tensor, dx: &Target) -> Result<()> {
        const OP: &str = "max_pool2d.backward";
        let geometry = geometry(OP, self.stride, ("dx", &dx.dx), ("dy", dy))?;
        shape::expect(OP, "argmax", argmax, &geometry.output())?;
        let (mut reads, mut writes) = (vec![("dy", dy), ("argmax", argmax)], Vec::new());
        dx.list(OP, &mut reads, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (dy, argmax) = (reads.get(0)?, reads.get(1)?);
                let sums = dx.hold(&mut Cursor::after(&reads, 2))?;
                storage::write_all(OP, &writes, |mut slices| {
                    let target = OpenTarget::new(dx, sums, &mut slices);
                    operand::into_targets(geometry.n, &mut [target], |mut inputs| {
                        if let Some(input) = inputs.pop().flatten() {
                            pool::max_backward(&geometry, dy, argmax, input);
                        }
                    });
                    Ok(())
                })
            }
            Backend::Cuda(queue) => cuda::pool::max_backward(&queue, OP, &geometry, dy, argmax, dx),
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
        self.forward_fused(&x.into(), y)
    }

    /// As [`AvgPool2d::forward`], with a batch norm where `x` is read.
    ///
    /// # Errors
    /// As for [`AvgPool2d::forward`].
    pub fn forward_fused(&self, x: &Operand, y: &Tensor) -> Result<()> {
        const OP: &str = "avg_pool2d.forward";
        let geometry = geometry(OP, self.stride, ("x", &x.x), ("y", y))?;
        let mut reads = Vec::new();
        x.list(OP, "x", &mut reads)?;
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let x = x.hold(&mut Cursor::new(&reads))?;
                storage::write(OP, ("y", y), |y| {
                    pool::avg_forward(&geometry, x.images(), y);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => cuda::pool::avg_forward(&queue, OP, &geometry, x, y),
        }
    }

    /// Gradient with respect to `x`.
    ///
    /// # Errors
    /// As for [`AvgPool2d::forward`].
    pub fn backward(&self, dy: &Tensor, dx: &Tensor, acc: Accumulate) -> Result<()> {
        self.backward_fused(dy, &Target::new(dx, acc))
    }

    /// As [`AvgPool2d::backward`], with the gradients of batch norms that `x` came from.
    ///
    /// # Errors
    /// As for [`AvgPool2d::forward`].
    pub fn backward_fused(&self, dy: &Tensor, dx: &Target) -> Result<()> {
        const OP: &str = "avg_pool2d.backward";
        let geometry = geometry(OP, self.stride, ("dx", &dx.dx), ("dy", dy))?;
        let (mut reads, mut writes) = (vec![("dy", dy)], Vec::new());
        dx.list(OP, &mut reads, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let dy = reads.get(0)?;
                let sums = dx.hold(&mut Cursor::after(&reads, 1))?;
                storage::write_all(OP, &writes, |mut slices| {
                    let target = OpenTarget::new(dx, sums, &mut slices);
                    operand::into_targets(geometry.n, &mut [target], |mut inputs| {
                        if let Some(input) = inputs.pop().flatten() {
                            pool::avg_backward(&geometry, dy, input);
                        }
                    });
                    Ok(())
                })
            }
            Backend::Cuda(queue) => cuda::pool::avg_backward(&queue, OP, &geometry, dy, dx),
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
