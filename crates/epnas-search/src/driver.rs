//! The loop: proposals in, children trained, history and checkpoint on disk after each.
//!
//! The driver knows neither what an evaluator trains nor how a strategy decides; it owns the order of things: a child is
//! evaluated, its record appended and synchronized, then the checkpoint committed. A child whose record lies beyond the
//! checkpoint is evaluated again after a crash, with the same seed from the same weights, so it ends the same.

use std::path::PathBuf;
use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{EvaluateError, Evaluator, Job, Measurement, Space};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, Commit, Loaded, Store};
use crate::config::HistoryPolicy;
use crate::disk;
use crate::error::SearchError;
use crate::history::{History, HistoryFile, Record, Status};
use crate::observer::{Event, Observer};
use crate::strategy::{Batch, Proposal, Strategy};

/// Decides before each child but the first whether to stop: told the history and the wall time of this part of the run
/// in seconds, it returns the reason in words, or `None` to go on.
pub type StopRule<'a> = &'a mut dyn FnMut(&History, f64) -> Option<String>;

/// How a part of a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The strategy had nothing more to propose.
    Finished,
    /// The stop rule said so; the reason is given.
    Stopped(String),
}

/// What a part of a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// Every child.
    pub history: History,
    /// Why it ended.
    pub ended: Ended,
    /// Wall time in seconds, over all resumed parts.
    pub seconds: f64,
}

/// Runs a strategy against an evaluator in a folder.
pub struct Driver<'a> {
    /// Folder for `history.jsonl` and `checkpoint/`. If it holds a checkpoint, the search goes on from there.
    pub folder: PathBuf,
    /// What is searched.
    pub space: Space,
    /// Which accuracy counts for an architecture that was trained more than once.
    pub policy: HistoryPolicy,
    /// The run's root seed.
    pub seed: u64,
    /// When to stop early; `None` for never.
    pub stop: Option<StopRule<'a>>,
}

/// What the checkpoint keeps besides weights and surrogate.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    strategy: serde_json::Value,
    /// The batch in progress.
    batch: Option<Batch>,
    /// How many of its children are done.
    done: usize,
}

impl Driver<'_> {
    /// Runs to the end, or on from the checkpoint. The evaluator must be fresh; its state is restored when the search
    /// goes on.
    ///
    /// # Errors
    /// [`SearchError`]; everything up to the last finished child is on disk then.
    pub fn run<E, S>(
        mut self,
        evaluator: &mut E,
        strategy: &mut S,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, SearchError>
    where
        E: Evaluator + ?Sized,
        S: Strategy + ?Sized,
    {
        disk::make_dir(&self.folder)?;
        let (store, loaded) = Store::open(&self.folder.join("checkpoint"))?;
        let (file, records) = HistoryFile::open(
            &self.folder.join("history.jsonl"),
            loaded.as_ref().map_or(0, |loaded| loaded.children),
        )?;
        let history = History::from_records(self.space.clone(), self.policy, records);
        let mut progress = Loop {
            store,
            file,
            history,
            batch: None,
            done: 0,
            before: 0.0,
            started: Instant::now(),
            seed: self.seed,
        };
        match loaded {
            Some(loaded) => progress.resume(loaded, evaluator, strategy, observer)?,
            None => progress.commit(
                strategy,
                Some(&evaluator.snapshot().map_err(SearchError::snapshot)?),
            )?,
        }
        loop {
            if progress.batch.is_none() {
                progress.batch = strategy.propose(&progress.history, observer)?;
                progress.done = 0;
            }
            let Some(batch) = progress.batch.clone() else {
                break;
            };
            observer.event(Event::Step {
                iteration: batch.iteration,
                step: batch.step,
                candidates: batch.candidates,
                children: batch.children.len(),
                temperature: batch.temperature,
            });
            for proposal in &batch.children[progress.done.min(batch.children.len())..] {
                if let Some(reason) = self.stop_reason(&progress) {
                    observer.event(Event::Stopped { reason: &reason });
                    return Ok(progress.end(Ended::Stopped(reason)));
                }
                progress.child(&batch, proposal, evaluator, strategy, observer)?;
            }
            strategy.observe(&batch, &progress.history, observer)?;
            progress.batch = None;
            progress.done = 0;
            progress.commit(strategy, None)?;
        }
        Ok(progress.end(Ended::Finished))
    }

    fn stop_reason(&mut self, progress: &Loop) -> Option<String> {
        // Without a single child there would be nothing to show.
        if progress.history.is_empty() {
            return None;
        }
        let seconds = progress.seconds();
        self.stop
            .as_mut()
            .and_then(|stop| stop(&progress.history, seconds))
    }
}

struct Loop {
    store: Store,
    file: HistoryFile,
    history: History,
    batch: Option<Batch>,
    done: usize,
    /// Wall time before this process, in seconds.
    before: f64,
    started: Instant,
    seed: u64,
}

impl Loop {
    fn resume<E, S>(
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
        let position: Position = serde_json::from_value(loaded.strategy).map_err(|error| {
            crate::StrategyError::State {
                reason: error.to_string(),
            }
        })?;
        evaluator
            .restore(&loaded.weights)
            .map_err(SearchError::snapshot)?;
        strategy.restore(&position.strategy, loaded.surrogate.as_deref())?;
        self.batch = position.batch;
        self.done = position.done;
        self.before = loaded.seconds;
        observer.event(Event::Resumed {
            done: loaded.children as u64,
            seconds: loaded.seconds,
        });
        Ok(())
    }

    fn child<E, S>(
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
        let mut progress = |progress| observer.event(Event::ChildProgress(progress));
        let result = evaluator
            .evaluate(Job {
                arch,
                seed,
                progress: &mut progress,
            })
            .and_then(finite);
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
                    .restore(&self.store.weights()?)
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
        self.file.append(&record)?;
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

    fn commit<S: Strategy + ?Sized>(
        &mut self,
        strategy: &S,
        weights: Option<&[u8]>,
    ) -> Result<(), SearchError> {
        let fits = strategy.fits();
        let surrogate = if fits == self.store.fits() {
            None
        } else {
            strategy.surrogate()?
        };
        let position = Position {
            strategy: strategy.state(),
            batch: self.batch.clone(),
            done: self.done,
        };
        let strategy =
            serde_json::to_value(position).map_err(|error| crate::StrategyError::State {
                reason: error.to_string(),
            })?;
        self.store.commit(Commit {
            children: self.history.len(),
            seconds: self.seconds(),
            strategy,
            weights,
            surrogate: surrogate.as_deref().map(|bytes| (bytes, fits)),
        })?;
        Ok(())
    }

    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    fn end(self, ended: Ended) -> Outcome {
        Outcome {
            seconds: self.seconds(),
            history: self.history,
            ended,
        }
    }
}

/// JSON has no infinities, and nothing can be learned from them: such a child has failed.
pub(crate) fn finite(measurement: Measurement) -> Result<Measurement, EvaluateError> {
    if !measurement.estimate.is_finite() {
        return Err(EvaluateError::child(format!(
            "its estimate is {}",
            measurement.estimate
        )));
    }
    match measurement
        .epochs
        .iter()
        .find(|epoch| !(epoch.loss.is_finite() && epoch.accuracy.is_finite()))
    {
        Some(epoch) => Err(EvaluateError::child(format!(
            "loss {} in epoch {}",
            epoch.loss, epoch.epoch
        ))),
        None => Ok(measurement),
    }
}

/// Wall time in seconds that the part of a run in `folder` has taken so far; 0 when it has not begun.
///
/// # Errors
/// [`CheckpointError`] when its checkpoint cannot be read.
pub fn elapsed_seconds(folder: &std::path::Path) -> Result<f64, CheckpointError> {
    if !folder.join("checkpoint").is_dir() {
        return Ok(0.0);
    }
    Ok(crate::checkpoint::peek_seconds(&folder.join("checkpoint"))?.unwrap_or(0.0))
}
