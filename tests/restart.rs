//! `train --restart` throws away a training, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::command::{Folder, line, read_lines, run};

/// Every file below `dir` and its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

/// Arguments of a training of `arch` into `out`, with `more`.
fn train<'a>(config: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "train",
        "--arch",
        "macro:c3.0",
        "--config",
        config,
        "--out",
        out,
    ];
    arguments.extend(more);
    arguments
}

#[test]
fn an_image_folder_is_no_training_to_restart() {
    let folder = Folder::new();
    let (config, images) = (folder.arg("tiny.toml"), folder.arg("images"));
    line(&format!(
        "data synthetic {images} --train 20 --test 10 --image-size 16"
    ))
    .ok();
    let before = files(&folder.path("images"));
    assert_eq!(before.len(), 30);
    for more in [&["--restart"][..], &[], &["--restart", "--data", &images]] {
        run(&train(&config, &images, more)).fails(2, &["images/train", "name another folder"]);
        assert_eq!(files(&folder.path("images")), before, "{more:?}");
    }
}

#[test]
fn only_files_that_a_training_wrote_are_removed() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("mine"));
    run(&train(&config, &out, &[])).ok();
    std::fs::write(folder.path("mine/model/notes.txt"), "mine").expect("written");
    std::fs::write(folder.path("mine/train/notes.txt"), "mine").expect("written");
    let three = ["--set", "train.epochs=3", "--restart"];
    run(&train(&config, &out, &three)).ok();
    assert_eq!(read_lines(&folder.path("mine/train/curve.jsonl")).len(), 3);
    for notes in ["mine/model/notes.txt", "mine/train/notes.txt"] {
        assert_eq!(crate::command::read(&folder.path(notes)), "mine");
    }
    // Files of our names that someone else wrote.
    for file in [
        "mine/train/checkpoint.bin",
        "mine/train/curve.jsonl",
        "mine/model/model.json",
        "mine/model/weights.safetensors",
    ] {
        let ours = std::fs::read(folder.path(file)).expect("a file");
        std::fs::write(folder.path(file), "{\"theirs\": true}").expect("written");
        let before = files(&folder.path("mine"));
        run(&train(&config, &out, &three)).fails(2, &[file, "not written by a training"]);
        assert_eq!(files(&folder.path("mine")), before, "{file}");
        std::fs::write(folder.path(file), ours).expect("written");
    }
}

#[test]
fn nothing_is_removed_before_everything_else_is_right() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("mine"));
    run(&train(&config, &out, &[])).ok();
    let before = files(&folder.path("mine"));
    let missing = folder.arg("no-images");
    for more in [
        &["--restart", "--data", &missing][..],
        &["--restart", "--set", "train.epochs=0"],
        &["--restart", "--set", "data.validation=100000"],
        &["--restart", "--set", "space.kind=micro"],
    ] {
        let outcome = run(&train(&config, &out, more));
        assert_eq!(outcome.code, Some(2), "{more:?}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert_eq!(files(&folder.path("mine")), before, "{more:?}");
    }
}

#[test]
fn a_runs_training_is_restarted() {
    let folder = Folder::new();
    folder
        .search(
            "run",
            &["--set", "select.top=0", "--set", "baseline.kind=none"],
        )
        .ok();
    let dir = folder.arg("run");
    run(&["train", &dir]).ok();
    let model = folder.path("run/model/model.json");
    let first = std::fs::read(&model).expect("a model");
    run(&["train", &dir, "--restart", "--random"]).fails(2, &["run", "random"]);
    assert_eq!(std::fs::read(&model).expect("a model"), first);
    run(&["train", &dir, "--restart", "--set", "train.epochs=3"]).ok();
    assert_eq!(read_lines(&folder.path("run/train/curve.jsonl")).len(), 3);
}
