//! Depthwise convolution: every channel has its own window.

use candle_core::Tensor;

use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::depthwise::{self, Geometry};
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// Depthwise convolution without bias, padding `kernel / 2`.
///
/// `y[n, i, j, c] = sum over u, v of x[n, s i + u - k/2, s j + v - k/2, c] w[u, v, c]`, where `k` is the
/// kernel, `s` the stride, and `x` is zero outside of the image.
///
/// # Shapes
/// - `x`: `[n, h, w, c]`
/// - `w`: `[kernel, kernel, c]`
/// - `y`, `dy`: `[n, ceil(h / stride), ceil(w / stride), c]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DepthwiseConv2d {
    /// Height and width of the window: odd.
    pub kernel: usize,
    /// Step of the window: 1 or 2.
    pub stride: usize,
}

impl DepthwiseConv2d {
    /// Writes the convolution of `x` into `y`.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, x: &Tensor, w: &Tensor, y: &Tensor) -> Result<()> {
        const OP: &str = "depthwise_conv2d.forward";
        let geometry = self.geometry(OP, ("x", x), ("w", w), ("y", y))?;
        let reads = [("x", x), ("w", w)];
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (x, w) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("y", y), |y| {
                    depthwise::forward(&geometry, x, w, y);
                    Ok(())
                })
            }
        }
    }

    /// Gradient with respect to `x`.
    ///
    /// # Errors
    /// As for [`DepthwiseConv2d::forward`].
    pub fn backward_input(
        &self,
        dy: &Tensor,
        w: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "depthwise_conv2d.backward_input";
        let geometry = self.geometry(OP, ("dx", dx), ("w", w), ("dy", dy))?;
        let reads = [("dy", dy), ("w", w)];
        match storage::check(OP, &reads, &[("dx", dx)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (dy, w) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("dx", dx), |dx| {
                    depthwise::backward_input(&geometry, dy, w, dx, acc);
                    Ok(())
                })
            }
        }
    }

    /// Gradient with respect to the weight; `dw` is overwritten.
    ///
    /// # Errors
    /// As for [`DepthwiseConv2d::forward`].
    pub fn backward_weight(&self, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
        const OP: &str = "depthwise_conv2d.backward_weight";
        let geometry = self.geometry(OP, ("x", x), ("dw", dw), ("dy", dy))?;
        let reads = [("x", x), ("dy", dy)];
        match storage::check(OP, &reads, &[("dw", dw)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (x, dy) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, ("dw", dw), |dw| {
                    depthwise::backward_weight(&geometry, x, dy, dw);
                    Ok(())
                })
            }
        }
    }

    /// Checks all three shapes.
    fn geometry(&self, op: &'static str, x: Arg, w: Arg, (y_name, y): Arg) -> Result<Geometry> {
        let geometry = self.checked_geometry(op, x, w)?;
        shape::expect(op, y_name, y, &geometry.output_shape())?;
        Ok(geometry)
    }

    /// The geometry, settings and the shapes of input and weight checked.
    pub(crate) fn checked_geometry(
        &self,
        op: &'static str,
        (x_name, x): Arg,
        (w_name, weight): Arg,
    ) -> Result<Geometry> {
        let (kernel, stride) = (self.kernel, self.stride);
        shape::kernel_and_stride(op, kernel, stride)?;
        let [n, h, w, c] = shape::nhwc(op, x_name, x)?;
        shape::expect(op, w_name, weight, &[kernel, kernel, c])?;
        Ok(Geometry {
            n,
            h,
            w,
            c,
            kernel,
            stride,
        })
    }
}
