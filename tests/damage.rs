//! Files of a finished run that were changed, cut or lost: every command that would read them says so, and nothing is taken
//! from what is left.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Folder, epnas, read};
use crate::faults::{copy, files, undisturbed};

/// What every command says of a run in which `damage` was done, each with a copy of its own.
fn refused(damage: impl Fn(&Path), commands: &[&[&str]], words: &[&str]) {
    let folder = Folder::new();
    let whole = undisturbed(&folder);
    for (number, command) in commands.iter().enumerate() {
        let dir = folder.path(&format!("damaged-{number}"));
        copy(&whole, &dir);
        damage(&dir);
        let before = contents(&dir);
        let mut epnas = epnas();
        epnas.args(command.iter().map(|word| match *word {
            "RUN" => dir.clone().into_os_string(),
            "CONFIG" => folder.arg("tiny.toml").into(),
            word => word.into(),
        }));
        let output = epnas.output().expect("epnas starts");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(
            matches!(output.status.code(), Some(1 | 2)) && last.starts_with("error: "),
            "{command:?}: {stderr}"
        );
        for word in words {
            assert!(
                last.contains(word),
                "{command:?}: `{word}` is not in: {last}"
            );
        }
        assert!(contents(&dir) == before, "{command:?} changed the run");
    }
}

fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("bytes"));
    files(dir).into_iter().map(read).collect()
}

const RUN: &[&str] = &["run", "-q", "--config", "CONFIG", "--out", "RUN"];
const RESUME: &[&str] = &["search", "-q", "--resume", "--out", "RUN"];
const SELECT: &[&str] = &["select", "-q", "RUN"];
const RANK: &[&str] = &["rank", "-q", "-n", "4", "RUN"];
const REPORT: &[&str] = &["report", "RUN"];

#[test]
fn a_changed_setting_is_never_in_force() {
    let change = |dir: &Path| {
        let path = dir.join("config.toml");
        let text = read(&path);
        assert!(text.contains("layers = 3"), "{text}");
        fs::write(path, text.replace("layers = 3", "layers = 4")).expect("written");
    };
    let others: [&[&str]; 3] = [
        &["show", "RUN"],
        &["eval", "RUN"],
        &["train", "RUN", "--restart"],
    ];
    let commands = [&[RUN, RESUME, SELECT, RANK, REPORT][..], &others].concat();
    refused(
        change,
        &commands,
        &["config.toml", "has changed since it was written"],
    );
}

#[test]
fn a_history_is_at_least_that_of_its_checkpoint() {
    let cut = |dir: &Path| {
        let path = dir.join("history.jsonl");
        let text = read(&path);
        let kept: String = text.split_inclusive('\n').take(7).collect();
        fs::write(path, kept).expect("written");
    };
    let commands = [RUN, RESUME, SELECT, RANK, REPORT];
    refused(
        cut,
        &commands,
        &["history.jsonl", "7 children", "at least the"],
    );
}

#[test]
fn children_need_what_they_were_measured_with() {
    for name in ["data.json", "precision.json"] {
        let lose = |dir: &Path| fs::remove_file(dir.join(name)).expect("removed");
        refused(lose, &[RUN, RESUME, SELECT], &[name, "is missing"]);
    }
    let lose = |dir: &Path| fs::remove_file(dir.join("config.toml")).expect("removed");
    refused(lose, &[RUN], &["config.toml", "is missing"]);
    let lose = |dir: &Path| fs::remove_dir_all(dir.join("checkpoint")).expect("removed");
    refused(
        lose,
        &[RUN, RESUME],
        &["history.jsonl", "no checkpoint to go on from"],
    );
}

#[test]
fn a_training_without_its_checkpoints_is_not_begun_anew() {
    let lose = |dir: &Path| {
        for name in ["train/checkpoint.bin", "train/previous.bin"] {
            fs::remove_file(dir.join(name)).expect("removed");
        }
    };
    // `run` says so too, after it has written its result once more.
    let train = ["train", "-q", "RUN"];
    let words = ["checkpoint.bin", "is missing", "2 epochs", "--restart"];
    refused(lose, &[&train], &words);
}

/// What cannot go on takes no training with it.
#[test]
fn a_training_is_not_thrown_away_for_a_search_that_cannot_go_on() {
    let restart = [RUN, &["--restart", "--seed", "9"]].concat();
    refused(|_| {}, &[&restart], &["begun with other settings", "seed"]);
    let flip = |dir: &Path| {
        let path = dir.join("selection.jsonl");
        fs::write(&path, read(&path).replacen("0.", "1.", 1)).expect("written");
    };
    let restart = [RUN, &["--restart"]].concat();
    refused(flip, &[&restart], &["selection.jsonl, line 1"]);
}
