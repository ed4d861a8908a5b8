//! An archive as its user meets it: unpacked, compared with its checksums, and run with nothing around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::archive::CHECKSUMS;
use crate::command;
use crate::scratch::Scratch;

/// The smallest useful run: the preset of the demo with few images and children.
const TINY: &[&str] = &[
    "data.image_size=16",
    "data.validation=40",
    "data.synthetic.train=160",
    "data.synthetic.test=40",
    "space.layers=3",
    "network.channels=4",
    "search.iterations=1",
    "search.children_per_step=2",
    "training.epochs=1",
    "select.top=2",
    "select.epochs=1",
    "train.channels=4",
    "train.epochs=2",
];

/// Unpacks `archive`, which lies beside its checksum and holds one folder called `root`, and goes the whole way from a
/// search to a prediction.
pub(super) fn run(archive: &Path, root: &str, version: &str) -> Result<()> {
    let started = Instant::now();
    let scratch = Scratch::new("dist-check")?;
    let beside = archive.parent().unwrap_or("".as_ref());
    let mut sum = archive.file_name().unwrap_or_default().to_owned();
    sum.push(".sha256");
    verify(beside, Path::new(&sum))?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(scratch.folder()).arg("-xzf").arg(archive);
    command::run(&mut tar)?;
    let unpacked = scratch.folder().join(root);
    verify(&unpacked, Path::new(CHECKSUMS))?;

    for path in [
        "bin/epnas",
        "INSTALL.md",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "THIRD-PARTY.txt",
        "share/man/man1/epnas.1",
        "share/man/man1/epnas-run.1",
        "share/bash-completion/completions/epnas",
        "share/zsh/site-functions/_epnas",
        "share/fish/vendor_completions.d/epnas.fish",
        "share/epnas/presets/folder.toml",
    ] {
        ensure!(unpacked.join(path).is_file(), "the archive has no {path}");
    }
    let bare = Bare::new(unpacked.join("bin/epnas"), scratch.folder().join("home"))?;
    let said = bare.epnas(&["--version"])?;
    ensure!(
        said.trim() == format!("epnas {version}"),
        "--version says {said:?}, expected epnas {version}"
    );
    let preset = unpacked.join("share/epnas/presets/demo.toml");
    let preset = preset
        .to_str()
        .context("temporary folders have UTF-8 names")?;
    let mut whole = vec!["run", "--quiet", "--config", preset, "--out", "run"];
    whole.extend(TINY.iter().flat_map(|assignment| ["--set", assignment]));
    bare.epnas(&whole)?;
    ensure!(
        bare.home.join("run/model.onnx").is_file(),
        "epnas run left no model.onnx"
    );
    bare.epnas(&[
        "data",
        "synthetic",
        "images",
        "--train",
        "10",
        "--test",
        "10",
        "--image-size",
        "16",
    ])?;
    let predicted = bare.epnas(&["predict", "images/test", "--model", "run", "--json"])?;
    let predicted: Value = serde_json::from_str(&predicted)
        .with_context(|| format!("predict printed {predicted:?}, expected JSON"))?;
    let images = predicted.as_array().map_or(0, Vec::len);
    ensure!(images == 10, "predict told of {images} images, expected 10");
    eprintln!(
        "checked: checksums, files, run and predict without an environment, {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn verify(folder: &Path, sums: &Path) -> Result<()> {
    let mut check = Command::new("sha256sum");
    check
        .current_dir(folder)
        .args(["--check", "--quiet", "--strict"]);
    command::run(check.arg(sums))
}

/// A program that finds no variable, no other program and nothing in its home.
struct Bare {
    program: PathBuf,
    home: PathBuf,
}

impl Bare {
    fn new(program: PathBuf, home: PathBuf) -> Result<Self> {
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        Ok(Self { program, home })
    }

    /// What it prints.
    fn epnas(&self, arguments: &[&str]) -> Result<String> {
        let mut epnas = Command::new(&self.program);
        epnas.args(arguments).current_dir(&self.home);
        epnas.env_clear().env("HOME", &self.home).env("PATH", "");
        command::capture(&mut epnas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_found() {
        let scratch = Scratch::new("dist-verify").unwrap();
        fs::write(scratch.folder().join("a"), "run me").unwrap();
        let sums = super::super::archive::checksum_line("a", b"run me");
        fs::write(scratch.folder().join("sums"), sums).unwrap();
        verify(scratch.folder(), "sums".as_ref()).unwrap();
        fs::write(scratch.folder().join("a"), "run you").unwrap();
        let error = verify(scratch.folder(), "sums".as_ref()).unwrap_err();
        assert!(error.to_string().contains("sha256sum"), "{error}");
    }

    #[test]
    fn nothing_of_our_environment_is_passed_on() {
        let scratch = Scratch::new("dist-bare").unwrap();
        let bare = Bare::new("/usr/bin/env".into(), scratch.folder().join("home")).unwrap();
        let told = bare.epnas(&[]).unwrap();
        let mut names: Vec<&str> = told
            .lines()
            .filter_map(|line| line.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "PATH"]);
    }
}
