//! That many children do not add up in memory, seen from outside: resident memory after each.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::command::{Folder, epnas};

/// Resident memory of a process in KiB. A figure that cannot be read is a failure, not a pass.
fn resident(process: u32) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = crate::command::read(path.as_ref());
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    figure.unwrap_or_else(|| panic!("{path} has no VmRSS:\n{status}"))
}

/// Runs a search with `sets` and returns resident memory in KiB after each child but the last few, by then the process
/// may be gone.
fn after_each_child(sets: &[&str]) -> Vec<u64> {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    let mut command = epnas();
    command.args(["search", "--config", &config, "--out", &out, "-v"]);
    for set in [
        "network.channels=16",
        "data.image_size=32",
        "baseline.kind=none",
        "select.top=0",
    ]
    .iter()
    .chain(sets)
    {
        command.args(["--set", set]);
    }
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("epnas starts");
    let mut figures = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        let Some((done, total)) = line
            .strip_prefix("child ")
            .and_then(|rest| rest.split_whitespace().next()?.split_once('/'))
        else {
            continue;
        };
        let count = |text: &str| text.parse::<usize>().expect("a count");
        if count(done) + 3 <= count(total) {
            figures.push(resident(child.id()));
        }
    }
    assert!(child.wait().expect("it ends").success());
    figures
}

/// Growth per child in KiB: the least-squares slope.
fn slope(figures: &[u64]) -> f64 {
    let middle = (figures.len() as f64 - 1.0) / 2.0;
    let mean = figures.iter().sum::<u64>() as f64 / figures.len() as f64;
    let (mut products, mut squares) = (0.0, 0.0);
    for (index, &figure) in figures.iter().enumerate() {
        let x = index as f64 - middle;
        products += x * (figure as f64 - mean);
        squares += x * x;
    }
    products / squares
}

#[test]
fn the_slope_is_that_of_a_line() {
    assert!((slope(&[10, 13, 16, 19]) - 3.0).abs() < 1e-12);
    assert!(slope(&[7, 7, 7]).abs() < 1e-12);
}

/// KiB. A child that stayed would take its buffers: batch 32 of 32 x 32 x 16 floats are 2 MiB for each of its tensors.
/// The bound is half of one; children that are the largest so far make the process grow once, by some MiB.
const MOST_PER_CHILD: f64 = 1024.0;
/// The same where there are enough children for such steps not to matter.
const MOST_PER_CHILD_OF_MANY: f64 = 16.0;

#[test]
fn memory_is_flat_over_60_children() {
    // 6 + 2 * 30 children, of which three are too late to look.
    let figures = after_each_child(&["search.children_per_step=30", "search.iterations=1"]);
    assert!(figures.len() >= 60, "only {} children", figures.len());
    let slope = slope(&figures[30..]);
    println!("{slope:.1} KiB per child after 30; {figures:?}");
    assert!(
        slope < MOST_PER_CHILD,
        "memory grows by {slope:.1} KiB per child: {figures:?}"
    );
}

/// Prints resident memory every 50 children: `cargo test --test integration -- --ignored --nocapture memory`.
#[test]
#[ignore = "takes minutes; prints a figure"]
fn memory_is_flat_over_300_children() {
    // 6 + 2 * 25 in every iteration: 336 children.
    let figures = after_each_child(&["search.children_per_step=25", "search.iterations=6"]);
    assert!(figures.len() >= 300, "only {} children", figures.len());
    for (index, kib) in figures.iter().enumerate().skip(49).step_by(50) {
        let mib = *kib as f64 / 1024.0;
        println!("{} children: {mib:.1} MiB resident", index + 1);
    }
    let slope = slope(&figures[100..]);
    println!("{slope:.2} KiB per child after 100");
    assert!(
        slope < MOST_PER_CHILD_OF_MANY,
        "memory grows by {slope:.1} KiB per child"
    );
}
