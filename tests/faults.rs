//! What can happen to the files of a run: the process is killed at any write, the disk fills up, the folder cannot be
//! written to, a bit flips. A run goes on to the same end, or says what is wrong and with which file.
//!
//! `EPNAS_TORTURE` is how often more than in the everyday tests all of this is tried: `cargo xtask torture` sets it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::command::{Folder, Outcome, epnas, read_json, run};
use crate::resume::{assert_same, next, seed, timeless_lines};

/// How many times as much is tried as every day.
pub(crate) fn torture() -> usize {
    let given = std::env::var("EPNAS_TORTURE");
    given.map_or(1, |times| times.parse().expect("EPNAS_TORTURE is a number"))
}

/// Everything from the search to the exported network, in `out`; the same command goes on with it.
fn whole_way(folder: &Folder, out: &Path) -> Command {
    let mut command = epnas();
    command.args(["run", "-q", "--config", &folder.arg("tiny.toml"), "--out"]);
    command.arg(out);
    command
}

fn finish(folder: &Folder, out: &Path) -> Outcome {
    Outcome::from(whole_way(folder, out).output().expect("epnas starts"))
}

/// Runs the whole way with a fault on order.
fn with_fault(folder: &Folder, out: &Path, fault: &str) -> Outcome {
    let mut command = whole_way(folder, out);
    Outcome::from(
        command
            .env("EPNAS_FAULT", fault)
            .output()
            .expect("epnas starts"),
    )
}

/// A run that nothing happened to.
pub(crate) fn undisturbed(folder: &Folder) -> PathBuf {
    let whole = folder.path("whole");
    finish(folder, &whole).ok();
    whole
}

/// Panics unless two runs ended alike, to the last byte of what they hand over.
#[track_caller]
fn assert_ended_alike(expected: &Path, found: &Path) {
    assert_same(expected, found);
    let file =
        |run: &Path, name: &str| fs::read(run.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    for name in [
        "model/weights.safetensors",
        "model/model.json",
        "model.onnx",
    ] {
        assert!(file(expected, name) == file(found, name), "{name} differs");
    }
    let curve = |run: &Path| timeless_lines(&run.join("train/curve.jsonl"));
    assert_eq!(curve(expected), curve(found));
    let tested = |run: &Path| read_json(&run.join("summary.json"))["test_accuracy"].clone();
    assert_eq!(tested(expected), tested(found));
}

/// Calls `at` with write points until one is beyond the last: all of them under torture, else some in each half of what
/// was left. `at` says whether the fault struck.
fn at_write_points(mut at: impl FnMut(u64) -> bool) {
    let (mut state, mut struck, mut point) = (seed("EPNAS_FAULT_SEED"), 0, 0);
    while at(point) {
        struck += 1;
        point = match torture() {
            1 => point * 2 + 1 + next(&mut state) % (point + 1),
            _ => point + 1,
        };
    }
    println!("{struck} faults, the last beyond {point} write points");
    assert!(struck >= 5, "only {struck} write points were tried");
}

#[test]
fn killed_at_a_write_a_run_goes_on_to_the_same_end() {
    let folder = Folder::new();
    let whole = undisturbed(&folder);
    at_write_points(|point| {
        let out = folder.path(&format!("killed-{point}"));
        let outcome = with_fault(&folder, &out, &format!("kill:{point}"));
        if outcome.code == Some(0) {
            return false;
        }
        assert_eq!(
            outcome.code, None,
            "it failed by itself: {}",
            outcome.stderr
        );
        finish(&folder, &out).ok();
        assert_ended_alike(&whole, &out);
        fs::remove_dir_all(out).expect("removed");
        true
    });
}

#[test]
fn on_a_disk_that_fills_up_a_run_ends_with_an_error_and_goes_on_later() {
    let folder = Folder::new();
    let whole = undisturbed(&folder);
    at_write_points(|point| {
        let out = folder.path(&format!("full-{point}"));
        let outcome = with_fault(&folder, &out, &format!("full:{point}"));
        if outcome.code == Some(0) {
            return false;
        }
        outcome.fails(
            1,
            &["cannot ", &format!("full-{point}"), "no storage space"],
        );
        finish(&folder, &out).ok();
        assert_ended_alike(&whole, &out);
        fs::remove_dir_all(out).expect("removed");
        true
    });
}

/// A small file system in memory, where this process may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(place: PathBuf) -> Option<Self> {
        fs::create_dir(&place).expect("a folder");
        let disk = Self(place);
        match disk.mount("size=192k") {
            true => Some(disk),
            false => {
                println!("skipped: mounting a small disk takes the rights of root");
                None
            }
        }
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.0);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn remount(&self, options: &str) {
        assert!(self.mount(&format!("remount,{options}")), "{options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_and_a_read_only_one_are_named_and_lose_nothing() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::new(folder.path("disk")) else {
        return;
    };
    let whole = undisturbed(&folder);
    let out = disk.0.join("run");
    finish(&folder, &out).fails(1, &["cannot ", "run", "No space left on device"]);
    let children = fs::read_to_string(out.join("history.jsonl"))
        .expect("children")
        .lines()
        .count();
    assert!(children > 0, "the disk was full before the first child");

    disk.remount("ro");
    finish(&folder, &out).fails(
        2,
        &[
            "run",
            "Read-only file system",
            "expected a folder that can be written to",
        ],
    );
    disk.remount("rw,size=64m");
    finish(&folder, &out).ok();
    assert_ended_alike(&whole, &out);

    // What only reads needs no more.
    disk.remount("ro");
    let dir = out.to_str().expect("UTF-8");
    for arguments in [
        &["eval", dir][..],
        &["show", dir],
        &["train", dir, "--help"],
    ] {
        run(arguments).ok();
    }
    run(&["report", dir, "--out", &folder.arg("page.html")]).ok();
    run(&["report", dir]).fails(1, &["report.html", "Read-only file system"]);
}

/// While one process works in a run, no other does; what only reads may.
#[test]
fn a_second_process_in_a_run_is_refused() {
    let folder = Folder::new();
    let out = folder.arg("run");
    // Children of seconds.
    let sets = ["network.channels=96", "data.synthetic.train=4000"];
    let mut first = epnas();
    first.args([
        "search",
        "-q",
        "--config",
        &folder.arg("tiny.toml"),
        "--out",
        &out,
    ]);
    first.args(sets.iter().flat_map(|set| ["--set", set]));
    let mut first = first.stderr(Stdio::null()).spawn().expect("epnas starts");
    while !folder.path("run/config.toml").is_file() {
        assert!(first.try_wait().expect("its state").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let config = folder.arg("tiny.toml");
    let mut whole_way = vec!["run", "--config", &config, "--out", &out];
    whole_way.extend(sets.iter().flat_map(|set| ["--set", set]));
    for arguments in [
        &["search", "--out", &out, "--resume"][..],
        &whole_way,
        &["select", &out],
        &["train", &out],
        &["rank", &out],
    ] {
        let outcome = run(arguments);
        let refused = outcome.stderr.contains("in use by another process");
        assert!(
            refused && outcome.code != Some(0),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
    run(&["report", &out, "--out", &folder.arg("page.html")]).ok();
    first.kill().expect("it can be killed");
    first.wait().expect("it ends");
    // A lock is its process's.
    let after = run(&["select", &out]);
    assert!(!after.stderr.contains("in use"), "{}", after.stderr);
}

/// In a process that may not have more, a child that does not fit is recorded and left; the search goes on without it.
#[cfg(target_os = "linux")]
#[test]
fn a_child_that_does_not_fit_in_memory_is_left_out() {
    let folder = Folder::new();
    let out = folder.arg("run");
    // A 5x5 convolution of 1,024 channels has 105 MB of weights, of which a training needs a dozen copies at most.
    let line = format!(
        "-v {LIMIT}; exec {} search --config {} --out {out} --threads 1 --json --set network.channels=1024 \
         --set data.image_size=4 --set data.synthetic.train=40 --set data.validation=10 --set training.batch=8 \
         --set space.layers=1 --set baseline.kind=none --set select.top=0",
        env!("CARGO_BIN_EXE_epnas"),
        folder.arg("tiny.toml"),
    );
    let mut shell = Command::new("sh");
    // One heap for all threads, so that what is set aside does not depend on their number.
    shell
        .env("MALLOC_ARENA_MAX", "1")
        .args(["-c", &format!("ulimit {line}")]);
    let outcome = Outcome::from(shell.output().expect("a shell")).ok();
    let best = outcome.json();
    assert_ne!(best["architecture"], "macro:c5.0", "{best:#}");
    let children = crate::command::read_lines(&folder.path("run/history.jsonl"));
    let failed: Vec<_> = children
        .iter()
        .filter(|child| child["status"] == "failed")
        .collect();
    assert_eq!((children.len(), failed.len()), (6, 1), "{failed:?}");
    assert_eq!(failed[0]["arch"], "macro:c5.0");
    let reason = failed[0]["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("not enough memory on Cpu: 1310736864")
            && reason.contains("fewer channels take less"),
        "{reason}"
    );
}

/// KiB that a process with a limit may have: what the others take, and less than a 5x5 convolution does.
#[cfg(target_os = "linux")]
const LIMIT: u64 = 800_000;

/// Every file of a run but its lock, by its path in it.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.ends_with("lock") => {}
            false => found.push(path),
        }
    }
    found.sort();
    found
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let place = to.join(path.strip_prefix(from).expect("in it"));
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::copy(path, place).expect("copied");
    }
}

/// In runs that were interrupted in their search, in their final training and not at all, each file once with one bit
/// flipped.
#[test]
fn a_flipped_bit_is_an_error_a_step_back_or_harmless() {
    let folder = Folder::new();
    let whole = undisturbed(&folder);
    let mut state = seed("EPNAS_FAULT_SEED");
    // How often, by outcome and then by file.
    let mut seen: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for (stage, marks) in [
        ("search", &["history.jsonl", "checkpoint/previous.json"][..]),
        ("training", &["train/previous.bin"]),
        ("end", &["summary.json", "report.html"]),
    ] {
        let begun = interrupted(&folder, stage, marks);
        for path in files(&begun) {
            let name = path.strip_prefix(&begun).expect("in it");
            for _ in 0..torture().min(20) {
                let out = folder.path("damaged");
                copy(&begun, &out);
                let mut bytes = fs::read(&path).expect("bytes");
                if bytes.is_empty() {
                    continue;
                }
                let bit = next(&mut state) as usize % (bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
                fs::write(out.join(name), bytes).expect("written");
                let what = format!("{} at the {stage}, bit {bit}", name.display());
                let outcome = outcome_of(&folder, &whole, &out, name, &what);
                let of_outcome = seen.entry(outcome).or_default();
                let what = format!("{stage}: {}", name.display());
                *of_outcome.entry(what).or_default() += 1;
                fs::remove_dir_all(out).expect("removed");
            }
        }
    }
    for (outcome, files) in &seen {
        println!(
            "{outcome}, {} times: {files:?}",
            files.values().sum::<usize>()
        );
    }
    // Whatever the bit: what is there twice is gone back from, and what follows from the rest is made again.
    for (outcome, what) in [
        ("a step back", "search: checkpoint/state.json"),
        ("a step back", "training: checkpoint/state.json"),
        ("a step back", "training: random/checkpoint/state.json"),
        ("a step back", "training: train/checkpoint.bin"),
        ("harmless", "training: train/previous.bin"),
        ("harmless", "end: train/best/weights.safetensors"),
        ("harmless", "end: train/last/weights.safetensors"),
        ("harmless", "end: model.onnx"),
        ("an error", "end: config.toml"),
        ("an error", "end: selection.jsonl"),
    ] {
        assert_eq!(
            seen[outcome].get(what),
            Some(&torture().min(20)),
            "{outcome}: {what}"
        );
    }
}

/// A run that was killed when it had all of `marks`, or soon after.
fn interrupted(folder: &Folder, name: &str, marks: &[&str]) -> PathBuf {
    let out = folder.path(name);
    for point in (60..).step_by(30) {
        let outcome = with_fault(folder, &out, &format!("kill:{point}"));
        if marks.iter().all(|mark| out.join(mark).is_file()) {
            break;
        }
        assert_eq!(
            outcome.code, None,
            "{name}: it ended before it had {marks:?}"
        );
        fs::remove_dir_all(&out).expect("removed");
    }
    out
}

/// What comes of a run of whose files `name` was damaged.
fn outcome_of(folder: &Folder, whole: &Path, out: &Path, name: &Path, what: &str) -> &'static str {
    let mut command = epnas();
    command.args(["run", "--config", &folder.arg("tiny.toml"), "--out"]);
    let outcome = Outcome::from(command.arg(out).output().expect("epnas starts"));
    if outcome.code == Some(0) {
        assert_ended_alike(whole, out);
        return match outcome
            .stderr
            .contains("going back to the checkpoint before")
        {
            true => "a step back",
            false => "harmless",
        };
    }
    assert!(
        matches!(outcome.code, Some(1 | 2)),
        "{what}: {}",
        outcome.stderr
    );
    let file = name
        .file_name()
        .and_then(|name| name.to_str())
        .expect("UTF-8");
    assert!(
        outcome.stderr.contains(file) && outcome.stderr.lines().count() == 1,
        "{what}: {}",
        outcome.stderr
    );
    "an error"
}
