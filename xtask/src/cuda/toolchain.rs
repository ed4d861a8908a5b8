//! A CUDA toolkit from NVIDIA's wheels: enough to compile and link on a machine without a toolkit, a driver or a GPU.
//!
//! The folder gets an environment `venv` with the wheels, and `home`, links in the layout of an installed toolkit. The
//! driver's library comes with drivers only, so a stub stands in for it when linking.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command;

/// The parts of CUDA 13.0, which drivers from 580 on run.
const WHEELS: [&str; 9] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-curand==10.4.0.35",
    "nvidia-cublas==13.0.2.14",
    "nvidia-cudnn-cu13==9.13.0.50",
];

/// Written last: without it, an installation was interrupted and is made again.
const MARKER: &str = ".complete";

/// The toolkit's home in `folder`, which is filled first unless it is complete.
pub(super) fn home(root: &Path, folder: &Path) -> Result<PathBuf> {
    let home = folder.join("home");
    if !folder.join(MARKER).exists() {
        install(root, folder, &home).with_context(|| {
            format!(
                "cannot make a CUDA toolkit in {}; an installed one is found by CUDA_HOME or by nvcc on PATH",
                folder.display()
            )
        })?;
    }
    Ok(home)
}

/// What fails early and cheaply comes first, the download last.
fn install(root: &Path, folder: &Path, home: &Path) -> Result<()> {
    eprintln!(
        "making a CUDA toolkit in {} (a download of 1 GB, 1.7 GB on disk)",
        folder.display()
    );
    check_python()?;
    let stubs = home.join("lib64/stubs");
    fs::create_dir_all(&stubs).with_context(|| format!("cannot create {}", stubs.display()))?;
    build_stub(&driver_symbols(root)?, &folder.join("stub.c"), &stubs)?;
    let packages = install_wheels(&folder.join("venv"))?.join("nvidia");
    link_all(&packages, home)?;
    command::capture(Command::new(home.join("bin/nvcc")).arg("--version"))?;
    let marker = folder.join(MARKER);
    fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))
}

fn check_python() -> Result<()> {
    let check = "import sys, venv, ensurepip; assert sys.version_info >= (3, 9), sys.version";
    command::capture(Command::new("python3").args(["-c", check]))
        .map(|_| ())
        .context("needs a python3 of 3.9 or later with venv and pip (on Debian: the package python3-venv)")
}

/// Installs the wheels and returns the folder of their packages.
fn install_wheels(environment: &Path) -> Result<PathBuf> {
    // Standard output is for results, and perhaps read by a shell.
    let aside = || Stdio::from(io::stderr());
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(environment);
    command::run(make.stdout(aside())).context("needs python3 with venv and pip")?;
    let python = environment.join("bin/python");
    // What an interrupted installation left may look installed: --ignore-installed writes it again.
    let install = ["install", "--no-deps", "--ignore-installed"];
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "--disable-pip-version-check"])
        .args(install)
        .args(WHEELS);
    // pip's own settings choose the index.
    command::run(pip.stdout(aside())).context("needs pip and an index with NVIDIA's wheels")?;
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = command::capture(Command::new(&python).args(["-c", ask]))?;
    Ok(packages.trim_end().into())
}

/// Links what the wheels brought into the layout of an installed toolkit.
fn link_all(packages: &Path, home: &Path) -> Result<()> {
    let toolkit = packages.join("cu13");
    for folder in ["bin", "include", "nvvm"] {
        link(&toolkit.join(folder), &home.join(folder))?;
    }
    let libraries = home.join("lib64");
    for folder in [toolkit.join("lib"), packages.join("cudnn/lib")] {
        for file in sorted_files(&folder)? {
            let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            for alias in library_names(name) {
                link(&file, &libraries.join(alias))?;
            }
        }
    }
    link(Path::new("lib64"), &home.join("lib"))
}

/// The names under which a library is found: its own, and for a shared one the name without version, for the linker.
fn library_names(file: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some((stem, _)) = file.split_once(".so") {
        names.insert(format!("{stem}.so"));
    }
    if !names.is_empty() || file.ends_with(".a") {
        names.insert(file.to_owned());
    }
    names
}

/// Makes or replaces the link at `at`.
fn link(to: &Path, at: &Path) -> Result<()> {
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at).with_context(|| format!("cannot replace {}", at.display()))?;
    }
    symlink(to, at).with_context(|| format!("cannot link {} to {}", at.display(), to.display()))
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn sorted_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut files = read().with_context(|| format!("cannot read {}", folder.display()))?;
    files.sort();
    Ok(files)
}

/// The driver's functions as cudarc declares them.
fn driver_symbols(root: &Path) -> Result<BTreeSet<String>> {
    let metadata = command::capture(command::cargo(root).args([
        "metadata",
        "--locked",
        "--all-features",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array();
    let mut symbols = BTreeSet::new();
    for package in packages.into_iter().flatten() {
        let manifest = package["manifest_path"].as_str().map(Path::new);
        if let (Some("cudarc"), Some(manifest)) = (package["name"].as_str(), manifest) {
            for file in sorted_files(&manifest.with_file_name("src/driver/sys"))? {
                if file.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&file)
                        .with_context(|| format!("cannot read {}", file.display()))?;
                    symbols.extend(declared(&text));
                }
            }
        }
    }
    ensure!(
        symbols.contains("cuInit"),
        "cudarc, a dependency of the feature `cuda`, declares no driver functions"
    );
    Ok(symbols)
}

/// Names of functions that begin with `cu` and a capital.
fn declared(text: &str) -> impl Iterator<Item = String> + '_ {
    text.match_indices("fn cu").filter_map(|(at, _)| {
        let name = &text[at + "fn ".len()..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &name[..end.unwrap_or(name.len())];
        let capital = name.as_bytes().get(2).is_some_and(u8::is_ascii_uppercase);
        capital.then(|| name.to_owned())
    })
}

/// A `libcuda.so` whose functions all answer CUDA_ERROR_NO_DEVICE.
fn build_stub(symbols: &BTreeSet<String>, source: &Path, stubs: &Path) -> Result<()> {
    let line = |name: &String| format!("int {name}(void) {{ return 100; }}\n");
    let text: String = symbols.iter().map(line).collect();
    fs::write(source, text).with_context(|| format!("cannot write {}", source.display()))?;
    let compiler = env::var_os("CC").filter(|compiler| !compiler.is_empty());
    let mut compile = Command::new(compiler.unwrap_or_else(|| OsString::from("cc")));
    compile
        .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"])
        .arg(stubs.join("libcuda.so"))
        .arg(source);
    command::run(compile.stdout(Stdio::from(io::stderr())))
        .context("needs a C compiler, named `cc` or by CC (on Debian: the package g++)")?;
    link(Path::new("libcuda.so"), &stubs.join("libcuda.so.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_functions_are_those_of_the_driver() {
        let text = "pub fn cuInit(Flags: u32) -> CUresult;\n pub unsafe fn cuMemAlloc_v2(\n fn cublas() fn cu() \
                    fn curry(cuNone: u8)";
        let names: Vec<String> = declared(text).collect();
        assert_eq!(names, ["cuInit", "cuMemAlloc_v2"]);
        assert_eq!(declared("fn cu").count(), 0);
    }

    #[test]
    fn libraries_are_found_without_their_version() {
        let names = |file: &str| library_names(file).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names("libcudart.so.13"),
            ["libcudart.so", "libcudart.so.13"]
        );
        assert_eq!(names("libcuda.so"), ["libcuda.so"]);
        assert_eq!(names("libcudadevrt.a"), ["libcudadevrt.a"]);
        assert!(names("cmake").is_empty());
    }

    #[test]
    fn a_complete_folder_is_left_alone() {
        let folder = env::temp_dir().join(format!("epnas-toolchain-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(MARKER), "").unwrap();
        let found = home(Path::new("no-such-folder"), &folder).unwrap();
        let files = sorted_files(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, folder.join("home"));
        assert_eq!(files, [folder.join(MARKER)]);
    }
}
