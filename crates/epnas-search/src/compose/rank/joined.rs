//! Several trainings of one architecture, told as one.

use epnas_arch::Progress;

use crate::observer::{Event, Observer};

/// Passes events on; the trainings of one candidate become one.
pub(super) struct Joined<'a> {
    pub(super) observer: &'a mut dyn Observer,
    /// Image passes of all its trainings.
    pub(super) total: u64,
    /// Image passes of those that are over.
    before: u64,
    /// Where the one at hand is.
    now: u64,
}

impl<'a> Joined<'a> {
    pub(super) fn new(observer: &'a mut dyn Observer, total: u64) -> Self {
        Self {
            observer,
            total,
            before: 0,
            now: 0,
        }
    }
}

impl Observer for Joined<'_> {
    fn event(&mut self, event: Event<'_>) {
        let event = match event {
            Event::ChildProgress(progress) => {
                if progress.images < self.now {
                    self.before += self.now;
                }
                self.now = progress.images;
                let images = self.before + progress.images;
                Event::ChildProgress(Progress {
                    images,
                    total_images: self.total.max(images),
                    ..progress
                })
            }
            Event::CandidateStarted { .. } => {
                (self.before, self.now) = (0, 0);
                event
            }
            other => other,
        };
        self.observer.event(event);
    }
}
