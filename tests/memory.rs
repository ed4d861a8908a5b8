//! That many children do not add up, seen from outside: resident memory and open files after each.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::command::{Folder, epnas, read_lines};

/// What a process has at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Resident memory in KiB.
    memory: u64,
    /// Open files, sockets and the like.
    handles: u64,
}

impl Held {
    /// What `process` has; a figure that cannot be read is a failure, not a pass.
    fn by(process: u32) -> Self {
        let path = format!("/proc/{process}/status");
        let status = crate::command::read(path.as_ref());
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let memory = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        let handles = std::fs::read_dir(format!("/proc/{process}/fd")).expect("its files");
        Self {
            memory: memory.unwrap_or_else(|| panic!("{path} has no VmRSS:\n{status}")),
            handles: handles.count() as u64,
        }
    }
}

/// Runs `command` and returns what it has after each of its pieces, `child` or `epoch` as it calls them, but the last few: by
/// then the process may be gone.
fn after_each(piece: &str, command: &mut Command) -> Vec<Held> {
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("epnas starts");
    let mut figures = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
        let line = line.expect("UTF-8");
        let Some((done, total)) = line
            .strip_prefix(piece)
            .and_then(|rest| rest.split_whitespace().next()?.split_once('/'))
        else {
            continue;
        };
        let count = |text: &str| text.parse::<usize>().expect("a count");
        if count(done) + 3 <= count(total) {
            figures.push(Held::by(child.id()));
        }
    }
    assert!(child.wait().expect("it ends").success());
    figures
}

/// A search with `sets`, without what would follow it.
fn search(folder: &Folder, sets: &[&str]) -> Command {
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    let mut command = epnas();
    command.args(["search", "--config", &config, "--out", &out, "-v"]);
    for set in ["baseline.kind=none", "select.top=0"].iter().chain(sets) {
        command.args(["--set", set]);
    }
    command
}

/// Growth from one figure to the next: the least-squares slope.
fn slope(figures: &[f64]) -> f64 {
    let middle = (figures.len() as f64 - 1.0) / 2.0;
    let mean = figures.iter().sum::<f64>() / figures.len() as f64;
    let (mut products, mut squares) = (0.0, 0.0);
    for (index, &figure) in figures.iter().enumerate() {
        let x = index as f64 - middle;
        products += x * (figure - mean);
        squares += x * x;
    }
    products / squares
}

#[test]
fn the_slope_is_that_of_a_line() {
    assert!((slope(&[10.0, 13.0, 16.0, 19.0]) - 3.0).abs() < 1e-12);
    assert!(slope(&[7.0, 7.0, 7.0]).abs() < 1e-12);
}

/// Growth of resident memory from piece to piece, in KiB.
fn memory_slope(held: &[Held]) -> f64 {
    let memory: Vec<f64> = held.iter().map(|held| held.memory as f64).collect();
    slope(&memory)
}

/// KiB. A child that stayed would take its buffers: batch 32 of 32 x 32 x 16 floats are 2 MiB for each of its tensors.
/// The bound is half of one; children that are the largest so far make the process grow once, by some MiB.
const MOST_PER_CHILD: f64 = 1024.0;
/// The same where there are enough children for such steps not to matter.
const MOST_PER_CHILD_OF_MANY: f64 = 16.0;

#[test]
fn memory_is_flat_over_60_children() {
    // 6 + 2 * 30 children, of which three are too late to look.
    let folder = Folder::new();
    let sets = [
        "network.channels=16",
        "data.image_size=32",
        "search.children_per_step=30",
        "search.iterations=1",
    ];
    let held = after_each("child ", &mut search(&folder, &sets));
    assert!(held.len() >= 60, "only {} children", held.len());
    let slope = memory_slope(&held[30..]);
    println!("{slope:.1} KiB per child after 30; {held:?}");
    assert!(
        slope < MOST_PER_CHILD,
        "memory grows by {slope:.1} KiB per child: {held:?}"
    );
    let handles = |held: &Held| held.handles;
    assert_eq!(
        held[30..].iter().map(handles).max(),
        held[..30].iter().map(handles).max(),
        "{held:?}"
    );
}

/// 3,000 children, each with a checkpoint, and a final training with 100: `cargo xtask torture soak`.
#[test]
#[ignore = "takes minutes; prints figures"]
fn a_soak_is_flat() {
    // 6 + 2 * 50 in every iteration.
    let folder = Folder::new();
    let sets = [
        "search.children_per_step=50",
        "search.iterations=29",
        "train.epochs=103",
    ];
    let clock = Instant::now();
    let held = after_each("child ", &mut search(&folder, &sets));
    let seconds = clock.elapsed().as_secs_f64();
    let history = read_lines(&folder.path("run/history.jsonl"));
    assert!(history.len() >= 3_000, "only {} children", history.len());
    println!(
        "search: {} children, as many checkpoints, {seconds:.0} s",
        history.len()
    );
    report("child", &held, 1_000);
    let times = history
        .iter()
        .map(|child| 1e3 * child["seconds"].as_f64().expect("a time"));
    report_times("child", &times.collect::<Vec<_>>()[1_000..]);

    let mut train = epnas();
    train.args(["train", &folder.arg("run"), "-v"]);
    let held = after_each("epoch ", &mut train);
    let curve = read_lines(&folder.path("run/train/curve.jsonl"));
    println!(
        "final training: {} epochs, as many checkpoints",
        curve.len()
    );
    report("epoch", &held, 20);
    let times = curve
        .iter()
        .map(|epoch| 1e3 * epoch["seconds"].as_f64().expect("a time"));
    report_times("epoch", &times.collect::<Vec<_>>()[20..]);
}

/// Prints how what a process holds grows after its first pieces, and panics when it does.
fn report(piece: &str, held: &[Held], first: usize) {
    let (late, last) = (&held[first..], held[held.len() - 1]);
    let slope = memory_slope(late);
    let handles = |held: &[Held]| {
        let all = held.iter().map(|held| held.handles);
        (all.clone().min(), all.max())
    };
    let (fewest, most) = handles(late);
    println!(
        "  memory: {:.1} MiB after {first}, {:.1} MiB at the end, {slope:+.3} KiB per {piece}",
        late[0].memory as f64 / 1024.0,
        last.memory as f64 / 1024.0,
    );
    println!("  open files: {fewest:?} to {most:?}");
    assert!(
        slope < MOST_PER_CHILD_OF_MANY,
        "memory grows by {slope:.1} KiB per {piece}"
    );
    assert_eq!(most, handles(&held[..first]).1, "open files add up");
}

/// Prints how times in ms change. Other programs have their part in them, so nothing is demanded.
fn report_times(piece: &str, times: &[f64]) {
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    println!(
        "  time: {mean:.2} ms per {piece}, {:+.5} ms from one to the next",
        slope(times)
    );
}
