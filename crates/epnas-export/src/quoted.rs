//! Text from outside in a file of Python: names of classes, of files and of architectures stay text.

use std::fmt::Write;

/// A literal whose value is the text. JSON's strings would do but for what an editor shows in another order than it runs,
/// and Rust's `{:?}` writes escapes that Python does not know.
pub(crate) fn literal(text: &str) -> String {
    format!("\"{}\"", inside(text))
}

/// The text between quotes, one or three: it ends neither the literal nor the line.
pub(crate) fn inside(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => safe.extend(['\\', character]),
            // Letters of every script, to be read.
            ' ' => safe.push(' '),
            _ if character.is_ascii_graphic() || character.is_alphanumeric() => {
                safe.push(character);
            }
            _ => {
                let code = u32::from(character);
                let _ = match code {
                    0..=0xffff => write!(safe, "\\u{code:04x}"),
                    _ => write!(safe, "\\U{code:08x}"),
                };
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_readable() {
        assert_eq!(literal("it's a cat_1"), "\"it's a cat_1\"");
        assert_eq!(literal("Käfer 甲虫"), "\"Käfer 甲虫\"");
    }

    #[test]
    fn nothing_ends_the_literal_or_its_line() {
        // Quotes, the end of a docstring, a backslash before the closing quote, ends of lines that some readers know, a mark
        // that turns the order of letters, one beyond the first plane, and a zero.
        for (text, expected) in [
            ("\"\"\"\nimport os", r#""\"\"\"\u000aimport os""#),
            ("\\", r#""\\""#),
            ("\\\"", r#""\\\"""#),
            ("a\r\u{c}\u{85}b", r#""a\u000d\u000c\u0085b""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            ("\u{202e}", r#""\u202e""#),
            ("\u{1f980}\0", r#""\U0001f980\u0000""#),
        ] {
            assert_eq!(literal(text), expected);
        }
    }
}
