//! Depthwise separable convolution: depthwise, then pointwise, without writing what lies between them.

use candle_core::Tensor;

use crate::conv::{Conv2d, ConvGradient};
use crate::cuda::Queue;
use crate::depthwise::DepthwiseConv2d;
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::backward::Wanted;
use crate::kernel::images::Images;
use crate::kernel::separable::{self, Geometry};
use crate::operand::{self, Branch, Cotangent, Cursor, Operand, Output, Target};
use crate::precision::Precision;
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// [`DepthwiseConv2d`] followed by a 1x1 [`Conv2d`](crate::Conv2d) of one source, with the same results bit for bit. The
/// feature map between the two never reaches memory; the backward pass computes it again.
///
/// # Shapes
/// - `x`: `[n, h, w, c]`
/// - depthwise weight: `[kernel, kernel, c]`, pointwise weight: `[1, 1, c, co]`
/// - `y`, `dy`: `[n, ceil(h / stride), ceil(w / stride), co]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeparableConv2d {
    /// Height and width of the depthwise window: odd.
    pub kernel: usize,
    /// Step of the window: 1 or 2.
    pub stride: usize,
    /// What the pointwise products are computed in; the depthwise ones are single precision always.
    pub precision: Precision,
}

impl SeparableConv2d {
    /// Writes the result, with a batch norm where `x` is read and statistics of what is written. `weights` are the
    /// depthwise and the pointwise one.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward_fused(&self, x: &Operand, weights: [&Tensor; 2], output: Output) -> Result<()> {
        const OP: &str = "separable_conv2d.forward";
        let geometry = self.geometry(OP, &x.x, weights, ("y", output.y))?;
        let [depthwise, pointwise] = weights;
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        x.list(OP, "x", &mut reads)?;
        reads.extend([("depthwise", depthwise), ("pointwise", pointwise)]);
        output.list(OP, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let x = x.hold(&mut cursor)?;
                let weights = [cursor.take()?, cursor.take()?];
                output.write(OP, |y, finish| {
                    separable::forward(&geometry, x.images(), weights, y, finish);
                })
            }
            Backend::Cuda(_) => {
                let between = self.between(&geometry, x, depthwise)?;
                let (_, second) = self.halves();
                second.forward_fused(&[(&(&between).into(), pointwise)], output)
            }
        }
    }

    /// All gradients of [`SeparableConv2d::forward_fused`]; `dweights` are overwritten.
    ///
    /// # Errors
    /// As for [`SeparableConv2d::forward_fused`].
    pub fn backward_fused(
        &self,
        dy: &Cotangent,
        x: &Operand,
        weights: [&Tensor; 2],
        dweights: [&Tensor; 2],
        dx: &Target,
    ) -> Result<()> {
        const OP: &str = "separable_conv2d.backward";
        let geometry = self.geometry(OP, &x.x, weights, ("dy", &dy.dy))?;
        let [depthwise, pointwise] = weights;
        let [ddepthwise, dpointwise] = dweights;
        let branch = Branch {
            x,
            w: [("depthwise", depthwise), ("pointwise", pointwise)],
            dw: Some([("ddepthwise", ddepthwise), ("dpointwise", dpointwise)]),
            dx: Some(dx),
        };
        let cpu = |dy: Images, wanted: Vec<Wanted<2>>| {
            for wanted in wanted {
                separable::backward(&geometry, dy, wanted);
            }
        };
        // A GPU has the memory for what lies between: the two operators one after the other.
        let cuda = |_: &Queue, _: &[Branch<2>]| {
            let between = self.between(&geometry, x, depthwise)?;
            let dbetween = between.zeros_like()?;
            let (first, second) = self.halves();
            let gradient = ConvGradient {
                x: (&between).into(),
                w: pointwise.clone(),
                dw: Some(dpointwise.clone()),
                dx: Some(Target::new(&dbetween, Accumulate::Overwrite)),
            };
            second.backward_fused(dy, &[gradient])?;
            first.backward_fused(&(&dbetween).into(), x, depthwise, ddepthwise, Some(dx))
        };
        operand::backward(OP, geometry.depthwise.n, dy, &[branch], cpu, cuda)
    }

    /// What lies between the two operators, where it is written.
    fn between(&self, geometry: &Geometry, x: &Operand, depthwise: &Tensor) -> Result<Tensor> {
        let shape = geometry.depthwise.output_shape();
        let between = Tensor::zeros(&shape, x.x.dtype(), x.x.device())?;
        let (first, _) = self.halves();
        first.forward_fused(x, depthwise, (&between).into())?;
        Ok(between)
    }

    /// The two operators that this is made of.
    fn halves(&self) -> (DepthwiseConv2d, Conv2d) {
        let depthwise = DepthwiseConv2d {
            kernel: self.kernel,
            stride: self.stride,
        };
        let pointwise = Conv2d {
            precision: self.precision,
            ..Conv2d::new(1, 1)
        };
        (depthwise, pointwise)
    }

    /// The geometry, all shapes checked.
    fn geometry(
        &self,
        op: &'static str,
        x: &Tensor,
        [depthwise, pointwise]: [&Tensor; 2],
        (y_name, y): Arg,
    ) -> Result<Geometry> {
        let (first, _) = self.halves();
        let geometry = first.checked_geometry(op, ("x", x), ("depthwise", depthwise))?;
        let [n, h, w, c] = geometry.output_shape();
        let co = shape::nhwc(op, y_name, y)?[3];
        shape::expect(op, y_name, y, &[n, h, w, co])?;
        shape::expect(op, "pointwise", pointwise, &[1, 1, c, co])?;
        Ok(Geometry::new(geometry, co, self.precision))
    }
}
