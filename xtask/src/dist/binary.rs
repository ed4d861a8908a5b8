//! What a binary asks of the machine it runs on: shared libraries and a version of glibc.

use std::cmp::Ordering;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;

/// What every Linux with glibc has. The C++ library is not among them.
const EVERYWHERE: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) libraries: Vec<String>,
    /// The lowest version that has every symbol.
    pub(super) glibc: String,
}

/// Fails when a library is needed that a bare machine may lack.
pub(super) fn needs(binary: &Path) -> Result<Needs> {
    let mut readelf = Command::new("readelf");
    // In no language but this one.
    readelf.env("LC_ALL", "C");
    readelf.args(["--wide", "--dynamic", "--version-info"]);
    let told = command::capture(readelf.arg(binary))
        .context("needs `readelf` (on Debian: the package binutils)")?;
    needs_in(&told).with_context(|| format!("{} is not portable", binary.display()))
}

fn needs_in(told: &str) -> Result<Needs> {
    let between = |line: &str, before: &str, after: char| -> Option<String> {
        let (_, rest) = line.split_once(before)?;
        Some(rest.split(after).next().unwrap_or(rest).to_owned())
    };
    let lines = told.lines();
    let libraries: Vec<String> = lines
        .clone()
        .filter_map(|line| between(line, "(NEEDED) ", '\n'))
        .filter_map(|rest| between(&rest, "[", ']'))
        .collect();
    for library in &libraries {
        ensure!(
            EVERYWHERE.contains(&library.as_str()),
            "it needs {library}; expected none but {}",
            EVERYWHERE.join(", ")
        );
    }
    let versions = lines.filter_map(|line| between(line, "Name: GLIBC_", ' '));
    let glibc = versions.max_by(|a, b| by_number(a, b));
    let glibc = glibc.context("it names no version of glibc; expected a dynamic binary")?;
    Ok(Needs { libraries, glibc })
}

/// 2.4 before 2.34.
fn by_number(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split('.');
        parts.map(|part| part.parse().unwrap_or(u32::MAX)).collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "
Dynamic section at offset 0x1f0d8 contains 29 entries:
  Tag        Type                         Name/Value
 0x0000000000000001 (NEEDED)             Shared library: [libm.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000001e (FLAGS)              BIND_NOW

Version needs section '.gnu.version_r' contains 2 entries:
  0x0000: Version: 1  File: libm.so.6  Cnt: 1
  0x0010:   Name: GLIBC_2.9  Flags: none  Version: 6
  0x0020: Version: 1  File: libc.so.6  Cnt: 2
  0x0030:   Name: GLIBC_2.34  Flags: none  Version: 5
  0x0040:   Name: GLIBC_2.2.5  Flags: none  Version: 2
";

    #[test]
    fn libraries_and_the_highest_version_are_found() {
        let expected = Needs {
            libraries: vec!["libm.so.6".into(), "libc.so.6".into()],
            glibc: "2.34".into(),
        };
        assert_eq!(needs_in(TOLD).unwrap(), expected);
    }

    #[test]
    fn a_library_that_may_be_missing_is_refused() {
        let told = TOLD.replace("libm.so.6]", "libstdc++.so.6]");
        let error = needs_in(&told).unwrap_err().to_string();
        assert!(error.starts_with("it needs libstdc++.so.6"), "{error}");
        let error = needs_in("There is no dynamic section in this file.").unwrap_err();
        assert!(error.to_string().contains("no version of glibc"));
    }
}
