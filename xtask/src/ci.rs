//! What has to pass before a change goes in: cheapest first, each step timed, stopping at the first failure.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{arrows, command, reproduce, table, test, tidy, torture};

type Step = (&'static str, fn(&Path) -> Result<()>);

const STEPS: &[Step] = &[
    ("format", format),
    ("tidy", tidy::run),
    ("arrows", arrows::run),
    ("packages", torture::packages::quick),
    ("features", features),
    ("clippy", clippy),
    ("test", tests),
    ("reproduce", reproduction),
    ("doc", doc),
];

pub(crate) fn run(root: &Path) -> Result<()> {
    let started = Instant::now();
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n== ci: {name}");
        let began = Instant::now();
        let outcome = step(root);
        times.push((name, began.elapsed()));
        if outcome.is_err() {
            eprint!("\n{}", summary(&times));
        }
        outcome.with_context(|| format!("ci stopped at `{name}`"))?;
    }
    times.push(("total", started.elapsed()));
    eprint!("\n{}", summary(&times));
    println!("ci: all {} steps passed", STEPS.len());
    Ok(())
}

fn summary(times: &[(&str, Duration)]) -> String {
    let rows: Vec<_> = times
        .iter()
        .map(|(name, time)| vec![name.to_string(), format!("{:.1} s", time.as_secs_f64())])
        .collect();
    table::render(&rows)
}

fn tests(root: &Path) -> Result<()> {
    test::run(root, &test::Flags::default())
}

fn format(root: &Path) -> Result<()> {
    command::run(command::cargo(root).args(["fmt", "--all", "--check"]))
}

/// Every page of a reproduction, with one seed; with two of them weekly (`.github/workflows/reproduce.yml`).
fn reproduction(root: &Path) -> Result<()> {
    let out = root.join("target/reproduce-ci");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    reproduce::smoke(root, &out)
}

/// The loop has to compile without candle: its users bring their own training.
fn features(root: &Path) -> Result<()> {
    command::run(command::cargo(root).args([
        "check",
        "--locked",
        "--package",
        "epnas-search",
        "--no-default-features",
    ]))
}

fn clippy(root: &Path) -> Result<()> {
    let lint = [
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    command::run(command::cargo(root).args(lint))
}

fn doc(root: &Path) -> Result<()> {
    let mut doc = command::cargo(root);
    doc.env("RUSTDOCFLAGS", "--deny warnings").args([
        "doc",
        "--locked",
        "--workspace",
        "--no-deps",
    ]);
    command::run(&mut doc)
}
