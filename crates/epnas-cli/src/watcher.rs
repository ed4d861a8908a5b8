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
    /// Image passes that earlier epochs of the final training took.
    epoch_images: u64,
    seen_images: u64,
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
            epoch_images: 0,
            seen_images: 0,
        }
    }

    /// Says something beside the progress.
    pub(crate) fn note(&mut self, text: &str) {
        self.meter = None;
        self.style.note(text);
    }

    fn begin_phase(&mut self, phase: Phase, total: Total) {
        let (title, unit) = match phase {
            Phase::Search => ("search", "child"),
            Phase::Baseline => ("random search at equal budget", "random"),
            Phase::Selection => ("selection: retraining the best from scratch", "candidate"),
            Phase::Training => ("training from scratch", "epoch"),
            Phase::Ranking => (
                "ranking: estimates, then retraining from scratch",
                "architecture",
            ),
        };
        self.meter = None;
        self.phase = phase;
        self.style.note(title);
        let mut meter = Meter::new(self.style, unit, total);
        if phase == Phase::Training {
            meter.begin("");
        }
        self.meter = Some(meter);
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
            } => {
                self.style.note(&format!(
                    "resumed after {done} ({})",
                    duration(Duration::from_secs_f64(seconds))
                ));
                self.with_meter(|meter| meter.resume(done, training_macs));
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
                    self.seen_images = images;
                    images = images.saturating_sub(self.epoch_images);
                    total = (total.saturating_sub(self.epoch_images)).max(images);
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
                    meter.finish(&result, &text, record.estimate, images, macs);
                });
            }
            Event::CandidateFinished { arch, accuracy, .. } => {
                let result = accuracy.map_or_else(|| "failed".to_owned(), percent);
                let text = arch.to_string();
                self.with_meter(|meter| meter.finish(&result, &text, accuracy, 0, 0));
            }
            Event::Epoch { loss, accuracy, .. } => {
                let images = self.seen_images.saturating_sub(self.epoch_images);
                self.epoch_images = self.seen_images;
                let accuracy_text =
                    accuracy.map_or_else(String::new, |a| format!(", validation {}", percent(a)));
                self.with_meter(|meter| {
                    meter.finish(
                        &format!("loss {loss:.4}{accuracy_text}"),
                        "",
                        accuracy,
                        images,
                        0,
                    );
                    meter.begin("");
                });
            }
            Event::Stopped { reason } => self.style.note(&format!("stopped: {reason}")),
            Event::Fit { report, .. } => tracing::info!(?report, "surrogate fitted"),
            _ => {}
        }
    }
}
