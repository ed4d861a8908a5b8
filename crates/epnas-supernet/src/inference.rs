//! Running a network over many images: one plan for full batches and one for the remainder, made when first needed.

use std::collections::BTreeMap;

use epnas_arch::Network;
use epnas_data::{Images, Normalization, fill_batch};

use crate::{
    batches::Batches,
    compute::Compute,
    error::SupernetError,
    host,
    plan::{Activations, Arena, Mode, Plan, PlanOptions, Statistics},
    routine::Routine,
    weights::WeightStore,
};

/// Loss and hits over a set of images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Totals {
    pub(crate) images: usize,
    pub(crate) loss_sum: f64,
    pub(crate) correct: usize,
}

impl Totals {
    /// Share of hits, 0 to 1.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// Mean loss in nats.
    pub(crate) fn loss(&self) -> f64 {
        self.loss_sum / self.images.max(1) as f64
    }
}

/// A network with inference plans for the batch sizes that came up. At most two: full batches and a remainder.
#[derive(Debug)]
pub(crate) struct Inference {
    network: Network,
    options: PlanOptions,
    batch: usize,
    arena: Arena,
    plans: BTreeMap<usize, Prepared>,
}

/// A plan, and its work as a GPU repeats it.
#[derive(Debug)]
struct Prepared {
    plan: Plan,
    routine: Routine,
}

impl Inference {
    pub(crate) fn new(
        network: Network,
        mode: Mode,
        activations: Activations,
        batch: usize,
        arena: Arena,
    ) -> Inference {
        let options = PlanOptions {
            mode,
            activations,
            ..PlanOptions::default()
        };
        Inference {
            network,
            options,
            batch: batch.max(1),
            arena,
            plans: BTreeMap::new(),
        }
    }

    /// The network that is run.
    #[cfg(test)]
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Memory of the plans, in bytes, arena included.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes()
            + self
                .plans
                .values()
                .map(|prepared| prepared.plan.describe().fixed_bytes)
                .sum::<u64>()
    }

    /// The plan for a number of images.
    fn plan(
        &mut self,
        weights: &mut WeightStore,
        batch: usize,
    ) -> Result<&mut Prepared, SupernetError> {
        if !self.plans.contains_key(&batch) {
            // Another remainder replaces the old one.
            self.plans.retain(|size, _| *size == self.batch);
            let (network, options) = (&self.network, self.options);
            let plan = Plan::compile_with(network, weights, batch, options, &mut self.arena)?;
            let routine = Routine::default();
            self.plans.insert(batch, Prepared { plan, routine });
        }
        self.plans.get_mut(&batch).ok_or(SupernetError::EmptyBatch)
    }

    /// Evaluates the images at `indices`, with other running statistics if given. `each` sees the logits of every
    /// batch, `[images, classes]` row-major, and its labels.
    pub(crate) fn run(
        &mut self,
        weights: &mut WeightStore,
        images: &Images,
        indices: &[u32],
        normalization: &Normalization,
        statistics: Option<&[Statistics]>,
        mut each: impl FnMut(&[f32], &[u32]),
    ) -> Result<Totals, SupernetError> {
        let mut totals = Totals::default();
        for chunk in indices.chunks(self.batch) {
            let Prepared { plan, .. } = self.plan(weights, chunk.len())?;
            let labels = plan.fill(|pixels, labels| {
                fill_batch(images, chunk, normalization, None, 0, 0, pixels, labels);
                labels.to_vec()
            })?;
            forward(plan, statistics)?;
            let report = plan.loss()?;
            totals.images += chunk.len();
            totals.loss_sum += report.loss_sum;
            totals.correct += report.correct;
            host::with(plan.logits(), |logits: &[f32]| each(logits, &labels))?;
        }
        Ok(totals)
    }

    /// As [`Inference::run`], on images that lie on the GPU.
    pub(crate) fn run_on_gpu(
        &mut self,
        weights: &mut WeightStore,
        batches: &Batches,
        compute: &Compute,
        indices: &[u32],
        statistics: Option<&[Statistics]>,
    ) -> Result<Totals, SupernetError> {
        batches.start(indices, 0)?;
        for chunk in indices.chunks(self.batch) {
            let Prepared { plan, routine } = self.plan(weights, chunk.len())?;
            let mut work = || {
                batches.draw(plan, None)?;
                forward(plan, statistics)?;
                plan.add_loss_to(&batches.sums)
            };
            match statistics {
                None => routine.run(compute, work)?,
                // Other tensors every time.
                Some(_) => work()?,
            }
        }
        let sums = batches.sums.read()?;
        Ok(Totals {
            images: indices.len(),
            loss_sum: sums.loss_sum,
            correct: sums.correct,
        })
    }
}

/// Runs the network on its batch, with other running statistics if given.
fn forward(plan: &mut Plan, statistics: Option<&[Statistics]>) -> Result<(), SupernetError> {
    let Some(statistics) = statistics else {
        return plan.forward();
    };
    let mut other = statistics.to_vec();
    plan.swap_statistics(&mut other);
    let result = plan.forward();
    plan.swap_statistics(&mut other);
    result
}
