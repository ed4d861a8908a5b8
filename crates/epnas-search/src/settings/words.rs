//! Values, and what may stand in their place, in words.

use std::collections::BTreeSet;

use toml::Value;

use super::schema::Alternative;

pub(super) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("\"{word}\"")).collect();
    match words.as_slice() {
        [only] => only.clone(),
        words => format!("one of {}", words.join(", ")),
    }
}

/// What may stand at a place, in words.
pub(super) fn expected(alternatives: &[Alternative<'_>]) -> String {
    let mut parts = BTreeSet::new();
    let mut words = BTreeSet::new();
    for alternative in alternatives {
        if let Some(allowed) = &alternative.words {
            words.extend(allowed.iter().copied());
            continue;
        }
        if alternative.is_table() {
            parts.insert("a table");
        }
        for kind in &alternative.types {
            parts.insert(match *kind {
                "string" => "a string",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "true or false",
                "array" => "a list",
                "object" => "a table",
                _ => continue,
            });
        }
    }
    let mut parts: Vec<String> = parts.into_iter().map(str::to_owned).collect();
    if !words.is_empty() {
        parts.push(one_of(words.into_iter()));
    }
    if parts.is_empty() {
        "any value".to_owned()
    } else {
        parts.join(" or ")
    }
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("the string \"{text}\""),
        other => other.to_string(),
    }
}
