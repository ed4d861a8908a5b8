//! Time of every operator: what `crates/epnas-ops/examples/operator_times.rs` prints.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::parts::Stage;
use super::report::{Measured, Outcome};

pub(super) fn run(stage: &Stage, deadline: Instant) -> Measured {
    let program = match stage.program("operator_times") {
        Ok(program) => program,
        Err(why) => return Measured::not_run(why),
    };
    let mut times = Command::new(program);
    times.args(["--device", "cuda"]);
    let ended = match stage.runner.run(stage.with_libraries(&mut times), deadline) {
        Ok(ended) => ended,
        Err(error) => return Measured::not_run(format!("{error:#}")),
    };
    let mut lines = json_lines(&ended.stdout);
    lines.retain(|line| line["operator"].is_string() && line["seconds"].is_number());
    let count = lines.len();
    let result = json!({ "lines": lines });
    match ended.problem() {
        Some(problem) => Measured::trouble(
            &ended,
            format!("{count} measurements, then {problem}"),
            result,
        ),
        None if count == 0 => {
            Measured::new(Outcome::Failed, "measured nothing", result).with_printed(Some(&ended))
        }
        None => Measured::passed(format!("{count} measurements"), result),
    }
}

/// The lines that are JSON; a program that was killed may leave half a line.
pub(super) fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
