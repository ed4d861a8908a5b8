//! Rules for the tree: what every crate brings, and names that say nothing.

use std::fs;
use std::path::Path;

use super::{Finding, finding};

/// What a manifest of a package takes from the workspace's.
const INHERITED: [&str; 7] = [
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "keywords",
    "categories",
];

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
            findings.extend(metadata(manifest, &text));
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

/// What crates.io shows of a package.
fn metadata(manifest: &str, text: &str) -> Vec<Finding> {
    let own = text.split("\n[").next().unwrap_or_default();
    let has = |line: &str| own.lines().any(|found| found.trim() == line);
    let mut findings = Vec::new();
    for key in INHERITED {
        let line = format!("{key}.workspace = true");
        if !has(&line) {
            findings.push(finding(manifest, 0, format!("lacks `{line}`")));
        }
    }
    if !has("readme = \"README.md\"") {
        findings.push(finding(manifest, 0, "lacks `readme = \"README.md\"`"));
    }
    let described = |line: &str| {
        let text = line.strip_prefix("description = \"");
        text.is_some_and(|text| text.trim_end_matches('"').len() > 20)
    };
    if !own.lines().any(described) {
        findings.push(finding(manifest, 0, "lacks a `description`"));
    }
    findings
}

fn package_rules(package: &str, files: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !files.contains(&format!("{package}/README.md")) {
        findings.push(finding(package, 0, "has no README.md"));
    }
    // A package holds its folder alone: links, as that to the presets.
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        if !files.contains(&format!("{package}/{licence}")) {
            findings.push(finding(package, 0, format!("has no {licence}")));
        }
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
    fn a_library_brings_readme_licences_and_example() {
        let complete = files(&[
            "crates/a/LICENSE-APACHE",
            "crates/a/LICENSE-MIT",
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
        let expected = [
            "crates/a: has no README.md",
            "crates/a: has no LICENSE-APACHE",
            "crates/a: has no LICENSE-MIT",
            "crates/a: has no example",
        ];
        assert_eq!(messages(&package_rules("crates/a", &bare)), expected);
    }

    #[test]
    fn a_binary_needs_no_example() {
        assert!(
            package_rules(
                "crates/a",
                &files(&[
                    "crates/a/LICENSE-APACHE",
                    "crates/a/LICENSE-MIT",
                    "crates/a/README.md",
                    "crates/a/src/main.rs"
                ])
            )
            .is_empty()
        );
    }

    #[test]
    fn a_manifest_says_what_the_package_is() {
        let mut lines = vec![
            "[package]".to_owned(),
            "name = \"a\"".to_owned(),
            "description = \"Search spaces and architectures\"".to_owned(),
            "readme = \"README.md\"".to_owned(),
        ];
        lines.extend(INHERITED.map(|key| format!("{key}.workspace = true")));
        assert!(metadata("a", &lines.join("\n")).is_empty());
        for missing in 2..lines.len() {
            let mut without = lines.clone();
            // Elsewhere it does not count.
            let line = without.remove(missing);
            without.extend(["[lints]".to_owned(), line]);
            assert_eq!(metadata("a", &without.join("\n")).len(), 1, "{missing}");
        }
        let short = lines
            .join("\n")
            .replace("Search spaces and architectures", "");
        assert_eq!(
            messages(&metadata("a", &short)),
            ["a: lacks a `description`"]
        );
    }
}
