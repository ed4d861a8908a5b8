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
mod tests {
    use std::sync::Arc;

    use epnas_arch::{Arch, NetworkConfig};
    use epnas_data::{DataConfig, Split};
    use epnas_ops::cuda_emulation;

    use super::*;
    use crate::{
        compute::Compute,
        config::{OptimizerKind, PrecisionKind},
        data::TrainingData,
        host,
    };

    fn recipe() -> TrainConfig {
        TrainConfig {
            batch: 20,
            ..TrainConfig::fast()
        }
    }

    /// A session on the CPU, or inside of [`cuda_emulation::run`] on a GPU, and its weights.
    fn session(recipe: &TrainConfig) -> (Session, WeightStore) {
        refined_session(recipe, Refinements::default())
    }

    fn refined_session(recipe: &TrainConfig, refinements: Refinements) -> (Session, WeightStore) {
        session_of("macro:c3.0", recipe, refinements)
    }

    fn session_of(
        arch: &str,
        recipe: &TrainConfig,
        refinements: Refinements,
    ) -> (Session, WeightStore) {
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
        let arch: Arch = arch.parse().expect("an architecture");
        let config = NetworkConfig {
            channels: 5,
            cells_per_stage: 1,
            ..NetworkConfig::default()
        };
        let (shape, classes) = (data.image_shape(), data.classes.len());
        let network = Network::build(&arch, 2, &config, shape, classes).expect("a network");
        let (mut weights, train) = (WeightStore::new(1), data.train.clone());
        let source = Source::new(data, Compute::cpu()).expect("a source");
        let how = (recipe, refinements);
        let session = Session::refined(&network, &mut weights, how, &source, train, 2);
        (session.expect("a session"), weights)
    }

    /// What `body` gives on the CPU and on a GPU, if there is a C++ compiler.
    fn on_both<R>(body: impl Fn() -> R) -> Option<[R; 2]> {
        match cuda_emulation::AVAILABLE {
            true => Some([body(), cuda_emulation::run(&body)]),
            false => {
                println!("skipped: no C++ compiler");
                None
            }
        }
    }

    #[test]
    fn training_takes_the_precision_of_the_recipe_and_evaluation_takes_single() {
        // Emulated where this CPU has no instructions: a session does as it is told.
        let [single, bf16] = [PrecisionKind::F32, PrecisionKind::Bf16].map(|precision| {
            let recipe = TrainConfig {
                precision,
                ..recipe()
            };
            let (mut session, mut weights) = session(&recipe);
            let evaluated = session.validate(&mut weights, 0).expect("an evaluation");
            let trained = session.train_steps(0, Trained::default(), 1, &mut |_, _| {
                ControlFlow::Continue(())
            });
            (evaluated.loss(), trained.expect("a step").totals.loss())
        });
        assert_eq!(single.0.to_bits(), bf16.0.to_bits());
        assert_ne!(single.1.to_bits(), bf16.1.to_bits());
    }

    #[test]
    fn progress_tells_the_loss_of_each_step() {
        let told = on_both(|| {
            let (mut session, _weights) = session(&recipe());
            let mut told = Vec::new();
            let totals = session.train_epoch(0, &mut |images, loss| told.push((images, loss)));
            (told, totals.expect("an epoch").loss())
        });
        for (told, mean) in told.into_iter().flatten() {
            let images: Vec<u64> = told.iter().map(|(images, _)| *images).collect();
            assert_eq!(images, [20, 40]);
            assert!(
                (told[0].1 + told[1].1 - 2.0 * mean).abs() < 1e-9,
                "{told:?}, {mean}"
            );
        }
    }

    #[test]
    fn an_epoch_in_parts_is_the_epoch() {
        let refinements = Refinements {
            ema: 0.9,
            mixup: 0.4,
            ..Refinements::default()
        };
        let recipe = TrainConfig {
            batch: 10,
            ..recipe()
        };
        let ends = on_both(|| {
            [&[0, 4][..], &[0, 1, 3, 4]].map(|ends| {
                let (mut session, weights) = refined_session(&recipe, refinements);
                let mut trained = Trained::default();
                for end in &ends[1..] {
                    let go_on = &mut |_: u64, _: f64| ControlFlow::Continue(());
                    let part = session.train_steps(1, trained, *end, go_on);
                    trained = part.expect("steps");
                }
                let averages = session.averages().expect("averages").to_bytes();
                let weights = weights.to_bytes().expect("bytes");
                (weights, averages.expect("bytes"), trained)
            })
        });
        for [whole, parts] in ends.into_iter().flatten() {
            assert!(whole == parts, "{:?}, {:?}", whole.2, parts.2);
        }
    }

    /// The third step of the second epoch, taken by hand with what the documentation says of it.
    #[test]
    fn a_refined_step_is_what_it_says() {
        let refinements = Refinements {
            mixup: 0.4,
            drop_path: 0.3,
            auxiliary_head: 0.7,
            ..Refinements::default()
        };
        let recipe = TrainConfig {
            batch: 10,
            clip: 0.0,
            ..recipe()
        };
        let arch = "micro:c3.-1+d3.-2/id.0+mp.-1";
        let (mut session, weights) = session_of(arch, &recipe, refinements);
        let (step, batch, seed) = (6, 10, 2);
        let before = Trained {
            step: 2,
            totals: Totals::default(),
        };
        let go_on = &mut |_: u64, _: f64| ControlFlow::Continue(());
        let trained = session.train_steps(1, before, 3, go_on).expect("a step");

        // 40 images: 4 steps in each of 3 epochs.
        let network = session.inference_network().with_auxiliary_head();
        let network = network.expect("an auxiliary head");
        let mut by_hand = WeightStore::new(1);
        let options = PlanOptions {
            mixup: true,
            drop_path: true,
            auxiliary_weight: 0.7,
            ..PlanOptions::default()
        };
        let mut plan =
            Plan::compile_with(&network, &mut by_hand, batch, options, &mut Arena::new())
                .expect("a plan");
        let order = epoch_order(&session.train, split(split(seed, "order"), "1"));
        let data = session.source.data.clone();
        let stream = split(split(seed, "augment"), "1");
        plan.fill(|pixels, labels| {
            fill_batch(
                &data.images,
                &order[20..30],
                &data.normalization,
                Some(&recipe.augment),
                stream,
                20,
                pixels,
                labels,
            );
        })
        .expect("images");
        let chances = Chances::new(refinements, seed, network.branches().len(), batch, 12);
        let mut dropped = 0;
        plan.set_chances(|row| {
            chances.fill(step, row);
            assert!(row[0] < 1.0);
            // 1 / (1 - 0.3 * 6 / 11).
            let kept = (11.0 / 9.2) as f32;
            dropped = row[1..].iter().filter(|factor| **factor == 0.0).count();
            assert!(
                row[1..]
                    .iter()
                    .all(|f| *f == 0.0 || (*f - kept).abs() < 1e-6)
            );
        })
        .expect("chances");
        assert!(dropped > 0);
        plan.mix().expect("mixed");
        plan.forward().expect("forward");
        let loss = plan.loss().expect("loss");
        plan.backward().expect("backward");
        let mut optimizer = Optimizer::new(&recipe, plan.parameters()).expect("an optimizer");
        let rate = LearningRate::new(&recipe, 4).at(step);
        optimizer.step(rate).expect("an update");
        assert_eq!(trained.totals.loss_sum.to_bits(), loss.loss_sum.to_bits());
        let bytes = [&weights, &by_hand].map(|weights| weights.to_bytes().expect("bytes"));
        assert!(bytes[0] == bytes[1]);
    }

    #[test]
    fn breaking_off_leaves_the_rest_of_the_epoch() {
        let steps = on_both(|| {
            let (mut session, _weights) = session(&recipe());
            let stop = &mut |_: u64, _: f64| ControlFlow::Break(());
            let trained = session.train_steps(0, Trained::default(), 2, stop);
            let trained = trained.expect("a step");
            (trained.step, trained.totals.images)
        });
        assert!(steps.is_none_or(|steps| steps == [(1, 20); 2]));
    }

    #[test]
    fn updates_are_counted_from_epoch_to_epoch() {
        let recipe = TrainConfig {
            optimizer: OptimizerKind::Adam,
            ..recipe()
        };
        let updates = on_both(|| {
            let (mut session, _weights) = session(&recipe);
            for epoch in 0..3 {
                session
                    .train_epoch(epoch, &mut |_, _| ())
                    .expect("an epoch");
            }
            session.optimizer.updates()
        });
        assert!(updates.is_none_or(|updates| updates == [6, 6]));
    }

    #[test]
    fn a_step_that_diverges_is_counted_over_all_epochs() {
        let recipe = TrainConfig {
            learning_rate: 1e30,
            clip: 0.0,
            ..recipe()
        };
        let told = on_both(|| {
            let (mut session, _weights) = session(&recipe);
            let outcome = session.train_epoch(2, &mut |_, _| ());
            outcome
                .expect_err("a number that is not finite")
                .to_string()
        });
        if let Some([expected, found]) = told {
            assert!(expected.contains("at step 6"), "{expected}");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn recalibration_sees_images_as_they_are() {
        let recipe = TrainConfig {
            bn_eval: BnEval::Recalibrated,
            ..recipe()
        };
        let means = on_both(|| {
            let (mut session, _weights) = session(&recipe);
            let statistics = session.recalibrated().expect("statistics");
            let read = |entry: &Statistics| host::read::<f32>(&entry.mean).expect("numbers");
            statistics.iter().flat_map(read).collect::<Vec<f32>>()
        });
        if let Some([expected, found]) = means {
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{found}, expected {expected}"
                );
            }
        }
    }
}
