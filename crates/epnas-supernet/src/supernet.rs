//! Children trained one after the other on shared weights (Perez-Rua et al., 2018, section 3.2).

use std::{sync::Arc, time::Instant};

use epnas_arch::{
    Arch, Cost, EpochReport, EvaluateError, Evaluator, Job, Measurement, Network, NetworkConfig,
    Progress, Space,
};

use crate::{
    compute::Compute,
    config::{BnEval, Score, TrainConfig},
    data::{Source, TrainingData},
    error::SupernetError,
    model::{Model, TrainingRecord},
    plan::network_params,
    room,
    session::Session,
    weights::{Backup, WeightStore},
};

/// What a supernet is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SupernetConfig {
    /// The search space; its length fixes where a macro network is pooled.
    pub space: Space,
    /// Channels, cells and the options of the network.
    pub network: NetworkConfig,
    /// How every child is trained.
    pub training: TrainConfig,
}

/// Shared weights and the images to train them on; measures children by training them.
///
/// A child's measurement and what it does to the weights depend only on the weights before, the architecture and the
/// child's seed: not on the number of threads, not on how many children came before. Tensors that a child does not use
/// keep every bit. A child that fails leaves the weights as they were.
#[derive(Debug)]
pub struct Supernet {
    pub(crate) config: SupernetConfig,
    pub(crate) source: Source,
    weights: WeightStore,
}

impl Supernet {
    /// A supernet on the CPU without any weights yet; they come into being with the children that use them.
    ///
    /// # Errors
    /// A training recipe out of range.
    pub fn new(
        config: SupernetConfig,
        data: Arc<TrainingData>,
        seed: u64,
    ) -> Result<Supernet, SupernetError> {
        Supernet::on(Compute::cpu(), config, data, seed)
    }

    /// A supernet on a device, to which the images are copied.
    ///
    /// # Errors
    /// As [`Supernet::new`]; images that do not fit the device's memory.
    pub fn on(
        compute: Compute,
        mut config: SupernetConfig,
        data: Arc<TrainingData>,
        seed: u64,
    ) -> Result<Supernet, SupernetError> {
        config.training.check()?;
        config.training = config.training.on(compute.kind());
        let weights = WeightStore::on(seed, compute.device().clone());
        Ok(Supernet {
            config,
            source: Source::new(data, compute)?,
            weights,
        })
    }

    /// What the supernet is made of; the recipe's precision is one that its device has.
    pub fn config(&self) -> &SupernetConfig {
        &self.config
    }

    /// The shared weights.
    pub fn weights(&self) -> &WeightStore {
        &self.weights
    }

    /// The network of an architecture.
    ///
    /// # Errors
    /// When it cannot be built for images of this size.
    pub fn network(&self, arch: &Arch) -> Result<Network, SupernetError> {
        let (levels, shape) = (self.config.space.levels(), self.source.data.image_shape());
        Ok(Network::build(
            arch,
            levels,
            &self.config.network,
            shape,
            self.source.data.classes.len(),
        )?)
    }

    /// A child with its present shared weights as a model of its own. Weights that no child has used yet have their
    /// initial values.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn model(&self, arch: &Arch) -> Result<Model, SupernetError> {
        let network = self.network(arch)?;
        let weights = self.weights.clone().extract(network_params(&network))?;
        let record = TrainingRecord::shared_weights(self.weights.seed(), &self.config.training);
        Model::assemble(
            &arch.clone().into(),
            self.config.space.levels(),
            &self.config.network,
            &self.source.data,
            weights,
            record,
        )
    }

    /// Validation accuracy of a child with its present shared weights, 0 to 1, with batch norm as `bn_eval` says. Nothing
    /// is trained or changed; weights that no child has used yet have their initial values. `seed` draws the batches of
    /// [`BnEval::Recalibrated`], the same that a training with this seed evaluates by.
    ///
    /// # Errors
    /// [`EvaluateError::Child`] for a loss that is not finite or a network that cannot be built or held in memory.
    pub fn validate(&self, arch: &Arch, bn_eval: BnEval, seed: u64) -> Result<f64, EvaluateError> {
        self.accuracy(arch, bn_eval, seed).map_err(verdict)
    }

    fn accuracy(&self, arch: &Arch, bn_eval: BnEval, seed: u64) -> Result<f64, SupernetError> {
        let network = self.network(arch)?;
        let config = TrainConfig {
            bn_eval,
            ..self.config.training.clone()
        };
        let of_network = |error: SupernetError| error.of_network(&network, config.batch);
        // Shares the tensors, which validation only reads, and keeps new ones to itself.
        let mut weights = self.weights.clone();
        let images = self.source.data.train.clone();
        let mut session = Session::new(&network, &mut weights, &config, &self.source, images, seed)
            .map_err(of_network)?;
        let totals = session.validate(&mut weights, 0).map_err(of_network)?;
        Ok(totals.accuracy())
    }

    /// Trains one child; on an error the weights are as before.
    fn child(
        &mut self,
        arch: &Arch,
        seed: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Measurement, SupernetError> {
        let start = Instant::now();
        let network = self.network(arch)?;
        let params = network_params(&network);
        let batch = self.config.training.batch;
        let of_network = |error: SupernetError| error.of_network(&network, batch);
        let needed = room::of_training(&network, self.weights.bytes());
        room::require(needed, self.weights.device()).map_err(|error| of_network(error.into()))?;
        let before = Backup::before(&self.weights, &params).map_err(of_network)?;
        let result = self.train(&network, seed, progress).map_err(of_network);
        if result.is_err() {
            before.restore(&mut self.weights)?;
        }
        let mut measurement = result?;
        measurement.seconds = start.elapsed().as_secs_f64();
        tracing::debug!(%arch, estimate = measurement.estimate, seconds = measurement.seconds, "child trained");
        Ok(measurement)
    }

    fn train(
        &mut self,
        network: &Network,
        seed: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Measurement, SupernetError> {
        let (config, source) = (&self.config.training, &self.source);
        let params = network_params(network);
        let (images, weights) = (source.data.train.clone(), &mut self.weights);
        let mut session = Session::new(network, weights, config, source, images, seed)?;
        let total_images = session.images_per_epoch() * config.epochs as u64;
        let mut epochs = Vec::with_capacity(config.epochs);
        let mut best: Option<(f64, Backup)> = None;
        for epoch in 0..config.epochs {
            let start = Instant::now();
            let done = session.images_per_epoch() * epoch as u64;
            let totals = session.train_epoch(epoch, &mut |images, loss| {
                progress(Progress {
                    images: done + images,
                    total_images,
                    loss,
                });
            })?;
            let accuracy = session.validate(&mut self.weights, epoch)?.accuracy();
            epochs.push(EpochReport {
                epoch: epoch + 1,
                loss: totals.loss(),
                accuracy,
                seconds: start.elapsed().as_secs_f64(),
            });
            let improved = best.as_ref().is_none_or(|(so_far, _)| accuracy > *so_far);
            if config.score == Score::BestEpoch && improved {
                best = Some((accuracy, Backup::of(&self.weights, &params)?));
            }
        }
        let last = epochs.last().map_or(0.0, |epoch| epoch.accuracy);
        let estimate = match best {
            Some((accuracy, backup)) => {
                backup.restore(&mut self.weights)?;
                accuracy
            }
            None => last,
        };
        let (params, macs) = (network.params(), network.macs());
        Ok(Measurement {
            estimate,
            params,
            macs,
            seconds: 0.0,
            images: total_images,
            epochs,
        })
    }
}

/// Whether only this child failed or nothing can be evaluated any more.
fn verdict(error: SupernetError) -> EvaluateError {
    match error {
        SupernetError::Network(_)
        | SupernetError::Diverged { .. }
        | SupernetError::DivergedInValidation { .. }
        | SupernetError::Memory { .. } => EvaluateError::Child {
            reason: error.to_string(),
        },
        other => EvaluateError::fatal(other),
    }
}

impl Evaluator for Supernet {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        self.child(job.arch, job.seed, job.progress)
            .map_err(verdict)
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        let network = self.network(arch).ok()?;
        Some(Cost {
            params: network.params(),
            macs: network.macs(),
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        self.weights.to_bytes().map_err(EvaluateError::fatal)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), EvaluateError> {
        self.weights = WeightStore::from_bytes_on(bytes, self.weights.device())
            .map_err(EvaluateError::fatal)?;
        Ok(())
    }

    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError> {
        self.weights = WeightStore::on(seed, self.weights.device().clone());
        Ok(())
    }
}
