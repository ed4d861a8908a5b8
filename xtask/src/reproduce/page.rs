//! The Markdown page of a reproduction: what was measured, how, and every deviation.

use super::lab::Lab;
use crate::{command, table};

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page {
    title: String,
    body: String,
    deviations: Vec<String>,
    machine: Option<String>,
}

impl Page {
    pub(super) fn new(title: &str) -> Page {
        Page {
            title: title.to_owned(),
            ..Page::default()
        }
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.body.push_str(text);
        self.body.push_str("\n\n");
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.paragraph(&format!("## {text}"));
    }

    /// A table; the first row is its head.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        self.paragraph(table::markdown(rows).trim_end());
    }

    pub(super) fn deviations(&mut self, texts: &[&str]) {
        self.deviations
            .extend(texts.iter().map(|text| (*text).to_owned()));
    }

    /// What the figures were measured on.
    pub(super) fn machine(&mut self, machine: String) {
        self.machine = Some(machine);
    }

    pub(super) fn finish(self, what: &str, lab: &Lab) -> String {
        let scale = match &lab.fleet {
            Some((engine, _)) => format!("{} --fleet {}", lab.scale.name(), engine.name()),
            None => lab.scale.name().to_owned(),
        };
        let mut text = format!(
            "# {}\n\nPerez-Rua et al., 2018, *Efficient Progressive Neural Architecture Search*, reproduced.\n\n\
             - command: `cargo xtask reproduce {what} --scale {scale}`; seeds of whatever is random: 1 to {}\n",
            self.title, lab.seeds
        );
        if let Some(date) = command::date() {
            text.push_str(&format!("- written: {date}\n"));
        }
        if let Some(machine) = self.machine {
            text.push_str(&format!("- machine: {machine}\n"));
        }
        text.push('\n');
        text.push_str(&self.body);
        if !self.deviations.is_empty() {
            text.push_str("## Deviations\n\n");
            for deviation in &self.deviations {
                text.push_str(&format!("- {deviation}\n"));
            }
            text.push('\n');
        }
        if lab.commands.is_empty() {
            return text;
        }
        text.push_str("## Commands\n\n");
        if lab.seeds > 1 {
            text.push_str("With seed 1; the others likewise, in folders of their own.\n\n");
        }
        text.push_str("```text\n");
        for command in &lab.commands {
            text.push_str(command);
            text.push('\n');
        }
        text.push_str("```\n");
        text
    }
}

/// Mean and sample standard deviation of what there is, in `unit`, with `digits` after the point.
pub(super) fn spread(values: &[f64], digits: usize, unit: &str) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    match values {
        [] => "-".to_owned(),
        [one] => format!("{one:.digits$}{unit} (one seed)"),
        _ => {
            let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let deviation = (squares / (n - 1.0)).sqrt();
            format!(
                "{mean:.digits$}{unit} ± {deviation:.digits$} ({} seeds)",
                values.len()
            )
        }
    }
}

/// A time in the unit that reads best.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_say_how_many_seeds_they_are_of() {
        assert_eq!(spread(&[], 2, "%"), "-");
        assert_eq!(spread(&[5.14], 2, "%"), "5.14% (one seed)");
        // Deviations of -1 and 1 from the mean: the root of 2 / (2 - 1).
        assert_eq!(spread(&[4.0, 6.0], 2, "%"), "5.00% ± 1.41 (2 seeds)");
    }

    #[test]
    fn times_have_fitting_units() {
        let times = [3.4, 119.0, 900.0, 9000.0, 864_000.0].map(time);
        assert_eq!(times, ["3 s", "119 s", "15 min", "2.5 h", "10.0 days"]);
    }

    #[test]
    fn a_page_tells_deviations_and_commands() {
        let mut lab = super::super::lab::tests::finished("page", &[]);
        lab.commands.push("epnas space".to_owned());
        let mut page = Page::new("A title");
        page.heading("Sizes");
        page.table(&[vec!["a".into()], vec!["1".into()]]);
        page.deviations(&["It is smaller."]);
        page.machine("a machine".into());
        let text = page.finish("space", &lab);
        for part in [
            "# A title\n",
            "`cargo xtask reproduce space --scale smoke`; seeds of whatever is random: 1 to 2",
            "- machine: a machine\n",
            "## Sizes\n\n| a |\n|---|\n| 1 |\n\n",
            "## Deviations\n\n- It is smaller.\n\n",
            "```text\nepnas space\n```\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        std::fs::remove_dir_all(&lab.dir).unwrap();
    }
}
