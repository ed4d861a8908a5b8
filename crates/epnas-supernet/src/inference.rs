//! Running a network over many images: one plan for full batches and one for the remainder, made when first needed.

use std::collections::BTreeMap;

use epnas_arch::Network;
use epnas_data::{Images, Normalization, fill_batch};

use crate::{
    error::SupernetError,
    host,
    plan::{Arena, Mode, Plan, PlanOptions, Statistics},
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
    mode: Mode,
    batch: usize,
    arena: Arena,
    plans: BTreeMap<usize, Plan>,
}

impl Inference {
    pub(crate) fn new(network: Network, mode: Mode, batch: usize, arena: Arena) -> Inference {
        Inference {
            network,
            mode,
            batch: batch.max(1),
            arena,
            plans: BTreeMap::new(),
        }
    }

    /// Memory of the plans, in bytes, arena included.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes()
            + self
                .plans
                .values()
                .map(|plan| plan.describe().fixed_bytes)
                .sum::<u64>()
    }

    /// The plan for a number of images.
    fn plan(
        &mut self,
        weights: &mut WeightStore,
        batch: usize,
    ) -> Result<&mut Plan, SupernetError> {
        if !self.plans.contains_key(&batch) {
            // Another remainder replaces the old one.
            self.plans.retain(|size, _| *size == self.batch);
            let options = PlanOptions {
                mode: self.mode,
                ..PlanOptions::default()
            };
            let plan = Plan::compile_with(&self.network, weights, batch, options, &mut self.arena)?;
            self.plans.insert(batch, plan);
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
            let plan = self.plan(weights, chunk.len())?;
            let labels = plan.fill(|pixels, labels| {
                fill_batch(images, chunk, normalization, None, 0, 0, pixels, labels);
                labels.to_vec()
            })?;
            match statistics {
                Some(statistics) => {
                    let mut other = statistics.to_vec();
                    plan.swap_statistics(&mut other);
                    let result = plan.forward();
                    plan.swap_statistics(&mut other);
                    result?;
                }
                None => plan.forward()?,
            }
            let report = plan.loss()?;
            totals.images += chunk.len();
            totals.loss_sum += report.loss_sum;
            totals.correct += report.correct;
            host::with(plan.logits(), |logits: &[f32]| each(logits, &labels))?;
        }
        Ok(totals)
    }
}
