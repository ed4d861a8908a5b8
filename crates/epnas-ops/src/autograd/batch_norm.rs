//! Batch normalization by the statistics of the batch.

use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{Ahead, floats, gradient};
use crate::kernel::batch_norm::{self, Affine, Geometry};
use crate::kernel::statistics::statistics;
use crate::shape;
use crate::storage;
use crate::{Accumulate, BatchNorm, Running};

/// Normalizes `x` `[n, h, w, c]` by its own statistics, scales and shifts it by vectors `[c]`, and applies
/// the activation of `op`.
///
/// With `running`, running statistics move as in [`BatchNorm::forward_train`]; no gradient flows through
/// them.
///
/// # Errors
/// As for [`BatchNorm::forward_train`].
pub fn batch_norm_train(
    op: BatchNorm,
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    running: Option<Running>,
) -> Result<Tensor> {
    const OP: &str = "autograd.batch_norm_train";
    let (x, scale, shift) = (x.contiguous()?, scale.contiguous()?, shift.contiguous()?);
    let geometry = op.checked_geometry(OP, &x)?;
    shape::expect(OP, "scale", &scale, &[geometry.c])?;
    shape::expect(OP, "shift", &shift, &[geometry.c])?;
    let args = [("x", &x), ("scale", &scale), ("shift", &shift)];
    let backend = storage::check(OP, &args, &[])?;
    storage::expect_dtype::<f32>(OP, &args)?;
    let train = |running: Running<'_>, y: &Tensor| -> crate::Result<()> {
        let saved = Tensor::zeros((2, geometry.c), x.dtype(), x.device())?;
        let [x, scale, shift] = [&x, &scale, &shift].map(Tensor::detach);
        op.forward_train(&x, &scale, &shift, running, &saved, y)
    };
    if let Some(running) = running {
        // A training pass of the operator, of which only the running statistics are kept.
        train(running, &gradient(&x)?)?;
    }
    let ahead = Ahead::compute(&backend, &x, x.shape(), |y| {
        let running = [gradient(&scale)?, gradient(&scale)?];
        let running = Running {
            mean: &running[0],
            variance: &running[1],
            momentum: 0.0,
        };
        train(running, y)
    })?;
    let op = Train {
        op,
        geometry,
        ahead,
    };
    x.apply_op3(&scale, &shift, op)
}

struct Train {
    op: BatchNorm,
    geometry: Geometry,
    ahead: Ahead,
}

impl CustomOp3 for Train {
    fn name(&self) -> &'static str {
        "epnas-batch-norm-train"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        scale: &CpuStorage,
        scale_l: &Layout,
        shift: &CpuStorage,
        shift_l: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if let Some(result) = self.ahead.cpu() {
            return Ok(result);
        }
        let x = floats(x, xl)?;
        let mut saved = vec![0.0; 2 * self.geometry.c];
        statistics(&self.geometry, x).save(self.op.eps, &mut saved);
        let (scale, shift) = (floats(scale, scale_l)?, floats(shift, shift_l)?);
        let affine = Affine::of(scale, shift, &saved, self.op.activation);
        let mut y = vec![0.0; x.len()];
        batch_norm::apply(&self.geometry, &affine, x, &mut y);
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.ahead.cuda()
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        // Statistics are computed again: a custom operation keeps nothing but its result.
        let saved = self.op.statistics(x)?;
        let (dx, dscale, dshift) = (gradient(x)?, gradient(scale)?, gradient(shift)?);
        let dy = dy.contiguous()?;
        let acc = Accumulate::Overwrite;
        self.op
            .backward(x, scale, shift, &saved, &dy, &dx, acc, &dscale, &dshift)?;
        Ok((Some(dx), Some(dscale), Some(dshift)))
    }
}
