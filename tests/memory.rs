//! That hundreds of children do not add up in memory. Run on request: `cargo test -p epnas-cli -- --ignored --nocapture`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::command::{Folder, epnas};

/// Resident memory of a process in KiB, from /proc; `None` where there is no /proc.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Prints resident memory every 50 children of 300 and fails when it grows by more than an eighth after the first 100.
#[test]
#[ignore = "takes minutes; prints a figure"]
fn memory_is_flat_over_300_children() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    let mut command = epnas();
    command.args(["search", "--config", &config, "--out", &out]);
    // 6 + 2 * 25 in the first iteration, then 6 + 2 * 25 each: 336 children.
    for set in [
        "search.children_per_step=25",
        "search.iterations=6",
        "network.channels=16",
        "data.image_size=32",
        "baseline.kind=none",
        "select.top=0",
    ] {
        command.args(["--set", set]);
    }
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("epnas starts");
    let mut figures = Vec::new();
    let mut children = 0;
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        if !line.starts_with("child ") {
            continue;
        }
        children += 1;
        if children % 50 == 0
            && let Some(kib) = resident(child.id())
        {
            println!(
                "{children} children: {:.1} MiB resident",
                kib as f64 / 1024.0
            );
            figures.push(kib);
        }
    }
    assert!(child.wait().expect("it ends").success());
    assert!(children >= 300, "only {children} children");
    if let [_, early, .., last] = figures[..] {
        assert!(
            last <= early + early / 8,
            "memory grew from {early} KiB at 100 children to {last} KiB"
        );
    }
}
