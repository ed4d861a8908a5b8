//! 3x3 pooling.

use candle_core::{DType, Tensor};

use super::images::{Image, Window, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::error::Result;
use crate::kernel::pool::Geometry;
use crate::operand::{Operand, Target};

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct PoolParams {
    x: Image,
    dy: Pointer,
    argmax: Pointer,
    to: Pointer,
    count: i64,
    window: Window,
    add: i32,
}

// SAFETY: laid out as in `pool.cu`.
unsafe impl Params for PoolParams {}

impl PoolParams {
    fn of(g: &Geometry) -> Self {
        let [_, ho, wo, _] = g.output();
        PoolParams {
            x: Image::default(),
            dy: Pointer::NONE,
            argmax: Pointer::NONE,
            to: Pointer::NONE,
            count: 0,
            window: Window {
                h: g.h as i32,
                w: g.w as i32,
                ho: ho as i32,
                wo: wo as i32,
                channels: g.c as i32,
                kernel: 3,
                stride: g.stride as i32,
            },
            add: 0,
        }
    }
}

/// Maximum, and where it was.
pub(crate) fn max_forward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    x: &Operand,
    y: &Tensor,
    argmax: Option<&Tensor>,
) -> Result<()> {
    let call = Call::new(op, queue, ("y", y))?;
    let argmax = argmax.map(|argmax| call.typed(("argmax", argmax), DType::U8));
    let params = PoolParams {
        x: call.operand(x)?,
        argmax: argmax.transpose()?.unwrap_or_default(),
        to: call.pixels(("y", y))?,
        count: y.elem_count() as i64,
        ..PoolParams::of(g)
    };
    call.launch("max_forward", Launch::elements(y.elem_count()), &params)
}

/// Gradient of the input of a maximum.
pub(crate) fn max_backward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    dy: &Tensor,
    argmax: &Tensor,
    target: &Target,
) -> Result<()> {
    let call = Call::new(op, queue, ("dx", &target.dx))?;
    let argmax = call.typed(("argmax", argmax), DType::U8)?;
    backward(&call, "max_backward", g, dy, argmax, target)
}

/// Mean.
pub(crate) fn avg_forward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    x: &Operand,
    y: &Tensor,
) -> Result<()> {
    let call = Call::new(op, queue, ("y", y))?;
    let params = PoolParams {
        x: call.operand(x)?,
        to: call.pixels(("y", y))?,
        count: y.elem_count() as i64,
        ..PoolParams::of(g)
    };
    call.launch("avg_forward", Launch::elements(y.elem_count()), &params)
}

/// Gradient of the input of a mean.
pub(crate) fn avg_backward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    dy: &Tensor,
    target: &Target,
) -> Result<()> {
    let call = Call::new(op, queue, ("dx", &target.dx))?;
    backward(&call, "avg_backward", g, dy, Pointer::NONE, target)
}

fn backward(
    call: &Call,
    kernel: &str,
    g: &Geometry,
    dy: &Tensor,
    argmax: Pointer,
    target: &Target,
) -> Result<()> {
    let params = PoolParams {
        dy: call.pixels(("dy", dy))?,
        argmax,
        to: call.pixels(("dx", &target.dx))?,
        count: target.dx.elem_count() as i64,
        add: flag(target.acc),
        ..PoolParams::of(g)
    };
    call.launch(kernel, Launch::elements(target.dx.elem_count()), &params)?;
    call.complete_target(target)
}
