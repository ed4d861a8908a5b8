//! The code of a Rust file: its text without comments and literals, line by line as before.

/// Blanks what the compiler does not read as code: comments, also nested ones, strings of every kind and characters.
pub(crate) fn without_text(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '/' if rest.starts_with("//") => Some(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => Some(comment(rest)),
            '"' => Some(string(rest)),
            '\'' => character(rest),
            // Not the end of a name, as in `for"`.
            'r' | 'b' | 'c' if !is_part_of_name(before) => prefixed(rest),
            _ => None,
        };
        match end {
            Some(end) => {
                code.extend(rest[..end].chars().filter(|&c| c == '\n'));
                code.push(' ');
                before = ' ';
                rest = &rest[end..];
            }
            None => {
                code.push(first);
                before = first;
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    code
}

pub(crate) fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a comment of several lines, those in it included.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string with its quotes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a character with its quotes; none for a lifetime or label.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let mut characters = inside.char_indices();
    let (_, first) = characters.next()?;
    let (at, second) = characters.next()?;
    match first {
        // At the earliest, the quote after what is escaped: it may itself be one.
        '\\' => {
            let from = at + second.len_utf8();
            let end = inside[from..].find('\'')?;
            Some(1 + from + end + 1)
        }
        _ => (second == '\'').then_some(1 + at + 1),
    }
}

/// The length of a literal with a prefix: `b'x'`, `b"x"`, `c"x"`, `r"x"`, `br#"x"#` and so on; none for a name.
fn prefixed(text: &str) -> Option<usize> {
    let letters = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    let (prefix, rest) = text.split_at(letters.min(2));
    if !prefix.ends_with('r') {
        return match rest.chars().next()? {
            '"' => Some(prefix.len() + string(rest)),
            '\'' if prefix == "b" => Some(prefix.len() + character(rest)?),
            _ => None,
        };
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let inside = rest[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = inside
        .find(&close)
        .map_or(inside.len(), |at| at + close.len());
    Some(prefix.len() + hashes + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, without spaces.
    fn left(source: &str) -> String {
        without_text(source).split_whitespace().collect()
    }

    #[test]
    fn text_of_every_kind_is_blank() {
        for text in [
            "// x",
            "/// x",
            "/* x /* x */ x */",
            "/* // */",
            "\"x\"",
            "\"x // x\"",
            "\"x\\\\\"",
            "\"\\\" x\"",
            "\"x\n x\"",
            "r\"x\\\"",
            "r#\"x \" x\"#",
            "br##\"x \"# x\"##",
            "cr#\"x\"#",
            "b\"x\"",
            "c\"x\"",
            "'x'",
            "'\"'",
            "'\\''",
            "'\\u{78}'",
            "b'\\\\'",
        ] {
            assert_eq!(left(&format!("a {text}\n b")), "ab", "{text}");
        }
    }

    #[test]
    fn code_stays() {
        for code in [
            "fnf<'a>(x:&'astr)->&'astr{x}",
            "'outer:loop{break'outer}",
            "r#fn(r#type)",
            "letbr=c+r;",
            "a/b*c",
        ] {
            assert_eq!(left(code), code);
        }
    }

    #[test]
    fn code_between_texts_is_found() {
        // Each of these hides the middle from a reader that pairs quotes line by line.
        for source in [
            "let q = '\"'; unsafe { f() } // \"",
            "let s = \"a\nb\"; unsafe { f() } let t = \"c\nd\";",
            "/* x // x */ unsafe {}",
            "let s = r#\"a\"b\"#; unsafe {} let t = \"\";",
        ] {
            assert!(left(source).contains("unsafe"), "{source}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = "a\n/* b\n c */ \"d\ne\" f\n";
        let code = without_text(source);
        let line = code.lines().position(|line| line.contains('f'));
        assert_eq!(line, Some(3));
    }
}
