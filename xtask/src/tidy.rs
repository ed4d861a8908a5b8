//! House rules that the compiler does not know: the documents name files that exist, and the sources keep to the
//! workspace's style. Every rule is a pure function from text to findings, so each is tested on a few lines.

mod code;
mod documents;
mod layout;
mod sources;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

fn finding(file: &str, line: usize, message: impl Into<String>) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        message: message.into(),
    }
}

pub(crate) fn run(root: &Path) -> Result<()> {
    let files = tracked_files(root)?;
    let mut findings = layout::check(root, &files);
    for file in &files {
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            continue; // not text
        };
        findings.extend(sources::check(file, &text));
        if documents::is_document(file) {
            findings.extend(documents::check(file, &text, |path| {
                root.join(path).exists()
            }));
        }
    }
    for document in documents::REQUIRED {
        if !files.iter().any(|file| file == document) {
            findings.push(finding(document, 0, "is missing"));
        }
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    eprintln!("tidy: {} files are in order", files.len());
    Ok(())
}

/// Files under version control and those about to be, relative to the root, in order.
fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed =
        command::capture(&mut list).context("tidy asks git which files belong to the workspace")?;
    let mut files: Vec<String> = listed
        .lines()
        .map(str::to_owned)
        .filter(|file| root.join(file).is_file())
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_where() {
        assert_eq!(finding("a.rs", 3, "wrong").to_string(), "a.rs:3: wrong");
        assert_eq!(finding("a.rs", 0, "wrong").to_string(), "a.rs: wrong");
    }
}
