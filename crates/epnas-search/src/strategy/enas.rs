//! ENAS: an LSTM proposes whole architectures and is trained by REINFORCE on their accuracies (Pham et al., 2018,
//! *Efficient Neural Architecture Search via Parameter Sharing*; Zoph and Le, 2017, for the controller).
//!
//! ENAS trains shared weights for an epoch on ever new samples of the controller and then the controller on rewards
//! from minibatches of validation, without training the children. Here a child is what it is for every strategy: trained
//! briefly on the shared weights, then validated; that estimate is its reward. `docs/strategies/enas.md` says more.

mod config;
mod controller;
mod lstm;
#[cfg(test)]
mod tests;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Batch, Strategy, StrategyError, give_up};
use crate::admission::Admission;
use crate::history::{History, Record};
use crate::observer::Observer;
pub use config::EnasConfig;
use controller::{Controller, Episode};

/// Decay of the second moment of the gradients. ENAS's Adam has no first moment: its beta 1 is 0.
const BETA_2: f64 = 0.999;

/// ENAS. It ends with its budget.
#[derive(Debug, Clone)]
pub struct Enas {
    space: Space,
    config: EnasConfig,
    seed: u64,
    admission: Admission,
    controller: Controller,
    /// Second moments of the gradients, one per weight.
    moments: Vec<f64>,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// Batches observed.
    batches: u64,
    /// Updates of the controller: fewer, when all children of a batch failed.
    updates: u64,
    /// Moving average of the rewards; `None` before the first.
    baseline: Option<f64>,
}

impl Enas {
    /// A search with an untrained controller; `seed` is the run's root seed. The configuration must be valid.
    #[must_use]
    pub fn new(space: Space, config: EnasConfig, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(split(seed, "enas/controller"));
        let controller = Controller::new(&space, &config, &mut rng);
        Self {
            moments: vec![0.0; controller.weights.len()],
            space,
            config,
            seed,
            admission: Admission::default(),
            controller,
            state: State::default(),
        }
    }

    /// The same among the architectures that are admitted: the controller is asked again until it proposes one.
    #[must_use]
    pub fn limited(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The children of the next batch and how the controller came to them: the same until it is updated.
    fn draw(&self) -> Result<Vec<(Arch, Episode)>, StrategyError> {
        let draw = |child| {
            let name = format!("enas/architecture/{}/{child}", self.state.batches);
            let mut rng = ChaCha8Rng::seed_from_u64(split(self.seed, &name));
            let mut latest = None;
            let arch = self.admission.first(|| {
                let episode = latest.insert(self.controller.sample(&mut rng));
                self.controller.arch(&self.space, episode)
            })?;
            Ok(arch.zip(latest))
        };
        let drawn = (0..self.config.batch).map(draw);
        drawn.filter_map(Result::transpose).collect()
    }

    /// REINFORCE with a moving baseline: a step along the mean gradient over the children.
    fn update(&mut self, children: &[(&Episode, f64)]) {
        let rewards = children
            .iter()
            .map(|(episode, estimate)| estimate + self.config.entropy_weight * episode.entropy());
        let rewards: Vec<f64> = rewards.collect();
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        // From 0, as in ENAS, the baseline would take hundreds of children to get near the rewards.
        let mut baseline = self.state.baseline.unwrap_or(mean);
        let mut grads = vec![0.0; self.moments.len()];
        for ((episode, _), reward) in children.iter().zip(&rewards) {
            baseline += (1.0 - self.config.baseline_decay) * (reward - baseline);
            self.controller
                .backward(episode, reward - baseline, &mut grads);
        }
        self.state.baseline = Some(baseline);
        self.state.updates += 1;
        let unbias = 1.0 - BETA_2.powf(self.state.updates as f64);
        let weights = self.controller.weights.iter_mut();
        for ((weight, moment), grad) in weights.zip(&mut self.moments).zip(grads) {
            let grad = grad / children.len() as f64;
            *moment = BETA_2 * *moment + (1.0 - BETA_2) * grad * grad;
            let root = (*moment / unbias).sqrt();
            *weight -= self.config.learning_rate * grad / (root + self.config.epsilon);
        }
        let entropies = children.iter().map(|(episode, _)| episode.entropy());
        let entropy = entropies.sum::<f64>() / children.len() as f64;
        tracing::info!(
            updates = self.state.updates,
            reward = mean,
            baseline,
            entropy,
            "controller updated"
        );
    }
}

impl Strategy for Enas {
    fn propose(
        &mut self,
        _: &History,
        _: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let children = self.draw()?.into_iter().map(|(arch, _)| arch).collect();
        let seed_name = format!("enas/child/{}", self.state.batches);
        Ok(Some(Batch::whole(&self.space, seed_name, children)))
    }

    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<(), StrategyError> {
        // The decisions are drawn again rather than read off the children, because two orders of a block's inputs can
        // make the same child and the gradient is that of the order that was drawn.
        let drawn = self.draw()?;
        let records = history.records();
        let records = &records[records.len().saturating_sub(drawn.len())..];
        let same = |(record, (arch, _)): (&Record, &(Arch, Episode))| record.arch == *arch;
        if records.len() != drawn.len() || !records.iter().zip(&drawn).all(same) {
            return Err(StrategyError::State {
                reason: "the latest children are not those that the controller proposed".to_owned(),
            });
        }
        // Failed children teach nothing.
        let children: Vec<(&Episode, f64)> = (records.iter().zip(&drawn))
            .filter_map(|(record, (_, episode))| Some((episode, record.estimate?)))
            .collect();
        if !children.is_empty() {
            self.update(&children);
        }
        self.state.batches += 1;
        give_up(batch, history)
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.state).unwrap_or_default()
    }

    fn fits(&self) -> u64 {
        self.state.updates
    }

    /// The controller: its weights, then the second moments, as little-endian `f64`.
    fn surrogate(&self) -> Result<Option<Vec<u8>>, StrategyError> {
        let numbers = self.controller.weights.iter().chain(&self.moments);
        Ok(Some(numbers.flat_map(|x| x.to_le_bytes()).collect()))
    }

    fn restore(
        &mut self,
        state: &serde_json::Value,
        surrogate: Option<&[u8]>,
    ) -> Result<(), StrategyError> {
        let wrong = |reason| StrategyError::State { reason };
        let state: State =
            serde_json::from_value(state.clone()).map_err(|error| wrong(error.to_string()))?;
        match surrogate {
            Some(bytes) => {
                let len = self.moments.len();
                let (numbers, rest) = bytes.as_chunks::<8>();
                if numbers.len() != 2 * len || !rest.is_empty() {
                    let reason = format!(
                        "a controller of {} bytes, expected {}",
                        bytes.len(),
                        16 * len
                    );
                    return Err(wrong(reason));
                }
                let numbers: Vec<f64> = numbers.iter().map(|x| f64::from_le_bytes(*x)).collect();
                self.controller.weights = numbers[..len].to_vec();
                self.moments = numbers[len..].to_vec();
            }
            None if state.updates > 0 => {
                return Err(wrong(format!(
                    "{} updates but no controller",
                    state.updates
                )));
            }
            None => {}
        }
        self.state = state;
        Ok(())
    }
}
