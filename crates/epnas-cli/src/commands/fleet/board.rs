//! What is seen of a stage while it goes on.

use std::time::{Duration, Instant};

use epnas_fleet::{Fleet, Progress, Stage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Global;
use crate::output::grouped;
use crate::progress::{Style, bars, duration};

/// How often the folder is asked how far the pieces are.
const REDRAW: Duration = Duration::from_secs(1);

pub(super) struct Board {
    style: Style,
    bar: ProgressBar,
    stage: Stage,
    pieces: usize,
    done: usize,
    begun: Instant,
    /// Children when it began.
    before: usize,
    drawn: Option<Instant>,
}

impl Board {
    pub(super) fn new(
        fleet: &Fleet,
        stage: Stage,
        pieces: usize,
        at_once: usize,
        global: &Global,
    ) -> Self {
        let style = Style::choose(global);
        let bar = ProgressBar::hidden();
        if style == Style::Bars {
            bars().set_draw_target(ProgressDrawTarget::stderr());
            bars().add(bar.clone());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
        }
        let what = match stage {
            Stage::Search if pieces == 1 => "search",
            Stage::Search => "searches",
            Stage::Merge => "merge",
            Stage::Select if pieces == 1 => "candidate to retrain",
            Stage::Select => "candidates to retrain",
            Stage::Train if fleet.config().fleet.train => "training the best",
            Stage::Train => "choosing the best",
        };
        match stage {
            Stage::Search | Stage::Select => {
                style.note(&format!(
                    "{pieces} {what}, {} at a time",
                    at_once.min(pieces)
                ));
            }
            Stage::Merge | Stage::Train => style.note(what),
        }
        let mut board = Self {
            style,
            bar,
            stage,
            pieces,
            done: 0,
            begun: Instant::now(),
            before: 0,
            drawn: None,
        };
        board.before = board.children(fleet).map_or(0, |(children, _)| children);
        board
    }

    pub(super) fn begin(&mut self, piece: usize) {
        tracing::debug!(stage = %self.stage, piece, "begun");
    }

    pub(super) fn done(&mut self, piece: usize) {
        self.done += 1;
        self.drawn = None;
        if self.style == Style::Lines {
            self.style.note(&format!(
                "{} {piece}: done, {}/{} ({})",
                self.stage,
                self.done,
                self.pieces,
                duration(self.begun.elapsed())
            ));
        }
    }

    /// What failed is told in the end too, so where nothing is shown it is told once.
    pub(super) fn failed(&self, why: &str) {
        self.style.note(why);
    }

    pub(super) fn note(&self, text: &str) {
        match self.style {
            Style::Hidden => tracing::warn!("{text}"),
            style => style.note(text),
        }
    }

    pub(super) fn stopping(&self) {
        tracing::warn!(
            "stopping after the pieces of work in progress; a second signal stops at once"
        );
    }

    /// Children so far, and about how many there will be: a baseline at equal budget has about as many as its search.
    fn children(&self, fleet: &Fleet) -> Option<(usize, u64)> {
        let progress = match self.stage {
            Stage::Search => Progress::of(fleet).ok()?,
            _ => return None,
        };
        let all = progress.children.iter().chain(&progress.random);
        let planned = progress.planned * all.clone().count() as u64;
        Some((all.sum(), planned))
    }

    pub(super) fn draw(&mut self, fleet: &Fleet) {
        let is_fresh = self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW);
        if self.style != Style::Bars || is_fresh {
            return;
        }
        self.drawn = Some(Instant::now());
        let mut text = format!("{} {}/{}", self.stage, self.done, self.pieces);
        let elapsed = self.begun.elapsed();
        let left = match self.children(fleet) {
            Some((children, planned)) => {
                text.push_str(&format!(
                    ", {} of about {} children",
                    grouped(children),
                    grouped(planned)
                ));
                share_left(
                    children.saturating_sub(self.before),
                    planned.saturating_sub(self.before as u64),
                )
            }
            None => share_left(self.done, self.pieces as u64),
        };
        text.push_str(&format!(", {}", duration(elapsed)));
        if let Some(left) = left {
            text.push_str(&format!(", about {} left", duration(elapsed.mul_f64(left))));
        }
        self.bar.set_message(text);
    }
}

/// How much longer than until now it takes, when so much of so much is done.
fn share_left(done: usize, of: u64) -> Option<f64> {
    let (done, of) = (done as f64, of as f64);
    (done > 0.0 && of >= done).then(|| (of - done) / done)
}

impl Drop for Board {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.style == Style::Bars {
            self.style.note(&format!(
                "{}: {} of {} done in {}",
                self.stage,
                self.done,
                self.pieces,
                duration(self.begun.elapsed())
            ));
        }
    }
}
