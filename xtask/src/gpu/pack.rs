//! One folder with all that the machine with the GPU needs: binaries, test binaries and the peer's script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{self, Executable};
use crate::cuda::Build;

#[derive(Args, Default)]
pub(super) struct Flags {
    /// The folder; what is there under the same names is replaced [default: target/gpu].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// As for `cargo xtask cuda`.
    #[arg(long, value_name = "DIR")]
    toolchain: Option<PathBuf>,
    /// The GPUs' compute capability, as in `80` or `90a` [default: CUDA_COMPUTE_CAP, or 80,
    /// which runs on all later ones].
    #[arg(long, value_name = "N")]
    compute_cap: Option<String>,
    /// Also write the folder as one file, a sixth of its size, beside it: DIR.tar.xz (two minutes).
    #[arg(long)]
    archive: bool,
}

/// A folder that is ready.
pub(super) struct Packed {
    pub(super) folder: PathBuf,
    /// Those of the toolkit on this machine.
    pub(super) libraries: PathBuf,
}

/// What cargo builds, and which of it is carried. Three builds, because examples and tests bring development
/// dependencies, which the binaries of users do not have.
const BUILDS: [(&[&str], &[&str]); 3] = [
    (&["build", "--bins"], &["epnas", "xtask"]),
    (
        &[
            "build",
            "--example",
            "throughput",
            "--example",
            "operator_times",
        ],
        &["throughput", "operator_times"],
    ),
    (
        &["test", "--no-run", "--test", "cuda", "--test", "gpu"],
        &["cuda", "gpu"],
    ),
];

pub(super) fn run(root: &Path, flags: &Flags) -> Result<Packed> {
    let peer = root.join("benches/peer/peer.py");
    ensure!(
        peer.is_file(),
        "there are no sources in {}; name the folder that `cargo xtask gpu pack` made with --binaries",
        root.display()
    );
    let build = Build::new(
        root,
        flags.toolchain.as_deref(),
        flags.compute_cap.as_deref(),
    )?;
    let mut binaries = Vec::new();
    for (words, names) in BUILDS {
        let built = command::executables(&mut build.cargo(words)?)?;
        binaries.extend(chosen(built, names)?);
    }
    let folder = match &flags.out {
        Some(out) => std::path::absolute(out)?,
        None => root.join("target/gpu"),
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for binary in &binaries {
        command::strip(&binary.file, &folder.join(&binary.name))?;
    }
    let script = folder.join("peer.py");
    fs::copy(&peer, &script).with_context(|| format!("cannot write {}", script.display()))?;
    let names = binaries.iter().map(|binary| binary.name.as_str());
    let bytes = size(&folder, names.chain(["peer.py"]))?;
    report(&folder, bytes);
    if flags.archive {
        let file = archive(&folder)?;
        let data =
            fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
        report(&file, data.len());
    }
    eprintln!("on the machine with the GPU, in a copy of that folder: ./xtask gpu --binaries .");
    let libraries = build.libraries();
    Ok(Packed { folder, libraries })
}

fn report(place: &Path, bytes: u64) {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    eprintln!("packed {}: {mebibytes:.1} MiB", place.display());
}

/// The binaries have most of their bytes in common, the kernels of candle.
fn archive(folder: &Path) -> Result<PathBuf> {
    let name = folder.file_name().unwrap_or_else(|| "gpu".as_ref());
    let mut file = folder.as_os_str().to_owned();
    file.push(".tar.xz");
    let above = folder.parent().unwrap_or(folder);
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(above).arg("-cJf").arg(&file).arg(name);
    command::run(&mut tar).context("needs `tar` and `xz`")?;
    Ok(file.into())
}

/// Those with these names.
fn chosen(mut built: Vec<Executable>, names: &[&str]) -> Result<Vec<Executable>> {
    for name in names {
        let made = built.iter().any(|binary| binary.name == *name);
        ensure!(made, "cargo built no executable `{name}`");
    }
    built.retain(|binary| names.contains(&binary.name.as_str()));
    Ok(built)
}

fn size<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<u64> {
    let mut bytes = 0;
    for name in names {
        let file = folder.join(name);
        let data =
            fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?;
        bytes += data.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_built_is_named() {
        let built = |name: &str| Executable {
            name: name.into(),
            file: name.into(),
        };
        let error = chosen(vec![built("epnas")], &["epnas", "xtask"]).unwrap_err();
        assert_eq!(error.to_string(), "cargo built no executable `xtask`");
        let both = chosen(vec![built("gpu"), built("other")], &["gpu"]).unwrap();
        assert_eq!(both, [built("gpu")]);
    }
}
