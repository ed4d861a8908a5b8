//! How a network is trained: the recipes of Perez-Rua et al., 2018, sections 4.1 and 4.2, as values.

use std::fmt;
use std::sync::Once;

use epnas_data::AugmentConfig;
use epnas_ops::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{compute::DeviceKind, plan::Activations};

/// Which optimizer updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with betas 0.9 and 0.999.
    Adam,
}

/// Whether momentum looks ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MomentumKind {
    /// Plain momentum, as torch's SGD.
    Classical,
    /// Nesterov's, as torch's SGD with `nesterov=True`.
    Nesterov,
}

/// How the learning rate falls, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine from the learning rate to zero over all steps.
    Cosine,
    /// Cosines to zero with warm restarts: the first lasts 1 epoch, each further one twice the one before.
    CosineRestarts,
    /// The learning rate throughout.
    Constant,
}

/// Which statistics batch norm uses in evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BnEval {
    /// The running averages collected in training.
    Running,
    /// Averages over `recalibration_batches` training batches, collected anew before every evaluation; the stored
    /// running averages stay as they are.
    Recalibrated,
    /// Those of the evaluated batch itself.
    Batch,
}

/// Which epoch's accuracy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// The epoch of the best validation accuracy (the first of equals); its weights are kept.
    BestEpoch,
    /// The last epoch.
    Last,
}

/// What convolutions multiply in while a network is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionKind {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, on a GPU or where the CPU has instructions for it.
    Bf16,
}

impl PrecisionKind {
    /// Whether this CPU has instructions for it.
    #[must_use]
    pub fn is_native(self) -> bool {
        Precision::from(self).is_native()
    }

    /// What a device trains in when it is asked for this: the same, or [`PrecisionKind::F32`] on a CPU that has no
    /// instructions for it.
    #[must_use]
    pub fn available_on(self, device: DeviceKind) -> PrecisionKind {
        match device == DeviceKind::Cuda || self.is_native() {
            true => self,
            false => PrecisionKind::F32,
        }
    }

    /// What activations are stored in: a GPU gains most by moving less.
    pub(crate) fn activations_on(self, device: DeviceKind) -> Activations {
        match (self, device) {
            (PrecisionKind::Bf16, DeviceKind::Cuda) => Activations::Bf16,
            _ => Activations::F32,
        }
    }
}

impl From<PrecisionKind> for Precision {
    fn from(kind: PrecisionKind) -> Precision {
        match kind {
            PrecisionKind::F32 => Precision::F32,
            PrecisionKind::Bf16 => Precision::Bf16,
        }
    }
}

/// As in a configuration.
impl fmt::Display for PrecisionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrecisionKind::F32 => "f32",
            PrecisionKind::Bf16 => "bf16",
        })
    }
}

/// A training recipe. The default is [`TrainConfig::fast`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images; at least 1. The paper trains children for 3.
    pub epochs: usize,
    /// Images in a training step; at least 1. An incomplete last batch of an epoch is dropped; with
    /// fewer training images than this there is one smaller batch.
    pub batch: usize,
    /// `sgd` or `adam`.
    pub optimizer: OptimizerKind,
    /// Highest learning rate; above 0.
    pub learning_rate: f64,
    /// `cosine`, `cosine_restarts` or `constant`.
    pub schedule: Schedule,
    /// Epochs over which the learning rate first rises linearly to `learning_rate`; of a
    /// training of no more epochs than that, all but the last.
    pub warmup_epochs: usize,
    /// Momentum of SGD, from 0 to below 1. Adam does not use it.
    pub momentum: f64,
    /// `classical` or `nesterov`.
    pub momentum_kind: MomentumKind,
    /// L2 penalty added to the gradient of every active parameter; at least 0.
    pub weight_decay: f64,
    /// Highest norm of all gradients together; longer ones are scaled down; above 0, or 0 for no limit.
    pub clip: f64,
    /// Share of the target probability spread evenly over all classes; from 0 to below 1.
    pub label_smoothing: f64,
    /// Random crops, flips and cutout of the training images.
    pub augment: AugmentConfig,
    /// Batch norm in evaluation: `running`, `recalibrated` or `batch`.
    pub bn_eval: BnEval,
    /// Training batches that `bn_eval = "recalibrated"` averages over; at least 1.
    pub recalibration_batches: usize,
    /// Whose weights are kept: `best_epoch` or `last`.
    pub score: Score,
    /// Images in an evaluation step; at least 1. It changes results only for `bn_eval = "batch"`.
    pub eval_batch: usize,
    /// What dense convolutions multiply in during training: `f32` or `bf16`, which rounds their factors to
    /// bfloat16; weights and sums stay in single precision. On a CPU `bf16` needs AVX512-BF16, others train in `f32`, with
    /// a warning, and evaluation is in single precision; on a GPU activations are stored in bfloat16 too, in training and in
    /// evaluation.
    pub precision: PrecisionKind,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig::fast()
    }
}

impl TrainConfig {
    /// 3 epochs of SGD with batches of 128 and a learning rate of 0.05.
    pub fn fast() -> TrainConfig {
        TrainConfig {
            epochs: 3,
            batch: 128,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 0.05,
            schedule: Schedule::Cosine,
            warmup_epochs: 0,
            momentum: 0.9,
            momentum_kind: MomentumKind::Classical,
            weight_decay: 5e-4,
            clip: 5.0,
            label_smoothing: 0.0,
            augment: AugmentConfig::default(),
            bn_eval: BnEval::Running,
            recalibration_batches: 16,
            score: Score::BestEpoch,
            eval_batch: 250,
            precision: PrecisionKind::F32,
        }
    }

    /// The recipe of NASNet that the paper cites: batches of 32 and a learning rate of 0.025.
    pub fn nasnet() -> TrainConfig {
        TrainConfig {
            batch: 32,
            learning_rate: 0.025,
            ..TrainConfig::fast()
        }
    }

    /// That of the authors' related code: Adam at 1e-3, cosine restarts of 1 and 2 epochs.
    pub fn mfas() -> TrainConfig {
        TrainConfig {
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::CosineRestarts,
            ..TrainConfig::fast()
        }
    }

    /// Training a found network from scratch as the paper does: learning rate, batch and schedule of NASNet for 600 epochs;
    /// the last epoch counts.
    pub fn paper() -> TrainConfig {
        TrainConfig {
            epochs: 600,
            score: Score::Last,
            ..TrainConfig::nasnet()
        }
    }

    /// Training a found network from scratch in little time: one rise to a learning rate of 0.1 and a cosine to zero over
    /// 30 epochs, Nesterov momentum, label smoothing of 0.1 and cutout of 8 pixels; the last epoch counts.
    pub fn one_cycle() -> TrainConfig {
        TrainConfig {
            epochs: 30,
            learning_rate: 0.1,
            warmup_epochs: 2,
            momentum_kind: MomentumKind::Nesterov,
            label_smoothing: 0.1,
            augment: AugmentConfig {
                cutout: 8,
                ..AugmentConfig::default()
            },
            score: Score::Last,
            ..TrainConfig::fast()
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`TrainConfigError`] names the first key out of range.
    pub fn check(&self) -> Result<(), TrainConfigError> {
        let fail = |key, value: f64, expected| {
            Err(TrainConfigError {
                key,
                value,
                expected,
            })
        };
        for (key, value) in [
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("recalibration_batches", self.recalibration_batches),
            ("eval_batch", self.eval_batch),
        ] {
            if value == 0 {
                return fail(key, 0.0, "at least 1");
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return fail(
                "learning_rate",
                self.learning_rate,
                "a finite number above 0",
            );
        }
        for (key, value) in [("weight_decay", self.weight_decay), ("clip", self.clip)] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(key, value, "a finite number of at least 0");
            }
        }
        for (key, value) in [
            ("momentum", self.momentum),
            ("label_smoothing", self.label_smoothing),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fail(key, value, "from 0 to below 1");
            }
        }
        if self.momentum_kind == MomentumKind::Nesterov && self.momentum == 0.0 {
            return fail(
                "momentum",
                0.0,
                "above 0 with `momentum_kind = \"nesterov\"`",
            );
        }
        Ok(())
    }

    /// The same with a precision that the device has, and a warning, once per process, where that is another one.
    pub(crate) fn on(mut self, device: DeviceKind) -> TrainConfig {
        static WARNING: Once = Once::new();
        let available = self.precision.available_on(device);
        if available != self.precision {
            WARNING.call_once(|| {
                tracing::warn!(
                    "this CPU has no bfloat16 dot products (AVX512-BF16); training in {available}"
                );
            });
        }
        self.precision = available;
        self
    }

    /// The clip as the optimizers take it.
    pub(crate) fn clip_norm(&self) -> Option<f64> {
        (self.clip > 0.0).then_some(self.clip)
    }
}

/// A value of [`TrainConfig`] that is out of range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("training `{key}` is {value}, expected {expected}")]
pub struct TrainConfigError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
    /// The range.
    pub expected: &'static str,
}
