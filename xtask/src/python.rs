//! A Python with torch, for the comparisons with PyTorch and the networks that are exported to it, and one with what drives a
//! browser.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command;

/// The one named, or an environment of our own, so that nobody's Python is changed. Made once, kept under `target/`.
pub(crate) fn with_torch(root: &Path, named: Option<&Path>) -> Result<PathBuf> {
    if let Some(python) = named {
        return Ok(python.to_path_buf());
    }
    let python = environment(root, "target/peer-venv")?;
    let version = ["-c", "import torch; print(torch.__version__)"];
    if command::capture(Command::new(&python).args(version)).is_err() {
        // pip's own settings choose the index: set PIP_INDEX_URL for a build of torch without CUDA.
        command::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "torch"]))?;
    }
    Ok(python)
}

/// The Python of an environment of our own, made when it is not there.
fn environment(root: &Path, name: &str) -> Result<PathBuf> {
    let environment = root.join(name);
    let python = environment.join(if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    });
    if !python.exists() {
        command::run(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
    }
    Ok(python)
}

/// A Python with selenium, which drives a browser, and TensorBoard.
pub(crate) fn with_browser(root: &Path) -> Result<PathBuf> {
    let python = environment(root, "target/pages-venv")?;
    let imports = ["-c", "import selenium, tensorboard"];
    if command::capture(Command::new(&python).args(imports)).is_err() {
        // TensorBoard still asks for a part of setuptools that later ones lack.
        let packages = ["selenium", "tensorboard", "setuptools<81"];
        let install = ["-m", "pip", "install", "--quiet"];
        command::run(Command::new(&python).args(install).args(packages))?;
    }
    Ok(python)
}

/// The same environment with what runs exported networks.
pub(crate) fn with_runtimes(root: &Path) -> Result<PathBuf> {
    let python = with_torch(root, None)?;
    let imports = ["-c", "import numpy, onnx, onnxruntime, safetensors"];
    if command::capture(Command::new(&python).args(imports)).is_err() {
        let packages = ["numpy", "onnx", "onnxruntime", "safetensors"];
        let install = ["-m", "pip", "install", "--quiet"];
        command::run(Command::new(&python).args(install).args(packages))?;
    }
    Ok(python)
}
