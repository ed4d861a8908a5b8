//! Training one network: epochs of steps, and validation between them. Children and networks from scratch both train
//! this way; they differ in the weights that they start from and in what becomes of them.

use std::sync::Arc;

use epnas_arch::{Network, seed::split};
use epnas_data::{epoch_order, fill_batch};

use crate::{
    config::{BnEval, TrainConfig},
    data::TrainingData,
    error::SupernetError,
    inference::{Inference, Totals},
    learning_rate::LearningRate,
    optimizer::Optimizer,
    plan::{Arena, Mode, Plan, PlanOptions, Statistics},
    weights::WeightStore,
};

/// One network in training. Its results depend on the weights, the network, the recipe, the images and the seed.
#[derive(Debug)]
pub(crate) struct Session {
    config: TrainConfig,
    data: Arc<TrainingData>,
    /// The images to train on.
    train: Vec<u32>,
    seed: u64,
    plan: Plan,
    inference: Inference,
    pub(crate) optimizer: Optimizer,
    rate: LearningRate,
    steps_per_epoch: usize,
}

impl Session {
    /// Compiles the plans of a network and starts with an empty optimizer.
    pub(crate) fn new(
        network: &Network,
        weights: &mut WeightStore,
        config: &TrainConfig,
        data: Arc<TrainingData>,
        train: Vec<u32>,
        seed: u64,
    ) -> Result<Session, SupernetError> {
        config.check()?;
        let batch = config.batch.min(train.len());
        let mut arena = Arena::new();
        let options = PlanOptions {
            mode: Mode::Train,
            label_smoothing: config.label_smoothing,
            precision: config.precision.into(),
            ..PlanOptions::default()
        };
        let plan = Plan::compile_with(network, weights, batch, options, &mut arena)?;
        let optimizer = Optimizer::new(config, plan.parameters())?;
        let mode = match config.bn_eval {
            BnEval::Running | BnEval::Recalibrated => Mode::Infer,
            BnEval::Batch => Mode::InferBatchStatistics,
        };
        let inference = Inference::new(network.clone(), mode, config.eval_batch, arena);
        let steps_per_epoch = train.len() / batch;
        let rate = LearningRate::new(config, steps_per_epoch);
        Ok(Session {
            config: config.clone(),
            data,
            train,
            seed,
            plan,
            inference,
            optimizer,
            rate,
            steps_per_epoch,
        })
    }

    /// Training steps of an epoch.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// Image passes of an epoch.
    pub(crate) fn images_per_epoch(&self) -> u64 {
        (self.steps_per_epoch * self.plan.batch()) as u64
    }

    /// Learning rate of the last step of an epoch, counted from 0.
    pub(crate) fn last_rate(&self, epoch: usize) -> f64 {
        self.rate
            .at(((epoch + 1) * self.steps_per_epoch).saturating_sub(1) as u64)
    }

    /// Memory of plans and optimizer in bytes, weights not counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.plan.describe().fixed_bytes + self.inference.bytes() + self.optimizer.bytes()
    }

    /// Trains for the epoch of this number, counted from 0. `progress` gets the images trained so far in this epoch
    /// and the mean loss of the latest step.
    pub(crate) fn train_epoch(
        &mut self,
        epoch: usize,
        progress: &mut dyn FnMut(u64, f64),
    ) -> Result<Totals, SupernetError> {
        let order = epoch_order(
            &self.train,
            split(split(self.seed, "order"), &epoch.to_string()),
        );
        let mut totals = Totals::default();
        for step in 0..self.steps_per_epoch {
            let report = self.train_step(epoch, step, &order)?;
            totals.images += report.images;
            totals.loss_sum += report.loss_sum;
            totals.correct += report.correct;
            progress(totals.images as u64, report.loss());
        }
        Ok(totals)
    }

    /// One training step on its share of the epoch's order.
    pub(crate) fn train_step(
        &mut self,
        epoch: usize,
        step: usize,
        order: &[u32],
    ) -> Result<Totals, SupernetError> {
        let batch = self.plan.batch();
        let first = step * batch;
        let (data, augment) = (&self.data, &self.config.augment);
        let stream = split(split(self.seed, "augment"), &epoch.to_string());
        self.plan.fill(|pixels, labels| {
            let indices = &order[first..first + batch];
            fill_batch(
                &data.images,
                indices,
                &data.normalization,
                Some(augment),
                stream,
                first as u64,
                pixels,
                labels,
            );
        })?;
        self.plan.forward()?;
        let report = self.plan.loss()?;
        let number = (epoch * self.steps_per_epoch + step) as u64;
        let learning_rate = self.rate.at(number);
        let diverged = |what, value| {
            Err(SupernetError::Diverged {
                step: number + 1,
                learning_rate,
                what,
                value,
            })
        };
        if !report.loss_sum.is_finite() {
            return diverged("the loss", report.loss_sum / batch as f64);
        }
        self.plan.backward()?;
        let norm = self.optimizer.step(learning_rate)?;
        if !norm.is_finite() {
            return diverged("the norm of the gradients", norm);
        }
        Ok(Totals {
            images: batch,
            loss_sum: report.loss_sum,
            correct: report.correct,
        })
    }

    /// The order of an epoch, for callers that step by themselves.
    pub(crate) fn order(&self, epoch: usize) -> Vec<u32> {
        epoch_order(
            &self.train,
            split(split(self.seed, "order"), &epoch.to_string()),
        )
    }

    /// Evaluates the validation images, whole and without augmentation. `epoch` is named in errors, counted from 0.
    pub(crate) fn validate(
        &mut self,
        weights: &mut WeightStore,
        epoch: usize,
    ) -> Result<Totals, SupernetError> {
        let indices = self.data.validation.clone();
        let totals = self.evaluate(weights, &indices)?;
        if totals.loss_sum.is_finite() {
            Ok(totals)
        } else {
            Err(SupernetError::DivergedInValidation {
                epoch: epoch + 1,
                value: totals.loss(),
            })
        }
    }

    /// Evaluates some of the images without augmentation.
    pub(crate) fn evaluate(
        &mut self,
        weights: &mut WeightStore,
        indices: &[u32],
    ) -> Result<Totals, SupernetError> {
        let statistics = match self.config.bn_eval {
            BnEval::Recalibrated => Some(self.recalibrated()?),
            BnEval::Running | BnEval::Batch => None,
        };
        let data = self.data.clone();
        self.inference.run(
            weights,
            &data.images,
            indices,
            &data.normalization,
            statistics.as_deref(),
            |_, _| (),
        )
    }

    /// Batch-norm statistics averaged over training batches of the seed, not augmented. The stored ones stay as they
    /// are: the training plan runs with other tensors in their place.
    pub(crate) fn recalibrated(&mut self) -> Result<Vec<Statistics>, SupernetError> {
        let mut statistics = self.plan.blank_statistics()?;
        self.plan.swap_statistics(&mut statistics);
        let result = self.average_statistics();
        self.plan.swap_statistics(&mut statistics);
        result?;
        Ok(statistics)
    }

    fn average_statistics(&mut self) -> Result<(), SupernetError> {
        let order = epoch_order(&self.train, split(self.seed, "recalibrate"));
        let batches = order
            .chunks_exact(self.plan.batch())
            .take(self.config.recalibration_batches);
        for (index, batch) in batches.enumerate() {
            let data = &self.data;
            self.plan.fill(|pixels, labels| {
                fill_batch(
                    &data.images,
                    batch,
                    &data.normalization,
                    None,
                    0,
                    0,
                    pixels,
                    labels,
                );
            })?;
            // A weight of 1 / t for the t-th batch makes the average plain.
            self.plan.forward_averaging(1.0 / (index + 1) as f64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use epnas_arch::{Arch, NetworkConfig};
    use epnas_data::{DataConfig, Split};

    use super::*;
    use crate::config::PrecisionKind;

    #[test]
    fn training_takes_the_precision_of_the_recipe_and_evaluation_takes_single() {
        let mut images = DataConfig {
            image_size: 8,
            ..DataConfig::default()
        };
        (images.synthetic.train, images.synthetic.test) = (60, 10);
        let dataset = epnas_data::load(&images).expect("images");
        let split = Split {
            train: (0..40).collect(),
            validation: (40..60).collect(),
        };
        let data = Arc::new(TrainingData::from_dataset(&dataset, &split).expect("a division"));
        let arch: Arch = "macro:c3.0".parse().expect("an architecture");
        let config = NetworkConfig {
            channels: 5,
            ..NetworkConfig::default()
        };
        let (shape, classes) = (data.image_shape(), data.classes.len());
        let network = Network::build(&arch, 2, &config, shape, classes).expect("a network");
        // Emulated where this CPU has no instructions: a session does as it is told.
        let [single, bf16] = [PrecisionKind::F32, PrecisionKind::Bf16].map(|precision| {
            let recipe = TrainConfig {
                batch: 20,
                precision,
                ..TrainConfig::fast()
            };
            let (mut weights, train) = (WeightStore::new(1), data.train.clone());
            let session = Session::new(&network, &mut weights, &recipe, data.clone(), train, 2);
            let mut session = session.expect("a session");
            let evaluated = session.validate(&mut weights, 0).expect("an evaluation");
            let order = session.order(0);
            let trained = session.train_step(0, 0, &order).expect("a step");
            (evaluated.loss(), trained.loss())
        });
        assert_eq!(single.0.to_bits(), bf16.0.to_bits());
        assert_ne!(single.1.to_bits(), bf16.1.to_bits());
    }
}
