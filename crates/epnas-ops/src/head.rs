//! Classifier head: global average, then a linear layer.

use candle_core::Tensor;

use crate::cuda;
use crate::device::Backend;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::head::{self, Geometry};
use crate::operand::{Cursor, Operand};
use crate::shape;
use crate::storage::{self, Arg, Reads};

/// `logits = mean over pixels of x, times weight, plus bias`.
///
/// # Shapes
/// - `x`, `dx`: `[n, h, w, c]`
/// - `weight`, `dweight`: `[c, k]`; `bias`, `dbias`: `[k]`
/// - `pooled`: `[n, c]`, kept for the backward pass
/// - `logits`, `dlogits`: `[n, k]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Head;

impl Head {
    /// Writes the averages into `pooled` and the class scores into `logits`.
    ///
    /// # Errors
    /// Shapes that do not fit (see the type); wrong type or layout; aliasing; unsupported device.
    pub fn forward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        pooled: &Tensor,
        logits: &Tensor,
    ) -> Result<()> {
        let acc = Accumulate::Overwrite;
        self.forward_fused(&x.into(), weight, bias, pooled, logits, acc)
    }

    /// As [`Head::forward`], with a batch norm where `x` is read. With [`Accumulate::Add`], `logits` are what is added to
    /// in place of the bias: so a head reads several sources, a slice of its weight each.
    ///
    /// # Errors
    /// As for [`Head::forward`].
    pub fn forward_fused(
        &self,
        x: &Operand,
        weight: &Tensor,
        bias: &Tensor,
        pooled: &Tensor,
        logits: &Tensor,
        acc: Accumulate,
    ) -> Result<()> {
        const OP: &str = "head.forward";
        let geometry = geometry(
            OP,
            ("x", &x.x),
            ("weight", weight),
            ("bias", bias),
            ("pooled", pooled),
            ("logits", logits),
        )?;
        let mut reads = vec![("weight", weight), ("bias", bias)];
        x.list(OP, "x", &mut reads)?;
        let writes = [("pooled", pooled), ("logits", logits)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes)?;
                let reads = Reads::lock(OP, &reads);
                let (weight, bias) = (reads.get(0)?, reads.get(1)?);
                let x = x.hold(&mut Cursor::after(&reads, 2))?;
                storage::write(OP, writes[0], |pooled| {
                    head::average(&geometry, x.images(), pooled);
                    storage::write(OP, writes[1], |logits| {
                        head::linear(&geometry, pooled, weight, bias, logits, acc);
                        Ok(())
                    })
                })
            }
            Backend::Cuda(queue) => {
                let (weights, to) = ([weight, bias], (pooled, logits, acc));
                cuda::head::forward(&queue, OP, &geometry, x, weights, to)
            }
        }
    }

    /// Gradients of [`Head::forward`]; `dweight` and `dbias` are overwritten.
    ///
    /// # Errors
    /// As for [`Head::forward`].
    #[expect(clippy::too_many_arguments, reason = "one per tensor of the operator")]
    pub fn backward(
        &self,
        pooled: &Tensor,
        weight: &Tensor,
        dlogits: &Tensor,
        dx: &Tensor,
        acc: Accumulate,
        dweight: &Tensor,
        dbias: &Tensor,
    ) -> Result<()> {
        const OP: &str = "head.backward";
        let geometry = geometry(
            OP,
            ("dx", dx),
            ("weight", weight),
            ("dbias", dbias),
            ("pooled", pooled),
            ("dlogits", dlogits),
        )?;
        shape::expect(OP, "dweight", dweight, weight.dims())?;
        let reads = [("pooled", pooled), ("weight", weight), ("dlogits", dlogits)];
        let writes = [("dx", dx), ("dweight", dweight), ("dbias", dbias)];
        match storage::check(OP, &reads, &writes)? {
            Backend::Cpu => {
                storage::expect_dtype::<f32>(OP, &writes)?;
                let reads = Reads::lock(OP, &reads);
                let (pooled, weight, dlogits) = (reads.get(0)?, reads.get(1)?, reads.get(2)?);
                storage::write(OP, writes[1], |dweight| {
                    storage::write(OP, writes[2], |dbias| {
                        head::backward_weight(&geometry, pooled, dlogits, dweight, dbias);
                        Ok(())
                    })
                })?;
                storage::write(OP, writes[0], |dx| {
                    head::backward_input(&geometry, dlogits, weight, dx, acc);
                    Ok(())
                })
            }
            Backend::Cuda(queue) => cuda::head::backward(
                &queue,
                OP,
                &geometry,
                [pooled, weight, dlogits],
                (dx, acc),
                [dweight, dbias],
            ),
        }
    }
}

/// Checks all shapes.
fn geometry(
    op: &'static str,
    (x_name, x): Arg,
    (weight_name, weight): Arg,
    (bias_name, bias): Arg,
    (pooled_name, pooled): Arg,
    (logits_name, logits): Arg,
) -> Result<Geometry> {
    let [n, h, w, c] = shape::nhwc(op, x_name, x)?;
    let classes = shape::matrix(op, logits_name, logits, "[batch, classes]")?[1];
    shape::expect(op, logits_name, logits, &[n, classes])?;
    shape::expect(op, weight_name, weight, &[c, classes])?;
    shape::expect(op, bias_name, bias, &[classes])?;
    shape::expect(op, pooled_name, pooled, &[n, c])?;
    Ok(Geometry {
        pixels: h * w,
        c,
        classes,
    })
}
