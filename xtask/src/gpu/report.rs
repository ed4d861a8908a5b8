//! The report: one JSON file, replaced as a whole after every part.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::limit::Ended;

/// Of the file; readers ignore fields that they do not know.
const FORMAT: u32 = 1;

/// Bytes of what a program in trouble printed that are kept, of each stream.
const KEPT: usize = 4000;

/// A report that was written before.
pub(super) fn parse(text: &str) -> Result<Value> {
    let report: Value = serde_json::from_str(text)?;
    ensure!(
        report["format"] == FORMAT && report["parts"].is_object(),
        "`cargo xtask gpu` writes `format` {FORMAT} and `parts`"
    );
    let known = |outcome: &Value| Outcome::ALL.iter().any(|known| *outcome == known.name());
    for (name, part) in report["parts"].as_object().into_iter().flatten() {
        ensure!(
            known(&part["outcome"]),
            "part {name}: outcome {}",
            part["outcome"]
        );
    }
    Ok(report)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    OutOfTime,
    /// Something it needs is not here.
    NotRun,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::OutOfTime, Self::NotRun];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::OutOfTime => "out of time",
            Self::NotRun => "did not run",
        }
    }
}

/// What a part found out.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    /// One line.
    pub(super) note: String,
    pub(super) result: Value,
    /// The end of what was printed, where that may tell more.
    pub(super) printed: Option<String>,
}

impl Measured {
    pub(super) fn new(outcome: Outcome, note: impl Into<String>, result: Value) -> Self {
        let note = note.into();
        Self {
            outcome,
            note,
            result,
            printed: None,
        }
    }

    pub(super) fn passed(note: impl Into<String>, result: Value) -> Self {
        Self::new(Outcome::Passed, note, result)
    }

    pub(super) fn not_run(why: impl Into<String>) -> Self {
        Self::new(Outcome::NotRun, why, Value::Null)
    }

    /// Of a program in trouble.
    pub(super) fn trouble(ended: &Ended, problem: String, result: Value) -> Self {
        let outcome = match ended.ending {
            super::limit::Ending::OutOfTime => Outcome::OutOfTime,
            _ => Outcome::Failed,
        };
        Self::new(outcome, problem, result).with_printed(Some(ended))
    }

    /// Keeps the end of what a program printed.
    pub(super) fn with_printed(mut self, ended: Option<&Ended>) -> Self {
        self.printed = ended.map(|ended| {
            let printed = [end_of(&ended.stdout), end_of(&ended.stderr)];
            printed.map(str::trim_end).join("\n").trim().to_owned()
        });
        self
    }
}

fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(KEPT);
    let from = (from..text.len()).find(|&at| text.is_char_boundary(at));
    &text[from.unwrap_or(text.len())..]
}

/// The report while its parts come in.
pub(super) struct Report {
    file: PathBuf,
    value: Value,
}

impl Report {
    /// Writes the empty report: a place that cannot be written is found out before anything runs.
    pub(super) fn create(file: &Path, date: Option<String>, minutes: u32) -> Result<Self> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let report = Self {
            file: file.to_owned(),
            value: json!({ "format": FORMAT, "date": date, "minutes": minutes, "parts": Map::new() }),
        };
        report.write()?;
        Ok(report)
    }

    pub(super) fn add(
        &mut self,
        part: &str,
        measured: Measured,
        seconds: f64,
        limit: f64,
    ) -> Result<()> {
        self.value["parts"][part] = json!({
            "outcome": measured.outcome.name(),
            "note": measured.note,
            "seconds": rounded(seconds),
            "limit_seconds": rounded(limit),
            "result": measured.result,
            "printed": measured.printed,
        });
        self.write()
    }

    pub(super) fn finish(mut self, seconds: f64) -> Result<Value> {
        self.value["seconds"] = json!(rounded(seconds));
        self.write()?;
        Ok(self.value)
    }

    /// By renaming, so that whoever reads it sees the old report or the new one.
    fn write(&self) -> Result<()> {
        let written = self.file.with_extension("json.partial");
        fs::write(&written, format!("{:#}\n", self.value))
            .with_context(|| format!("cannot write {}", written.display()))?;
        fs::rename(&written, &self.file)
            .with_context(|| format!("cannot replace {}", self.file.display()))
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

/// The parts that failed or ran out of time.
pub(super) fn troubled(report: &Value) -> Vec<String> {
    let parts = report["parts"].as_object().into_iter().flatten();
    let trouble = |part: &Value| {
        let outcome = Outcome::ALL
            .into_iter()
            .find(|o| part["outcome"] == o.name());
        matches!(outcome, Some(Outcome::Failed | Outcome::OutOfTime))
    };
    parts
        .filter(|(_, part)| trouble(part))
        .map(|(name, _)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn the_file_is_replaced_after_every_part() {
        let scratch = Scratch::new("report").unwrap();
        let file = scratch.folder().join("new/folder/gpu.json");
        let read =
            || -> Value { serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap() };
        let mut report = Report::create(&file, None, 8).unwrap();
        assert_eq!(read()["parts"], json!({}));
        report
            .add("devices", Measured::passed("one", json!([1])), 1.234, 15.0)
            .unwrap();
        assert_eq!(read()["parts"]["devices"]["seconds"], 1.23);
        report
            .add(
                "search",
                Measured::new(Outcome::OutOfTime, "", Value::Null),
                0.0,
                1.0,
            )
            .unwrap();
        report
            .add("steps", Measured::not_run("no torch"), 0.0, 1.0)
            .unwrap();
        let value = report.finish(3.0).unwrap();
        assert_eq!(value, read());
        assert_eq!(troubled(&value), ["search"]);
        let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let text = format!("{}end", "ä".repeat(KEPT));
        assert!(end_of(&text).ends_with("end") && end_of(&text).len() <= KEPT);
        assert_eq!(end_of("short"), "short");
        assert_eq!(end_of(""), "");
    }
}
