//! A report as a readable page of Markdown. What was not measured says so.

use serde_json::Value;

use super::parts::PARTS;
use super::steps::{self, OURS, PEER, PEER_SLOW};
use super::turns::CHILD_IMAGES;
use crate::table;

const NOT_MEASURED: &str = "not measured";

/// How much faster than the peer's best mode a child is to be.
const GOAL_RATIO: f64 = 1.5;
/// The paper's macro search: its children, and the minutes they are to take.
const PAPER_CHILDREN: f64 = 843.0;
const GOAL_MINUTES: f64 = 30.0;

type Rows = Vec<Vec<String>>;

/// A null report gives the page with nothing measured.
pub(super) fn render(report: &Value) -> String {
    let machine = &report["parts"]["machine"]["result"];
    let name = machine["gpu"]["name"].as_str().unwrap_or(NOT_MEASURED);
    let mut page = format!("# GPU report: {name}\n\n");
    match report.is_null() {
        true => page.push_str(
            "No GPU has run this. On a machine with one, `cargo xtask gpu` measures every figure and writes a report, \
             `cargo xtask gpu table` turns that report into this page, and both go beside this file under the GPU's \
             name.\n",
        ),
        false => page.push_str(&about(report, machine)),
    }
    for (title, rows) in [
        ("Goals", goals(report)),
        ("Checks and parts", parts(report)),
        ("Small search", search(report)),
        ("Training steps, images/s", rates(report)),
        (
            "Spent once per network, seconds: first step, compilation, capture",
            once(report),
        ),
        ("Operators", operators(report)),
    ] {
        page.push_str(&format!("\n## {title}\n\n{}", table::markdown(&rows)));
    }
    page.push_str(&failures(report));
    page
}

fn about(report: &Value, machine: &Value) -> String {
    let gpu = &machine["gpu"];
    let text = |value: &Value| match value {
        Value::Null => NOT_MEASURED.to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    format!(
        "Driver {}, {} MiB, clock {} of {} MHz, {} W. CPU: {}, {} cores. Version: {}. Date: {}. Time: {} s.\n",
        text(&gpu["driver"]),
        text(&gpu["memory_mib"]),
        text(&gpu["clock_mhz"]),
        text(&gpu["clock_max_mhz"]),
        text(&gpu["power_limit_watts"]),
        text(&machine["cpu"]),
        text(&machine["cores"]),
        text(&machine["epnas"]),
        text(&report["date"]),
        text(&report["seconds"]),
    )
}

/// A figure with its digits, or that there is none.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(
        || NOT_MEASURED.to_owned(),
        |value| format!("{value:.digits$}"),
    )
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The measured networks with their titles; those of the program where a report has none.
fn networks(report: &Value) -> Vec<(String, Value)> {
    let measured = items(&report["parts"]["steps"]["result"]["networks"]);
    let networks = steps::networks();
    let find = |network: &crate::networks::Network| {
        let is_it =
            |row: &&Value| row["arch"] == network.arch && row["channels"] == network.channels;
        measured.iter().find(is_it).cloned().unwrap_or(Value::Null)
    };
    networks
        .iter()
        .map(|network| (network.title(), find(network)))
        .collect()
}

fn goals(report: &Value) -> Rows {
    let networks = networks(report);
    let ratios: Option<Vec<f64>> = networks
        .iter()
        .map(|(_, network)| network["ratio_child"].as_f64())
        .collect();
    let least = ratios.and_then(|ratios| ratios.into_iter().reduce(f64::min));
    let fig4 = networks
        .iter()
        .find(|(_, network)| network["name"] == "fig4");
    let child = fig4.and_then(|(_, network)| network["child_seconds"].as_f64());
    let minutes = child.map(|seconds| PAPER_CHILDREN * seconds / 60.0);
    let met = |met: Option<bool>| match met {
        Some(true) => "met",
        Some(false) => "NOT met",
        None => NOT_MEASURED,
    };
    vec![
        row(&["goal", "figure", "met"]),
        vec![
            format!(
                "child of {CHILD_IMAGES:.0} images, what is spent once included: at least {GOAL_RATIO} x the peer's \
                 best mode, on every network"
            ),
            figure(least, 2),
            met(least.map(|ratio| ratio >= GOAL_RATIO)).to_owned(),
        ],
        vec![
            format!(
                "the paper's macro search, {PAPER_CHILDREN} such children, in under {GOAL_MINUTES} minutes (projected \
                 from training steps, as if every child were fig4; no validation)"
            ),
            figure(minutes, 1),
            met(minutes.map(|minutes| minutes < GOAL_MINUTES)).to_owned(),
        ],
    ]
}

fn parts(report: &Value) -> Rows {
    let mut rows = vec![row(&[
        "part", "shows", "outcome", "seconds", "limit", "note",
    ])];
    for part in &PARTS {
        let measured = &report["parts"][part.name];
        rows.push(vec![
            part.name.to_owned(),
            part.shows.to_owned(),
            measured["outcome"]
                .as_str()
                .unwrap_or(NOT_MEASURED)
                .to_owned(),
            figure(measured["seconds"].as_f64(), 1),
            figure(measured["limit_seconds"].as_f64(), 0),
            // A cell is one line.
            measured["note"]
                .as_str()
                .unwrap_or(NOT_MEASURED)
                .replace('\n', " "),
        ]);
    }
    rows
}

fn search(report: &Value) -> Rows {
    let result = &report["parts"]["search"]["result"];
    let number = |name: &str, digits: usize| figure(result[name].as_f64(), digits);
    vec![
        row(&[
            "children",
            "failed",
            "children/minute",
            "images/s",
            "seconds of a search",
        ]),
        vec![
            number("children", 0),
            number("failed_children", 0),
            number("children_per_minute", 1),
            number("images_per_second", 0),
            figure(result["run_seconds"][0].as_f64(), 1),
        ],
    ]
}

/// Columns of all modes: the side, and the mode as the report names it.
fn modes() -> Vec<(&'static str, String)> {
    let ours = OURS.iter().map(|mode| ("ours", mode.join(" ")));
    let peer = PEER.iter().chain(&PEER_SLOW);
    ours.chain(peer.map(|mode| ("peer", (*mode).to_owned())))
        .collect()
}

fn head(modes: &[(&str, String)]) -> Vec<String> {
    let title = |(side, mode): &(&str, String)| match *side {
        "ours" => mode.clone(),
        _ => format!("PyTorch {mode}"),
    };
    let mut head = row(&["network"]);
    head.extend(modes.iter().map(title));
    head
}

fn rates(report: &Value) -> Rows {
    let modes = modes();
    let mut head = head(&modes);
    head.extend(row(&["ours / PyTorch's best", "the same for a child"]));
    let mut rows = vec![head];
    for (title, network) in networks(report) {
        let mut row = vec![title];
        for (side, mode) in &modes {
            row.push(figure(
                network[*side][mode]["images_per_second"].as_f64(),
                0,
            ));
        }
        row.push(figure(network["ratio_steady"].as_f64(), 2));
        row.push(figure(network["ratio_child"].as_f64(), 2));
        rows.push(row);
    }
    rows
}

fn once(report: &Value) -> Rows {
    let modes = modes();
    let mut rows = vec![head(&modes)];
    for (title, network) in networks(report) {
        let mut row = vec![title];
        for (side, mode) in &modes {
            let measured = &network[*side][mode];
            let names = ["first_step_seconds", "compile_seconds", "capture_seconds"];
            let parts: Vec<String> = names
                .iter()
                .filter_map(|name| measured[name].as_f64())
                .map(|seconds| format!("{seconds:.2}"))
                .collect();
            row.push(match parts.is_empty() {
                true => NOT_MEASURED.to_owned(),
                false => parts.join(" + "),
            });
        }
        rows.push(row);
    }
    rows
}

fn operators(report: &Value) -> Rows {
    let mut rows = vec![row(&[
        "operator",
        "phase",
        "shape",
        "precision",
        "us",
        "TFLOP/s",
        "GB/s",
    ])];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for line in items(&report["parts"]["operator-times"]["result"]["lines"]) {
        let seconds = line["seconds"].as_f64();
        let rate = |name: &str, unit: f64| Some(line[name].as_f64()? / seconds? / unit);
        rows.push(vec![
            match line["convolutions"].as_str() {
                Some("cuDNN") => format!("{}, cuDNN", text(&line["operator"])),
                _ => text(&line["operator"]),
            },
            text(&line["phase"]),
            text(&line["shape"]),
            text(&line["precision"]),
            figure(seconds.map(|seconds| 1e6 * seconds), 1),
            figure(rate("flops", 1e12), 2),
            figure(rate("bytes", 1e9), 0),
        ]);
    }
    if rows.len() == 1 {
        let mut none = vec![NOT_MEASURED.to_owned(); rows[0].len()];
        none[0] = "every operator".to_owned();
        rows.push(none);
    }
    rows
}

/// The tests that failed, and what parts in trouble printed last.
fn failures(report: &Value) -> String {
    let mut text = String::new();
    for part in &PARTS {
        let measured = &report["parts"][part.name];
        let failed = items(&measured["result"]["tests"]).iter();
        let failed: Vec<&Value> = failed.filter(|test| test["outcome"] == "FAILED").collect();
        for test in &failed {
            let name = test["name"].as_str().unwrap_or_default();
            let message = test["message"]
                .as_str()
                .unwrap_or("no message: the binary did not end");
            text.push_str(&format!(
                "\n`{name}` of {}:\n\n{}",
                part.name,
                fenced(message)
            ));
        }
        if let Some(printed) = measured["printed"].as_str().filter(|_| failed.is_empty()) {
            text.push_str(&format!(
                "\n{} printed last:\n\n{}",
                part.name,
                fenced(&last_lines(printed))
            ));
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\n## Failures\n{text}"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn fenced(text: &str) -> String {
    format!("```text\n{}\n```\n", text.replace("```", "'''"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_committed_page_is_what_the_code_renders() {
        let file = crate::workspace_root().join("docs/benchmarks/gpu-not-measured.md");
        let committed = fs::read_to_string(&file).unwrap();
        assert_eq!(
            committed,
            render(&Value::Null),
            "write it anew: cargo xtask gpu table > docs/benchmarks/gpu-not-measured.md"
        );
    }

    fn with_steps(ratio: Option<f64>, fig4_child_seconds: f64) -> Value {
        let networks: Vec<Value> = steps::networks()
            .iter()
            .map(|network| {
                json!({
                    "name": network.name, "arch": network.arch, "channels": network.channels,
                    "ours": { "graph bf16": { "images_per_second": 123456.0, "first_step_seconds": 0.25, "capture_seconds": 0.125 } },
                    "peer": {}, "ratio_child": ratio,
                    "child_seconds": if network.name == "fig4" { fig4_child_seconds } else { 0.1 },
                })
            })
            .collect();
        json!({ "parts": { "steps": { "outcome": "passed", "result": { "networks": networks } } } })
    }

    #[test]
    fn goals_follow_from_the_steps() {
        let cells = |report: &Value| -> Vec<String> {
            goals(report)[1..]
                .iter()
                .flat_map(|row| row[1..].to_vec())
                .collect()
        };
        // 843 children of 2 s are 28.1 minutes.
        assert_eq!(
            cells(&with_steps(Some(1.75), 2.0)),
            ["1.75", "met", "28.1", "met"]
        );
        assert_eq!(
            cells(&with_steps(Some(1.25), 3.0)),
            ["1.25", "NOT met", "42.1", "NOT met"]
        );
        assert_eq!(
            cells(&with_steps(None, 2.0))[..2],
            [NOT_MEASURED, NOT_MEASURED]
        );
    }

    #[test]
    fn missing_parts_are_not_measured() {
        let page = render(&with_steps(None, 2.0));
        assert!(
            page.contains("| fig4 C24 B128 | 123456 | not measured |"),
            "{page}"
        );
        assert!(
            page.contains("| fig4 C24 B128 | 0.25 + 0.12 | not measured |"),
            "{page}"
        );
        assert!(page.contains("| operators | every operator"), "{page}");
        assert!(page.contains("| every operator | not measured |"), "{page}");
        assert!(!page.contains("No GPU has run this"), "{page}");
        assert!(!page.contains("## Failures"), "{page}");
    }

    #[test]
    fn operators_have_rates_and_failures_their_message() {
        let report = json!({ "parts": {
            "operator-times": { "result": { "lines": [{
                "operator": "conv 3x3", "phase": "forward", "shape": "128x32x32x24", "precision": "bf16",
                "seconds": 1e-4, "flops": 2e9, "bytes": 1e7,
            }] } },
            "operators": { "outcome": "FAILED", "note": "1 of 2 passed", "result": { "tests": [
                { "name": "conv::backward", "outcome": "FAILED", "message": "1.25 is not 1.5" },
                { "name": "conv::forward", "outcome": "ok" },
            ] }, "printed": "all of it" },
            "search": { "outcome": "out of time", "printed": "child 3" },
        } });
        let page = render(&report);
        assert!(
            page.contains("| conv 3x3 | forward | 128x32x32x24 | bf16 | 100.0 | 20.00 | 100 |"),
            "{page}"
        );
        assert!(
            page.contains("`conv::backward` of operators:\n\n```text\n1.25 is not 1.5\n```"),
            "{page}"
        );
        assert!(!page.contains("all of it"), "{page}");
        assert!(
            page.contains("search printed last:\n\n```text\nchild 3\n```"),
            "{page}"
        );
    }
}
