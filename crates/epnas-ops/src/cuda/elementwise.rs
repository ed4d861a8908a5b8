//! Sums, copies and mixtures.

use candle_core::Tensor;

use super::images::{Image, MOST_SOURCES, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use super::reduction::Rows;
use crate::elementwise::{Accumulate, Term};
use crate::error::Result;

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

impl SumParams {
    /// Of at most [`MOST_SOURCES`] images.
    fn of(images: &[Image], y: Pointer, count: usize, channels: usize, add: i32) -> Self {
        let mut inputs = [Image::default(); MOST_SOURCES];
        inputs[..images.len()].copy_from_slice(images);
        SumParams {
            inputs,
            y,
            count: count as i64,
            inputs_count: images.len() as i32,
            channels: channels as i32,
            add,
        }
    }
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ScaledSumParams {
    sum: SumParams,
    factors: [Pointer; MOST_SOURCES],
    image_len: i64,
}

// SAFETY: laid out as in `elementwise.cu`.
unsafe impl Params for ScaledSumParams {}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct MixParams {
    x: Pointer,
    share: Pointer,
    image_len: i64,
    n: i32,
}

// SAFETY: laid out as in `elementwise.cu`.
unsafe impl Params for MixParams {}

/// `y = sum of terms`.
pub(crate) fn sum(queue: &Queue, op: &'static str, terms: &[Term], y: &Tensor) -> Result<()> {
    let call = Call::new(op, queue, ("y", y))?;
    let images: Result<Vec<Image>> = terms.iter().map(|term| call.operand(term.x)).collect();
    let factors: Result<Vec<Pointer>> = terms
        .iter()
        .map(|term| match term.factors {
            Some(factors) => call.floats(("factors", factors)),
            None => Ok(Pointer::NONE),
        })
        .collect();
    add_up_scaled(&call, &images?, &factors?, y, 0)
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

/// `dst = factors src` or `dst += factors src`, a factor per image.
pub(crate) fn accumulate_scaled(
    queue: &Queue,
    op: &'static str,
    [src, factors]: [&Tensor; 2],
    dst: &Tensor,
    acc: Accumulate,
) -> Result<()> {
    let call = Call::new(op, queue, ("dst", dst))?;
    let image = Image {
        data: call.pixels(("src", src))?,
        ..Image::default()
    };
    let factors = call.floats(("factors", factors))?;
    add_up_scaled(&call, &[image], &[factors], dst, flag(acc))
}

/// Mixes every image with the one as far from the end.
pub(crate) fn mix_with_reverse(
    queue: &Queue,
    op: &'static str,
    x: &Tensor,
    share: &Tensor,
) -> Result<()> {
    let call = Call::new(op, queue, ("x", x))?;
    let n = x.dims()[0];
    let image_len = x.elem_count() / n;
    let params = MixParams {
        x: call.pixels(("x", x))?,
        share: call.floats(("share", share))?,
        image_len: image_len as i64,
        n: n as i32,
    };
    let launch = Launch::elements(n / 2 * image_len);
    call.launch("mix_with_reverse", launch, &params)
}

pub(super) fn add_up(call: &Call, images: &[Image], y: &Tensor, add: i32) -> Result<()> {
    let channels = Rows::of(y).channels;
    let place = call.pixels(("y", y))?;
    add_up_at(call, images, place, y.elem_count(), channels, add)
}

/// As [`add_up`], with the factors of every image, or none.
fn add_up_scaled(
    call: &Call,
    images: &[Image],
    factors: &[Pointer],
    y: &Tensor,
    mut add: i32,
) -> Result<()> {
    if factors.iter().all(|factors| *factors == Pointer::NONE) {
        return add_up(call, images, y, add);
    }
    let (place, count) = (call.pixels(("y", y))?, y.elem_count());
    let chunks = images.chunks(MOST_SOURCES);
    for (images, some) in chunks.zip(factors.chunks(MOST_SOURCES)) {
        let mut factors = [Pointer::NONE; MOST_SOURCES];
        factors[..some.len()].copy_from_slice(some);
        let params = ScaledSumParams {
            sum: SumParams::of(images, place, count, Rows::of(y).channels, add),
            factors,
            image_len: (count / y.dims()[0]) as i64,
        };
        call.launch("scaled_sum", Launch::elements(count), &params)?;
        add = 1;
    }
    Ok(())
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
        let params = SumParams::of(images, y, count, channels, add);
        call.launch("sum", Launch::elements(count), &params)?;
        add = 1;
    }
    Ok(())
}
