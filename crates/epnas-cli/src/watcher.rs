//! Turns the events of a run into progress.

use std::time::Duration;

use epnas_search::{Event, Observer, Phase, Status, Total};

use crate::arguments::Global;
use crate::interrupt::Interrupt;
use crate::output::grouped;
use crate::progress::{Meter, Style, duration, percent};

/// Shows what happens during a run.
#[derive(Debug)]
pub(crate) struct Watcher {
    style: Style,
    interrupt: Interrupt,
    /// Whether it has been said that a signal was received.
    is_stopping: bool,
    phase: Phase,
    meter: Option<Meter>,
    /// Of a training: how many epochs it has, how many are done, and the image passes of one.
    epochs: u64,
    epochs_done: u64,
    epoch_images: u64,
}

impl Watcher {
    /// A watcher that shows what the flags ask for, and that a signal has come.
    pub(crate) fn new(global: &Global, interrupt: &Interrupt) -> Self {
        Self {
            style: Style::choose(global),
            interrupt: interrupt.clone(),
            is_stopping: false,
            phase: Phase::Search,
            meter: None,
            epochs: 1,
            epochs_done: 0,
            epoch_images: 0,
        }
    }

    /// Says something beside the progress.
    pub(crate) fn note(&mut self, text: &str) {
        self.meter = None;
        self.style.note(text);
    }

    fn begin_phase(&mut self, phase: Phase, total: Total) {
        let (title, unit, measure) = match phase {
            Phase::Search => ("search", "child", "estimates"),
            Phase::Baseline => ("random search at equal budget", "random", "estimates"),
            Phase::Selection => (
                "selection: retraining the best from scratch",
                "candidate",
                "retrained",
            ),
            Phase::Training => ("training from scratch", "epoch", "validation"),
            Phase::Ranking => (
                "ranking: estimates, then retraining from scratch",
                "architecture",
                "retrained",
            ),
        };
        self.meter = None;
        self.phase = phase;
        self.style.note(title);
        if let (Phase::Training, Total::Pieces(epochs)) = (phase, total) {
            (self.epochs, self.epochs_done) = (epochs.max(1), 0);
        }
        self.meter = Some(Meter::new(self.style, unit, measure, total));
    }

    /// Says once that the signal is heard: the piece in progress may take a while.
    fn answer_signal(&mut self) {
        if self.interrupt.is_set() && !self.is_stopping {
            self.is_stopping = true;
            let piece = match self.phase {
                Phase::Search | Phase::Baseline => "child",
                Phase::Selection => "candidate",
                Phase::Training => "step",
                Phase::Ranking => "architecture",
            };
            tracing::warn!("stopping after this {piece}; a second signal stops at once");
        }
    }

    fn with_meter(&mut self, action: impl FnOnce(&mut Meter)) {
        if let Some(meter) = &mut self.meter {
            action(meter);
        }
    }
}

impl Observer for Watcher {
    fn event(&mut self, event: Event<'_>) {
        self.answer_signal();
        match event {
            Event::Phase { phase, total } => self.begin_phase(phase, total),
            Event::Resumed {
                done,
                training_macs,
                seconds,
                records,
                accuracies,
            } => {
                self.style.note(&format!(
                    "resumed after {done} ({})",
                    duration(Duration::from_secs_f64(seconds))
                ));
                self.epochs_done = done;
                self.with_meter(|meter| {
                    for record in records {
                        meter.score(&record.arch.to_string(), record.estimate);
                    }
                    for (index, accuracy) in accuracies.iter().enumerate() {
                        score_epoch(meter, index + 1, *accuracy);
                    }
                    meter.resume(done, training_macs);
                });
            }
            Event::Step {
                iteration,
                step,
                candidates,
                children,
                temperature,
            } => {
                let total = grouped(candidates);
                let chosen = match temperature {
                    _ if candidates == children as u64 => format!("all {total} candidates"),
                    None => format!("{children} of {total} candidates"),
                    Some(t) => format!("{children} of {total} candidates at temperature {t:.3}"),
                };
                // The baseline draws one child at a time.
                if self.phase != Phase::Baseline {
                    self.style.note(&format!(
                        "iteration {}, step {step}: {chosen}",
                        iteration + 1
                    ));
                }
            }
            Event::ChildStarted { arch, .. } | Event::CandidateStarted { arch, .. } => {
                let text = arch.to_string();
                self.with_meter(|meter| meter.begin(&text));
            }
            Event::ChildProgress(progress) => {
                let (mut images, mut total) = (progress.images, progress.total_images);
                if self.phase == Phase::Training {
                    // Counted over all epochs, while a piece of the meter is one.
                    total /= self.epochs;
                    self.epoch_images = total;
                    images = images.saturating_sub(self.epochs_done * total);
                }
                self.with_meter(|meter| meter.advance(images, total, progress.loss));
            }
            Event::ChildFinished { record } => {
                let result = match record.status {
                    Status::Ok => record.estimate.map_or_else(String::new, percent),
                    Status::Failed => format!(
                        "failed: {}",
                        record.reason.as_deref().unwrap_or("no reason given")
                    ),
                };
                let (text, images) = (record.arch.to_string(), record.images);
                let macs = record.training_macs();
                self.with_meter(|meter| {
                    meter.score(&text, record.estimate);
                    meter.finish(&result, &text, images, macs);
                });
            }
            Event::CandidateFinished { arch, accuracy, .. } => {
                let result = accuracy.map_or_else(|| "failed".to_owned(), percent);
                let text = arch.to_string();
                self.with_meter(|meter| {
                    meter.score(&text, accuracy);
                    meter.finish(&result, &text, 0, 0);
                });
            }
            Event::Epoch {
                epoch,
                loss,
                accuracy,
                ..
            } => {
                self.epochs_done = epoch as u64;
                let images = self.epoch_images;
                let accuracy_text =
                    accuracy.map_or_else(String::new, |a| format!(", validation {}", percent(a)));
                self.with_meter(|meter| {
                    score_epoch(meter, epoch, accuracy);
                    meter.finish(&format!("loss {loss:.4}{accuracy_text}"), "", images, 0);
                    meter.begin("");
                });
            }
            Event::Stopped { reason } => self.style.note(&format!("stopped: {reason}")),
            _ => {}
        }
    }
}

/// An epoch that was not validated has no accuracy, which is no failure.
fn score_epoch(meter: &mut Meter, epoch: usize, accuracy: Option<f64>) {
    if accuracy.is_some() {
        meter.score(&format!("epoch {epoch}"), accuracy);
    }
}
