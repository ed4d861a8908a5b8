//! Factorized reduction: halves the resolution by two shifted 1x1 convolutions.

use candle_core::Tensor;

use crate::cuda::{self, Queue, conv::Product};
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::backward::Wanted;
use crate::kernel::factorized::{self, Geometry};
use crate::kernel::images::Images;
use crate::operand::{self, Branch, Cotangent, Cursor, Operand, Output, Target};
use crate::precision::Precision;
use crate::shape;
use crate::storage::{self, Reads};

/// Two 1x1 convolutions of stride 2 whose outputs are concatenated: the first reads the pixels `(2i, 2j)`,
/// the second `(2i + 1, 2j + 1)`, with zeros beyond the edge. So no pixel diagonal is lost, as a strided
/// identity would.
///
/// # Shapes
/// - `x`: `[n, h, w, ci]`
/// - `w0`: `[1, 1, ci, ceil(co / 2)]`, `w1`: `[1, 1, ci, floor(co / 2)]`
/// - `y`, `dy`: `[n, ceil(h / 2), ceil(w / 2), co]`; channels of `w0` first. `co` is at least 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FactorizedConv {
    /// What products are computed in.
    pub precision: Precision,
}

impl FactorizedConv {
    /// Writes the concatenation of both halves into `y`.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, x: &Tensor, w0: &Tensor, w1: &Tensor, y: &Tensor) -> Result<()> {
        self.forward_fused(&x.into(), [w0, w1], y.into())
    }

    /// As [`FactorizedConv::forward`], with a batch norm where `x` is read and statistics of what is written.
    ///
    /// # Errors
    /// As for [`FactorizedConv::forward`].
    pub fn forward_fused(&self, x: &Operand, [w0, w1]: [&Tensor; 2], output: Output) -> Result<()> {
        const OP: &str = "factorized_conv.forward";
        let geometry = self.geometry(OP, ("x", &x.x), ("y", output.y), ("w0", w0), ("w1", w1))?;
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        x.list(OP, "x", &mut reads)?;
        reads.extend([("w0", w0), ("w1", w1)]);
        output.list(OP, &mut writes)?;
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let mut cursor = Cursor::new(&reads);
                let x = x.hold(&mut cursor)?;
                let weights = [cursor.take()?, cursor.take()?];
                output.write(OP, |y, finish| {
                    factorized::forward(&geometry, x.images(), weights, y, finish);
                })
            }
            Backend::Cuda(queue) => {
                let inputs = [vec![(x, w0)], vec![(x, w1)]];
                cuda::conv::forward(&queue, OP, &Product::halves(&geometry), &inputs, &output)
            }
        }
    }

    /// Gradient with respect to `x`.
    ///
    /// # Errors
    /// As for [`FactorizedConv::forward`].
    pub fn backward_input(
        &self,
        dy: &Tensor,
        w0: &Tensor,
        w1: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "factorized_conv.backward_input";
        self.geometry(OP, ("dx", dx), ("dy", dy), ("w0", w0), ("w1", w1))?;
        let target = Target::new(dx, acc);
        self.backward(OP, &dy.into(), &dx.into(), [w0, w1], None, Some(&target))
    }

    /// Gradients with respect to the weights, which are overwritten.
    ///
    /// # Errors
    /// As for [`FactorizedConv::forward`].
    pub fn backward_weight(
        &self,
        x: &Tensor,
        dy: &Tensor,
        dw0: &Tensor,
        dw1: &Tensor,
    ) -> Result<()> {
        const OP: &str = "factorized_conv.backward_weight";
        self.geometry(OP, ("x", x), ("dy", dy), ("dw0", dw0), ("dw1", dw1))?;
        let dw = [dw0, dw1];
        self.backward(OP, &dy.into(), &x.into(), dw, Some(dw), None)
    }

    /// All gradients of [`FactorizedConv::forward_fused`] in one pass over the gradient of the output.
    ///
    /// # Errors
    /// As for [`FactorizedConv::forward`].
    pub fn backward_fused(
        &self,
        dy: &Cotangent,
        x: &Operand,
        weights: [&Tensor; 2],
        dweights: [&Tensor; 2],
        dx: Option<&Target>,
    ) -> Result<()> {
        self.backward(
            "factorized_conv.backward",
            dy,
            x,
            weights,
            Some(dweights),
            dx,
        )
    }

    fn backward(
        &self,
        op: &'static str,
        dy: &Cotangent,
        x: &Operand,
        [w0, w1]: [&Tensor; 2],
        dw: Option<[&Tensor; 2]>,
        dx: Option<&Target>,
    ) -> Result<()> {
        let geometry = self.geometry(op, ("x", &x.x), ("dy", &dy.dy), ("w0", w0), ("w1", w1))?;
        let branch = Branch {
            x,
            w: [("w0", w0), ("w1", w1)],
            dw: dw.map(|[dw0, dw1]| [("dw0", dw0), ("dw1", dw1)]),
            dx,
        };
        let cpu = |dy: Images, wanted: Vec<Wanted<2>>| {
            for wanted in wanted {
                factorized::backward(&geometry, dy, wanted);
            }
        };
        let cuda = |queue: &Queue, branches: &[Branch<2>]| {
            let halves = Product::halves(&geometry);
            let mut branches = branches.iter();
            branches.try_for_each(|b| cuda::conv::backward(queue, op, &halves, dy, b))
        };
        operand::backward(op, geometry.n, dy, &[branch], cpu, cuda)
    }

    /// Checks all four shapes.
    fn geometry(
        &self,
        op: &'static str,
        (x_name, x): storage::Arg,
        (y_name, y): storage::Arg,
        (w0_name, w0): storage::Arg,
        (w1_name, w1): storage::Arg,
    ) -> Result<Geometry> {
        let [n, h, w, ci] = shape::nhwc(op, x_name, x)?;
        let co = shape::nhwc(op, y_name, y)?[3];
        let (ho, wo) = (shape::strided(h, 2), shape::strided(w, 2));
        if co < 2 {
            let expected = format!("[{n}, {ho}, {wo}, at least 2 channels]");
            return Err(shape::mismatch(op, y_name, y, expected));
        }
        shape::expect(op, y_name, y, &[n, ho, wo, co])?;
        shape::expect(op, w0_name, w0, &[1, 1, ci, co.div_ceil(2)])?;
        shape::expect(op, w1_name, w1, &[1, 1, ci, co / 2])?;
        Ok(Geometry {
            n,
            h,
            w,
            ci,
            co,
            precision: self.precision,
        })
    }
}
