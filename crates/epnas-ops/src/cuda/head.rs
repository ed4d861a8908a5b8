//! Classifier head.

use candle_core::Tensor;

use super::images::{Image, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::kernel::head::Geometry;
use crate::operand::Operand;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct HeadParams {
    x: Image,
    weight: Pointer,
    bias: Pointer,
    pooled: Pointer,
    logits: Pointer,
    dlogits: Pointer,
    dweight: Pointer,
    dbias: Pointer,
    dx: Pointer,
    n: i32,
    pixels: i32,
    c: i32,
    classes: i32,
    add: i32,
}

// SAFETY: laid out as in `head.cu`.
unsafe impl Params for HeadParams {}

impl HeadParams {
    fn of(g: &Geometry, n: usize) -> Self {
        HeadParams {
            x: Image::default(),
            weight: Pointer::NONE,
            bias: Pointer::NONE,
            pooled: Pointer::NONE,
            logits: Pointer::NONE,
            dlogits: Pointer::NONE,
            dweight: Pointer::NONE,
            dbias: Pointer::NONE,
            dx: Pointer::NONE,
            n: n as i32,
            pixels: g.pixels as i32,
            c: g.c as i32,
            classes: g.classes as i32,
            add: 0,
        }
    }
}

/// Averages and class scores.
pub(crate) fn forward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    x: &Operand,
    [weight, bias]: [&Tensor; 2],
    (pooled, logits, acc): (&Tensor, &Tensor, Accumulate),
) -> Result<()> {
    let call = Call::new(op, queue, ("x", &x.x))?;
    let n = x.x.dims()[0];
    let params = HeadParams {
        x: call.operand(x)?,
        weight: call.floats(("weight", weight))?,
        bias: call.floats(("bias", bias))?,
        pooled: call.floats(("pooled", pooled))?,
        logits: call.floats(("logits", logits))?,
        add: flag(acc),
        ..HeadParams::of(g, n)
    };
    call.launch("head_average", Launch::elements(n * g.c), &params)?;
    call.launch_plain("head_linear", Launch::elements(n * g.classes), &params)
}

/// All gradients.
pub(crate) fn backward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    [pooled, weight, dlogits]: [&Tensor; 3],
    (dx, acc): (&Tensor, Accumulate),
    [dweight, dbias]: [&Tensor; 2],
) -> Result<()> {
    let call = Call::new(op, queue, ("dx", dx))?;
    let n = dx.dims()[0];
    let params = HeadParams {
        weight: call.floats(("weight", weight))?,
        pooled: call.floats(("pooled", pooled))?,
        dlogits: call.floats(("dlogits", dlogits))?,
        dweight: call.floats(("dweight", dweight))?,
        dbias: call.floats(("dbias", dbias))?,
        dx: call.pixels(("dx", dx))?,
        add: flag(acc),
        ..HeadParams::of(g, n)
    };
    let weights = (g.c + 1) * g.classes;
    call.launch_plain("head_weight", Launch::elements(weights), &params)?;
    call.launch("head_input", Launch::elements(n * g.c), &params)
}
