//! 3x3 pooling with padding 1.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

use super::{Ahead, floats, gradient};
use crate::kernel::images::Images;
use crate::kernel::pool::{self, Geometry};
use crate::pool::input_geometry;
use crate::storage;
use crate::{Accumulate, AvgPool2d, MaxPool2d};

/// Maximum of `x` `[n, h, w, c]` over 3x3 windows, padding 1, stride 1 or 2.
///
/// # Errors
/// As for [`MaxPool2d::forward`].
pub fn max_pool2d(x: &Tensor, stride: usize) -> Result<Tensor> {
    const OP: &str = "autograd.max_pool2d";
    let x = x.contiguous()?;
    let geometry = input_geometry(OP, stride, ("x", &x))?;
    let backend = storage::check(OP, &[("x", &x)], &[])?;
    storage::expect_dtype::<f32>(OP, &[("x", &x)])?;
    let ahead = Ahead::compute(&backend, &x, geometry.output().as_slice(), |y| {
        MaxPool2d { stride }.forward_eval(&x.detach(), y)
    })?;
    x.apply_op1(Max { geometry, ahead })
}

struct Max {
    geometry: Geometry,
    ahead: Ahead,
}

impl CustomOp1 for Max {
    fn name(&self) -> &'static str {
        "epnas-max-pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        if let Some(result) = self.ahead.cpu() {
            return Ok(result);
        }
        let shape = Shape::from(self.geometry.output().as_slice());
        let mut y = vec![0.0; shape.elem_count()];
        pool::max_forward(&self.geometry, Images::Plain(floats(x, xl)?), &mut y, None);
        Ok((CpuStorage::F32(y), shape))
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.ahead.cuda()
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let op = MaxPool2d {
            stride: self.geometry.stride,
        };
        // Which inputs won is found again: a custom operation keeps nothing but its result.
        let (again, argmax) = (
            gradient(y)?,
            Tensor::zeros(y.shape(), DType::U8, y.device())?,
        );
        op.forward(x, &again, &argmax)?;
        let dx = gradient(x)?;
        op.backward(&dy.contiguous()?, &argmax, &dx, Accumulate::Overwrite)?;
        Ok(Some(dx))
    }
}

/// Mean of `x` `[n, h, w, c]` over 3x3 windows, padding 1 and counted, stride 1 or 2.
///
/// # Errors
/// As for [`AvgPool2d::forward`].
pub fn avg_pool2d(x: &Tensor, stride: usize) -> Result<Tensor> {
    const OP: &str = "autograd.avg_pool2d";
    let x = x.contiguous()?;
    let geometry = input_geometry(OP, stride, ("x", &x))?;
    let backend = storage::check(OP, &[("x", &x)], &[])?;
    storage::expect_dtype::<f32>(OP, &[("x", &x)])?;
    let ahead = Ahead::compute(&backend, &x, geometry.output().as_slice(), |y| {
        AvgPool2d { stride }.forward(&x.detach(), y)
    })?;
    x.apply_op1(Avg { geometry, ahead })
}

struct Avg {
    geometry: Geometry,
    ahead: Ahead,
}

impl CustomOp1 for Avg {
    fn name(&self) -> &'static str {
        "epnas-avg-pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        if let Some(result) = self.ahead.cpu() {
            return Ok(result);
        }
        let shape = Shape::from(self.geometry.output().as_slice());
        let mut y = vec![0.0; shape.elem_count()];
        pool::avg_forward(&self.geometry, Images::Plain(floats(x, xl)?), &mut y);
        Ok((CpuStorage::F32(y), shape))
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.ahead.cuda()
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let op = AvgPool2d {
            stride: self.geometry.stride,
        };
        let dx = gradient(x)?;
        op.backward(&dy.contiguous()?, &dx, Accumulate::Overwrite)?;
        Ok(Some(dx))
    }
}
