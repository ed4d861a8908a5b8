//! Checksums that lie in the file they are of: CRC-32 (IEEE 802.3), in hexadecimal.
//!
//! A JSON object ends with the key `crc32`, whose value is the checksum of all bytes before it, less the comma. Any other
//! file ends with a line `# crc32 = "…"`, which is a comment in TOML, with the checksum of all bytes before the line. They
//! tell what a disk, a copy or an editor changed; they are no protection against forgery.

use serde::Serialize;

const KEY: &str = "\"crc32\"";
const LINE: &str = "# crc32 = \"";
const DIGITS: usize = 8;

/// Something with its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<T> {
    /// To be written, the checksum in it; or as it was read, without it.
    pub content: T,
    /// The checksum, eight hexadecimal digits.
    pub crc32: String,
}

/// `value`, which serializes to an object with a field or more, in one line without its end.
///
/// # Errors
/// When it cannot be serialized.
pub fn json_line<T: Serialize>(value: &T) -> serde_json::Result<Sealed<String>> {
    Ok(object_line(&serde_json::to_string(value)?))
}

/// As [`json_line`], of an object's text as it is.
#[must_use]
pub fn object_line(object: &str) -> Sealed<String> {
    close(object, |crc| format!(",{KEY}:\"{crc}\"}}"))
}

/// As [`json_line`], over several lines, with an end.
///
/// # Errors
/// As there.
pub fn json_pretty<T: Serialize>(value: &T) -> serde_json::Result<Sealed<String>> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(close(&text, |crc| format!(",\n  {KEY}: \"{crc}\"\n}}\n")))
}

fn close(object: &str, end: impl Fn(&str) -> String) -> Sealed<String> {
    let content = object.strip_suffix('}').unwrap_or(object).trim_end();
    let crc32 = digits(content.as_bytes());
    Sealed {
        content: [content, &end(&crc32)].concat(),
        crc32,
    }
}

/// The object without its checksum.
///
/// # Errors
/// In words, when there is none or it does not match.
pub fn open_json(bytes: &[u8]) -> Result<Sealed<Vec<u8>>, String> {
    let key = KEY.as_bytes();
    let at = bytes.windows(key.len()).rposition(|window| window == key);
    let Some(at) = at else {
        return Err("there is no checksum (`crc32`) at its end".into());
    };
    let stored = checksum_after(&bytes[at + key.len()..]);
    let content = bytes[..at].trim_ascii_end().strip_suffix(b",");
    let (Some(stored), Some(content)) = (stored, content) else {
        return Err("its checksum (`crc32`) is damaged".into());
    };
    compare(content, stored)?;
    Ok(Sealed {
        content: [content, b"}"].concat(),
        crc32: stored.to_owned(),
    })
}

/// What stands in `: "…" }`.
fn checksum_after(rest: &[u8]) -> Option<&str> {
    let value = rest.trim_ascii().strip_prefix(b":")?.trim_ascii_start();
    let (digits, end) = value.strip_prefix(b"\"")?.split_at_checked(DIGITS)?;
    let end = end.strip_prefix(b"\"")?.trim_ascii_start();
    (end == b"}").then_some(str::from_utf8(digits).ok()?)
}

/// `content` and the line with its checksum.
#[must_use]
pub fn text(content: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut bytes = content.into();
    let line = format!("{LINE}{}\"\n", digits(&bytes));
    bytes.extend_from_slice(line.as_bytes());
    bytes
}

/// The content before the line with its checksum.
///
/// # Errors
/// In words, when there is none or it does not match.
pub fn open_text(bytes: &[u8]) -> Result<&[u8], String> {
    let length = LINE.len() + DIGITS + 2;
    let split = bytes.len().checked_sub(length);
    let (content, line) = bytes.split_at(split.unwrap_or(0));
    let stored = line
        .strip_prefix(LINE.as_bytes())
        .and_then(|line| line.strip_suffix(b"\"\n"))
        .and_then(|digits| str::from_utf8(digits).ok());
    let Some(stored) = stored else {
        return Err(format!("there is no checksum (`{LINE}…`) at its end"));
    };
    compare(content, stored)?;
    Ok(content)
}

fn compare(content: &[u8], stored: &str) -> Result<(), String> {
    match digits(content) {
        found if found == stored => Ok(()),
        found => Err(format!(
            "its content has changed since it was written (CRC-32 {found}, expected {stored})"
        )),
    }
}

fn digits(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}
