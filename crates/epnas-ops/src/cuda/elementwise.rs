//! Sums and copies.

use candle_core::Tensor;

use super::images::{Image, MOST_SOURCES, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use super::reduction::Rows;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::operand::Operand;

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SumParams {
    inputs: [Image; MOST_SOURCES],
    y: Pointer,
    count: i64,
    inputs_count: i32,
    channels: i32,
    add: i32,
}

// SAFETY: laid out as in `elementwise.cu`.
unsafe impl Params for SumParams {}

/// `y = sum of inputs`.
pub(crate) fn sum(queue: &Queue, op: &'static str, inputs: &[&Operand], y: &Tensor) -> Result<()> {
    let call = Call::new(op, queue, ("y", y))?;
    let images: Result<Vec<Image>> = inputs.iter().map(|input| call.operand(input)).collect();
    add_up(&call, &images?, y, 0)
}

/// `dst = src` or `dst += src`.
pub(crate) fn accumulate(
    queue: &Queue,
    op: &'static str,
    src: &Tensor,
    dst: &Tensor,
    acc: Accumulate,
) -> Result<()> {
    let call = Call::new(op, queue, ("dst", dst))?;
    let image = Image {
        data: call.pixels(("src", src))?,
        ..Image::default()
    };
    add_up(&call, &[image], dst, flag(acc))
}

pub(super) fn add_up(call: &Call, images: &[Image], y: &Tensor, add: i32) -> Result<()> {
    let channels = Rows::of(y).channels;
    let place = call.pixels(("y", y))?;
    add_up_at(call, images, place, y.elem_count(), channels, add)
}

/// Writes an image of so many elements as it is read.
pub(super) fn write_image(
    call: &Call,
    image: Image,
    to: Pointer,
    count: usize,
    channels: usize,
) -> Result<()> {
    add_up_at(call, &[image], to, count, channels, 0)
}

fn add_up_at(
    call: &Call,
    images: &[Image],
    y: Pointer,
    count: usize,
    channels: usize,
    mut add: i32,
) -> Result<()> {
    for images in images.chunks(MOST_SOURCES) {
        let mut inputs = [Image::default(); MOST_SOURCES];
        inputs[..images.len()].copy_from_slice(images);
        let params = SumParams {
            inputs,
            y,
            count: count as i64,
            inputs_count: images.len() as i32,
            channels: channels as i32,
            add,
        };
        call.launch("sum", Launch::elements(count), &params)?;
        add = 1;
    }
    Ok(())
}
