//! Gradient descent over many tensors.

use super::memory::Pointer;
use super::queue::{Call, Launch, Params, Queue};
use crate::error::Result;
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
    clip: f64,
    parts_len: i64,
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

/// A rule, with what changes from step to step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule<'a> {
    Sgd {
        rule: &'a Sgd,
        rate: f64,
    },
    Adam {
        rule: &'a Adam,
        rate: f64,
        step: i32,
    },
}

/// Updates all slots; the norm of their gradients, read back. When it is not finite, nothing is updated.
pub(crate) fn step(
    queue: &Queue,
    op: &'static str,
    rule: Rule,
    slots: &[optimizer::Slot],
    clip: Option<f64>,
) -> Result<f64> {
    let call = Call::plain(op, queue);
    let blank = OptimizerParams {
        slots: [Slot::default(); MOST_SLOTS],
        parts: Pointer::NONE,
        step: Pointer::NONE,
        clip: clip.unwrap_or(0.0),
        parts_len: 0,
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
    let (kernel, settings, start) = match rule {
        Rule::Sgd { rule, rate } => (
            "sgd",
            OptimizerParams {
                momentum: rule.momentum as f32,
                weight_decay: rule.weight_decay as f32,
                nesterov: i32::from(rule.nesterov == Nesterov::On),
                ..blank
            },
            [rate as f32, 1.0],
        ),
        Rule::Adam { rule, rate, step } => (
            "adam",
            OptimizerParams {
                weight_decay: rule.weight_decay as f32,
                beta1: rule.beta1 as f32,
                beta2: rule.beta2 as f32,
                eps: rule.eps as f32,
                ..blank
            },
            [
                (rate / (1.0 - rule.beta1.powi(step))) as f32,
                (1.0 / (1.0 - rule.beta2.powi(step)).sqrt()) as f32,
            ],
        ),
    };
    let chunks = |slots: &[optimizer::Slot]| {
        let longest = slots.iter().map(|slot| slot.value.elem_count()).max();
        longest.unwrap_or(0).div_ceil(CHUNK)
    };
    let groups = slots.chunks(MOST_SLOTS);
    let parts_len: usize = groups.map(|slots| slots.len() * chunks(slots)).sum();
    let state = call.workspace(STEP_BYTES + size_of::<f64>() * parts_len)?;
    call.upload(state, &start)?;
    let settings = OptimizerParams {
        parts: state.after(STEP_BYTES),
        step: state,
        parts_len: parts_len as i64,
        ..settings
    };
    let mut launches = Vec::new();
    let mut first_part = 0;
    for group in slots.chunks(MOST_SLOTS) {
        let chunks = chunks(group);
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
    for (launch, params) in &launches {
        call.launch_plain(kernel, *launch, params)?;
    }
    let [norm] = call.download(state.after(size_of::<f32>() * STEP_FLOATS))?;
    Ok(norm)
}

fn blocks(blocks: [usize; 3]) -> Launch {
    Launch {
        blocks,
        threads: [THREADS, 1],
        shared: size_of::<f64>() * THREADS,
    }
}
