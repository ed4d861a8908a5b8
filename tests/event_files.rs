//! Event files for TensorBoard, written at once by `epnas report` and bit by bit by `epnas watch`. What is in them is for
//! TensorBoard to say: `cargo xtask test --pages` names a Python that has it in `EPNAS_TENSORBOARD_PYTHON`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{Folder, Outcome, line, repository, run};
use crate::made_up;
use crate::watch::Server;

/// Lengths of the records of an event file: eight bytes of length, four of a sum, the record, four of another sum.
fn records(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).expect("an event file");
    let (mut lengths, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((length, more)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).expect("a length");
        rest = more.get(length + 8..).expect("whole records");
        lengths.push(length);
    }
    assert!(rest.is_empty());
    lengths
}

/// The one event file in a folder.
fn file(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    file.clone()
}

/// Lets TensorBoard compare, where it is at hand.
fn compare(logs: &Path, run: &Path, levels: usize) {
    let Some(python) = std::env::var_os("EPNAS_TENSORBOARD_PYTHON") else {
        eprintln!(
            "skipped: EPNAS_TENSORBOARD_PYTHON names no Python with tensorboard (cargo xtask test --pages)"
        );
        return;
    };
    let output = Command::new(python)
        .arg(repository().join("tests/event_files.py"))
        .args([logs, run])
        .arg(levels.to_string())
        .output()
        .expect("Python starts");
    eprintln!("{}", Outcome::from(output).ok().stdout.trim_end());
}

#[test]
fn tensorboard_returns_every_number_of_a_run() {
    let folder = Folder::new();
    let (config, out, logs) = (
        folder.arg("tiny.toml"),
        folder.arg("tiny"),
        folder.arg("logs"),
    );
    line(&format!("run --config {config} --out {out} --seeds 2")).ok();
    line(&format!("train {out} --random")).ok();
    let report = line(&format!("report {out} --tensorboard {logs} --json"))
        .ok()
        .json();
    assert_eq!(report["events"].as_array().expect("files").len(), 6);
    let search = file(&folder.path("logs/tiny/search"));
    // A file's beginning, then up to eleven numbers a child, histograms and a picture.
    assert!(records(&search).len() > 60, "{:?}", records(&search));
    compare(&folder.path("logs"), &folder.path("tiny"), 3);
    // Once more: in place of those before.
    line(&format!("report {out} --tensorboard {logs}")).ok();
    let again = file(&folder.path("logs/tiny/search"));
    assert!(again != search && records(&again).len() > 60);
    compare(&folder.path("logs"), &folder.path("tiny"), 3);
}

#[test]
fn tensorboard_follows_a_run() {
    let folder = Folder::new();
    let (dir, logs) = (folder.path("run"), folder.path("logs"));
    made_up::begin(&dir);
    made_up::append(&dir, 0..40);
    let _server = Server::start_with(&dir, &["--tensorboard", &folder.arg("logs")]);
    let first = file(&logs.join("run/search"));
    let before = records(&first).len();
    made_up::append(&dir, 40..120);
    let until = Instant::now() + Duration::from_secs(20);
    while records(&first).len() < before + 700 {
        assert!(Instant::now() < until, "{} records", records(&first).len());
        std::thread::sleep(Duration::from_millis(200));
    }
    compare(&logs, &dir, made_up::LAYERS);
    // The run goes back to its checkpoint: a file of what there is now, and no other.
    let text = fs::read_to_string(dir.join("history.jsonl")).expect("a history");
    let kept: String = text.split_inclusive('\n').take(60).collect();
    fs::write(dir.join("history.jsonl"), kept).expect("written");
    let until = Instant::now() + Duration::from_secs(20);
    while first.exists() {
        assert!(Instant::now() < until, "the first file is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
    std::thread::sleep(Duration::from_secs(2));
    compare(&logs, &dir, made_up::LAYERS);
}

#[test]
fn event_files_take_no_other_file_away() {
    let folder = Folder::new();
    let dir = folder.path("run");
    made_up::begin(&dir);
    made_up::append(&dir, 0..3);
    let mine = folder.path("logs/run/search");
    fs::create_dir_all(&mine).expect("a folder");
    fs::write(mine.join("events.out.tfevents.1.other"), "mine").expect("written");
    let (out, logs) = (folder.arg("run"), folder.arg("logs"));
    line(&format!("report {out} --tensorboard {logs}")).ok();
    assert!(mine.join("events.out.tfevents.1.other").exists());
    fs::write(folder.path("taken"), "").expect("written");
    run(&["report", &out, "--tensorboard", &folder.arg("taken")]).fails(1, &["taken"]);
}
