//! Batches of images that lie on the device.

use candle_core::{DType, Tensor};

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::batch::{DeviceImages, Distortion, Mirror};
use crate::error::Result;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct BatchParams {
    pixels: Pointer,
    all_labels: Pointer,
    table: Pointer,
    order: Pointer,
    cursor: Pointer,
    x: Pointer,
    labels: Pointer,
    images: i64,
    positions: i64,
    n: i32,
    h: i32,
    w: i32,
    channels: i32,
    pad: i32,
    mirror: i32,
    cutout: i32,
    augment: i32,
}

// SAFETY: laid out as in `batch.cu`.
unsafe impl Params for BatchParams {}

/// Draws a batch and moves the cursor behind it.
pub(crate) fn draw(
    queue: &Queue,
    op: &'static str,
    from: &DeviceImages,
    [order, cursor]: [&Tensor; 2],
    distortion: Option<&Distortion>,
    [x, labels]: [&Tensor; 2],
) -> Result<()> {
    let call = Call::new(op, queue, ("x", x))?;
    let dims = x.dims();
    let of = |value: fn(&Distortion) -> usize| distortion.map_or(0, value) as i32;
    let params = BatchParams {
        pixels: call.typed(("pixels", &from.pixels), DType::U8)?,
        all_labels: call.typed(("all_labels", &from.labels), DType::U32)?,
        table: call.floats(("table", &from.table))?,
        order: call.typed(("order", order), DType::U32)?,
        cursor: call.typed(("cursor", cursor), DType::I64)?,
        x: call.pixels(("x", x))?,
        labels: call.typed(("labels", labels), DType::U32)?,
        images: from.labels.elem_count() as i64,
        positions: order.elem_count() as i64,
        n: dims[0] as i32,
        h: dims[1] as i32,
        w: dims[2] as i32,
        channels: dims[3] as i32,
        pad: of(|distortion| distortion.pad),
        mirror: of(|distortion| usize::from(distortion.mirror == Mirror::Half)),
        cutout: of(|distortion| distortion.cutout),
        augment: i32::from(distortion.is_some()),
    };
    call.launch("draw_batch", Launch::elements(x.elem_count()), &params)?;
    call.launch_plain("advance", Launch::elements(1), &params)
}
