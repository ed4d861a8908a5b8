//! Rules for the documents: paths exist, invariants say who checks them, the changelog is open.

use super::{Finding, finding};

/// Documents that there have to be.
pub(crate) const REQUIRED: [&str; 5] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "docs/algorithm.md",
];

/// Documents of the whole workspace: at its root and in `docs`.
pub(crate) fn is_document(file: &str) -> bool {
    let name = file.strip_prefix("docs/").unwrap_or(file);
    name.ends_with(".md") && !name.contains('/')
}

/// First components of paths that a run makes, or that the reader supplies.
const MADE_BY_RUNS: [&str; 10] = [
    "checkpoint",
    "config.toml",
    "cifar-10-batches-bin",
    "data",
    "model",
    "model-random",
    "photos",
    "random",
    "runs",
    "target",
];

/// Endings that make a single backticked word a file's name.
const FILE_ENDINGS: [&str; 6] = [".rs", ".md", ".py", ".toml", ".yml", ".cu"];

pub(crate) fn check(document: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for (line, content) in prose(text) {
        for path in backticked(content).into_iter().filter(|word| is_path(word)) {
            // Documents name paths from the root; a link is relative to its document.
            if !exists(path.trim_end_matches('/')) {
                findings.push(finding(document, line, format!("`{path}` does not exist")));
            }
        }
        for link in linked(content) {
            let path = link.split('#').next().unwrap_or_default();
            let external = path.contains("://") || path.starts_with("mailto:");
            if !path.is_empty() && !external && !exists(&join(folder, path)) {
                findings.push(finding(
                    document,
                    line,
                    format!("the link to {link} leads nowhere"),
                ));
            }
        }
    }
    if document == "ARCHITECTURE.md" {
        findings.extend(unchecked_invariants(document, text));
    }
    if document == "CHANGELOG.md" && !text.lines().any(|line| line.starts_with("## [Unreleased]")) {
        findings.push(finding(document, 0, "has no section `## [Unreleased]`"));
    }
    findings
}

/// Lines outside fenced blocks, numbered from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

/// The contents of `code spans`.
fn backticked(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// Where the links of a document lead.
fn linked(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .collect()
}

/// A path in the repository, as opposed to code, a command or something that a run writes.
fn is_path(word: &str) -> bool {
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let first = word.split('/').next().unwrap_or_default();
    let looks = word.contains('/') || FILE_ENDINGS.iter().any(|ending| word.ends_with(ending));
    plain && looks && !word.starts_with('/') && !first.is_empty() && !MADE_BY_RUNS.contains(&first)
}

fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// An invariant is worth what checks it, so its paragraph has to say "Checked by".
fn unchecked_invariants(document: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut line = 1;
    for paragraph in text.split("\n\n") {
        if paragraph.contains("**Architecture Invariant:**") && !paragraph.contains("Checked by") {
            findings.push(finding(
                document,
                line,
                "an invariant that does not say `Checked by ..`",
            ));
        }
        line += paragraph.matches('\n').count() + 2;
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(document: &str, text: &str) -> Vec<String> {
        let exists = |path: &str| ["crates/a", "docs/b.md", "Cargo.toml"].contains(&path);
        check(document, text, exists)
            .iter()
            .map(|f| f.to_string())
            .collect()
    }

    #[test]
    fn documents_of_the_workspace_are_told_from_those_of_a_crate() {
        assert!(is_document("README.md") && is_document("docs/algorithm.md"));
        assert!(!is_document("crates/a/README.md") && !is_document("docs/a.toml"));
    }

    #[test]
    fn missing_paths_are_found_with_their_line() {
        let text = "See `crates/a` and\n`crates/gone/` and `Cargo.toml`; `deny.toml`.\n";
        let expected = [
            "README.md:2: `crates/gone/` does not exist",
            "README.md:2: `deny.toml` does not exist",
        ];
        assert_eq!(messages("README.md", text), expected);
    }

    #[test]
    fn code_commands_and_outputs_are_no_paths() {
        let text = "`a::b`, `cargo xtask ci`, `runs/demo`, `--out x/y`, `f(a/b)`, `1e-3`, `model/weights.safetensors`\n\
                    ```text\n`gone/x.rs`\n```\n";
        assert_eq!(messages("README.md", text), [""; 0]);
    }

    #[test]
    fn links_are_relative_to_their_document() {
        assert_eq!(
            messages(
                "docs/b.md",
                "[a](../crates/a) [b](b.md#x) [c](https://x.y/z) [d](#d)"
            ),
            [""; 0]
        );
        assert_eq!(
            messages("docs/b.md", "[a](crates/a)"),
            ["docs/b.md:1: the link to crates/a leads nowhere"]
        );
    }

    #[test]
    fn an_invariant_names_its_check() {
        let text = "Intro.\n\n**Architecture Invariant:** a.\nChecked by tidy.\n\n**Architecture Invariant:** b.\n";
        let expected = ["ARCHITECTURE.md:6: an invariant that does not say `Checked by ..`"];
        assert_eq!(messages("ARCHITECTURE.md", text), expected);
    }

    #[test]
    fn the_changelog_stays_open() {
        assert_eq!(messages("CHANGELOG.md", "## [Unreleased]\n- a\n"), [""; 0]);
        assert_eq!(
            messages("CHANGELOG.md", "## [0.1.0]\n"),
            ["CHANGELOG.md: has no section `## [Unreleased]`"]
        );
    }
}
