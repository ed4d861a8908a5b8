//! Depthwise convolution.

use candle_core::Tensor;

use super::images::{Image, Window, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use super::reduction::{Rows, add_parts};
use crate::error::Result;
use crate::kernel::depthwise::Geometry;
use crate::operand::{Branch, Cotangent, Operand, Output};

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct DepthwiseParams {
    x: Image,
    dy: Image,
    weight: Pointer,
    to: Pointer,
    parts: Pointer,
    count: i64,
    window: Window,
    add: i32,
    rows_per_block: i32,
}

// SAFETY: laid out as in `depthwise.cu`.
unsafe impl Params for DepthwiseParams {}

impl DepthwiseParams {
    fn of(g: &Geometry) -> Self {
        let [_, ho, wo, _] = g.output_shape();
        DepthwiseParams {
            x: Image::default(),
            dy: Image::default(),
            weight: Pointer::NONE,
            to: Pointer::NONE,
            parts: Pointer::NONE,
            count: 0,
            window: Window {
                h: g.h as i32,
                w: g.w as i32,
                ho: ho as i32,
                wo: wo as i32,
                channels: g.c as i32,
                kernel: g.kernel as i32,
                stride: g.stride as i32,
            },
            add: 0,
            rows_per_block: 0,
        }
    }
}

/// The convolution, then the statistics of the result.
pub(crate) fn forward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    x: &Operand,
    weight: &Tensor,
    output: &Output,
) -> Result<()> {
    let call = Call::new(op, queue, ("y", output.y))?;
    let count = output.y.elem_count();
    let params = DepthwiseParams {
        x: call.operand(x)?,
        weight: call.floats(("w", weight))?,
        to: call.pixels(("y", output.y))?,
        count: count as i64,
        ..DepthwiseParams::of(g)
    };
    call.launch("depthwise_forward", Launch::elements(count), &params)?;
    call.complete(output)
}

/// The gradients that are wanted.
pub(crate) fn backward(
    queue: &Queue,
    op: &'static str,
    g: &Geometry,
    dy: &Cotangent,
    branch: &Branch<1>,
) -> Result<()> {
    let [(_, weight)] = branch.w;
    let call = Call::new(op, queue, ("dy", &dy.dy))?;
    let params = DepthwiseParams {
        dy: call.cotangent(dy)?,
        ..DepthwiseParams::of(g)
    };
    if let Some([(_, dweight)]) = branch.dw {
        let rows = Rows::of(&dy.dy);
        let (division, taps) = (rows.divide(), g.kernel * g.kernel);
        let len = taps * g.c;
        let params = DepthwiseParams {
            x: call.operand(branch.x)?,
            parts: call.workspace(size_of::<f32>() * division.blocks * len)?,
            count: rows.count as i64,
            rows_per_block: division.rows_per_block as i32,
            ..params
        };
        call.launch("depthwise_weight", division.launch(taps), &params)?;
        let dweight = call.floats(("dw", dweight))?;
        add_parts(&call, params.parts, division.blocks, dweight, len)?;
    }
    if let Some(target) = branch.dx {
        let count = target.dx.elem_count();
        let params = DepthwiseParams {
            weight: call.floats(("w", weight))?,
            to: call.pixels(("dx", &target.dx))?,
            count: count as i64,
            add: flag(target.acc),
            ..params
        };
        call.launch("depthwise_input", Launch::elements(count), &params)?;
        call.complete_target(target)?;
    }
    Ok(())
}
