//! The list of every key with type, default and documentation, from the schema and the default value.

use toml::{Table, Value};

use super::join;
use super::schema::{Alternative, Schema};
use super::words::expected;

/// One documented setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyDoc {
    /// Full path, such as `search.iterations`.
    pub key: String,
    /// What may stand there, in words.
    pub kind: String,
    /// Default in TOML notation; `None` when the key is unset by default.
    pub default: Option<String>,
    /// Documentation: meaning, default and range, paragraphs joined into one line.
    pub doc: String,
}

/// Every key in schema order.
pub(super) fn reference(schema: &Schema, defaults: &Table) -> Vec<KeyDoc> {
    let mut out = Vec::new();
    section(schema, "", schema.root(), Some(defaults), &mut out);
    out
}

/// Every key's path.
pub(super) fn keys(schema: &Schema) -> Vec<String> {
    reference(schema, &Table::new())
        .into_iter()
        .map(|doc| doc.key)
        .collect()
}

fn section(
    schema: &Schema,
    prefix: &str,
    place: &serde_json::Value,
    defaults: Option<&Table>,
    out: &mut Vec<KeyDoc>,
) {
    if prefix.matches('.').count() > 8 {
        return;
    }
    for table in schema
        .alternatives(place)
        .iter()
        .filter(|alternative| alternative.is_table())
    {
        for (name, property) in &table.properties {
            let key = join(prefix, name);
            if out.iter().any(|doc| doc.key == key) {
                continue;
            }
            let value = defaults.and_then(|defaults| defaults.get(*name));
            let alternatives = schema.alternatives(property);
            if alternatives.iter().any(|a| a.is_table()) {
                section(schema, &key, property, value.and_then(Value::as_table), out);
                continue;
            }
            let described = property.get("default").filter(|json| !json.is_null());
            let default = value.map(Value::to_string).or_else(|| {
                described
                    .and_then(|json| Value::try_from(json).ok())
                    .map(|v| v.to_string())
            });
            let (kind, doc) = if property.get("const").is_some() {
                tag(schema, name, place)
            } else {
                (
                    expected(&alternatives),
                    schema.description(property).unwrap_or("").to_owned(),
                )
            };
            out.push(KeyDoc {
                key,
                kind,
                default,
                doc: one_line(&doc),
            });
        }
    }
}

/// Type and documentation of the key that chooses among the variants of a section: its words are spread over them.
fn tag(schema: &Schema, name: &str, place: &serde_json::Value) -> (String, String) {
    let variants = schema.alternatives(place);
    let words: Vec<Alternative<'_>> = variants
        .iter()
        .filter_map(|variant| variant.properties.get(name))
        .flat_map(|property| schema.alternatives(property))
        .collect();
    let mut doc = schema.description(place).unwrap_or("").to_owned();
    for (variant, word) in variants.iter().zip(&words) {
        let word = word
            .words
            .iter()
            .flatten()
            .next()
            .copied()
            .unwrap_or_default();
        doc.push_str(&format!(
            " \"{word}\": {}",
            variant.meaning.unwrap_or_default()
        ));
    }
    (expected(&words), doc)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
