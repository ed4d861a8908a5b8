//! The optimizer of one network: its rule and its memory, fresh for every child.

use std::collections::BTreeMap;

use candle_core::Tensor;
use epnas_ops::{Adam, Course, LossSums, Nesterov, Rates, Sgd, Slot};

use crate::{
    config::{MomentumKind, OptimizerKind, TrainConfig},
    error::SupernetError,
    host,
    plan::Parameter,
};

#[derive(Debug, Clone)]
enum Rule {
    Sgd(Sgd),
    Adam(Adam),
}

/// Updates the parameters of a plan from their gradients. Nothing else changes: a weight that the plan does not use
/// stays as it is, weight decay included.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    clip: Option<f64>,
    slots: Vec<Slot>,
    paths: Vec<String>,
    updates: u64,
}

impl Optimizer {
    /// An optimizer with empty memory.
    ///
    /// # Errors
    /// When memory for its state cannot be allocated.
    pub fn new(config: &TrainConfig, parameters: &[Parameter]) -> Result<Optimizer, SupernetError> {
        let (rule, states) = match config.optimizer {
            OptimizerKind::Sgd => {
                let nesterov = match config.momentum_kind {
                    MomentumKind::Classical => Nesterov::Off,
                    MomentumKind::Nesterov => Nesterov::On,
                };
                let rule = Sgd {
                    momentum: config.momentum,
                    weight_decay: config.weight_decay,
                    nesterov,
                };
                (Rule::Sgd(rule), Sgd::STATES)
            }
            OptimizerKind::Adam => {
                let rule = Adam {
                    weight_decay: config.weight_decay,
                    ..Adam::default()
                };
                (Rule::Adam(rule), Adam::STATES)
            }
        };
        let mut slots = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            slots.push(Slot::new(
                parameter.value.clone(),
                parameter.gradient.clone(),
                states,
            )?);
        }
        let paths = parameters
            .iter()
            .map(|parameter| parameter.path.clone())
            .collect();
        Ok(Optimizer {
            rule,
            clip: config.clip_norm(),
            slots,
            paths,
            updates: 0,
        })
    }

    /// Clips the gradients together and updates every parameter; returns their norm before clipping. When it is not
    /// finite nothing is updated.
    ///
    /// # Errors
    /// When the operator fails.
    pub fn step(&mut self, learning_rate: f64) -> Result<f64, SupernetError> {
        self.updates += 1;
        Ok(match &self.rule {
            Rule::Sgd(rule) => rule.step(&self.slots, learning_rate, self.clip)?,
            Rule::Adam(rule) => rule.step(&self.slots, self.updates, learning_rate, self.clip)?,
        })
    }

    /// Tells a GPU the learning rates of the steps to come; each of them is a [`Optimizer::next_step`].
    pub(crate) fn start(
        &mut self,
        course: &Course,
        learning_rates: &[f64],
    ) -> Result<(), SupernetError> {
        let numbered = (self.updates + 1..).zip(learning_rates);
        let rates: Vec<Rates> = numbered
            .map(|(step, &rate)| match &self.rule {
                Rule::Sgd(rule) => rule.rates(rate),
                Rule::Adam(rule) => rule.rates(step, rate),
            })
            .collect();
        self.updates += rates.len() as u64;
        Ok(course.start(&rates)?)
    }

    /// As [`Optimizer::step`], with the next learning rate of the course. Nothing is updated after a step whose loss in
    /// `losses` or whose norm was not finite.
    pub(crate) fn next_step(
        &self,
        course: &Course,
        losses: &LossSums,
    ) -> Result<(), SupernetError> {
        match &self.rule {
            Rule::Sgd(rule) => rule.next_step(&self.slots, self.clip, course, losses)?,
            Rule::Adam(rule) => rule.next_step(&self.slots, self.clip, course, losses)?,
        }
        Ok(())
    }

    /// Memory of the state, in bytes.
    pub fn bytes(&self) -> u64 {
        self.slots
            .iter()
            .flat_map(|slot| &slot.state)
            .map(|state| 4 * state.elem_count() as u64)
            .sum()
    }

    /// The state by name: the parameter's path and the number of the state tensor.
    pub(crate) fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (path, slot) in self.paths.iter().zip(&self.slots) {
            for (index, tensor) in slot.state.iter().enumerate() {
                state.insert(format!("{path}.{index}"), tensor.clone());
            }
        }
        state
    }

    /// Takes a state of [`Optimizer::state`] and the number of updates that led to it.
    pub(crate) fn set_state(
        &mut self,
        mut state: impl FnMut(&str) -> Option<Tensor>,
        updates: u64,
    ) -> Result<(), SupernetError> {
        for (name, tensor) in self.state() {
            let saved = state(&name)
                .ok_or_else(|| SupernetError::Checkpoint(format!("no optimizer state `{name}`")))?;
            if saved.dims() != tensor.dims() {
                let (found, expected) = (saved.dims(), tensor.dims());
                let message =
                    format!("optimizer state `{name}` has shape {found:?}, expected {expected:?}");
                return Err(SupernetError::Checkpoint(message));
            }
            host::write(&tensor, &host::read::<f32>(&saved)?)?;
        }
        self.updates = updates;
        Ok(())
    }

    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }
}
