//! Gradient descent over many tensors, and averages of them.

use candle_core::Tensor;

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::course::Course;
use crate::error::Result;
use crate::loss::LossSums;
use crate::optimizer::{self, Adam, Nesterov, Sgd};

/// Tensors that one launch takes, and numbers of one that a block takes: as in `optimizer.cu`.
const MOST_SLOTS: usize = 64;
const CHUNK: usize = 4096;
const THREADS: usize = 128;

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Slot {
    value: Pointer,
    grad: Pointer,
    first: Pointer,
    second: Pointer,
    len: i64,
}

/// Floats before the norm in the `Step` of `optimizer.cu`: learning rate, root correction, factor, finite.
const STEP_FLOATS: usize = 4;
const STEP_BYTES: usize = size_of::<f32>() * STEP_FLOATS + size_of::<f64>();

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct OptimizerParams {
    slots: [Slot; MOST_SLOTS],
    parts: Pointer,
    step: Pointer,
    rates: Pointer,
    state: Pointer,
    losses: Pointer,
    clip: f64,
    parts_len: i64,
    rates_len: i64,
    slots_count: i32,
    first_part: i32,
    chunks: i32,
    momentum: f32,
    weight_decay: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    nesterov: i32,
}

// SAFETY: laid out as in `optimizer.cu`.
unsafe impl Params for OptimizerParams {}

/// A rule, with its settings.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule<'a> {
    Sgd(&'a Sgd),
    Adam(&'a Adam),
}

/// Updates all slots by the rates of [`optimizer::Rates`]; the norm of their gradients, read back. When it is not finite,
/// nothing is updated.
pub(crate) fn step(
    queue: &Queue,
    op: &'static str,
    rule: Rule,
    slots: &[optimizer::Slot],
    clip: Option<f64>,
    rates: optimizer::Rates,
) -> Result<f64> {
    let call = Call::plain(op, queue);
    let (state, parts_len) = room(&call, slots)?;
    call.upload(state, &rates.0)?;
    launch(&call, blank(rule, clip, state, parts_len), rule, slots)?;
    let [norm] = call.download(state.after(size_of::<f32>() * STEP_FLOATS))?;
    Ok(norm)
}

/// Updates all slots by the rates of the course's next step; nothing is read back.
pub(crate) fn next_step(
    queue: &Queue,
    op: &'static str,
    rule: Rule,
    slots: &[optimizer::Slot],
    clip: Option<f64>,
    (course, losses): (&Course, &LossSums),
) -> Result<()> {
    let call = Call::plain(op, queue);
    let (state, parts_len) = room(&call, slots)?;
    let settings = OptimizerParams {
        rates: call.floats(("rates", &course.rates))?,
        state: call.doubles(("state", &course.state))?,
        losses: call.doubles(("sums", &losses.sums))?,
        rates_len: course.rates.dims()[0] as i64,
        ..blank(rule, clip, state, parts_len)
    };
    launch(&call, settings, rule, slots)
}

#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct AveragePair {
    value: Pointer,
    average: Pointer,
    len: i64,
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct AverageParams {
    pairs: [AveragePair; MOST_SLOTS],
    decay: f64,
}

// SAFETY: laid out as in `optimizer.cu`.
unsafe impl Params for AverageParams {}

/// Moves every average, the second of a pair, towards its value.
pub(crate) fn average(
    queue: &Queue,
    op: &'static str,
    pairs: &[(Tensor, Tensor)],
    decay: f64,
) -> Result<()> {
    let call = Call::plain(op, queue);
    for group in pairs.chunks(MOST_SLOTS) {
        let mut pairs = [AveragePair::default(); MOST_SLOTS];
        for (to, (value, average)) in pairs.iter_mut().zip(group) {
            *to = AveragePair {
                value: call.floats(("value", value))?,
                average: call.floats(("average", average))?,
                len: value.elem_count() as i64,
            };
        }
        let chunks = chunks(group.iter().map(|(value, _)| value));
        let launch = blocks([chunks, group.len(), 1]);
        call.launch_plain("average", launch, &AverageParams { pairs, decay })?;
    }
    Ok(())
}

/// The longest tensor in chunks.
fn chunks<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> usize {
    let longest = tensors.map(Tensor::elem_count).max();
    longest.unwrap_or(0).div_ceil(CHUNK)
}

fn values(slots: &[optimizer::Slot]) -> impl Iterator<Item = &Tensor> {
    slots.iter().map(|slot| &slot.value)
}

/// Where the step's numbers and the sums of all chunks lie, and how many sums there are.
fn room(call: &Call, slots: &[optimizer::Slot]) -> Result<(Pointer, usize)> {
    let groups = slots.chunks(MOST_SLOTS);
    let parts_len: usize = groups
        .map(|slots| slots.len() * chunks(values(slots)))
        .sum();
    let state = call.workspace(STEP_BYTES + size_of::<f64>() * parts_len)?;
    Ok((state, parts_len))
}

/// Parameters without slots.
fn blank(rule: Rule, clip: Option<f64>, step: Pointer, parts_len: usize) -> OptimizerParams {
    let blank = OptimizerParams {
        slots: [Slot::default(); MOST_SLOTS],
        parts: step.after(STEP_BYTES),
        step,
        rates: Pointer::NONE,
        state: Pointer::NONE,
        losses: Pointer::NONE,
        clip: clip.unwrap_or(0.0),
        parts_len: parts_len as i64,
        rates_len: 0,
        slots_count: 0,
        first_part: 0,
        chunks: 0,
        momentum: 0.0,
        weight_decay: 0.0,
        beta1: 0.0,
        beta2: 0.0,
        eps: 0.0,
        nesterov: 0,
    };
    match rule {
        Rule::Sgd(rule) => OptimizerParams {
            momentum: rule.momentum as f32,
            weight_decay: rule.weight_decay as f32,
            nesterov: i32::from(rule.nesterov == Nesterov::On),
            ..blank
        },
        Rule::Adam(rule) => OptimizerParams {
            weight_decay: rule.weight_decay as f32,
            beta1: rule.beta1 as f32,
            beta2: rule.beta2 as f32,
            eps: rule.eps as f32,
            ..blank
        },
    }
}

fn launch(
    call: &Call,
    settings: OptimizerParams,
    rule: Rule,
    slots: &[optimizer::Slot],
) -> Result<()> {
    let mut launches = Vec::new();
    let mut first_part = 0;
    for group in slots.chunks(MOST_SLOTS) {
        let chunks = chunks(values(group));
        let mut params = OptimizerParams {
            slots_count: group.len() as i32,
            first_part: first_part as i32,
            chunks: chunks as i32,
            ..settings
        };
        for (to, slot) in params.slots.iter_mut().zip(group) {
            let mut states = [Pointer::NONE; 2];
            for (to, state) in states.iter_mut().zip(&slot.state) {
                *to = call.floats(("state", state))?;
            }
            *to = Slot {
                value: call.floats(("value", &slot.value))?,
                grad: call.floats(("grad", &slot.grad))?,
                first: states[0],
                second: states[1],
                len: slot.value.elem_count() as i64,
            };
        }
        first_part += group.len() * chunks;
        launches.push((blocks([chunks, group.len(), 1]), params));
    }
    for (launch, params) in &launches {
        call.launch_plain("squares", *launch, params)?;
    }
    call.launch_plain("clip", blocks([1, 1, 1]), &settings)?;
    let kernel = match rule {
        Rule::Sgd(_) => "sgd",
        Rule::Adam(_) => "adam",
    };
    for (launch, params) in &launches {
        call.launch_plain(kernel, *launch, params)?;
    }
    Ok(())
}

fn blocks(blocks: [usize; 3]) -> Launch {
    Launch {
        blocks,
        threads: [THREADS, 1],
        shared: size_of::<f64>() * THREADS,
    }
}
