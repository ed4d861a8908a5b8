//! Time of every operator: what `crates/epnas-ops/examples/operator_times.rs` prints.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::parts::Stage;
use super::report::{Measured, Outcome};

/// What is timed: flags, and who computes dense convolutions.
const RUNS: [(&[&str], &str, &str); 3] = [
    (&[], "off", "kernels"),
    (&["--channels", "96", "--only", "conv"], "off", "kernels"),
    (&["--channels", "96", "--only", "conv"], "1", "cuDNN"),
];

pub(super) fn run(stage: &Stage, deadline: Instant) -> Measured {
    let program = match stage.program("operator_times") {
        Ok(program) => program,
        Err(why) => return Measured::not_run(why),
    };
    let mut lines = Vec::new();
    for (flags, cudnn, by) in RUNS {
        let mut times = Command::new(&program);
        times
            .args(["--device", "cuda", "--seconds", "0.1"])
            .args(flags)
            .env("EPNAS_CUDNN", cudnn);
        let ended = match stage.runner.run(stage.with_libraries(&mut times), deadline) {
            Ok(ended) => ended,
            Err(error) => return Measured::not_run(format!("{error:#}")),
        };
        let mut printed = json_lines(&ended.stdout);
        printed.retain(|line| line["operator"].is_string() && line["seconds"].is_number());
        let none = printed.is_empty();
        for line in &mut printed {
            line["convolutions"] = json!(by);
        }
        lines.append(&mut printed);
        let (count, result) = (lines.len(), json!({ "lines": lines }));
        if let Some(problem) = ended.problem() {
            let note = format!("{count} measurements, then {problem}");
            return Measured::trouble(&ended, note, result);
        }
        if none {
            return Measured::new(Outcome::Failed, "measured nothing", result)
                .with_printed(Some(&ended));
        }
    }
    let (count, result) = (lines.len(), json!({ "lines": lines }));
    Measured::passed(format!("{count} measurements"), result)
}

/// The lines that are JSON; a program that was killed may leave half a line.
pub(super) fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
