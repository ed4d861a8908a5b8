//! Batch norms: statistics and sums of gradients.

use candle_core::Tensor;

use super::images::{Image, Norm, flag};
use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use super::reduction::{Rows, over_parts};
use crate::batch_norm::Running;
use crate::elementwise::Accumulate;
use crate::error::Result;
use crate::operand::{Cotangent, NormGradient, Operand};

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SumsParams {
    x: Pointer,
    dy: Pointer,
    norm: Norm,
    parts: Pointer,
    counts: Pointer,
    rows: i64,
    channels: i32,
    rows_per_block: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct StatisticsParams {
    parts: Pointer,
    counts: Pointer,
    saved: Pointer,
    mean: Pointer,
    variance: Pointer,
    eps: f64,
    momentum: f64,
    channels: i32,
    blocks: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct NormGradientParams {
    parts: Pointer,
    saved: Pointer,
    dscale: Pointer,
    dshift: Pointer,
    channels: i32,
    blocks: i32,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct SavedParams {
    mean: Pointer,
    variance: Pointer,
    saved: Pointer,
    eps: f64,
    channels: i32,
}

// SAFETY: laid out as in `batch_norm.cu`.
unsafe impl Params for SumsParams {}
// SAFETY: laid out as in `batch_norm.cu`.
unsafe impl Params for StatisticsParams {}
// SAFETY: laid out as in `batch_norm.cu`.
unsafe impl Params for NormGradientParams {}
// SAFETY: laid out as in `batch_norm.cu`.
unsafe impl Params for SavedParams {}

/// Mean and inverse deviation of `x` into `saved`; moves the running ones.
pub(crate) fn statistics(
    call: &Call,
    x: &Tensor,
    eps: f64,
    saved: &Tensor,
    running: Option<Running>,
) -> Result<()> {
    let rows = Rows::of(x);
    let division = rows.divide();
    let moments = Moments::room(call, division.blocks, rows.channels)?;
    let sums = SumsParams {
        x: call.pixels(("x", x))?,
        dy: Pointer::NONE,
        norm: Norm::default(),
        parts: moments.parts,
        counts: moments.counts,
        rows: rows.count as i64,
        channels: rows.channels as i32,
        rows_per_block: division.rows_per_block as i32,
    };
    call.launch("moments", division.launch(1), &sums)?;
    moments.combine(call, eps, saved, running)
}

/// Statistics of parts of a batch: for each of `blocks` means of all channels, then sums of squares of what differs from
/// them; and how many rows it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// `[blocks, 2, channels]`
    pub(super) parts: Pointer,
    /// `[blocks]`
    pub(super) counts: Pointer,
    blocks: usize,
    channels: usize,
}

impl Moments {
    /// Room for them.
    pub(super) fn room(call: &Call, blocks: usize, channels: usize) -> Result<Self> {
        let bytes = size_of::<f32>() * 2 * blocks * channels;
        let parts = call.workspace(bytes + size_of::<f32>() * blocks)?;
        let counts = parts.after(bytes);
        Ok(Moments {
            parts,
            counts,
            blocks,
            channels,
        })
    }

    /// Mean and inverse deviation of all rows into `saved`; moves the running ones.
    pub(super) fn combine(
        &self,
        call: &Call,
        eps: f64,
        saved: &Tensor,
        running: Option<Running>,
    ) -> Result<()> {
        let (mean, variance, momentum) = match running {
            Some(running) => (
                call.floats(("running.mean", running.mean))?,
                call.floats(("running.variance", running.variance))?,
                running.momentum,
            ),
            None => (Pointer::NONE, Pointer::NONE, 0.0),
        };
        let params = StatisticsParams {
            parts: self.parts,
            counts: self.counts,
            saved: call.floats(("saved", saved))?,
            mean,
            variance,
            eps,
            momentum,
            channels: self.channels as i32,
            blocks: self.blocks as i32,
        };
        let launch = over_parts::<f64>(self.channels, self.blocks, 8, 32);
        call.launch_plain("statistics", launch, &params)
    }
}

/// Gradients of scale and shift, from the gradient of what the batch norm made.
pub(crate) fn gradient(call: &Call, dy: &Tensor, norm: &NormGradient) -> Result<()> {
    let rows = Rows::of(dy);
    let division = rows.divide();
    let parts = call.workspace(size_of::<f32>() * 2 * division.blocks * rows.channels)?;
    let sums = SumsParams {
        x: call.pixels(("norm.x", &norm.x))?,
        dy: call.pixels(("dy", dy))?,
        norm: call.norm(&norm.norm)?,
        parts,
        counts: Pointer::NONE,
        rows: rows.count as i64,
        channels: rows.channels as i32,
        rows_per_block: division.rows_per_block as i32,
    };
    call.launch("norm_sums", division.launch(1), &sums)?;
    let params = NormGradientParams {
        parts,
        saved: sums.norm.saved,
        dscale: call.floats(("norm.dscale", &norm.dscale))?,
        dshift: call.floats(("norm.dshift", &norm.dshift))?,
        channels: rows.channels as i32,
        blocks: division.blocks as i32,
    };
    let launch = over_parts::<f64>(rows.channels, division.blocks, 8, 32);
    call.launch_plain("norm_gradient", launch, &params)
}

/// Running statistics in the form of a batch's.
pub(crate) fn save_running(
    queue: &Queue,
    op: &'static str,
    [mean, variance, saved]: [&Tensor; 3],
    eps: f64,
) -> Result<()> {
    let call = Call::plain(op, queue);
    let channels = mean.elem_count();
    let params = SavedParams {
        mean: call.floats(("mean", mean))?,
        variance: call.floats(("variance", variance))?,
        saved: call.floats(("saved", saved))?,
        eps,
        channels: channels as i32,
    };
    call.launch_plain("save_running", Launch::elements(channels), &params)
}

/// Writes what a batch norm makes of its input.
pub(crate) fn apply(call: &Call, x: &Operand, y: &Tensor) -> Result<()> {
    super::elementwise::add_up(call, &[call.operand(x)?], y, 0)
}

/// Writes the gradient of a batch norm's input.
pub(crate) fn input_gradient(
    call: &Call,
    dy: &Cotangent,
    dx: &Tensor,
    acc: Accumulate,
) -> Result<()> {
    let image: Image = call.cotangent(dy)?;
    super::elementwise::add_up(call, &[image], dx, flag(acc))
}
