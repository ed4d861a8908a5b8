//! Rules for the tree: what every crate brings, and names that say nothing.

use std::fs;
use std::path::Path;

use super::{Finding, finding};

/// Module names under which anything would fit, so nothing can be found.
const BANNED_NAMES: [&str; 7] = [
    "base", "common", "helper", "helpers", "manager", "util", "utils",
];

pub(crate) fn check(root: &Path, files: &[String]) -> Vec<Finding> {
    let mut findings = banned_names(files);
    let manifests = files.iter().filter(|file| file.ends_with("/Cargo.toml"));
    for manifest in manifests {
        let text = fs::read_to_string(root.join(manifest)).unwrap_or_default();
        findings.extend(manifest_rules(manifest, &text));
        let package = manifest.trim_end_matches("/Cargo.toml");
        if package.starts_with("crates/") {
            findings.extend(package_rules(package, files));
        }
    }
    findings
}

fn banned_names(files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let parts = file.trim_end_matches(".rs").split('/');
        for name in parts.filter(|part| BANNED_NAMES.contains(part)) {
            findings.push(finding(file, 0, format!("`{name}` names no concept")));
        }
    }
    findings
}

fn manifest_rules(manifest: &str, text: &str) -> Vec<Finding> {
    let mut lines = text.lines().map(str::trim);
    let inherited = lines.any(|line| line == "[lints]") && lines.next() == Some("workspace = true");
    if inherited {
        Vec::new()
    } else {
        vec![finding(
            manifest,
            0,
            "lacks `[lints]` with `workspace = true`",
        )]
    }
}

fn package_rules(package: &str, files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !files.contains(&format!("{package}/README.md")) {
        findings.push(finding(package, 0, "has no README.md"));
    }
    let examples = format!("{package}/examples/");
    let is_library = files.contains(&format!("{package}/src/lib.rs"));
    if is_library
        && !files
            .iter()
            .any(|file| file.starts_with(&examples) && file.ends_with(".rs"))
    {
        findings.push(finding(package, 0, "has no example"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|f| f.to_string()).collect()
    }

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn empty_names_are_found_in_files_and_folders() {
        let files = files(&[
            "crates/a/src/utils.rs",
            "crates/a/src/common/x.rs",
            "crates/a/src/baseline.rs",
        ]);
        let expected = [
            "crates/a/src/utils.rs: `utils` names no concept",
            "crates/a/src/common/x.rs: `common` names no concept",
        ];
        assert_eq!(messages(&banned_names(&files)), expected);
    }

    #[test]
    fn lints_are_inherited() {
        assert!(
            manifest_rules("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty()
        );
        assert_eq!(
            manifest_rules("a/Cargo.toml", "[lints.rust]\nworkspace = true\n").len(),
            1
        );
    }

    #[test]
    fn a_library_brings_readme_and_example() {
        let complete = files(&[
            "crates/a/README.md",
            "crates/a/examples/x.rs",
            "crates/a/src/lib.rs",
        ]);
        assert!(package_rules("crates/a", &complete).is_empty());
        let bare = files(&[
            "crates/a/src/lib.rs",
            "crates/b/README.md",
            "crates/b/examples/x.rs",
        ]);
        let expected = ["crates/a: has no README.md", "crates/a: has no example"];
        assert_eq!(messages(&package_rules("crates/a", &bare)), expected);
    }

    #[test]
    fn a_binary_needs_no_example() {
        assert!(
            package_rules(
                "crates/a",
                &files(&["crates/a/README.md", "crates/a/src/main.rs"])
            )
            .is_empty()
        );
    }
}
