//! Progress on standard error: lines that are drawn anew on a terminal; elsewhere a line per finished piece with `-v`, else
//! nothing.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use epnas_search::Total;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Global;
use crate::output;

mod screen;
mod sparkline;

/// All bars of the process, so that log lines can be written above them.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::hidden()))
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars that move: standard error is a terminal that can draw over what it shows.
    Bars,
    /// A line per finished piece: it is a terminal that cannot, or none and `-v` asks for them.
    Lines,
    /// Nothing: it is not, or `--quiet`.
    Hidden,
}

impl Style {
    /// What the flags and standard error ask for.
    pub(crate) fn choose(global: &Global) -> Self {
        match (std::io::stderr().is_terminal(), global.verbose) {
            _ if global.quiet => Style::Hidden,
            (true, _) if console::is_dumb() => Style::Lines,
            (true, _) => Style::Bars,
            (false, 0) => Style::Hidden,
            (false, _) => Style::Lines,
        }
    }

    /// Says something beside the bars: a step that begins, a reason to stop.
    pub(crate) fn note(self, text: &str) {
        match self {
            Style::Hidden => {}
            Style::Lines => output::stderr_line(text),
            Style::Bars => bars().suspend(|| output::stderr_line(text)),
        }
    }
}

/// How often what is shown follows a piece in training. Seldom enough that the limit of `indicatif` never holds back what
/// is drawn at its end, which may be all there is to see for a while.
const REDRAW: Duration = Duration::from_millis(200);

/// How far pieces of work (children, candidates, epochs) and the one at hand have come, and what they gave.
#[derive(Debug)]
pub(crate) struct Meter {
    style: Style,
    /// All lines, as one message.
    screen: ProgressBar,
    /// What a piece is called: "child".
    unit: &'static str,
    /// What the accuracies are called: "estimates".
    measure: &'static str,
    /// How long it all takes: in pieces, or in the work of the pieces.
    total: Total,
    /// What an earlier process finished, in the measure of `total`.
    before: f64,
    /// What is finished, in the measure of `total`.
    work: f64,
    /// Pieces finished.
    done: u64,
    started: Instant,
    piece: Piece,
    best: Option<(f64, String)>,
    /// Accuracies in their order, those of an earlier process first; `None` is a failure.
    accuracies: Vec<Option<f64>>,
    drawn: Instant,
}

/// The piece at hand.
#[derive(Debug)]
struct Piece {
    what: String,
    started: Instant,
    /// Image passes done, and in all.
    images: u64,
    total: u64,
    loss: Option<f64>,
    /// Whether it counts among the finished ones already, although it is still shown.
    is_finished: bool,
}

impl Piece {
    fn begin(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            started: Instant::now(),
            images: 0,
            total: 0,
            loss: None,
            is_finished: false,
        }
    }

    fn fraction(&self) -> f64 {
        self.images as f64 / self.total.max(1) as f64
    }

    /// What of it is to be added to the finished ones.
    fn part(&self) -> f64 {
        if self.is_finished {
            0.0
        } else {
            self.fraction()
        }
    }

    /// Images a second, had it taken `images` passes until now.
    fn rate(&self, images: u64) -> String {
        let rate = images as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        format!("{rate:.0} images/s")
    }
}

impl Meter {
    /// A meter over `total` pieces that are called `unit` and whose accuracies are called `measure`; none is done.
    pub(crate) fn new(
        style: Style,
        unit: &'static str,
        measure: &'static str,
        total: Total,
    ) -> Self {
        let screen = ProgressBar::hidden();
        if style == Style::Bars {
            bars().set_draw_target(ProgressDrawTarget::stderr());
            bars().add(screen.clone());
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                screen.set_style(style);
            }
        }
        let now = Instant::now();
        let mut meter = Meter {
            style,
            screen,
            unit,
            measure,
            total,
            before: 0.0,
            work: 0.0,
            done: 0,
            started: now,
            piece: Piece::begin(""),
            best: None,
            accuracies: Vec::new(),
            drawn: now,
        };
        meter.draw();
        meter
    }

    /// `done` pieces, which took `training_macs`, were finished by an earlier process.
    pub(crate) fn resume(&mut self, done: u64, training_macs: u128) {
        self.done = done;
        self.before = self.measured(done, training_macs);
        self.work = self.before;
        self.draw();
    }

    /// `pieces` that took `training_macs`, in the measure of the total.
    fn measured(&self, pieces: u64, training_macs: u128) -> f64 {
        match self.total {
            Total::Pieces(_) => pieces as f64,
            Total::TrainingMacs(_) => training_macs as f64,
        }
    }

    /// The whole, and `fraction` of a piece, in the measure of the total; pieces yet to come are taken to be as long as
    /// those before on average.
    fn whole_and_part(&self, fraction: f64) -> (f64, f64) {
        match self.total {
            Total::Pieces(whole) => (whole as f64, fraction),
            Total::TrainingMacs(whole) => {
                (whole as f64, fraction * self.work / self.done.max(1) as f64)
            }
        }
    }

    /// `12/29`, or `12` when nobody knows how many there will be.
    fn count(&self) -> String {
        match self.total {
            Total::Pieces(total) => format!("{}/{total}", self.done),
            Total::TrainingMacs(_) => self.done.to_string(),
        }
    }

    /// A piece begins; `what` names it.
    pub(crate) fn begin(&mut self, what: &str) {
        self.piece = Piece::begin(what);
        self.draw();
    }

    /// The piece has trained `images` of `total` image passes.
    pub(crate) fn advance(&mut self, images: u64, total: u64, loss: f64) {
        (self.piece.images, self.piece.total) = (images, total);
        self.piece.loss = Some(loss);
        if self.drawn.elapsed() >= REDRAW {
            self.draw();
        }
    }

    /// `what` has an `accuracy` (0 to 1), or has none because it failed.
    pub(crate) fn score(&mut self, what: &str, accuracy: Option<f64>) {
        self.accuracies.push(accuracy);
        if let Some(accuracy) = accuracy
            && self.best.as_ref().is_none_or(|(best, _)| accuracy > *best)
        {
            self.best = Some((accuracy, what.to_owned()));
        }
    }

    /// The piece ended, after `images` image passes and `training_macs`; `result` and `what` are shown in the plain
    /// line.
    pub(crate) fn finish(&mut self, result: &str, what: &str, images: u64, training_macs: u128) {
        self.done += 1;
        self.work += self.measured(1, training_macs);
        if self.style == Style::Lines {
            let rate = (images > 0).then(|| self.piece.rate(images));
            let aside: Vec<String> = rate.into_iter().chain(self.left(0.0)).collect();
            let aside = if aside.is_empty() {
                String::new()
            } else {
                format!(" ({})", aside.join(", "))
            };
            let space = if what.is_empty() { "" } else { " " };
            output::stderr_line(&format!(
                "{} {} {result}{space}{what}{aside}",
                self.unit,
                self.count()
            ));
        }
        self.piece.is_finished = true;
        self.draw();
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        if self.style == Style::Bars {
            let (_, width) = console::Term::stderr().size();
            self.screen
                .set_message(self.lines(usize::from(width)).join("\n"));
        }
    }

    /// How much of the whole is done, from 0 to 1.
    fn share(&self) -> f64 {
        let (whole, part) = self.whole_and_part(self.piece.part());
        ((self.work + part) / whole.max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// Time left at the pace since this process began.
    fn left(&self, fraction: f64) -> Option<String> {
        let (whole, part) = self.whole_and_part(fraction);
        let done = self.work + part - self.before;
        let left = whole - self.work - part;
        let (_, enough) = self.whole_and_part(0.2);
        (done > enough && left > 0.0).then(|| {
            format!(
                "{} left",
                duration(self.started.elapsed().mul_f64(left / done))
            )
        })
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.screen.finish_and_clear();
    }
}

/// `0.7123` as `71.23%`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2}%", fraction * 100.0)
}

/// A duration to two units: `2h 5m`, `3m 20s`, `12s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// The beginning of a long text: at most `longest` characters.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars()
        .take(longest.saturating_sub(3))
        .chain("...".chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_the_work_of_a_budget_and_not_its_pieces() {
        let mut meter = Meter::new(
            Style::Hidden,
            "random",
            "estimates",
            Total::TrainingMacs(1_000),
        );
        assert_eq!(meter.left(0.5), None, "nothing is known of the first piece");
        meter.started = Instant::now() - Duration::from_secs(10);
        meter.finish("", "", 0, 250);
        assert_eq!(meter.count(), "1");
        assert_eq!(meter.left(0.0).as_deref(), Some("30s left"));
        meter.finish("", "", 0, 750);
        assert_eq!(meter.left(0.0), None);
    }

    #[test]
    fn time_left_leaves_out_what_an_earlier_process_did() {
        let mut meter = Meter::new(Style::Hidden, "child", "estimates", Total::Pieces(10));
        meter.resume(4, 0);
        meter.started = Instant::now() - Duration::from_secs(10);
        meter.finish("", "", 0, 0);
        assert_eq!(meter.count(), "5/10");
        assert_eq!(meter.left(0.0).as_deref(), Some("50s left"));
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(Duration::from_secs(12)), "12s");
        assert_eq!(duration(Duration::from_secs(200)), "3m 20s");
        assert_eq!(duration(Duration::from_secs(7_500)), "2h 5m");
    }

    #[test]
    fn long_architectures_are_shortened() {
        assert_eq!(shortened("macro:c3.0", 40), "macro:c3.0");
        assert_eq!(shortened(&"x".repeat(80), 40).len(), 40);
    }
}
