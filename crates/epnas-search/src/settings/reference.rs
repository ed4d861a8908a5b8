//! The list of every key with type, default and documentation, from the schema and the default value.

use toml::{Table, Value};

use super::check::expected;
use super::join;
use super::schema::Schema;

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
            // The words of a tag are spread over the variants of its section.
            let kind = match property.get("const") {
                Some(_) => expected(
                    &schema
                        .alternatives(place)
                        .iter()
                        .filter_map(|a| a.properties.get(name))
                        .flat_map(|p| schema.alternatives(p))
                        .collect::<Vec<_>>(),
                ),
                None => expected(&alternatives),
            };
            out.push(KeyDoc {
                key,
                kind,
                default,
                doc: one_line(schema.description(property).unwrap_or("")),
            });
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
