//! Runs killed at random moments end as if nothing had happened; so do runs on other numbers of threads.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::command::{Folder, epnas, read_json, read_lines};
use crate::faults::torture;

/// Long enough to be killed in every part of it.
const LONGER: [&str; 4] = ["--set", "network.channels=8", "--set", "training.epochs=4"];

/// A history without the fields that measure time.
pub(crate) fn timeless(run: &Path) -> Vec<Value> {
    timeless_lines(&run.join("history.jsonl"))
}

/// Lines of a file without the fields that measure time.
pub(crate) fn timeless_lines(path: &Path) -> Vec<Value> {
    let mut lines = read_lines(path);
    for line in &mut lines {
        line["seconds"] = Value::Null;
        for epoch in line["epochs"].as_array_mut().into_iter().flatten() {
            epoch["seconds"] = Value::Null;
        }
    }
    lines
}

/// Names and bytes of the weights and surrogates in the latest checkpoint of a run and of its baseline.
fn weights(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for part in ["checkpoint", "random/checkpoint"] {
        let dir = run.join(part);
        let state = read_json(&dir.join("state.json"));
        for blob in [&state["weights"], &state["surrogate"]] {
            let Some(name) = blob["file"].as_str() else {
                continue;
            };
            let bytes = std::fs::read(dir.join(name));
            files.push((format!("{part}/{name}"), bytes.expect("weights")));
        }
    }
    assert!(
        files.len() >= 3 && files.iter().all(|(_, bytes)| !bytes.is_empty()),
        "no weights"
    );
    files
}

/// What must not depend on interruptions: the choice and its accuracies.
fn result(run: &Path) -> [Value; 5] {
    let best = read_json(&run.join("best.json"));
    let random = &best["random"];
    [
        best["architecture"].clone(),
        best["estimate"].clone(),
        best["retrained_accuracy"].clone(),
        random["architecture"].clone(),
        random["retrained_accuracy"].clone(),
    ]
}

/// Panics unless two runs ended alike.
#[track_caller]
pub(crate) fn assert_same(expected: &Path, found: &Path) {
    assert_eq!(timeless(expected), timeless(found));
    assert_eq!(
        timeless(&expected.join("random")),
        timeless(&found.join("random"))
    );
    let (expected_weights, found_weights) = (weights(expected), weights(found));
    let names = |files: &[(String, Vec<u8>)]| {
        files
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&expected_weights), names(&found_weights));
    for ((name, a), (_, b)) in expected_weights.iter().zip(&found_weights) {
        assert!(a == b, "{name} differs");
    }
    assert_eq!(result(expected), result(found));
    for part in ["checkpoint", "random/checkpoint"] {
        let position = |run: &Path| {
            let state = read_json(&run.join(part).join("state.json"));
            ["children", "strategy", "fits"].map(|key| state[key].clone())
        };
        assert_eq!(position(expected), position(found), "{part}");
    }
}

/// A seed from the environment variable `name`, or else from the clock; printed, so that a test can be repeated.
pub(crate) fn seed(name: &str) -> u64 {
    let given = std::env::var(name).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |time| time.as_nanos() as u64)
    });
    println!("{name}={seed} repeats this test");
    seed
}

/// Starts `epnas` with `arguments` again and again and kills it (SIGKILL) after a random time of up to two fifths of
/// `whole`, at most `most` times, until it ends by itself. Returns how often it was killed.
fn kill_and_repeat(arguments: &[&str], whole: Duration, most: usize, state: &mut u64) -> usize {
    let mut kills = 0;
    loop {
        let mut command = epnas();
        let mut child = command
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("epnas starts");
        if kills < most {
            std::thread::sleep(Duration::from_micros(
                next(state) % (whole.as_micros() as u64 * 2 / 5).max(1),
            ));
            child.kill().expect("it can be killed");
        }
        let status = child.wait().expect("it ends");
        if status.success() {
            return kills;
        }
        assert_eq!(status.code(), None, "it failed by itself");
        kills += 1;
    }
}

/// Repeats `round`, which is told its number and returns how often it killed, until there are as many kills as torture asks
/// for.
fn rounds_of_kills(mut round: impl FnMut(usize, &mut u64) -> usize) {
    let (mut state, mut kills, mut number) = (seed("EPNAS_KILL_SEED"), 0, 0);
    while kills < torture() {
        kills += round(number, &mut state);
        number += 1;
        assert!(kills > 0, "it was too fast to be killed");
    }
    println!("{kills} kills in {number} runs, each of which ended as the one that was not killed");
}

#[test]
fn killed_searches_resume_to_the_same_end() {
    let folder = Folder::new();
    let clock = Instant::now();
    folder
        .search("whole", &[&["-q"], &LONGER[..]].concat())
        .ok();
    let whole = clock.elapsed();
    let resume = [&["--resume", "-q"], &LONGER[..]].concat();
    rounds_of_kills(|number, state| {
        let name = format!("killed-{number}");
        let (config, out) = (folder.arg("tiny.toml"), folder.arg(&name));
        let arguments = ["search", "--config", &config, "--out", &out];
        let kills = kill_and_repeat(&[&arguments, &resume[..]].concat(), whole, 12, state);
        assert_same(&folder.path("whole"), &folder.path(&name));
        kills
    });
    // A finished run resumed is left as it is.
    folder.search("killed-0", &resume).ok();
    assert_same(&folder.path("whole"), &folder.path("killed-0"));
}

#[test]
fn killed_trainings_resume_to_the_same_weights() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let arguments = |out: &str| {
        let line = format!(
            "train --arch macro:c3.0/d3.1/c5.1+2 --config {config} --out {out} --set train.epochs=12 \
             --set train.channels=12 -q"
        );
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let clock = Instant::now();
    crate::command::run(&arguments(&folder.arg("whole"))).ok();
    let whole = clock.elapsed();
    rounds_of_kills(|number, state| {
        let name = format!("killed-{number}");
        let killed = arguments(&folder.arg(&name));
        let killed: Vec<&str> = killed.iter().map(String::as_str).collect();
        let kills = kill_and_repeat(&killed, whole, 8, state);
        for file in ["model", "train/best", "train/last"] {
            let file = format!("{file}/weights.safetensors");
            let read = |run: &str| std::fs::read(folder.path(run).join(&file)).expect("weights");
            assert!(read("whole") == read(&name), "{file} differs");
        }
        let curve = |run: &str| timeless_lines(&folder.path(run).join("train/curve.jsonl"));
        assert_eq!(curve("whole"), curve(&name));
        kills
    });
}

/// SplitMix64.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn any_number_of_threads_gives_the_same_run() {
    let folder = Folder::new();
    for (run, threads) in [("one", "1"), ("two", "2"), ("four", "4"), ("again", "4")] {
        folder.search(run, &["--threads", threads, "-q"]).ok();
    }
    for run in ["two", "four", "again"] {
        assert_same(&folder.path("one"), &folder.path(run));
    }
}
