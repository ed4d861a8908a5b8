//! Training one network from scratch (Perez-Rua et al., 2018, sections 4.1 and 4.2, final training).

mod checkpoint;

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use epnas_arch::{Design, Network, NetworkConfig};
use serde::{Deserialize, Serialize};

use crate::{
    compute::Compute,
    config::{BnEval, Score, TrainConfig},
    data::{Source, TrainingData},
    error::SupernetError,
    fingerprint::DataFingerprint,
    host,
    inference::Totals,
    model::{Model, Origin, TrainingRecord},
    plan::network_params,
    refinements::Refinements,
    room,
    session::{Session, Trained},
    weights::WeightStore,
};

/// Which images a network is trained on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TrainingPart {
    /// The training images; the validation images validate.
    #[default]
    Train,
    /// Training and validation images together; nothing is left to validate on.
    TrainAndValidation,
}

/// What to train from scratch, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The architecture, or a network made by hand.
    pub arch: Design,
    /// Levels of the search space: it fixes where a macro network is pooled. Not used by hand-made networks.
    pub space_len: usize,
    /// Channels, cells and the options of the network. Not used by hand-made ones.
    pub network: NetworkConfig,
    /// The recipe.
    pub training: TrainConfig,
    /// What it does beyond the recipe of a child.
    #[serde(default)]
    pub refinements: Refinements,
    /// The images.
    pub part: TrainingPart,
}

/// One epoch of a training from scratch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerReport {
    /// Which epoch, counted from 1.
    pub epoch: usize,
    /// Mean training loss in nats, label smoothing included.
    pub loss: f64,
    /// Training accuracy during the epoch, 0 to 1, on augmented images.
    pub training_accuracy: f64,
    /// Validation accuracy after the epoch, 0 to 1, where there are images to validate on.
    pub validation_accuracy: Option<f64>,
    /// Mean validation loss in nats.
    pub validation_loss: Option<f64>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Wall-clock time in seconds, validation included.
    pub seconds: f64,
    /// Image passes trained.
    pub images: u64,
}

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainerProgress {
    /// Which epoch, counted from 1.
    pub epoch: usize,
    /// Image passes since the first epoch.
    pub images: u64,
    /// Image passes of the whole training.
    pub total_images: u64,
    /// Mean loss of the latest step in nats.
    pub loss: f64,
}

/// How far [`Trainer::advance`] came.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// To the end of an epoch.
    Epoch(TrainerReport),
    /// To a step within an epoch, after which its caller broke off.
    Paused,
    /// Nowhere: all epochs are done.
    Finished,
}

/// Weights of the best epoch so far.
#[derive(Debug)]
struct Best {
    accuracy: f64,
    epoch: usize,
    weights: WeightStore,
}

/// The part of an epoch that is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unfinished {
    step: usize,
    images: usize,
    loss_sum: f64,
    correct: usize,
    seconds: f64,
}

/// A training from scratch, step by step.
///
/// Between steps it can be written to bytes and taken up again from them; what follows is bit for bit what would have
/// followed without the interruption.
#[derive(Debug)]
pub struct Trainer {
    config: TrainerConfig,
    source: Source,
    /// The images that train and validate.
    fingerprint: DataFingerprint,
    seed: u64,
    network: Network,
    weights: WeightStore,
    session: Session,
    images: usize,
    reports: Vec<TrainerReport>,
    unfinished: Unfinished,
    best: Option<Best>,
}

impl Trainer {
    /// Fresh weights on the CPU and nothing trained yet. Initial weights, order and augmentation all derive from `seed`.
    ///
    /// # Errors
    /// A network that cannot be built or a recipe out of range.
    pub fn new(
        config: TrainerConfig,
        data: Arc<TrainingData>,
        seed: u64,
    ) -> Result<Trainer, SupernetError> {
        Trainer::on(Compute::cpu(), config, data, seed)
    }

    /// As [`Trainer::new`], on a device, to which the images are copied.
    ///
    /// # Errors
    /// As there; images or a network that do not fit the device's memory.
    pub fn on(
        compute: Compute,
        mut config: TrainerConfig,
        data: Arc<TrainingData>,
        seed: u64,
    ) -> Result<Trainer, SupernetError> {
        config.training = config.training.on(compute.kind());
        let shape = data.image_shape();
        let (levels, classes) = (config.space_len, data.classes.len());
        let network = (config.arch).network(levels, &config.network, shape, classes)?;
        room::require(room::of_training(&network, 0), compute.device()).map_err(|error| {
            SupernetError::from(error).of_network(&network, config.training.batch)
        })?;
        let mut weights = WeightStore::on(
            epnas_arch::seed::split(seed, "weights"),
            compute.device().clone(),
        );
        let mut train = data.train.clone();
        if config.part == TrainingPart::TrainAndValidation {
            train.extend_from_slice(&data.validation);
            train.sort_unstable();
        }
        let images = train.len();
        let mut fingerprint = DataFingerprint::new(&data.classes, &data.images).with_indices(
            "training",
            &data.images,
            &train,
        );
        if config.part == TrainingPart::Train {
            fingerprint = fingerprint.with_indices("validation", &data.images, &data.validation);
        }
        let recipe = &config.training;
        let source = Source::new(data, compute)?;
        let how = (recipe, config.refinements);
        let session = Session::refined(&network, &mut weights, how, &source, train, seed)
            .map_err(|error| error.of_network(&network, recipe.batch))?;
        Ok(Trainer {
            config,
            source,
            fingerprint,
            seed,
            network,
            weights,
            session,
            images,
            reports: Vec::new(),
            unfinished: Unfinished::default(),
            best: None,
        })
    }

    /// The network that is trained.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &WeightStore {
        &self.weights
    }

    /// Epochs done.
    pub fn epoch(&self) -> usize {
        self.reports.len()
    }

    /// True after the last epoch.
    pub fn is_finished(&self) -> bool {
        self.reports.len() >= self.config.training.epochs
    }

    /// The epochs so far.
    pub fn reports(&self) -> &[TrainerReport] {
        &self.reports
    }

    /// Image passes of the whole training.
    pub fn total_images(&self) -> u64 {
        self.session.images_per_epoch() * self.config.training.epochs as u64
    }

    /// Memory of buffers, optimizer and weights, in bytes; images not counted.
    pub fn bytes(&self) -> u64 {
        self.session.bytes() + self.weights.bytes()
    }

    /// Trains to the end of the epoch and validates; `None` when all are done.
    ///
    /// # Errors
    /// As [`Trainer::advance`].
    pub fn train_epoch(
        &mut self,
        progress: &mut dyn FnMut(TrainerProgress),
    ) -> Result<Option<TrainerReport>, SupernetError> {
        let mut go_on = |now: TrainerProgress| {
            progress(now);
            ControlFlow::Continue(())
        };
        Ok(match self.advance(&mut go_on)? {
            Advance::Epoch(report) => Some(report),
            Advance::Paused | Advance::Finished => None,
        })
    }

    /// Trains to the end of the epoch and validates, unless `progress`, which is told of every step (on a GPU, of some),
    /// breaks off before that.
    ///
    /// # Errors
    /// [`SupernetError::Diverged`] or [`SupernetError::DivergedInValidation`] when the loss is not finite, after which
    /// the trainer should be dropped or resumed from an earlier checkpoint; when an operator fails.
    pub fn advance(
        &mut self,
        progress: &mut dyn FnMut(TrainerProgress) -> ControlFlow<()>,
    ) -> Result<Advance, SupernetError> {
        if self.is_finished() {
            return Ok(Advance::Finished);
        }
        let advance = self.advance_in_epoch(progress);
        let (network, batch) = (&self.network, self.config.training.batch);
        advance.map_err(|error| error.of_network(network, batch))
    }

    fn advance_in_epoch(
        &mut self,
        progress: &mut dyn FnMut(TrainerProgress) -> ControlFlow<()>,
    ) -> Result<Advance, SupernetError> {
        let start = Instant::now();
        let epoch = self.reports.len();
        let (done, total_images) = (
            self.session.images_per_epoch() * epoch as u64,
            self.total_images(),
        );
        let (before, steps) = (self.unfinished, self.session.steps_per_epoch());
        let so_far = Trained {
            step: before.step,
            totals: Totals {
                images: before.images,
                loss_sum: before.loss_sum,
                correct: before.correct,
            },
        };
        let trained = self
            .session
            .train_steps(epoch, so_far, steps, &mut |images, loss| {
                progress(TrainerProgress {
                    epoch: epoch + 1,
                    images: done + images,
                    total_images,
                    loss,
                })
            })?;
        let totals = trained.totals;
        if trained.step < steps {
            self.unfinished = Unfinished {
                step: trained.step,
                images: totals.images,
                loss_sum: totals.loss_sum,
                correct: totals.correct,
                seconds: before.seconds + start.elapsed().as_secs_f64(),
            };
            return Ok(Advance::Paused);
        }
        self.unfinished = Unfinished::default();
        let validation = match self.config.part {
            TrainingPart::Train => Some(self.session.validate(&mut self.weights, epoch)?),
            TrainingPart::TrainAndValidation => None,
        };
        let accuracy = validation.map(|validation| validation.accuracy());
        if let Some(accuracy) = accuracy
            && self
                .best
                .as_ref()
                .is_none_or(|best| accuracy > best.accuracy)
        {
            let weights = self.present_weights()?;
            self.best = Some(Best {
                accuracy,
                epoch: epoch + 1,
                weights,
            });
        }
        let report = TrainerReport {
            epoch: epoch + 1,
            loss: totals.loss(),
            training_accuracy: totals.accuracy(),
            validation_accuracy: accuracy,
            validation_loss: validation.map(|validation| validation.loss()),
            learning_rate: self.session.last_rate(epoch),
            seconds: before.seconds + start.elapsed().as_secs_f64(),
            images: totals.images as u64,
        };
        tracing::debug!(
            epoch = report.epoch,
            loss = report.loss,
            validation = accuracy,
            "epoch trained"
        );
        self.reports.push(report.clone());
        Ok(Advance::Epoch(report))
    }

    /// The network with the weights that the recipe's score keeps: under [`Score::BestEpoch`] those of
    /// [`Trainer::best_model`] where there are images to validate on, else those of [`Trainer::last_model`].
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn model(&mut self) -> Result<Model, SupernetError> {
        let best = match self.config.training.score {
            Score::BestEpoch => self.best_model()?,
            Score::Last => None,
        };
        match best {
            Some(model) => Ok(model),
            None => self.last_model(),
        }
    }

    /// The network with the weights of the epoch that validated best, the first of equals; `None` without validation
    /// images or before the first epoch's end.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn best_model(&self) -> Result<Option<Model>, SupernetError> {
        let Some(best) = &self.best else {
            return Ok(None);
        };
        let record = TrainingRecord {
            validation_accuracy: Some(best.accuracy),
            epochs: best.epoch,
            ..self.record()
        };
        self.assemble(best.weights.deep_clone()?, record).map(Some)
    }

    /// The network with its present weights or, with [`Refinements::ema`], their averages. Under
    /// [`BnEval::Recalibrated`] they get recalibrated batch-norm statistics; a model always evaluates by the statistics
    /// that it holds.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn last_model(&mut self) -> Result<Model, SupernetError> {
        let weights = self.present_weights()?;
        self.assemble(weights, self.record())
    }

    /// The epoch that validated best so far.
    pub fn best_epoch(&self) -> Option<usize> {
        self.best.as_ref().map(|best| best.epoch)
    }

    fn record(&self) -> TrainingRecord {
        let last = self.reports.last();
        TrainingRecord {
            origin: Origin::Scratch,
            config: self.config.training.clone(),
            refinements: self.config.refinements,
            seed: self.seed,
            epochs: self.reports.len(),
            images: self.images,
            loss: last.map(|report| report.loss),
            training_accuracy: last.map(|report| report.training_accuracy),
            validation_accuracy: last.and_then(|report| report.validation_accuracy),
        }
    }

    fn assemble(
        &self,
        weights: WeightStore,
        record: TrainingRecord,
    ) -> Result<Model, SupernetError> {
        let TrainerConfig {
            arch,
            space_len,
            network,
            ..
        } = &self.config;
        Model::assemble(
            arch,
            *space_len,
            network,
            &self.source.data,
            weights,
            record,
        )
    }

    /// A copy of what is evaluated.
    fn present_weights(&mut self) -> Result<WeightStore, SupernetError> {
        if let Some(averages) = self.session.averages() {
            return averages.deep_clone();
        }
        let mut weights = self.weights.extract(network_params(&self.network))?;
        if self.config.training.bn_eval == BnEval::Recalibrated {
            let recalibrated = self.session.recalibrated()?;
            // A plan over the copy names its statistics in the same order.
            let copy = crate::plan::Plan::compile(
                &self.network,
                &mut weights,
                1,
                crate::plan::Mode::Infer,
            )?;
            for (to, from) in copy.statistics().iter().zip(&recalibrated) {
                host::write(&to.mean, &host::read::<f32>(&from.mean)?)?;
                host::write(&to.variance, &host::read::<f32>(&from.variance)?)?;
            }
        }
        Ok(weights)
    }
}
