//! A training from scratch as bytes: weights, running statistics, optimizer, best epoch and reports.

use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{Best, Trainer, TrainerConfig, TrainerReport};
use crate::{
    data::TrainingData, error::SupernetError, host, plan::network_params, weights::WeightStore,
};

/// What the safetensors note of a checkpoint says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    config: TrainerConfig,
    seed: u64,
    updates: u64,
    reports: Vec<TrainerReport>,
    best: Option<(usize, f64)>,
}

impl Trainer {
    /// All that the rest of the training depends on, as safetensors bytes.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn checkpoint(&self) -> Result<Vec<u8>, SupernetError> {
        let note = Note {
            config: self.config.clone(),
            seed: self.seed,
            updates: self.session.optimizer.updates(),
            reports: self.reports.clone(),
            best: self.best.as_ref().map(|best| (best.epoch, best.accuracy)),
        };
        let note = serde_json::to_string(&note)
            .map_err(|error| SupernetError::Checkpoint(error.to_string()))?;
        let mut all = WeightStore::on(self.weights.seed(), self.weights.device().clone());
        for (path, tensor) in self.weights.iter() {
            all.insert(format!("weights/{path}"), tensor.clone())?;
        }
        for (name, tensor) in self.session.optimizer.state() {
            all.insert(format!("optimizer/{name}"), tensor)?;
        }
        for (path, tensor) in self.best.iter().flat_map(|best| best.weights.iter()) {
            all.insert(format!("best/{path}"), tensor.clone())?;
        }
        all.to_bytes_with_note(&note)
    }

    /// Takes up a training from a [`Trainer::checkpoint`].
    ///
    /// # Errors
    /// [`SupernetError::Checkpoint`] when the bytes belong to another architecture, recipe or seed, which the message
    /// names; [`SupernetError::WeightBytes`] when they are damaged.
    pub fn resume(
        config: TrainerConfig,
        data: Arc<TrainingData>,
        seed: u64,
        checkpoint: &[u8],
    ) -> Result<Trainer, SupernetError> {
        let (saved, note) = WeightStore::read_bytes(checkpoint, &Device::Cpu)?;
        let note: Note = serde_json::from_str(&note).map_err(|error| {
            SupernetError::Checkpoint(format!("its description cannot be read: {error}"))
        })?;
        check(
            "architecture",
            &note.config.arch.to_string(),
            &config.arch.to_string(),
        )?;
        check("seed", &note.seed, &seed)?;
        check("network", &note.config.network, &config.network)?;
        check("recipe", &note.config.training, &config.training)?;
        check(
            "levels of the space",
            &note.config.space_len,
            &config.space_len,
        )?;
        check("images", &note.config.part, &config.part)?;
        let mut trainer = Trainer::new(config, data, seed)?;
        let take = |name: String, expected: &[usize]| match saved.tensor(&name) {
            Some(tensor) if tensor.dims() == expected => Ok(tensor.clone()),
            Some(tensor) => {
                let found = tensor.dims();
                Err(SupernetError::Checkpoint(format!(
                    "`{name}` has shape {found:?}, expected {expected:?}"
                )))
            }
            None => Err(SupernetError::Checkpoint(format!("`{name}` is missing"))),
        };
        for (path, tensor) in trainer.weights.iter() {
            let values = host::read::<f32>(&take(format!("weights/{path}"), tensor.dims())?)?;
            host::write(tensor, &values)?;
        }
        let state = |name: &str| saved.tensor(&format!("optimizer/{name}")).cloned();
        trainer.session.optimizer.set_state(state, note.updates)?;
        if let Some((epoch, accuracy)) = note.best {
            let mut weights = WeightStore::new(trainer.weights.seed());
            for param in network_params(&trainer.network) {
                weights.insert(
                    param.path.clone(),
                    take(format!("best/{}", param.path), &param.shape)?,
                )?;
            }
            trainer.best = Some(Best {
                accuracy,
                epoch,
                weights,
            });
        }
        trainer.reports = note.reports;
        Ok(trainer)
    }
}

fn check<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), SupernetError> {
    match found == expected {
        true => Ok(()),
        false => Err(SupernetError::Checkpoint(format!(
            "its {what} is {found:?}, expected {expected:?}"
        ))),
    }
}
