//! Depthwise convolution: every channel has its own window.

use candle_core::Tensor;

use crate::cuda::{self, Queue};
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::backward::Wanted;
use crate::kernel::depthwise::{self, Geometry};
use crate::kernel::images::Images;
use crate::operand::{self, Branch, Cotangent, Cursor, Operand, Output, Target};
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
        self.forward_fused(&x.into(), w, y.into())
    }

    /// As [`DepthwiseConv2d::forward`], with a batch norm where `x` is read and statistics of what is written.
    ///
    /// # Errors
    /// As for [`DepthwiseConv2d::forward`].
    pub fn forward_fused(&self, x: &Operand, w: &Tensor, output: Output) -> Result<()> {
        const OP: &str = "depthwise_conv2d.forward";
        let geometry = self.geometry(OP, ("x", &x.x), ("w", w), ("y", output.y))?;
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        x.list(OP, "x", &mut reads)?;
        reads.push(("w", w));
        output.list(OP, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let (x, w) = (x.hold(&mut cursor)?, cursor.take()?);
                output.write(OP, |y, finish| {
                    depthwise::forward(&geometry, x.images(), w, y, finish);
                })
            }
            Backend::Cuda(queue) => cuda::depthwise::forward(&queue, OP, &geometry, x, w, &output),
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
        self.geometry(OP, ("dx", dx), ("w", w), ("dy", dy))?;
        let target = Target::new(dx, acc);
        self.backward(OP, &dy.into(), &dx.into(), w, None, Some(&target))
    }

    /// Gradient with respect to `w`; `dw` is overwritten.
    ///
    /// # Errors
    /// As for [`DepthwiseConv2d::forward`].
    pub fn backward_weight(&self, x: &Tensor, dy: &Tensor, dw: &Tensor) -> Result<()> {
        const OP: &str = "depthwise_conv2d.backward_weight";
        self.geometry(OP, ("x", x), ("dw", dw), ("dy", dy))?;
        self.backward(OP, &dy.into(), &x.into(), dw, Some(dw), None)
    }

    /// Both gradients of [`DepthwiseConv2d::forward_fused`] in one pass over the gradient of the output.
    ///
    /// # Errors
    /// As for [`DepthwiseConv2d::forward`].
    pub fn backward_fused(
        &self,
        dy: &Cotangent,
        x: &Operand,
        w: &Tensor,
        dw: &Tensor,
        dx: Option<&Target>,
    ) -> Result<()> {
        self.backward("depthwise_conv2d.backward", dy, x, w, Some(dw), dx)
    }

    fn backward(
        &self,
        op: &'static str,
        dy: &Cotangent,
        x: &Operand,
        w: &Tensor,
        dw: Option<&Tensor>,
        dx: Option<&Target>,
    ) -> Result<()> {
        let geometry = self.geometry(op, ("x", &x.x), ("w", w), ("dy", &dy.dy))?;
        let branch = Branch {
            x,
            w: [("w", w)],
            dw: dw.map(|dw| [("dw", dw)]),
            dx,
        };
        let cpu = |dy: Images, wanted: Vec<Wanted<1>>| {
            for wanted in wanted {
                depthwise::backward(&geometry, dy, wanted);
            }
        };
        let cuda = |queue: &Queue, branches: &[Branch<1>]| {
            let mut branches = branches.iter();
            branches.try_for_each(|b| cuda::depthwise::backward(queue, op, &geometry, dy, b))
        };
        operand::backward(op, geometry.n, dy, &[branch], cpu, cuda)
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
