//! Optimizers that update many tensors in one parallel pass, and averages of what they update.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::course::Course;
use crate::cuda::{self, Queue, optimizer::Rule};
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::kernel::optimizer as kernel;
use crate::loss::LossSums;
use crate::shape;
use crate::storage::{self, Reads};

/// A trainable tensor with its gradient and the optimizer's memory of it, all of one shape.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Parameter, updated in place.
    pub value: Tensor,
    /// Gradient, read.
    pub grad: Tensor,
    /// Optimizer state, updated in place: [`Sgd::STATES`] or [`Adam::STATES`] tensors, zero at first.
    pub state: Vec<Tensor>,
}

impl Slot {
    /// A slot with `states` zero tensors of state.
    ///
    /// # Errors
    /// Different shapes, or no memory on the device.
    pub fn new(value: Tensor, grad: Tensor, states: usize) -> Result<Self> {
        shape::expect("slot.new", "grad", &grad, value.dims())?;
        let state = (0..states)
            .map(|_| value.zeros_like())
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Slot { value, grad, state })
    }
}

/// Stochastic gradient descent with momentum and coupled weight decay, as `torch.optim.SGD`.
///
/// With gradient `g` (after clipping) and momentum buffer `b`: `g += weight_decay value`;
/// `b = momentum b + g`; `value -= lr (g + momentum b)` with Nesterov, else `value -= lr b`. Decay applies to
/// every slot, scales and shifts of batch normalization included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Share of the old direction that is kept: 0 to below 1.
    pub momentum: f64,
    /// Multiple of the value that is added to the gradient: 0 or more.
    pub weight_decay: f64,
    /// Which direction is taken.
    pub nesterov: Nesterov,
}

/// Whether momentum looks ahead (Nesterov, 1983; Sutskever et al., 2013).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Nesterov {
    /// Plain momentum.
    #[default]
    Off,
    /// Look ahead by one step.
    On,
}

impl Default for Sgd {
    /// Momentum 0.9, weight decay 5e-4, no Nesterov.
    fn default() -> Self {
        Sgd {
            momentum: 0.9,
            weight_decay: 5e-4,
            nesterov: Nesterov::Off,
        }
    }
}

impl Sgd {
    /// State tensors per slot: the momentum buffer.
    pub const STATES: usize = 1;

    /// Updates every slot with learning rate `lr`; returns the global norm of the gradients before clipping.
    ///
    /// With `clip`, gradients are scaled by `min(1, clip / (norm + 1e-6))`. When the norm is not finite,
    /// **nothing is updated**, so that one diverged network cannot poison shared weights: check the result.
    ///
    /// # Errors
    /// Shapes of a slot that differ; a wrong number of states; one storage in two places; a setting out of
    /// range; wrong type or layout; unsupported device.
    pub fn step(&self, slots: &[Slot], lr: f64, clip: Option<f64>) -> Result<f64> {
        const OP: &str = "sgd.step";
        self.check(OP)?;
        match check(OP, slots, Self::STATES, lr, clip)? {
            Backend::Cpu => {
                let norm = global_norm(OP, slots)?;
                let Some(factor) = clip_factor(norm, clip) else {
                    return Ok(norm);
                };
                let rule = kernel::SgdRule {
                    lr: lr as f32,
                    momentum: self.momentum as f32,
                    weight_decay: self.weight_decay as f32,
                    factor,
                    nesterov: self.nesterov,
                };
                slots.par_iter().try_for_each(|slot| {
                    let reads = Reads::lock(OP, &[("grad", &slot.grad)]);
                    let grad = reads.get(0)?;
                    storage::write(OP, ("value", &slot.value), |value| {
                        storage::write(OP, ("state", &slot.state[0]), |momentum| {
                            rule.apply(value, grad, momentum);
                            Ok(())
                        })
                    })
                })?;
                Ok(norm)
            }
            Backend::Cuda(queue) => {
                let rates = self.rates(lr);
                cuda::optimizer::step(&queue, OP, Rule::Sgd(self), slots, clip, rates)
            }
        }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        below_one(op, "momentum", self.momentum)?;
        not_negative(op, "weight_decay", self.weight_decay)
    }

    /// What a step on a GPU is told of its learning rate.
    pub fn rates(&self, lr: f64) -> Rates {
        Rates([lr as f32, 1.0])
    }

    /// As [`Sgd::step`], with the learning rate of the course's next step and nothing read back: after a step whose norm
    /// or whose loss in `losses` is not finite, no further step updates anything, and [`Course::read`] says so.
    ///
    /// # Errors
    /// As there; [`Error::UnsupportedDevice`] on the CPU.
    pub fn next_step(
        &self,
        slots: &[Slot],
        clip: Option<f64>,
        course: &Course,
        losses: &LossSums,
    ) -> Result<()> {
        const OP: &str = "sgd.next_step";
        self.check(OP)?;
        let along = (course, losses);
        let queue = check_along(OP, slots, Self::STATES, clip, along)?;
        cuda::optimizer::next_step(&queue, OP, Rule::Sgd(self), slots, clip, along)
    }
}

/// Adam (Kingma & Ba, 2015) with coupled weight decay, as `torch.optim.Adam`.
///
/// With gradient `g` (after clipping) at step `t`: `g += weight_decay value`; `m = b1 m + (1 - b1) g`;
/// `v = b2 v + (1 - b2) g^2`; `value -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the first moment: 0 to below 1.
    pub beta1: f64,
    /// Decay of the second moment: 0 to below 1.
    pub beta2: f64,
    /// Added to the root of the second moment: above 0.
    pub eps: f64,
    /// Multiple of the value that is added to the gradient: 0 or more.
    pub weight_decay: f64,
}

impl Default for Adam {
    /// 0.9, 0.999, 1e-8, no decay.
    fn default() -> Self {
        Adam {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

impl Adam {
    /// State tensors per slot: first and second moment.
    pub const STATES: usize = 2;

    /// Updates every slot; `step` counts from 1. Otherwise as [`Sgd::step`].
    ///
    /// # Errors
    /// As for [`Sgd::step`].
    pub fn step(&self, slots: &[Slot], step: u64, lr: f64, clip: Option<f64>) -> Result<f64> {
        const OP: &str = "adam.step";
        self.check(OP)?;
        if step == 0 {
            return Err(setting(OP, "step", "0".to_string(), "1 for the first step"));
        }
        match check(OP, slots, Self::STATES, lr, clip)? {
            Backend::Cpu => {
                let norm = global_norm(OP, slots)?;
                let Some(factor) = clip_factor(norm, clip) else {
                    return Ok(norm);
                };
                let exponent = i32::try_from(step).unwrap_or(i32::MAX);
                let correction2 = 1.0 - self.beta2.powi(exponent);
                let rule = kernel::AdamRule {
                    step_size: (lr / (1.0 - self.beta1.powi(exponent))) as f32,
                    root_correction: (1.0 / correction2.sqrt()) as f32,
                    beta1: self.beta1 as f32,
                    beta2: self.beta2 as f32,
                    one_minus_beta1: (1.0 - self.beta1) as f32,
                    one_minus_beta2: (1.0 - self.beta2) as f32,
                    eps: self.eps as f32,
                    weight_decay: self.weight_decay as f32,
                    factor,
                };
                slots.par_iter().try_for_each(|slot| {
                    let reads = Reads::lock(OP, &[("grad", &slot.grad)]);
                    let grad = reads.get(0)?;
                    storage::write(OP, ("value", &slot.value), |value| {
                        storage::write(OP, ("state", &slot.state[0]), |first| {
                            storage::write(OP, ("state", &slot.state[1]), |second| {
                                rule.apply(value, grad, first, second);
                                Ok(())
                            })
                        })
                    })
                })?;
                Ok(norm)
            }
            Backend::Cuda(queue) => {
                let rates = self.rates(step, lr);
                cuda::optimizer::step(&queue, OP, Rule::Adam(self), slots, clip, rates)
            }
        }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        below_one(op, "beta1", self.beta1)?;
        below_one(op, "beta2", self.beta2)?;
        not_negative(op, "weight_decay", self.weight_decay)?;
        not_negative(op, "eps", self.eps)
    }

    /// What step `step`, counted from 1, is told on a GPU of its learning rate.
    pub fn rates(&self, step: u64, lr: f64) -> Rates {
        let step = i32::try_from(step).unwrap_or(i32::MAX);
        Rates([
            (lr / (1.0 - self.beta1.powi(step))) as f32,
            (1.0 / (1.0 - self.beta2.powi(step)).sqrt()) as f32,
        ])
    }

    /// As [`Sgd::next_step`].
    ///
    /// # Errors
    /// As there.
    pub fn next_step(
        &self,
        slots: &[Slot],
        clip: Option<f64>,
        course: &Course,
        losses: &LossSums,
    ) -> Result<()> {
        const OP: &str = "adam.next_step";
        self.check(OP)?;
        let along = (course, losses);
        let queue = check_along(OP, slots, Self::STATES, clip, along)?;
        cuda::optimizer::next_step(&queue, OP, Rule::Adam(self), slots, clip, along)
    }
}

/// What a step takes of its learning rate: the rate, for [`Adam`] with the correction of the first moment, and the
/// correction of the root of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates(pub(crate) [f32; 2]);

/// As [`check`], on a GPU.
fn check_along(
    op: &'static str,
    slots: &[Slot],
    states: usize,
    clip: Option<f64>,
    (course, losses): (&Course, &LossSums),
) -> Result<Queue> {
    let (rates, state, sums) = (&course.rates, &course.state, &losses.sums);
    let reads = [("rates", rates), ("sums", sums)];
    let backend = storage::check(op, &reads, &[("state", state)])?;
    check(op, slots, states, 0.0, clip)?;
    if let Some(slot) = slots.first() {
        storage::same_device(op, ("value", &slot.value), ("state", state))?;
    }
    match backend {
        Backend::Cpu => Err(Error::not_on_the_cpu(op, ("state", state))),
        Backend::Cuda(queue) => Ok(queue),
    }
}

/// Checks every slot, and that no storage is used twice; returns the backend.
fn check(
    op: &'static str,
    slots: &[Slot],
    states: usize,
    lr: f64,
    clip: Option<f64>,
) -> Result<Backend> {
    not_negative(op, "lr", lr)?;
    if let Some(clip) = clip
        && (clip.is_nan() || clip <= 0.0)
    {
        return Err(setting(op, "clip", clip.to_string(), "a number above 0"));
    }
    let mut backend = Backend::Cpu;
    let mut seen = BTreeMap::new();
    for slot in slots {
        if slot.state.len() != states {
            let expected = if states == 1 { "1" } else { "2" };
            return Err(setting(
                op,
                "number of states of a slot",
                slot.state.len().to_string(),
                expected,
            ));
        }
        let reads = [("grad", &slot.grad)];
        let mut writes = vec![("value", &slot.value)];
        writes.extend(slot.state.iter().map(|state| ("state", state)));
        for &(name, tensor) in reads.iter().chain(&writes[1..]) {
            shape::expect(op, name, tensor, slot.value.dims())?;
        }
        storage::same_device(op, ("value", &slots[0].value), ("value", &slot.value))?;
        backend = storage::check(op, &reads, &writes)?;
        storage::expect_dtype::<f32>(op, &reads)?;
        storage::expect_dtype::<f32>(op, &writes)?;
        for &(written, tensor) in reads.iter().chain(&writes) {
            if let Some(other) = seen.insert(storage::key(tensor), written) {
                return Err(Error::Aliased { op, written, other });
            }
        }
    }
    Ok(backend)
}

/// Moves the averages of many tensors: of every pair `(value, average)`, both `f32` and of one shape, the average becomes
/// `decay average + (1 - decay) value`. Each number is computed in `f64`. `decay`: from 0 to below 1.
///
/// # Errors
/// Shapes of a pair that differ; one storage in two places; decay out of range; wrong type or layout; different devices.
pub fn average(pairs: &[(Tensor, Tensor)], decay: f64) -> Result<()> {
    const OP: &str = "average";
    below_one(OP, "decay", decay)?;
    let mut backend = Backend::Cpu;
    let mut seen = BTreeMap::new();
    for (value, average) in pairs {
        shape::expect(OP, "average", average, value.dims())?;
        let args = [("value", value), ("average", average)];
        storage::same_device(OP, ("value", &pairs[0].0), args[0])?;
        backend = storage::check(OP, &args[..1], &args[1..])?;
        storage::expect_dtype::<f32>(OP, &args)?;
        for (written, tensor) in args {
            if let Some(other) = seen.insert(storage::key(tensor), written) {
                return Err(Error::Aliased {
                    op: OP,
                    written,
                    other,
                });
            }
        }
    }
    match backend {
        Backend::Cpu => pairs.par_iter().try_for_each(|(value, average)| {
            let reads = Reads::lock(OP, &[("value", value)]);
            let value = reads.get(0)?;
            storage::write(OP, ("average", average), |average| {
                kernel::average(decay, value, average);
                Ok(())
            })
        }),
        Backend::Cuda(queue) => cuda::optimizer::average(&queue, OP, pairs, decay),
    }
}

/// Root of the sum of squares over all gradients.
fn global_norm(op: &'static str, slots: &[Slot]) -> Result<f64> {
    let squares = slots
        .par_iter()
        .map(|slot| {
            let reads = Reads::lock(op, &[("grad", &slot.grad)]);
            Ok(kernel::sum_of_squares(reads.get(0)?))
        })
        .collect::<Result<Vec<f64>>>()?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// Factor on the gradients, or nothing when no update must happen.
fn clip_factor(norm: f64, clip: Option<f64>) -> Option<f32> {
    norm.is_finite().then(|| match clip {
        Some(clip) => (clip / (norm + 1e-6)).min(1.0) as f32,
        None => 1.0,
    })
}

fn setting(
    op: &'static str,
    setting: &'static str,
    found: String,
    expected: &'static str,
) -> Error {
    Error::Setting {
        op,
        setting,
        found,
        expected,
    }
}

fn below_one(op: &'static str, name: &'static str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(setting(
            op,
            name,
            value.to_string(),
            "a number from 0 to below 1",
        ))
    }
}

fn not_negative(op: &'static str, name: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(setting(
            op,
            name,
            value.to_string(),
            "a finite number, 0 or more",
        ))
    }
}
