//! What a release to crates.io would bring: licences and sources of every dependency, and packages that build by
//! themselves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command;
use crate::table;

/// Files at the top of a package.
const TOP: [&str; 8] = [
    ".cargo_vcs_info.json",
    "Cargo.lock",
    "Cargo.toml",
    "Cargo.toml.orig",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "build.rs",
];

/// Folders of a package, and how the names of files in them end.
const FOLDERS: [(&str, &[&str]); 5] = [
    ("src/", &["rs", "css", "js", "cu", "cuh", "cpp", "h"]),
    ("tests/", &["rs", "py"]),
    ("examples/", &["rs"]),
    ("benches/", &["rs"]),
    ("presets/", &["toml"]),
];

/// A package is source text. crates.io takes ten times as much.
const MOST_BYTES: u64 = 1 << 20;

/// A member of the workspace that is published.
struct Package {
    name: String,
    version: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Library,
    Program,
}

/// The cheap part, for every change: what packages hold, and, where cargo-deny is installed, licences and sources.
pub(crate) fn quick(root: &Path) -> Result<()> {
    for package in packages(root)? {
        let files = listed(root, &package)?;
        let findings = findings(package.kind, &files);
        ensure!(
            findings.is_empty(),
            "package {}: {}",
            package.name,
            findings.join("; ")
        );
    }
    match deny(root, &["licenses", "bans", "sources"])? {
        Verdict::Passed => {}
        Verdict::Skipped(why) => eprintln!("cargo deny: skipped, {why}"),
        Verdict::Failed => bail!("`cargo deny check licenses bans sources` failed"),
    }
    Ok(())
}

pub(super) fn run(root: &Path) -> Result<()> {
    let mut rows = vec![["check", "files", "KiB", "seconds", "result"].map(str::to_owned)];
    let mut broken = 0;
    for checks in [&["licenses", "bans", "sources"][..], &["advisories"]] {
        let began = Instant::now();
        let result = match deny(root, checks)? {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Skipped(why) => format!("skipped: {why}"),
            Verdict::Failed => {
                broken += 1;
                "failed".to_owned()
            }
        };
        let name = format!("cargo deny check {}", checks.join(" "));
        rows.push([name, "-".into(), "-".into(), seconds(began), result]);
    }

    let packages = packages(root)?;
    let target = command::target_dir(root).join("torture/packages");
    let began = Instant::now();
    let built = build(root, &target);
    let verified = match &built {
        Ok(()) => "passed".to_owned(),
        Err(error) => {
            broken += 1;
            format!("failed: {error:#}")
        }
    };
    let name = "every package builds".to_owned();
    rows.push([name, "-".into(), "-".into(), seconds(began), verified]);

    for package in &packages {
        let began = Instant::now();
        let files = listed(root, package)?;
        let mut findings = findings(package.kind, &files);
        let archive = format!("package/{}-{}.crate", package.name, package.version);
        let bytes = fs::metadata(target.join(&archive)).map_or(0, |file| file.len());
        if built.is_ok() && !(1..MOST_BYTES).contains(&bytes) {
            findings.push(format!("{archive} has {bytes} bytes"));
        }
        broken += usize::from(!findings.is_empty());
        rows.push([
            format!("package {}", package.name),
            files.len().to_string(),
            bytes.div_ceil(1024).to_string(),
            seconds(began),
            match findings.is_empty() {
                true => "passed".to_owned(),
                false => findings.join("; "),
            },
        ]);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
    print!("\n{}", table::render(&rows));
    ensure!(broken == 0, "{broken} checks of packages failed");
    Ok(())
}

fn seconds(since: Instant) -> String {
    format!("{:.1}", since.elapsed().as_secs_f64())
}

/// Packs every package and builds it from its archive, in the order of their dependencies; those that it depends on come
/// from their archives too. One folder for all, so that candle is built once.
fn build(root: &Path, target: &Path) -> Result<()> {
    let mut package = command::cargo(root);
    package
        .env("CARGO_TARGET_DIR", target)
        .args(["package", "--locked", "--workspace", "--exclude", "xtask"])
        // A change is checked before it is committed.
        .arg("--allow-dirty");
    command::run(&mut package)
}

/// The workspace's members that are published, by name.
fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut metadata = command::cargo(root);
    metadata.args(["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    published(&command::capture(&mut metadata)?)
}

fn published(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata).context("`cargo metadata`")?;
    let members = metadata["packages"].as_array();
    let members = members.context("`cargo metadata` has no `packages`")?;
    let mut packages = Vec::new();
    for member in members {
        // `null` allows every registry, an empty list none.
        if member["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let text = |field: &str| {
            let value = member[field].as_str().map(str::to_owned);
            value.with_context(|| format!("`cargo metadata`: a package without `{field}`"))
        };
        let mut kinds = member["targets"].as_array().into_iter().flatten();
        let library = kinds.any(|target| target["kind"][0] == "lib");
        packages.push(Package {
            name: text("name")?,
            version: text("version")?,
            kind: match library {
                true => Kind::Library,
                false => Kind::Program,
            },
        });
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(
        !packages.is_empty(),
        "no member of the workspace is published"
    );
    Ok(packages)
}

/// The files that a package would have.
fn listed(root: &Path, package: &Package) -> Result<Vec<String>> {
    let mut list = command::cargo(root);
    list.args(["package", "--quiet", "--locked", "--allow-dirty", "--list"]);
    list.args(["--package", &package.name]);
    let listed = command::capture(&mut list)?;
    Ok(listed.lines().map(|file| file.replace('\\', "/")).collect())
}

/// What a package lacks, and what it should not bring: data, results, whatever lay about.
fn findings(kind: Kind, files: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let has = |wanted: &str| files.iter().any(|file| file == wanted);
    for wanted in ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        if !has(wanted) {
            findings.push(format!("lacks {wanted}"));
        }
    }
    let example = files.iter().any(|file| file.starts_with("examples/"));
    if kind == Kind::Library && !example {
        findings.push("lacks an example".to_owned());
    }
    for file in files {
        let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
        let expected = TOP.contains(&file.as_str())
            || FOLDERS
                .iter()
                .any(|(folder, endings)| file.starts_with(folder) && endings.contains(&ending));
        if !expected {
            findings.push(format!("brings {file}"));
        }
    }
    findings
}

/// What cargo-deny said.
enum Verdict {
    Passed,
    Skipped(&'static str),
    Failed,
}

/// Runs checks of cargo-deny, which a developer may not have, and which fetches its list of advisories.
fn deny(root: &Path, checks: &[&str]) -> Result<Verdict> {
    let mut version = command::cargo(root);
    let installed = version.args(["deny", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        return Ok(Verdict::Skipped(
            "it is not installed (cargo install --locked cargo-deny)",
        ));
    }
    let mut deny = command::cargo(root);
    deny.args([
        "deny",
        "--log-level",
        "error",
        "check",
        "--hide-inclusion-graph",
    ]);
    deny.args(checks);
    judge(&mut deny)
}

fn judge(deny: &mut Command) -> Result<Verdict> {
    eprintln!("$ {}", command::show(deny));
    let output = deny.output().context("cannot start cargo-deny")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(Verdict::Passed);
    }
    if told.contains("failed to fetch advisory database") {
        return Ok(Verdict::Skipped("the database cannot be reached"));
    }
    eprint!("{told}");
    Ok(Verdict::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    const COMPLETE: [&str; 6] = [
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "examples/x.rs",
        "src/lib.rs",
    ];

    #[test]
    fn a_complete_package_passes() {
        assert!(findings(Kind::Library, &files(&COMPLETE)).is_empty());
        assert!(findings(Kind::Program, &files(&COMPLETE[..4])).is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let expected = [
            "lacks LICENSE-APACHE",
            "lacks LICENSE-MIT",
            "lacks an example",
        ];
        let bare = files(&["Cargo.toml", "README.md", "src/lib.rs"]);
        assert_eq!(findings(Kind::Library, &bare), expected);
    }

    #[test]
    fn data_and_results_are_not_packed() {
        for stray in [
            "corpus/0a1b",
            "data/test_batch.bin",
            "proptest-regressions/a.txt",
            "runs/x/history.jsonl",
            "src/notes.txt",
            "notes.md",
        ] {
            let all = [files(&COMPLETE), files(&[stray])].concat();
            assert_eq!(findings(Kind::Library, &all), [format!("brings {stray}")]);
        }
    }

    #[test]
    fn a_member_that_is_not_published_is_left_out() {
        let metadata = r#"{"packages": [
            {"name": "b", "version": "1.0.0", "publish": null, "targets": [{"kind": ["bin"]}]},
            {"name": "a", "version": "1.0.0", "publish": null, "targets": [{"kind": ["lib"]}, {"kind": ["test"]}]},
            {"name": "x", "version": "0.0.0", "publish": [], "targets": [{"kind": ["bin"]}]}
        ]}"#;
        let found = published(metadata).unwrap();
        let found: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.kind)).collect();
        assert_eq!(found, [("a", Kind::Library), ("b", Kind::Program)]);
    }

    #[test]
    fn a_database_that_cannot_be_reached_is_skipped_and_nothing_else() {
        let shell = |script: &str| judge(Command::new("sh").args(["-c", script])).unwrap();
        let unreachable = "echo 'failed to fetch advisory database x' >&2; exit 1";
        assert!(matches!(shell(unreachable), Verdict::Skipped(_)));
        assert!(matches!(shell("echo bad >&2; exit 1"), Verdict::Failed));
        assert!(matches!(shell("true"), Verdict::Passed));
    }
}
