//! Dense and depthwise convolution.

use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{Ahead, floats, gradient};
use crate::kernel::conv::Source;
use crate::kernel::epilogue::without_sums;
use crate::kernel::images::Images;
use crate::kernel::{conv, depthwise};
use crate::storage;
use crate::{Accumulate, Conv2d, DepthwiseConv2d};

/// Dense convolution of `x` `[n, h, w, ci]` with `w` `[k, k, ci, co]` (`k` odd), padding `k / 2`:
/// `[n, ceil(h / stride), ceil(w / stride), co]`.
///
/// # Errors
/// As for [`Conv2d::forward`].
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize) -> Result<Tensor> {
    const OP: &str = "autograd.conv2d";
    let op = Conv2d::new(w.dims().first().copied().unwrap_or(0), stride);
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let geometry = op.checked_geometry(OP, &x, &w)?;
    let backend = storage::check(OP, &[("x", &x), ("w", &w)], &[])?;
    let ahead = Ahead::compute(&backend, &x, geometry.output().as_slice(), |y| {
        op.forward(&[(&x.detach(), &w.detach())], y)
    })?;
    let op = Conv {
        op,
        geometry,
        ahead,
    };
    x.apply_op2(&w, op)
}

struct Conv {
    op: Conv2d,
    geometry: conv::Geometry,
    ahead: Ahead,
}

impl CustomOp2 for Conv {
    fn name(&self) -> &'static str {
        "epnas-conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if let Some(result) = self.ahead.cpu() {
            return Ok(result);
        }
        let shape = Shape::from(self.geometry.output().as_slice());
        let mut y = vec![0.0; shape.elem_count()];
        let source = Source {
            x: Images::Plain(floats(x, xl)?),
            w: floats(w, wl)?,
            ci: xl.dims()[3],
        };
        let geometry = &self.geometry;
        without_sums(geometry.n, |finish| {
            conv::forward(geometry, &[source], &mut y, finish)
        });
        Ok((CpuStorage::F32(y), shape))
    }

    fn cuda_fwd(
        &self,
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
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dy, dx, dw) = (dy.contiguous()?, gradient(x)?, gradient(w)?);
        self.op.backward_input(&dy, w, &dx, Accumulate::Overwrite)?;
        self.op.backward_weight(x, &dy, &dw)?;
        Ok((Some(dx), Some(dw)))
    }
}

/// Depthwise convolution of `x` `[n, h, w, c]` with `w` `[k, k, c]` (`k` odd), padding `k / 2`:
/// `[n, ceil(h / stride), ceil(w / stride), c]`.
///
/// # Errors
/// As for [`DepthwiseConv2d::forward`].
pub fn depthwise_conv2d(x: &Tensor, w: &Tensor, stride: usize) -> Result<Tensor> {
    const OP: &str = "autograd.depthwise_conv2d";
    let op = DepthwiseConv2d {
        kernel: w.dims().first().copied().unwrap_or(0),
        stride,
    };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let geometry = op.checked_geometry(OP, ("x", &x), ("w", &w))?;
    let backend = storage::check(OP, &[("x", &x), ("w", &w)], &[])?;
    storage::expect_dtype::<f32>(OP, &[("x", &x), ("w", &w)])?;
    let ahead = Ahead::compute(&backend, &x, geometry.output_shape().as_slice(), |y| {
        op.forward(&x.detach(), &w.detach(), y)
    })?;
    let op = Depthwise {
        op,
        geometry,
        ahead,
    };
    x.apply_op2(&w, op)
}

struct Depthwise {
    op: DepthwiseConv2d,
    geometry: depthwise::Geometry,
    ahead: Ahead,
}

impl CustomOp2 for Depthwise {
    fn name(&self) -> &'static str {
        "epnas-depthwise-conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if let Some(result) = self.ahead.cpu() {
            return Ok(result);
        }
        let shape = Shape::from(self.geometry.output_shape().as_slice());
        let mut y = vec![0.0; shape.elem_count()];
        let (x, w) = (Images::Plain(floats(x, xl)?), floats(w, wl)?);
        let geometry = &self.geometry;
        without_sums(geometry.n, |finish| {
            depthwise::forward(geometry, x, w, &mut y, finish)
        });
        Ok((CpuStorage::F32(y), shape))
    }

    fn cuda_fwd(
        &self,
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
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dy, dx, dw) = (dy.contiguous()?, gradient(x)?, gradient(w)?);
        self.op.backward_input(&dy, w, &dx, Accumulate::Overwrite)?;
        self.op.backward_weight(x, &dy, &dw)?;
        Ok((Some(dx), Some(dw)))
    }
}
