//! What a terminal shows of a meter: a few lines, none wider than it is.

use console::style;

use super::sparkline::sparkline;
use super::{Meter, percent};

/// Columns of what stands before the bars and texts: `architecture 7/40`.
const LABEL: usize = 17;

/// Columns of a bar, where there is room for them.
const BAR: usize = 24;

/// Columns to keep for what stands after a bar: `10h 59m left`.
const AFTER_BAR: usize = 13;

/// The most accuracies of the sparkline.
const COLUMNS: usize = 40;

/// Columns to keep for the range after the sparkline: ` 10.00% to 95.20%`.
const RANGE: usize = 17;

impl Meter {
    /// The lines to show on a terminal of `width` columns.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let room = width.saturating_sub(LABEL + 1);
        let line = |label: &str, text: &str| {
            let text = format!("{label:>LABEL$} {text}");
            console::truncate_str(&text, width, "")
                .trim_end()
                .to_owned()
        };
        let bar_line = |label: &str, share: f64, color: fn(&str) -> String, after: &str| {
            let length = room.saturating_sub(AFTER_BAR).min(BAR);
            let full = (share.clamp(0.0, 1.0) * length as f64) as usize;
            let (full, empty) = (color(&"█".repeat(full)), "░".repeat(length - full));
            line(label, &format!("{full}{empty} {after}"))
        };
        let piece = &self.piece;
        let left = self.left(piece.part()).unwrap_or_default();
        let rate = (piece.images > 0).then(|| piece.rate(piece.images));
        let loss = piece.loss.map(|loss| format!("loss {loss:.3}"));
        let mut lines = vec![
            bar_line(
                &format!("{} {}", self.unit, self.count()),
                self.share(),
                |bar| style(bar).cyan().for_stderr().to_string(),
                &left,
            ),
            bar_line(
                &rate.unwrap_or_default(),
                piece.fraction(),
                |bar| style(bar).green().for_stderr().to_string(),
                &loss.unwrap_or_default(),
            ),
        ];
        if !piece.what.is_empty() {
            lines.push(line("now", &abridged(&piece.what, room)));
        }
        if let Some((best, what)) = &self.best {
            lines.push(line(
                &format!("best {}", percent(*best)),
                &abridged(what, room),
            ));
        }
        let columns = room.saturating_sub(RANGE).clamp(1, COLUMNS);
        let last = self.accuracies.len().saturating_sub(columns);
        if let Some((columns, lowest, highest)) = sparkline(&self.accuracies[last..]) {
            let range = match lowest < highest {
                true => format!("{} to {}", percent(lowest), percent(highest)),
                false => percent(lowest),
            };
            lines.push(line(self.measure, &format!("{columns} {range}")));
        }
        lines
    }
}

/// A long text without its middle: at most `longest` characters. Of an architecture, the first and last layers tell most.
fn abridged(text: &str, longest: usize) -> String {
    const GAP: &str = "..";
    let length = text.chars().count();
    if length <= longest {
        return text.to_owned();
    }
    let kept = longest.saturating_sub(GAP.len());
    let (head, tail) = (kept - kept / 2, kept / 2);
    let (head, tail) = (text.chars().take(head), text.chars().skip(length - tail));
    head.chain(GAP.chars()).chain(tail).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use console::{measure_text_width, strip_ansi_codes};
    use epnas_search::Total;

    use super::super::Style;
    use super::*;

    const LONG: &str =
        "macro:c3.0/d5.0+1/c5.2/mp.0+2+3/c5.1+3/c3.1+3+4/d3.5/d5.0+6/c5.7/ap.2+8/c5.9/c5.10+3";

    fn lines(meter: &Meter, width: usize) -> Vec<String> {
        let lines = meter.lines(width).into_iter();
        lines
            .map(|line| strip_ansi_codes(&line).into_owned())
            .collect()
    }

    fn meter() -> Meter {
        let mut meter = Meter::new(Style::Hidden, "child", "estimates", Total::Pieces(60));
        for n in 0..45 {
            meter.begin(LONG);
            let accuracy = (n % 7 != 3).then_some(0.1 + 0.01 * f64::from(n));
            meter.score(LONG, accuracy);
            meter.finish("", LONG, 0, 0);
        }
        meter.begin("macro:c3.0/d3.1");
        meter.advance(1_500, 3_000, 1.5544);
        meter
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let meter = meter();
        for width in 1..=140 {
            for line in meter.lines(width) {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn eighty_columns_show_all_of_it() {
        let lines = lines(&meter(), 80);
        let (overall, piece) = (&lines[0], &lines[1]);
        assert!(overall.starts_with("      child 45/60 ██████████████████░░░░░░ "));
        assert!(overall.ends_with(" left"), "{overall}");
        assert!(piece.contains(" images/s ████████████░░░░░░░░░░░░ loss 1.554"));
        assert_eq!(
            lines[2..],
            [
                "              now macro:c3.0/d3.1",
                "      best 54.00% macro:c3.0/d5.0+1/c5.2/mp.0+2+..5.0+6/c5.7/ap.2+8/c5.9/c5.10+3",
                "        estimates ▁▁▁▂▂x▂▂▂▃▃▃x▃▄▄▄▄▄x▅▅▅▅▅▅x▆▆▆▆▇▇x▇▇▇███ 15.00% to 54.00%",
            ]
        );
    }

    #[test]
    fn before_the_first_result_there_are_two_bars_and_no_architecture() {
        let meter = Meter::new(Style::Hidden, "epoch", "validation", Total::Pieces(10));
        assert_eq!(
            lines(&meter, 80),
            [
                "       epoch 0/10 ░░░░░░░░░░░░░░░░░░░░░░░░",
                "                  ░░░░░░░░░░░░░░░░░░░░░░░░",
            ]
        );
    }

    #[test]
    fn the_middle_of_a_long_text_goes() {
        assert_eq!(abridged("macro:c3.0", 10), "macro:c3.0");
        assert_eq!(abridged("abcdefghij", 7), "abc..ij");
        for longest in 0..12 {
            assert!(abridged("abcdefghijklm", longest).len() <= longest);
        }
    }
}
