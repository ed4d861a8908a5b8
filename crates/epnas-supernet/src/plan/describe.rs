//! What a plan consists of and, while profiling, where its time goes.

use std::fmt;

use serde::Serialize;

/// Which part of a training step an operator belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the images to the logits.
    Forward,
    /// Loss and gradient of the logits.
    Loss,
    /// From the logits' gradient to those of the weights.
    Backward,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Forward => "forward",
            Phase::Loss => "loss",
            Phase::Backward => "backward",
        })
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepDescription {
    /// Its part of the training step.
    pub phase: Phase,
    /// The node's label, such as `layer.3.conv_3x3`.
    pub label: String,
    /// The operator, such as `conv 3x3/1`.
    pub operator: String,
    /// Shape of the node's output, batch included.
    pub shape: Vec<usize>,
    /// Bytes that the step has to move: every tensor of activations, gradients and weights that it reads or writes, once.
    pub bytes: u64,
    /// Which shared buffer holds the output (forward) or its gradient (backward), if one does.
    pub buffer: Option<usize>,
    /// Multiply-accumulates of the step for the whole batch, convolutions and linear layers only.
    pub macs: u64,
}

/// A whole plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanDescription {
    /// Images in a batch.
    pub batch: usize,
    /// The steps in their order.
    pub steps: Vec<StepDescription>,
    /// Bytes of the buffers that activations and gradients share.
    pub buffer_bytes: u64,
    /// What these would take without sharing, in bytes.
    pub unshared_bytes: u64,
    /// Bytes of all else that the plan allocated: input, labels, logits, statistics of batches, gradients of weights.
    pub fixed_bytes: u64,
    /// Bytes of the weights and running statistics that the network uses; they belong to the store.
    pub weight_bytes: u64,
}

impl PlanDescription {
    /// Bytes that the plan allocated, weights not counted.
    pub fn total_bytes(&self) -> u64 {
        self.buffer_bytes + self.fixed_bytes
    }

    /// Multiply-accumulates of all steps for the whole batch.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|step| step.macs).sum()
    }
}

/// Time spent in one step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTiming {
    /// The step.
    #[serde(flatten)]
    pub step: StepDescription,
    /// Calls since profiling began.
    pub calls: u64,
    /// Wall-clock time of all calls, in seconds.
    pub seconds: f64,
}

impl StepTiming {
    pub(super) fn new(step: &StepDescription) -> StepTiming {
        StepTiming {
            step: step.clone(),
            calls: 0,
            seconds: 0.0,
        }
    }

    /// Mean time of a call, in seconds; 0 before the first.
    pub fn mean(&self) -> f64 {
        self.seconds / self.calls.max(1) as f64
    }
}
