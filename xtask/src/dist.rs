//! `cargo xtask dist`: a release as one archive that runs on a Linux without Rust and Python, and its checksum.
//!
//! `bin` and `share` in it are those of a prefix, so copying them into one installs everything. The bytes depend on the
//! sources, where they and those of the dependencies lie, the toolchain and the time of the last commit. gzip instead of xz,
//! a third smaller, because a bare Debian cannot unpack that.

mod archive;
mod binary;
mod check;
mod licences;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::command;
use crate::scratch::Scratch;
use archive::Tree;

/// What archives are made on and for: the only target whose needs are known (see `binary`).
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The package with the command.
const PACKAGE: &str = "epnas-cli";

/// The folder where each shell finds completions by itself, and what it calls them; PowerShell has none.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "share/bash-completion/completions/epnas"),
    ("elvish", "share/elvish/lib/epnas.elv"),
    ("fish", "share/fish/vendor_completions.d/epnas.fish"),
    ("powershell", "share/epnas/epnas.ps1"),
    ("zsh", "share/zsh/site-functions/_epnas"),
];

/// Documents at the root of both the sources and the archive.
const DOCUMENTS: [&str; 4] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

#[derive(Args)]
pub(crate) struct Flags {
    /// Where the archive goes [default: target/dist].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let rustc = Rustc::ask()?;
    ensure!(
        rustc.host == TARGET,
        "this is {}; archives are made on {TARGET}",
        rustc.host
    );
    let time = time(root)?;
    let metadata = metadata(root)?;
    let version = version(&metadata)?;
    let name = format!("epnas-{version}-{TARGET}");

    let scratch = Scratch::new("dist")?;
    let built = build(root)?;
    let program = scratch.folder().join("epnas");
    command::strip(&built, &program)?;
    let needs = binary::needs(&program)?;

    let mut tree = Tree::default();
    tree.add_program("bin/epnas", read(&program)?);
    for (shell, path) in COMPLETIONS {
        tree.add(
            path,
            command::capture(Command::new(&program).args(["completions", shell]))?,
        );
    }
    let pages = scratch.folder().join("man");
    command::capture(Command::new(&program).arg("man").arg(&pages))?;
    tree.copy_folder("share/man/man1", &pages)?;
    tree.copy_folder("share/epnas/presets", &root.join("configs"))?;
    // Where the README's links lead.
    tree.copy_folder("docs", &root.join("docs"))?;
    for document in DOCUMENTS {
        tree.copy(document, &root.join(document))?;
    }
    tree.add("INSTALL.md", install(&version, &needs.glibc));
    tree.add("THIRD-PARTY.txt", licences::page(&metadata, PACKAGE)?);
    tree.copy("COPYRIGHT-rust-std.html", &rustc.terms())?;
    let packed = tree.pack(&name, time)?;

    let out = match &flags.out {
        Some(out) => std::path::absolute(out)?,
        None => root.join("target/dist"),
    };
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let file = format!("{name}.tar.gz");
    let archive = out.join(&file);
    let sum = archive::checksum_line(&file, &packed);
    write(&archive, &packed)?;
    write(&out.join(format!("{file}.sha256")), sum.as_bytes())?;
    check::run(&archive, &name, &version)?;

    println!("{}  {}", archive.display(), mebibytes(packed.len() as u64));
    println!(
        "bin/epnas  {}, {} with symbols",
        size(&program)?,
        size(&built)?
    );
    println!(
        "needs glibc {} and {}",
        needs.glibc,
        needs.libraries.join(", ")
    );
    print!("sha256 {sum}");
    Ok(())
}

/// The command, for every x86-64: no flag of the builder's reaches a compiler.
fn build(root: &Path) -> Result<PathBuf> {
    let mut build = command::cargo(root);
    // Of the workspace, so that dependencies are those of every other build of it.
    build.args([
        "build",
        "--release",
        "--locked",
        "--workspace",
        "--bin",
        "epnas",
    ]);
    for (name, _) in env::vars_os().filter(|(name, _)| tailors(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    // Empty, it still counts before RUSTFLAGS and the flags in all of cargo's configuration files.
    build.env("CARGO_ENCODED_RUSTFLAGS", "");
    let built = command::executables(&mut build)?.pop();
    Ok(built.context("cargo named no executable epnas")?.file)
}

/// Whether a variable fits a build to its builder: target, profile, flags of the C compiler.
fn tailors(variable: &str) -> bool {
    variable == "CARGO_BUILD_TARGET"
        || variable.starts_with("CARGO_PROFILE_")
        || ["CFLAGS", "CXXFLAGS"]
            .iter()
            .any(|flags| variable.contains(flags))
}

/// The time of every file in the archive: SOURCE_DATE_EPOCH, or that of the last commit.
fn time(root: &Path) -> Result<u64> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";
    let (text, from) = match env::var(VARIABLE) {
        Ok(text) => (text, VARIABLE),
        Err(_) => {
            let git = |words: &[&str]| {
                command::capture(Command::new("git").current_dir(root).args(words))
                    .with_context(|| format!("outside of git, {VARIABLE} has to tell the time"))
            };
            let text = git(&["log", "-1", "--format=%ct"])?;
            if !git(&["status", "--porcelain"])?.is_empty() {
                eprintln!(
                    "warning: there are changes that are not committed; a release is made of a commit"
                );
            }
            (text, "git log")
        }
    };
    let time = text.trim().parse();
    time.with_context(|| format!("{from} says {text:?}, expected seconds since 1970"))
}

fn metadata(root: &Path) -> Result<Value> {
    let mut metadata = command::cargo(root);
    metadata.args(["metadata", "--locked", "--format-version", "1"]);
    let told = command::capture(metadata.args(["--filter-platform", TARGET]))?;
    serde_json::from_str(&told).context("`cargo metadata` printed something else than JSON")
}

fn version(metadata: &Value) -> Result<String> {
    let packages = metadata["packages"].as_array();
    let package = packages.and_then(|all| all.iter().find(|package| package["name"] == PACKAGE));
    let version = package.and_then(|package| package["version"].as_str());
    Ok(version
        .context("cargo names no version of epnas-cli")?
        .to_owned())
}

struct Rustc {
    host: String,
    /// Where the toolchain lies.
    sysroot: PathBuf,
}

impl Rustc {
    fn ask() -> Result<Self> {
        let rustc = || Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let told = command::capture(rustc().arg("-vV"))?;
        let host = told.lines().find_map(|line| line.strip_prefix("host: "));
        let sysroot = command::capture(rustc().args(["--print", "sysroot"]))?;
        Ok(Self {
            host: host.context("`rustc -vV` names no host")?.to_owned(),
            sysroot: sysroot.trim().into(),
        })
    }

    /// Those of the standard library.
    fn terms(&self) -> PathBuf {
        self.sysroot.join("share/doc/rust/COPYRIGHT-library.html")
    }
}

fn install(version: &str, glibc: &str) -> String {
    include_str!("dist/INSTALL.md")
        .replace("{version}", version)
        .replace("{glibc}", glibc)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

fn size(file: &Path) -> Result<String> {
    let data = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(mebibytes(data.len()))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_a_build_to_its_builder_is_known() {
        for name in [
            "CFLAGS",
            "CXXFLAGS_x86_64_unknown_linux_gnu",
            "AWS_LC_SYS_CFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_BUILD_TARGET",
        ] {
            assert!(tailors(name), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_TARGET_DIR", "CC"] {
            assert!(!tailors(name), "{name}");
        }
    }

    #[test]
    fn the_instructions_name_every_folder_of_the_archive_and_no_placeholder() {
        let text = install("1.2.3", "2.99");
        assert!(text.contains("EPNAS 1.2.3") && text.contains("glibc 2.99"));
        assert!(!text.contains('{'), "{text}");
        for (_, path) in COMPLETIONS {
            assert!(
                text.contains(&format!("~/.local/{path}")) || path.starts_with("share/epnas/"),
                "{path}"
            );
        }
    }
}
