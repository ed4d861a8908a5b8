//! Whole numbers beyond 2^63-1, where those of TOML end: the parser does not take them for numbers, but they are refused
//! as the numbers they are.

use toml::de::{DeTable, DeValue};

use super::schema::Schema;
use super::{SettingsError, check, join, line_at};

/// The error for the value `raw` of an assignment, which was taken for a word.
pub(super) fn assigned(schema: &Schema, mut error: SettingsError, raw: &str) -> SettingsError {
    if let SettingsError::Type {
        key,
        found,
        expected,
        ..
    } = &mut error
        && is_large(raw)
        && expected == "a whole number"
    {
        *found = raw.to_owned();
        *expected = self::expected(schema, key);
    }
    error
}

/// The error for a document that is not valid TOML, perhaps because of such a number.
pub(super) fn written(schema: &Schema, error: SettingsError, text: &str) -> SettingsError {
    let found = DeTable::parse(text)
        .ok()
        .and_then(|document| find(schema, "", document.get_ref(), text));
    found.unwrap_or(error)
}

fn find(schema: &Schema, prefix: &str, table: &DeTable<'_>, text: &str) -> Option<SettingsError> {
    table.iter().find_map(|(name, value)| {
        let key = join(prefix, name.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => find(schema, &key, inner, text),
            DeValue::Integer(number)
                if i64::from_str_radix(number.as_str(), number.radix()).is_err() =>
            {
                Some(SettingsError::Type {
                    line: Some(line_at(text, name.span().start)),
                    found: number.to_string(),
                    expected: expected(schema, &key),
                    key,
                    suggestion: None,
                })
            }
            _ => None,
        }
    })
}

fn is_large(raw: &str) -> bool {
    let digits = raw.strip_prefix(['+', '-']).unwrap_or(raw);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    whole && raw.replace('_', "").parse::<i64>().is_err()
}

fn expected(schema: &Schema, key: &str) -> String {
    let range = check::range_of(schema, key).unwrap_or_else(|| "up to 2^63-1".to_owned());
    format!("a whole number {range}")
}
