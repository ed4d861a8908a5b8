//! Every test of the workspace. Examples are built with them; documentation examples are run.
//! With `--export`, those alone that run exported networks in onnxruntime and torch; with `--pages`, those that open pages in
//! a browser and event files in TensorBoard; with `--slurm`, those of fleets on a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cifar10, command, python};

/// Names the folder with CIFAR-10's binary files for the tests on real images.
pub(crate) const REAL_DATA: &str = "EPNAS_CIFAR10";

/// Asks for the tests on a real Slurm: `small`, or `whole` for the demo as it is.
const SLURM: &str = "EPNAS_SLURM";

/// Fails where no Slurm answers.
fn require_slurm() -> Result<()> {
    let nodes = command::capture(Command::new("sinfo").args(["--noheader", "--format=%N %t"]))
        .context("no Slurm answers here: start one (slurmctld, slurmd, munged), one node on loopback is enough")?;
    eprintln!("Slurm: {}", nodes.trim());
    Ok(())
}

#[derive(Default, clap::Args)]
pub(crate) struct Flags {
    /// Only the tests that run exported networks in onnxruntime and torch, which are installed in an environment of their own
    /// under target/ (some gigabytes), on CIFAR-10's test images if EPNAS_CIFAR10 names them.
    #[arg(long)]
    export: bool,

    /// Only the tests that open pages in Chromium and event files in TensorBoard: Chromium and its driver must be installed,
    /// selenium and TensorBoard are, in an environment of their own under target/.
    #[arg(long, conflicts_with = "export")]
    pages: bool,

    /// Only the tests of fleets on a real Slurm, which must be up: 20 minutes on two cores. They drain all nodes for a while,
    /// so it should be a cluster of one's own; one node on loopback is enough.
    #[arg(long, conflicts_with_all = ["export", "pages"])]
    slurm: bool,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let mut test = command::cargo(root);
    if flags.export {
        test.env("EPNAS_EXPORT_PYTHON", python::with_runtimes(root)?);
        // Of the workspace, so that dependencies are built with the features that all other tests have.
        test.args(["test", "--locked", "--workspace", "--test", "runtimes"]);
        test.args(["--", "--nocapture"]);
    } else if flags.pages {
        let python = python::with_browser(root)?;
        test.env("EPNAS_BROWSER_PYTHON", &python);
        test.env("EPNAS_TENSORBOARD_PYTHON", &python);
        test.args(["test", "--locked", "--workspace"]);
        test.args(["--test", "integration", "--test", "tensorboard"]);
        // One after another: some of them measure times.
        test.args([
            "--",
            "browser",
            "tensorboard",
            "--nocapture",
            "--test-threads=1",
        ]);
    } else if flags.slurm {
        require_slurm()?;
        // Unless all of the demo is asked for.
        if std::env::var_os(SLURM).is_none() {
            test.env(SLURM, "small");
        }
        test.args(["test", "--locked", "--workspace"]);
        test.args(["--test", "integration", "--", "slurm_"]);
        test.args(["--nocapture", "--test-threads=1"]);
    } else {
        test.args(["test", "--locked", "--workspace"]);
    }
    match std::env::var_os(REAL_DATA).map(PathBuf::from) {
        Some(dir) => {
            // Tests run in their crate's folder, so a relative path would miss.
            let dir = dir
                .canonicalize()
                .with_context(|| format!("{REAL_DATA}={}", dir.display()))?;
            cifar10::verify(&dir).with_context(|| format!("{REAL_DATA}={}", dir.display()))?;
            test.env(REAL_DATA, &dir);
            command::run(&mut test)?;
            eprintln!("tests on real images: run, {}", dir.display());
        }
        None => {
            command::run(&mut test)?;
            eprintln!(
                "tests on real images: skipped, {REAL_DATA} is not set (cargo xtask data cifar10)"
            );
        }
    }
    Ok(())
}
