//! What happens during a run, told as it happens: for progress bars and logs.

use epnas_arch::{Arch, FitReport, Progress};

use crate::history::Record;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The search itself.
    Search,
    /// Random search at equal budget.
    Baseline,
    /// Brief retraining of the best few.
    Selection,
    /// Training of the found network from scratch.
    Training,
    /// Estimates of some architectures, each then retrained from scratch, to see how much the estimates tell.
    Ranking,
}

/// How long a part of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Children, candidates or epochs.
    Pieces(u64),
    /// Training multiply-accumulates, of however many children: a budget.
    TrainingMacs(u128),
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of the run begins.
    Phase {
        /// Which part.
        phase: Phase,
        /// What it takes in all.
        total: Total,
    },
    /// An interrupted part goes on.
    Resumed {
        /// Children or epochs already done.
        done: u64,
        /// Training multiply-accumulates they took, for a part that is measured in them ([`Total::TrainingMacs`]).
        training_macs: u128,
        /// Wall time they took, in seconds.
        seconds: f64,
        /// The children; none in a training.
        records: &'a [Record],
        /// Accuracy on the held-out images after each epoch of a training, where it was measured; none in a search.
        accuracies: &'a [Option<f64>],
    },
    /// Candidates are being scored by the surrogate.
    Scoring {
        /// Candidates scored.
        done: u64,
        /// Candidates of this step.
        total: u64,
    },
    /// The children of a step are chosen.
    Step {
        /// Iteration, from 0.
        iteration: usize,
        /// Step, from 1.
        step: usize,
        /// How many candidates there were.
        candidates: u64,
        /// How many children are trained.
        children: usize,
        /// Temperature of the draw.
        temperature: Option<f64>,
    },
    /// A child begins to train.
    ChildStarted {
        /// Position in the history, from 0.
        index: u64,
        /// The architecture.
        arch: &'a Arch,
        /// Its predicted accuracy.
        predicted: Option<f64>,
    },
    /// A child, candidate or final network trains.
    ChildProgress(Progress),
    /// A child is known and on disk.
    ChildFinished {
        /// What is known of it.
        record: &'a Record,
    },
    /// The surrogate was fitted.
    Fit {
        /// Iteration, from 0.
        iteration: usize,
        /// Step, from 1.
        step: usize,
        /// How it went.
        report: &'a FitReport,
    },
    /// A part ends before it is finished.
    Stopped {
        /// Why, in words.
        reason: &'a str,
    },
    /// A candidate of the selection, or an architecture of a ranking, begins to train.
    CandidateStarted {
        /// Position among the candidates, from 0.
        index: usize,
        /// How many candidates there are.
        total: usize,
        /// The architecture.
        arch: &'a Arch,
        /// Its estimate in the search, if it has one.
        estimate: Option<f64>,
    },
    /// It is retrained.
    CandidateFinished {
        /// Position among the candidates, from 0.
        index: usize,
        /// The architecture.
        arch: &'a Arch,
        /// Validation accuracy after retraining; `None` when it failed.
        accuracy: Option<f64>,
    },
    /// An epoch of the final training is over and saved.
    Epoch {
        /// Epoch, from 1.
        epoch: usize,
        /// How many there are.
        epochs: usize,
        /// Mean training loss.
        loss: f64,
        /// Accuracy on the held-out images, 0 to 1; `None` when not measured after this epoch.
        accuracy: Option<f64>,
        /// Wall time of the epoch in seconds.
        seconds: f64,
    },
}

/// Someone who is told.
pub trait Observer {
    /// Called for every event, on the thread that runs the search.
    fn event(&mut self, event: Event<'_>);
}

impl<F: FnMut(Event<'_>)> Observer for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _event: Event<'_>) {}
}
