//! Factorized reduction: halves the resolution by two shifted 1x1 convolutions.

use candle_core::Tensor;

use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::factorized::{self, Geometry};
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
pub struct FactorizedConv;

impl FactorizedConv {
    /// Writes the concatenation of both halves into `y`.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(&self, x: &Tensor, w0: &Tensor, w1: &Tensor, y: &Tensor) -> Result<()> {
        const OP: &str = "factorized_conv.forward";
        let geometry = geometry(OP, ("x", x), ("y", y), ("w0", w0), ("w1", w1))?;
        let reads = [("x", x), ("w0", w0), ("w1", w1)];
        match storage::check(OP, &reads, &[("y", y)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (x, w0, w1) = (reads.get(0)?, reads.get(1)?, reads.get(2)?);
                storage::write(OP, ("y", y), |y| {
                    factorized::forward(&geometry, x, w0, w1, y);
                    Ok(())
                })
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
        let geometry = geometry(OP, ("dx", dx), ("dy", dy), ("w0", w0), ("w1", w1))?;
        let reads = [("dy", dy), ("w0", w0), ("w1", w1)];
        match storage::check(OP, &reads, &[("dx", dx)])? {
            Backend::Cpu => {
                let reads = Reads::lock(OP, &reads);
                let (dy, w0, w1) = (reads.get(0)?, reads.get(1)?, reads.get(2)?);
                storage::write(OP, ("dx", dx), |dx| {
                    factorized::backward_input(&geometry, dy, w0, w1, dx, acc);
                    Ok(())
                })
            }
        }
    }

    /// Gradients with respect to both weights, which are overwritten.
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
        let geometry = geometry(OP, ("x", x), ("dy", dy), ("dw0", dw0), ("dw1", dw1))?;
        let reads = [("x", x), ("dy", dy)];
        let writes = [("dw0", dw0), ("dw1", dw1)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes)?;
                let reads = Reads::lock(OP, &reads);
                let (x, dy) = (reads.get(0)?, reads.get(1)?);
                storage::write(OP, writes[0], |dw0| {
                    storage::write(OP, writes[1], |dw1| {
                        factorized::backward_weight(&geometry, x, dy, dw0, dw1);
                        Ok(())
                    })
                })
            }
        }
    }
}

/// Checks all four shapes.
fn geometry(
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
    Ok(Geometry { h, w, ci, co })
}
