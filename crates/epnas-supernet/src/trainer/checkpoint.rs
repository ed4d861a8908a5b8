//! A training from scratch as bytes: weights, running statistics, optimizer, best epoch and reports.

use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::{Best, Trainer, TrainerConfig, TrainerReport, Unfinished};
use crate::{
    compute::{Compute, DeviceKind},
    data::TrainingData,
    error::SupernetError,
    fingerprint::{DataFingerprint, Difference, differences},
    host,
    plan::network_params,
    weights::WeightStore,
};

/// Version of the layout, raised when an older reader could not read it.
const VERSION: u32 = 2;

/// What the safetensors note of a checkpoint says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// Version of the layout: [`VERSION`].
    version: u32,
    config: TrainerConfig,
    seed: u64,
    /// What it runs on.
    device: DeviceKind,
    /// The images.
    data: DataFingerprint,
    updates: u64,
    unfinished: Unfinished,
    reports: Vec<TrainerReport>,
    best: Option<(usize, f64)>,
}

/// More updates of weights than any training makes.
const MOST_UPDATES: u64 = u32::MAX as u64;

impl Note {
    fn read(text: &str) -> Result<Self, SupernetError> {
        let unreadable = |error: serde_json::Error| {
            SupernetError::Checkpoint(format!("its description cannot be read: {error}"))
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(unreadable)?;
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            found => {
                let found = found.map_or_else(|| "none".into(), |version| version.to_string());
                let message = format!("its version is {found}, expected {VERSION}");
                return Err(SupernetError::Checkpoint(message));
            }
        }
        serde_json::from_value(value).map_err(unreadable)
    }

    /// Checks how far the training says it has come, from which steps and images are counted on.
    fn progress_is_possible(&self, trainer: &Trainer) -> Result<(), SupernetError> {
        let epochs = trainer.config.training.epochs;
        let steps = trainer.session.steps_per_epoch();
        let (done, now) = (self.reports.len(), &self.unfinished);
        let images = trainer.session.images_per_epoch();
        let wrong = |what: &str, found: u64, expected: String| {
            Err(SupernetError::Checkpoint(format!(
                "it has {found} {what}, expected {expected}"
            )))
        };
        if done > epochs {
            return wrong("epochs", done as u64, format!("at most {epochs}"));
        }
        if now.step >= steps {
            let expected = format!("less than {steps}");
            return wrong(
                "steps of an epoch that is not done",
                now.step as u64,
                expected,
            );
        }
        if now.images as u64 > images {
            let expected = format!("at most {images}");
            return wrong("images of an epoch", now.images as u64, expected);
        }
        if now.correct > now.images {
            let expected = format!("at most {}, its images", now.images);
            return wrong("hits", now.correct as u64, expected);
        }
        if self.updates > MOST_UPDATES {
            return wrong("updates", self.updates, format!("at most {MOST_UPDATES}"));
        }
        Ok(())
    }
}

impl Trainer {
    /// All that the rest of the training depends on, as safetensors bytes.
    ///
    /// # Errors
    /// When a tensor cannot be read.
    pub fn checkpoint(&self) -> Result<Vec<u8>, SupernetError> {
        let note = Note {
            version: VERSION,
            config: self.config.clone(),
            seed: self.seed,
            device: self.source.compute.kind(),
            data: self.fingerprint.clone(),
            updates: self.session.optimizer.updates(),
            unfinished: self.unfinished,
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
        for (path, tensor) in self
            .session
            .averages()
            .into_iter()
            .flat_map(WeightStore::iter)
        {
            all.insert(format!("average/{path}"), tensor.clone())?;
        }
        for (path, tensor) in self.best.iter().flat_map(|best| best.weights.iter()) {
            all.insert(format!("best/{path}"), tensor.clone())?;
        }
        all.to_bytes_with_note(&note)
    }

    /// Takes up a training from a [`Trainer::checkpoint`], on the CPU.
    ///
    /// # Errors
    /// [`SupernetError::OtherTraining`] when the bytes belong to another architecture, recipe, seed or kind of device or
    /// to other images, with everything that differs; [`SupernetError::Checkpoint`] or [`SupernetError::WeightBytes`]
    /// when they are damaged.
    pub fn resume(
        config: TrainerConfig,
        data: Arc<TrainingData>,
        seed: u64,
        checkpoint: &[u8],
    ) -> Result<Trainer, SupernetError> {
        Trainer::resume_on(Compute::cpu(), config, data, seed, checkpoint)
    }

    /// As [`Trainer::resume`], on a device.
    ///
    /// # Errors
    /// As there, and as [`Trainer::on`].
    pub fn resume_on(
        compute: Compute,
        mut config: TrainerConfig,
        data: Arc<TrainingData>,
        seed: u64,
        checkpoint: &[u8],
    ) -> Result<Trainer, SupernetError> {
        // What was trained in bfloat16 does not go on in single precision.
        config.training = config.training.on(compute.kind());
        let (saved, note) = WeightStore::read_bytes(checkpoint, &Device::Cpu)?;
        let note = Note::read(&note)?;
        let differing = settings_differences(&note, &config, seed, compute.kind())?;
        if !differing.is_empty() {
            return Err(SupernetError::OtherTraining(differing));
        }
        let mut trainer = Trainer::on(compute, config, data, seed)?;
        let differing = note.data.differences(&trainer.fingerprint);
        if !differing.is_empty() {
            return Err(SupernetError::OtherTraining(differing));
        }
        note.progress_is_possible(&trainer)?;
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
        for (path, tensor) in (trainer.session.averages())
            .into_iter()
            .flat_map(WeightStore::iter)
        {
            let values = host::read::<f32>(&take(format!("average/{path}"), tensor.dims())?)?;
            host::write(tensor, &values)?;
        }
        let state = |name: &str| saved.tensor(&format!("optimizer/{name}")).cloned();
        trainer.session.optimizer.set_state(state, note.updates)?;
        if let Some((epoch, accuracy)) = note.best {
            let device = trainer.weights.device().clone();
            let mut weights = WeightStore::on(trainer.weights.seed(), device);
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
        trainer.unfinished = note.unfinished;
        Ok(trainer)
    }
}

/// What of a training's settings is not what it was, architecture first.
fn settings_differences(
    note: &Note,
    given: &TrainerConfig,
    seed: u64,
    device: DeviceKind,
) -> Result<Vec<Difference>, SupernetError> {
    let mut found = Vec::new();
    let stored = &note.config;
    if stored.arch != given.arch {
        found.push(Difference::new("architecture", &stored.arch, &given.arch));
    }
    if note.seed != seed {
        found.push(Difference::new("seed", note.seed, seed));
    }
    if note.device != device {
        found.push(Difference::new("device", note.device, device));
    }
    // The architecture is said; its JSON form is long.
    let stored = TrainerConfig {
        arch: given.arch.clone(),
        ..stored.clone()
    };
    let rest = differences(&stored, given)
        .map_err(|error| SupernetError::Checkpoint(error.to_string()))?;
    found.extend(rest);
    Ok(found)
}
