//! The loop: proposals in, children trained, history and checkpoint on disk after each.
//!
//! The driver knows neither what an evaluator trains nor how a strategy decides; it owns the order of things: a child is
//! evaluated, its record appended and synchronized, then the checkpoint committed. A child whose record lies beyond the
//! checkpoint is evaluated again after a crash, with the same seed from the same weights, so it ends the same.

mod attempt;
mod journal;
mod keep;

use std::path::{Path, PathBuf};
use std::time::Instant;

use epnas_arch::{Evaluator, Space};

use crate::budget::Budget;
use crate::checkpoint::{self, CheckpointError};
use crate::config::HistoryPolicy;
use crate::error::SearchError;
use crate::history::History;
use crate::observer::{Event, Observer};
use crate::strategy::{Strategy, StrategyError};

pub(crate) use attempt::attempt;
use journal::Journal;
use keep::Keep;

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

/// Runs a strategy against an evaluator.
pub struct Driver<'a> {
    /// Folder for `history.jsonl` and `checkpoint/`. If it holds a checkpoint, the search goes on from there. `None` keeps
    /// nothing on disk, for searches that take no longer than a table is read.
    pub folder: Option<PathBuf>,
    /// What is searched.
    pub space: Space,
    /// Which accuracy counts for an architecture that was trained more than once.
    pub policy: HistoryPolicy,
    /// The run's root seed.
    pub seed: u64,
    /// What else decides the children, in any form; a checkpoint of other settings is refused.
    pub settings: String,
    /// What the search may spend; it ends there, also within a batch.
    pub budget: Budget,
    /// When to stop early; `None` for never.
    pub stop: Option<StopRule<'a>>,
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
        let (keep, left) = match &self.folder {
            Some(folder) => Keep::open(folder, &self.settings)?,
            None => (Keep::Memory { weights: vec![] }, None),
        };
        let (loaded, records) = left.unzip();
        let records = records.unwrap_or_default();
        let history = History::from_records(self.space.clone(), self.policy, records);
        let mut journal = Journal {
            keep,
            history,
            batch: None,
            done: 0,
            before: 0.0,
            started: Instant::now(),
            seed: self.seed,
        };
        match loaded {
            Some(loaded) => journal.resume(loaded, evaluator, strategy, observer)?,
            None => journal.commit(
                strategy,
                Some(&evaluator.snapshot().map_err(SearchError::snapshot)?),
            )?,
        }
        loop {
            if journal.batch.is_none() {
                if self.budget.is_spent(&journal.history) {
                    break;
                }
                journal.batch = match strategy.propose(&journal.history, observer) {
                    // With something to show, there is a result all the same.
                    Err(error @ StrategyError::Limits { .. })
                        if journal.history.deepest() == Some(self.space.levels()) =>
                    {
                        let reason = format!("the search ended early: {error}");
                        observer.event(Event::Stopped { reason: &reason });
                        return Ok(journal.end(Ended::Stopped(reason)));
                    }
                    proposed => proposed?,
                };
                journal.done = 0;
            }
            let Some(batch) = journal.batch.clone() else {
                break;
            };
            observer.event(Event::Step {
                iteration: batch.iteration,
                step: batch.step,
                candidates: batch.candidates,
                children: batch.children.len(),
                temperature: batch.temperature,
            });
            for proposal in &batch.children[journal.done.min(batch.children.len())..] {
                if self.budget.is_spent(&journal.history) {
                    return Ok(journal.end(Ended::Finished));
                }
                if let Some(reason) = self.stop_reason(&journal) {
                    observer.event(Event::Stopped { reason: &reason });
                    return Ok(journal.end(Ended::Stopped(reason)));
                }
                journal.child(&batch, proposal, evaluator, strategy, observer)?;
            }
            strategy.observe(&batch, &journal.history, observer)?;
            journal.batch = None;
            journal.done = 0;
            journal.commit(strategy, None)?;
        }
        Ok(journal.end(Ended::Finished))
    }

    fn stop_reason(&mut self, journal: &Journal) -> Option<String> {
        // Without a single child there would be nothing to show.
        if journal.history.is_empty() {
            return None;
        }
        let seconds = journal.seconds();
        self.stop
            .as_mut()
            .and_then(|stop| stop(&journal.history, seconds))
    }
}

/// Wall time in seconds that the part of a run in `folder` has taken so far; 0 when it has not begun.
///
/// # Errors
/// [`CheckpointError`] when its checkpoint cannot be read.
pub fn elapsed_seconds(folder: &Path) -> Result<f64, CheckpointError> {
    Ok(so_far(folder)?.map_or(0.0, |(_, seconds)| seconds))
}

/// How many children the part of a run in `folder` has trained so far, without reading them.
///
/// # Errors
/// As [`elapsed_seconds`].
pub fn trained_children(folder: &Path) -> Result<usize, CheckpointError> {
    Ok(so_far(folder)?.map_or(0, |(children, _)| children))
}

fn so_far(folder: &Path) -> Result<Option<(usize, f64)>, CheckpointError> {
    let dir = folder.join("checkpoint");
    match dir.is_dir() {
        true => checkpoint::peek(&dir),
        false => Ok(None),
    }
}
