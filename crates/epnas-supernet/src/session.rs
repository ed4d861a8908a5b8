//! Training one network: epochs of steps, and validation between them. Children and networks from scratch both train
//! this way; they differ in the weights that they start from and in what becomes of them.

use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use candle_core::Tensor;
use epnas_arch::{Network, seed::split};
use epnas_data::{epoch_order, fill_batch};
use epnas_ops::{Course, CourseNumber, Distortion, StepRows, average};

use crate::{
    batches::{Batches, distortion},
    config::{BnEval, TrainConfig},
    data::Source,
    error::SupernetError,
    inference::{Inference, Totals},
    learning_rate::LearningRate,
    optimizer::Optimizer,
    plan::{Arena, Mode, Plan, PlanOptions, Statistics, network_params},
    refinements::{Chances, Refinements},
    routine::Routine,
    weights::WeightStore,
};

/// How often a GPU is asked how far it is, at most: to read its sums, it must have nothing left to do. Tests ask after
/// every step.
const READ_EVERY: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 500 });

/// One network in training. Its results depend on the weights, the network, the recipe, the images and the seed.
#[derive(Debug)]
pub(crate) struct Session {
    config: TrainConfig,
    source: Source,
    /// The images to train on.
    train: Vec<u32>,
    seed: u64,
    plan: Plan,
    inference: Inference,
    pub(crate) optimizer: Optimizer,
    rate: LearningRate,
    refinements: Refinements,
    chances: Option<Chances>,
    averages: Option<Averages>,
    steps_per_epoch: usize,
    gpu: Option<OnGpu>,
}

/// Moving averages of weights and running statistics.
#[derive(Debug)]
struct Averages {
    /// Each tensor with its average.
    pairs: Vec<(Tensor, Tensor)>,
    /// The averages by path.
    store: WeightStore,
}

impl Averages {
    /// Those of a network, which begin as what they average.
    fn new(network: &Network, weights: &mut WeightStore) -> Result<Averages, SupernetError> {
        let store = weights.extract(network_params(network))?;
        let mut pairs = Vec::with_capacity(store.len());
        for param in network_params(network) {
            let average = store.tensor(&param.path).cloned();
            let average = average.ok_or_else(|| SupernetError::MissingWeight {
                path: param.path.clone(),
            })?;
            pairs.push((weights.get(param)?, average));
        }
        Ok(Averages { pairs, store })
    }
}

/// How far an epoch has come.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Trained {
    /// Steps of the epoch that are done.
    pub(crate) step: usize,
    /// Sums over all of them.
    pub(crate) totals: Totals,
}

/// What a GPU works through without the host.
#[derive(Debug)]
struct OnGpu {
    batches: Batches,
    distortion: Distortion,
    course: Course,
    /// What chance decides in the steps to come.
    rows: Option<StepRows>,
    step: Routine,
}

impl Session {
    /// Compiles the plans of a network and starts with an empty optimizer.
    pub(crate) fn new(
        network: &Network,
        weights: &mut WeightStore,
        config: &TrainConfig,
        source: &Source,
        train: Vec<u32>,
        seed: u64,
    ) -> Result<Session, SupernetError> {
        let refinements = Refinements::default();
        Session::refined(network, weights, (config, refinements), source, train, seed)
    }

    /// As [`Session::new`], with refinements.
    pub(crate) fn refined(
        network: &Network,
        weights: &mut WeightStore,
        (config, refinements): (&TrainConfig, Refinements),
        source: &Source,
        train: Vec<u32>,
        seed: u64,
    ) -> Result<Session, SupernetError> {
        config.check()?;
        refinements.check(config)?;
        let batch = config.batch.min(train.len());
        let steps_per_epoch = train.len() / batch;
        let mut arena = Arena::new();
        let activations = config.precision.activations_on(source.compute.kind());
        let options = PlanOptions {
            mode: Mode::Train,
            label_smoothing: config.label_smoothing,
            precision: config.precision.into(),
            activations,
            mixup: refinements.mixup > 0.0,
            drop_path: refinements.drop_path > 0.0,
            auxiliary_weight: refinements.auxiliary_head,
            ..PlanOptions::default()
        };
        let plan = match refinements.auxiliary_head > 0.0 {
            true => {
                let network = network.with_auxiliary_head()?;
                Plan::compile_with(&network, weights, batch, options, &mut arena)?
            }
            false => Plan::compile_with(network, weights, batch, options, &mut arena)?,
        };
        let chances = refinements.has_chances().then(|| {
            let steps = (config.epochs * steps_per_epoch) as u64;
            Chances::new(refinements, seed, plan.branches(), batch, steps)
        });
        let averages = match refinements.ema > 0.0 {
            true => Some(Averages::new(network, weights)?),
            false => None,
        };
        let optimizer = Optimizer::new(config, plan.parameters())?;
        let mode = match config.bn_eval {
            BnEval::Running | BnEval::Recalibrated => Mode::Infer,
            BnEval::Batch => Mode::InferBatchStatistics,
        };
        let network = network.clone();
        let inference = Inference::new(network, mode, activations, config.eval_batch, arena);
        let gpu = match &source.on_gpu {
            None => None,
            Some(images) => {
                let most = source.data.images.len().max(train.len());
                let device = source.compute.device();
                let rows = chances
                    .as_ref()
                    .map(|chances| StepRows::new(steps_per_epoch, chances.width(), device));
                Some(OnGpu {
                    batches: Batches::new(images.clone(), most, &source.compute)?,
                    distortion: distortion(&config.augment),
                    course: Course::new(steps_per_epoch, device)?,
                    rows: rows.transpose()?,
                    step: Routine::default(),
                })
            }
        };
        Ok(Session {
            config: config.clone(),
            source: source.clone(),
            train,
            seed,
            plan,
            inference,
            optimizer,
            rate: LearningRate::new(config, steps_per_epoch),
            refinements,
            chances,
            averages,
            steps_per_epoch,
            gpu,
        })
    }

    /// Steps of an epoch.
    pub(crate) fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// The moving averages of weights and running statistics, which are evaluated in their place; none without them.
    pub(crate) fn averages(&self) -> Option<&WeightStore> {
        self.averages.as_ref().map(|averages| &averages.store)
    }

    /// The network as it is evaluated.
    #[cfg(test)]
    fn inference_network(&self) -> &Network {
        self.inference.network()
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
        let averages = self.averages().map_or(0, WeightStore::bytes);
        self.plan.describe().fixed_bytes
            + self.inference.bytes()
            + self.optimizer.bytes()
            + averages
    }

    /// Trains for the epoch of this number, counted from 0. `progress` gets the images trained so far in this epoch
    /// and the mean loss of the latest step, on a GPU of the steps since it was last called.
    pub(crate) fn train_epoch(
        &mut self,
        epoch: usize,
        progress: &mut dyn FnMut(u64, f64),
    ) -> Result<Totals, SupernetError> {
        let go_on = &mut |images: u64, loss: f64| {
            progress(images, loss);
            ControlFlow::Continue(())
        };
        let trained = self.train_steps(epoch, Trained::default(), self.steps_per_epoch, go_on)?;
        Ok(trained.totals)
    }

    /// Trains on to a step of an epoch, or less far when `progress` breaks off. What a step does depends on its number and
    /// the weights alone, and sums go on from those before, so an epoch in parts gives the bits of a whole one.
    pub(crate) fn train_steps(
        &mut self,
        epoch: usize,
        before: Trained,
        to: usize,
        progress: &mut dyn FnMut(u64, f64) -> ControlFlow<()>,
    ) -> Result<Trained, SupernetError> {
        let steps = before.step..to.min(self.steps_per_epoch);
        let order = epoch_order(
            &self.train,
            split(split(self.seed, "order"), &epoch.to_string()),
        );
        if self.gpu.is_some() {
            return self.train_on_gpu(epoch, before, steps, &order, progress);
        }
        let mut trained = before;
        for step in steps {
            let report = self.train_step(epoch, step, &order)?;
            trained.step = step + 1;
            trained.totals.images += report.images;
            trained.totals.loss_sum += report.loss_sum;
            trained.totals.correct += report.correct;
            let images = (trained.step * self.plan.batch()) as u64;
            if progress(images, report.loss()).is_break() {
                break;
            }
        }
        Ok(trained)
    }

    /// The seed of an epoch's distortions.
    fn stream(&self, epoch: usize) -> u64 {
        split(split(self.seed, "augment"), &epoch.to_string())
    }

    /// One training step on its share of the epoch's order.
    fn train_step(
        &mut self,
        epoch: usize,
        step: usize,
        order: &[u32],
    ) -> Result<Totals, SupernetError> {
        let batch = self.plan.batch();
        let first = step * batch;
        let stream = self.stream(epoch);
        let number = (epoch * self.steps_per_epoch + step) as u64;
        if let Some(chances) = &self.chances {
            self.plan.set_chances(|row| chances.fill(number, row))?;
        }
        let (data, augment) = (&self.source.data, &self.config.augment);
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
        self.plan.mix()?;
        self.plan.forward()?;
        let report = self.plan.loss()?;
        if !report.loss_sum.is_finite() {
            return Err(self.diverged(number, CourseNumber::Loss, report.loss_sum));
        }
        self.plan.backward()?;
        let norm = self.optimizer.step(self.rate.at(number))?;
        if !norm.is_finite() {
            return Err(self.diverged(number, CourseNumber::Norm, norm));
        }
        self.average(number)?;
        Ok(Totals {
            images: batch,
            loss_sum: report.loss_sum,
            correct: report.correct,
        })
    }

    /// Moves the averages after a step.
    fn average(&self, step: u64) -> Result<(), SupernetError> {
        if let (Some(averages), Some(decay)) = (&self.averages, self.refinements.decay(step)) {
            average(&averages.pairs, decay)?;
        }
        Ok(())
    }

    /// Some steps of an epoch: the host starts them and reads their sums.
    fn train_on_gpu(
        &mut self,
        epoch: usize,
        before: Trained,
        steps: Range<usize>,
        order: &[u32],
        progress: &mut dyn FnMut(u64, f64) -> ControlFlow<()>,
    ) -> Result<Trained, SupernetError> {
        let mut trained = before;
        let number = |step: usize| (epoch * self.steps_per_epoch + step) as u64;
        let first = number(steps.start);
        let rates: Vec<f64> = steps
            .clone()
            .map(|step| self.rate.at(number(step)))
            .collect();
        let stream = self.stream(epoch);
        let batch = self.plan.batch();
        let Some(gpu) = &mut self.gpu else {
            return Ok(trained);
        };
        let position = (steps.start * batch) as u64;
        gpu.batches
            .start_at(order, stream, position, before.totals)?;
        self.optimizer.start(&gpu.course, &rates)?;
        if let (Some(chances), Some(rows)) = (&self.chances, &gpu.rows) {
            let width = chances.width();
            let mut table = vec![0.0; rates.len() * width];
            for (row, step) in table.chunks_exact_mut(width).zip(first..) {
                chances.fill(step, row);
            }
            rows.start(&table)?;
        }
        let mut read = Instant::now();
        for step in steps.clone() {
            let Some(gpu) = &mut self.gpu else { break };
            let (plan, optimizer) = (&mut self.plan, &self.optimizer);
            gpu.step.run(&self.source.compute, || {
                gpu.batches.draw(plan, Some(&gpu.distortion))?;
                if let Some(rows) = &gpu.rows {
                    plan.take_chances(rows)?;
                }
                plan.mix()?;
                plan.forward()?;
                plan.add_loss_to(&gpu.batches.sums)?;
                plan.backward()?;
                optimizer.next_step(&gpu.course, &gpu.batches.sums)
            })?;
            self.average(first + (step - steps.start) as u64)?;
            if step + 1 < steps.end && read.elapsed() < READ_EVERY {
                continue;
            }
            let Some(gpu) = &self.gpu else { break };
            let sums = gpu.batches.sums.read()?;
            if let Some(failure) = gpu.course.read()?.failure {
                let number = first + failure.step as u64;
                return Err(self.diverged(number, failure.what, failure.value));
            }
            let earlier = trained.totals;
            trained.step = step + 1;
            trained.totals = Totals {
                images: trained.step * batch,
                loss_sum: sums.loss_sum,
                correct: sums.correct,
            };
            let since = Totals {
                images: trained.totals.images - earlier.images,
                loss_sum: trained.totals.loss_sum - earlier.loss_sum,
                correct: 0,
            };
            if progress((trained.step * batch) as u64, since.loss()).is_break() {
                break;
            }
            read = Instant::now();
        }
        Ok(trained)
    }

    /// The error of a step, counted from 0 over all epochs.
    fn diverged(&self, step: u64, what: CourseNumber, value: f64) -> SupernetError {
        let (what, value) = match what {
            CourseNumber::Loss => ("the loss", value / self.plan.batch() as f64),
            CourseNumber::Norm => ("the norm of the gradients", value),
        };
        SupernetError::Diverged {
            step: step + 1,
            learning_rate: self.rate.at(step),
            what,
            value,
        }
    }

    /// Evaluates the validation images, whole and without augmentation. `epoch` is named in errors, counted from 0.
    pub(crate) fn validate(
        &mut self,
        weights: &mut WeightStore,
        epoch: usize,
    ) -> Result<Totals, SupernetError> {
        let indices = self.source.data.validation.clone();
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
        let statistics = statistics.as_deref();
        let weights = match &mut self.averages {
            Some(averages) => &mut averages.store,
            None => weights,
        };
        if let Some(gpu) = &self.gpu {
            let (batches, compute) = (&gpu.batches, &self.source.compute);
            return self
                .inference
                .run_on_gpu(weights, batches, compute, indices, statistics);
        }
        let data = self.source.data.clone();
        self.inference.run(
            weights,
            &data.images,
            indices,
            &data.normalization,
            statistics,
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
        if let Some(gpu) = &self.gpu {
            gpu.batches.start(&order, 0)?;
        }
        for (index, batch) in batches.enumerate() {
            let data = &self.source.data;
            match &self.gpu {
                Some(gpu) => gpu.batches.draw(&self.plan, None)?,
                None => self.plan.fill(|pixels, labels| {
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
                })?,
            }
            // A weight of 1 / t for the t-th batch makes the average plain.
            self.plan.forward_averaging(1.0 / (index + 1) as f64)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
