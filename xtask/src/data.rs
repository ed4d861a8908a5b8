//! Data sets on disk: obtained once, verified always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{cifar10, command, test};

#[derive(Args)]
pub(crate) struct Flags {
    /// Which data set.
    set: Set,
    /// Where to put it.
    #[arg(long, value_name = "DIR", default_value = "data/cifar10")]
    out: PathBuf,
    /// The official cifar-10-binary.tar.gz, or a folder with its files.
    #[arg(long, value_name = "FILE_OR_DIR")]
    from: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Set {
    /// 60,000 images of 32x32 in ten classes, in the binary layout.
    Cifar10,
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    match flags.set {
        Set::Cifar10 => cifar10(flags),
    }
}

fn cifar10(flags: &Flags) -> Result<()> {
    let out = &flags.out;
    if out.join(cifar10::TEST_FILE).exists() {
        eprintln!("{} already holds CIFAR-10; verifying it", out.display());
    } else {
        match &flags.from {
            Some(from) if from.is_dir() => copy(&inner(from), out)?,
            Some(from) => unpack(from, out)?,
            None => bail!(
                "nothing to unpack: give --from with the official cifar-10-binary.tar.gz or a folder with its files \
                 (https://www.cs.toronto.edu/~kriz/cifar.html), or let `epnas` fetch the images itself by giving \
                 a CIFAR-10 config no --data"
            ),
        }
    }
    let counts = cifar10::verify(out)?;
    println!(
        "{}: {} training and {} test images, verified",
        out.display(),
        total(&counts.train),
        total(&counts.test)
    );
    println!(
        "use it: epnas search --config configs/cifar10-quick-macro.toml --data {}",
        out.display()
    );
    println!(
        "test with it: {}={} cargo xtask test",
        test::REAL_DATA,
        out.display()
    );
    Ok(())
}

fn total(counts: &[usize]) -> usize {
    counts.iter().sum()
}

/// The official archive has one folder at its top; both it and its parent are accepted.
fn inner(dir: &Path) -> PathBuf {
    let nested = dir.join("cifar-10-batches-bin");
    if nested.is_dir() {
        nested
    } else {
        dir.to_path_buf()
    }
}

fn copy(from: &Path, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    for file in cifar10::TRAIN_FILES
        .iter()
        .chain([&cifar10::TEST_FILE, &cifar10::NAMES_FILE])
    {
        let (source, target) = (from.join(file), out.join(file));
        if *file == cifar10::NAMES_FILE && !source.exists() {
            continue; // the class names are known anyway
        }
        fs::copy(&source, &target)
            .with_context(|| format!("cannot copy {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}

/// `tar` exists on Linux, macOS and Windows 10; an archive crate would be a dependency for one call.
fn unpack(archive: &Path, out: &Path) -> Result<()> {
    if !archive.is_file() {
        bail!("{}: no such file or folder", archive.display());
    }
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(out)
        .args(["--strip-components", "1"]);
    command::run(&mut tar).with_context(|| format!("cannot unpack {}", archive.display()))
}
