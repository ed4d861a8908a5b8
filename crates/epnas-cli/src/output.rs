//! Results on standard output, as text or as JSON.
//!
//! Nothing here panics when the reader goes away (`epnas space | head -1`): a closed pipe becomes
//! [`OutputClosed`], which ends the command quietly.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use epnas_search::write_atomic;
use serde::Serialize;

use crate::failure::OutputClosed;

/// What a command prints its result as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// One JSON document (`--json`).
    Json,
}

/// A path as a word of a command that is suggested.
pub(crate) fn word(path: &Path) -> String {
    let path = match path.to_string_lossy() {
        // A flag, otherwise.
        text if text.starts_with('-') => format!("./{text}"),
        text => text.into_owned(),
    };
    // Only a zero byte, which no path has, cannot be quoted.
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Into::into)
}

/// A number of epochs in words.
pub(crate) fn epochs(number: usize) -> String {
    match number {
        1 => "1 epoch".to_owned(),
        _ => format!("{number} epochs"),
    }
}

/// Prints `text` and a line feed, unless it already ends in one.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    write_bytes(format!("{text}{newline}").as_bytes())
}

/// Prints `value` as indented JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints `value` as JSON, or the text that `text` makes, as `format` asks.
pub(crate) fn print_as<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(value),
        Format::Text => print(&text(value)),
    }
}

/// Prints a text that is in a language of its own (TOML, Graphviz, a shell's): as it is, or as the `text` of a JSON
/// object that says with `key` and `name` what it is.
pub(crate) fn print_source(
    format: Format,
    key: &str,
    name: &str,
    text: &str,
) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(&serde_json::json!({ key: name, "text": text })),
        Format::Text => print(text),
    }
}

/// Writes `bytes` to standard output.
pub(crate) fn write_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
    }
}

/// Writes a file that the user named, and makes the folders above it. A device or a pipe is written to; a link stays one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("cannot write {}", path.display()));
    }
    let place = match path.is_symlink() {
        true => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    };
    Ok(write_atomic(&place, bytes)?)
}

/// Writes a line to standard error and ignores a reader that has gone (`eprintln!` would panic).
pub(crate) fn stderr_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(value: impl ToString) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Left-aligned first column, right-aligned others, two spaces between: `rows` as lines of text under `header`.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            if column == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// The same with a last column of long words, which begin below one another.
pub(crate) fn table_with(
    header: &[&str],
    rows: &[Vec<String>],
    last: &str,
    words: impl IntoIterator<Item = String>,
) -> String {
    let words = [last.to_owned()].into_iter().chain(words);
    let numbers = table(header, rows);
    let lines = numbers.lines().zip(words);
    lines
        .map(|(line, word)| format!("{line}  {word}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_of_a_shell() {
        for (path, expected) in [
            ("runs/a-1", "runs/a-1"),
            ("-x", "./-x"),
            ("a b", "'a b'"),
            ("it's", "\"it's\""),
            ("$x", "'$x'"),
        ] {
            assert_eq!(word(Path::new(path)), expected);
        }
    }

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        // 6^12 * 2^66: the macro space of 12 layers.
        assert_eq!(
            grouped(160_618_186_625_454_535_808_756_219_904_u128),
            "160,618,186,625,454,535,808,756,219,904"
        );
    }

    #[test]
    fn columns_line_up() {
        let text = table(
            &["op", "params"],
            &[
                vec!["a".into(), "12".into()],
                vec!["long".into(), "3".into()],
            ],
        );
        assert_eq!(text, "op    params\na         12\nlong       3\n");
    }
}
