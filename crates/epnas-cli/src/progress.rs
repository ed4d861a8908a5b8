//! Progress on standard error: bars on a terminal; elsewhere a line per finished piece with `-v`, else nothing.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use epnas_search::Total;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::arguments::Global;
use crate::output;

/// All bars of the process, so that log lines can be written above them.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::hidden()))
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars that move: standard error is a terminal.
    Bars,
    /// A line per finished piece: it is not, and `-v` asks for them.
    Lines,
    /// Nothing: it is not, or `--quiet`.
    Hidden,
}

impl Style {
    /// What the flags and standard error ask for.
    pub(crate) fn choose(global: &Global) -> Self {
        match (std::io::stderr().is_terminal(), global.verbose) {
            _ if global.quiet => Style::Hidden,
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

/// Steps of the overall bar.
const FINE: f64 = 10_000.0;

/// An overall bar over pieces of work (children, candidates, epochs) and one for the piece at hand.
#[derive(Debug)]
pub(crate) struct Meter {
    style: Style,
    overall: ProgressBar,
    piece: ProgressBar,
    /// What a piece is called: "child".
    unit: &'static str,
    /// How long it all takes: in pieces, or in the work of the pieces.
    total: Total,
    /// What an earlier process finished, in the measure of `total`.
    before: f64,
    /// What is finished, in the measure of `total`.
    work: f64,
    /// Pieces finished.
    done: u64,
    started: Instant,
    piece_started: Instant,
    best: Option<(f64, String)>,
}

impl Meter {
    /// A meter over `total`, none of it done.
    pub(crate) fn new(style: Style, unit: &'static str, total: Total) -> Self {
        let bars = bars();
        if style == Style::Bars {
            bars.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        }
        let overall = bars.add(ProgressBar::new(FINE as u64));
        overall.set_style(bar_style("{prefix:>16} {bar:24.cyan} {msg}"));
        let piece = bars.add(ProgressBar::new(1));
        piece.set_style(bar_style("{prefix:>16} {bar:24.green} {msg}"));
        let now = Instant::now();
        let meter = Meter {
            style,
            overall,
            piece,
            unit,
            total,
            before: 0.0,
            work: 0.0,
            done: 0,
            started: now,
            piece_started: now,
            best: None,
        };
        meter.draw(0.0, "");
        meter
    }

    /// `done` pieces, which took `training_macs`, were finished by an earlier process.
    pub(crate) fn resume(&mut self, done: u64, training_macs: u128) {
        self.done = done;
        self.before = self.measured(done, training_macs);
        self.work = self.before;
        self.draw(0.0, "");
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
        self.piece_started = Instant::now();
        self.piece.set_position(0);
        if self.style == Style::Bars {
            self.piece.set_message(what.to_owned());
        }
        self.draw(0.0, "");
    }

    /// The piece has trained `images` of `total` image passes.
    pub(crate) fn advance(&mut self, images: u64, total: u64, loss: f64) {
        if self.style != Style::Bars {
            return;
        }
        let rate = rate(images, self.piece_started.elapsed());
        self.piece.set_length(total.max(1));
        self.piece.set_position(images);
        self.piece.set_prefix(format!("{rate:.0} images/s"));
        self.draw(
            images as f64 / total.max(1) as f64,
            &format!("loss {loss:.3}"),
        );
    }

    /// The piece ended, after `images` image passes and `training_macs`; `result` and `what` are shown in the plain
    /// line. `accuracy` (0 to 1) competes for the best.
    pub(crate) fn finish(
        &mut self,
        result: &str,
        what: &str,
        accuracy: Option<f64>,
        images: u64,
        training_macs: u128,
    ) {
        self.done += 1;
        self.work += self.measured(1, training_macs);
        if let Some(accuracy) = accuracy
            && self.best.as_ref().is_none_or(|(best, _)| accuracy > *best)
        {
            self.best = Some((accuracy, what.to_owned()));
        }
        if self.style == Style::Lines {
            let mut aside = Vec::new();
            if images > 0 {
                aside.push(format!(
                    "{:.0} images/s",
                    rate(images, self.piece_started.elapsed())
                ));
            }
            aside.extend(self.left(0.0));
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
        self.draw(0.0, "");
    }

    fn draw(&self, fraction: f64, aside: &str) {
        if self.style != Style::Bars {
            return;
        }
        self.overall
            .set_prefix(format!("{} {}", self.unit, self.count()));
        let (whole, part) = self.whole_and_part(fraction);
        let share = (self.work + part) / whole.max(f64::MIN_POSITIVE);
        self.overall.set_position((share.min(1.0) * FINE) as u64);
        let best = self
            .best
            .as_ref()
            .map(|(best, what)| format!("best {} {}", percent(*best), shortened(what, 40)));
        let aside = Some(aside.to_owned()).filter(|aside| !aside.is_empty());
        let parts: Vec<String> = [best, aside, self.left(fraction)]
            .into_iter()
            .flatten()
            .collect();
        self.overall.set_message(parts.join(", "));
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
        self.piece.finish_and_clear();
        self.overall.finish_and_clear();
    }
}

fn rate(images: u64, time: Duration) -> f64 {
    images as f64 / time.as_secs_f64().max(1e-3)
}

fn bar_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
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
        let mut meter = Meter::new(Style::Hidden, "random", Total::TrainingMacs(1_000));
        assert_eq!(meter.left(0.5), None, "nothing is known of the first piece");
        meter.started = Instant::now() - Duration::from_secs(10);
        meter.finish("", "", None, 0, 250);
        assert_eq!(meter.count(), "1");
        assert_eq!(meter.left(0.0).as_deref(), Some("30s left"));
        meter.finish("", "", None, 0, 750);
        assert_eq!(meter.left(0.0), None);
    }

    #[test]
    fn time_left_leaves_out_what_an_earlier_process_did() {
        let mut meter = Meter::new(Style::Hidden, "child", Total::Pieces(10));
        meter.resume(4, 0);
        meter.started = Instant::now() - Duration::from_secs(10);
        meter.finish("", "", None, 0, 0);
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
