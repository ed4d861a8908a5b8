//! One child: evaluated, recorded, committed; and what is needed to go on from there.

use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{EvaluateError, Evaluator};
use serde::{Deserialize, Serialize};

use super::attempt::attempt;
use super::keep::Keep;
use super::{Ended, Outcome};
use crate::checkpoint::{Commit, Loaded};
use crate::error::SearchError;
use crate::history::{History, Record, Status};
use crate::observer::{Event, Observer};
use crate::strategy::{Batch, Proposal, Strategy, StrategyError};

/// What the checkpoint keeps besides weights and surrogate.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    strategy: serde_json::Value,
    /// The batch in progress.
    batch: Option<Batch>,
    /// How many of its children are done.
    done: usize,
}

/// What is known and where it is kept.
pub(super) struct Journal {
    pub(super) keep: Keep,
    pub(super) history: History,
    pub(super) batch: Option<Batch>,
    pub(super) done: usize,
    /// Wall time before this process, in seconds.
    pub(super) before: f64,
    pub(super) started: Instant,
    pub(super) seed: u64,
}

impl Journal {
    /// Takes everything back to a checkpoint.
    pub(super) fn resume<E, S>(
        &mut self,
        loaded: Loaded,
        evaluator: &mut E,
        strategy: &mut S,
        observer: &mut dyn Observer,
    ) -> Result<(), SearchError>
    where
        E: Evaluator + ?Sized,
        S: Strategy + ?Sized,
    {
        let position: Position =
            serde_json::from_value(loaded.strategy().clone()).map_err(|error| {
                StrategyError::State {
                    reason: error.to_string(),
                }
            })?;
        self.require_space(position.batch.as_ref())?;
        evaluator
            .restore(&loaded.weights)
            .map_err(SearchError::snapshot)?;
        strategy.restore(&position.strategy, loaded.surrogate.as_deref())?;
        self.batch = position.batch;
        self.done = position.done;
        self.before = loaded.seconds();
        observer.event(Event::Resumed {
            done: loaded.children() as u64,
            training_macs: self.history.training_macs(),
            seconds: loaded.seconds(),
            records: self.history.records(),
            accuracies: &[],
        });
        Ok(())
    }

    /// Strategies and evaluators take it for granted that whatever was measured, and will be, is of the space.
    fn require_space(&self, batch: Option<&Batch>) -> Result<(), SearchError> {
        let space = self.history.space();
        let measured = self.history.records().iter().map(|record| &record.arch);
        let proposed = batch.into_iter().flat_map(|batch| &batch.children);
        for arch in measured.chain(proposed.map(|child| &child.arch)) {
            space.check(arch)?;
        }
        Ok(())
    }

    /// Evaluates a child and puts what is known then on disk.
    pub(super) fn child<E, S>(
        &mut self,
        batch: &Batch,
        proposal: &Proposal,
        evaluator: &mut E,
        strategy: &mut S,
        observer: &mut dyn Observer,
    ) -> Result<(), SearchError>
    where
        E: Evaluator + ?Sized,
        S: Strategy + ?Sized,
    {
        let index = self.history.len() as u64;
        let arch = &proposal.arch;
        observer.event(Event::ChildStarted {
            index,
            arch,
            predicted: proposal.predicted,
        });
        let key = self.history.space().key(arch);
        let seed = split(self.seed, &format!("{}/{key}", batch.seed_name));
        let clock = Instant::now();
        let result = attempt(evaluator, arch, seed, observer);
        let cost = evaluator.cost(arch);
        let mut record = Record {
            index,
            iteration: batch.iteration,
            step: batch.step,
            arch: arch.clone(),
            estimate: None,
            status: Status::Ok,
            reason: None,
            seconds: clock.elapsed().as_secs_f64(),
            params: cost.map(|cost| cost.params),
            macs: cost.map(|cost| cost.macs),
            images: 0,
            predicted: proposal.predicted,
            probability: proposal.probability,
            temperature: batch.temperature,
            epochs: Vec::new(),
        };
        match result {
            Ok(measurement) => record.measured(measurement),
            Err(EvaluateError::Child { reason }) => {
                tracing::warn!(%arch, %reason, "child failed");
                record.status = Status::Failed;
                record.reason = Some(reason);
                // What the child did to the shared weights before it failed must not reach the next one.
                evaluator
                    .restore(&self.keep.weights()?)
                    .map_err(SearchError::snapshot)?;
            }
            Err(error @ EvaluateError::Fatal(_)) => {
                return Err(SearchError::Evaluate {
                    arch: arch.to_string(),
                    source: error,
                });
            }
        }
        let failed = record.status == Status::Failed;
        self.keep.append(&record)?;
        self.history.push(record);
        self.done += 1;
        let weights = if failed {
            None
        } else {
            Some(evaluator.snapshot().map_err(SearchError::snapshot)?)
        };
        self.commit(strategy, weights.as_deref())?;
        if let Some(record) = self.history.records().last() {
            observer.event(Event::ChildFinished { record });
        }
        Ok(())
    }

    /// Makes the present state the one to resume from; `weights` is `None` when they did not change.
    pub(super) fn commit<S: Strategy + ?Sized>(
        &mut self,
        strategy: &S,
        weights: Option<&[u8]>,
    ) -> Result<(), SearchError> {
        let seconds = self.seconds();
        let (store, last) = match &mut self.keep {
            Keep::Folder { store, last, .. } => (store, last.clone()),
            Keep::Memory { weights: kept } => {
                if let Some(weights) = weights {
                    kept.clear();
                    kept.extend_from_slice(weights);
                }
                return Ok(());
            }
        };
        let fits = strategy.fits();
        let surrogate = if fits == store.fits() {
            None
        } else {
            strategy.surrogate()?
        };
        let position = Position {
            strategy: strategy.state(),
            batch: self.batch.clone(),
            done: self.done,
        };
        let strategy = serde_json::to_value(position).map_err(|error| StrategyError::State {
            reason: error.to_string(),
        })?;
        store.commit(Commit {
            children: self.history.len(),
            last,
            seconds,
            strategy,
            weights,
            surrogate: surrogate.as_deref().map(|bytes| (bytes, fits)),
        })?;
        Ok(())
    }

    /// Wall time over all resumed parts.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    pub(super) fn end(self, ended: Ended) -> Outcome {
        Outcome {
            seconds: self.seconds(),
            history: self.history,
            ended,
        }
    }
}
