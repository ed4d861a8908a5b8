//! Why settings are refused, in one line that names the key.

/// Why a settings document was refused. Each message is one line and names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The text is not TOML.
    #[error("not valid TOML{}: {message}", at(*line))]
    Syntax {
        /// Line in the text, from 1.
        line: Option<usize>,
        /// What the parser expected.
        message: String,
    },
    /// No setting has this name.
    #[error("unknown key `{}`{}{}", escaped(key), at(*line), hint(suggestion))]
    UnknownKey {
        /// Full path of the key, such as `search.iteratons`.
        key: String,
        /// Line in the text, from 1.
        line: Option<usize>,
        /// The nearest key that exists.
        suggestion: Option<String>,
    },
    /// The value has the wrong type or is not one of the allowed words.
    #[error("`{}`{} is {}, expected {expected}{}", escaped(key), at(*line), escaped(found), hint(suggestion))]
    Type {
        /// Full path of the key.
        key: String,
        /// Line in the text, from 1.
        line: Option<usize>,
        /// The value that was found.
        found: String,
        /// What is accepted.
        expected: String,
        /// The nearest allowed word.
        suggestion: Option<String>,
    },
    /// The value has the right type but is out of range or does not fit the other settings.
    #[error("`{key}` is {}, expected {expected}", escaped(value))]
    Value {
        /// Full path of the key.
        key: String,
        /// The value that was found.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// A `--set` argument that is not `key=value`.
    #[error(
        "`{}` is not key=value, for example search.iterations=2",
        escaped(argument)
    )]
    Assignment {
        /// The argument as given.
        argument: String,
    },
}

/// `text` on one line: what is no printable character is shown as its escape.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            control if control.is_control() => out.extend(control.escape_default()),
            other => out.push(other),
        }
    }
    out
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

impl SettingsError {
    /// A value out of range, for validation code.
    pub fn value(
        key: impl Into<String>,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Value {
            key: key.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}
