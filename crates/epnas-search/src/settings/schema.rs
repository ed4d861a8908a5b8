//! A JSON schema as this crate needs it: for each place, the alternatives that may stand there.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// A schema document with its definitions.
pub(super) struct Schema {
    root: Value,
}

/// One thing that may stand at a place: a scalar, a list or a table with these keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Alternative<'s> {
    /// JSON types, such as `string`; empty when unconstrained.
    pub(super) types: BTreeSet<&'s str>,
    /// Allowed words, `None` when any value of the type will do.
    pub(super) words: Option<BTreeSet<&'s str>>,
    /// Keys of a table.
    pub(super) properties: BTreeMap<&'s str, &'s Value>,
    /// Items of a list.
    pub(super) items: Option<&'s Value>,
    /// Smallest number.
    pub(super) minimum: Option<f64>,
    /// Largest number.
    pub(super) maximum: Option<f64>,
    /// What this one of several alternatives is.
    pub(super) meaning: Option<&'s str>,
}

impl Alternative<'_> {
    /// Whether a value of this JSON type may stand here.
    pub(super) fn accepts(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.contains(kind)
    }

    /// Whether this alternative is a table.
    pub(super) fn is_table(&self) -> bool {
        self.types.contains("object") || !self.properties.is_empty()
    }
}

impl Schema {
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self {
            root: schema_for!(T).to_value(),
        }
    }

    pub(super) fn root(&self) -> &Value {
        &self.root
    }

    /// The alternatives at `schema`, with references followed and `oneOf`, `anyOf`, `allOf` unfolded.
    pub(super) fn alternatives<'s>(&'s self, schema: &'s Value) -> Vec<Alternative<'s>> {
        self.unfold(schema, 0)
    }

    fn unfold<'s>(&'s self, schema: &'s Value, depth: usize) -> Vec<Alternative<'s>> {
        // Schemas of settings are shallow; the limit only guards against a recursive type.
        if depth > 16 {
            return vec![Alternative::default()];
        }
        let mut found = vec![own(schema)];
        if let Some(target) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| self.resolve(path))
        {
            found = product(&found, &self.unfold(target, depth + 1));
        }
        for part in list(schema, "allOf") {
            found = product(&found, &self.unfold(part, depth + 1));
        }
        for keyword in ["oneOf", "anyOf"] {
            let parts = list(schema, keyword);
            if !parts.is_empty() {
                let options: Vec<_> = parts
                    .iter()
                    .flat_map(|part| {
                        let meaning = part.get("description").and_then(Value::as_str);
                        let options = self.unfold(part, depth + 1).into_iter();
                        options.map(move |option| Alternative { meaning, ..option })
                    })
                    .collect();
                found = product(&found, &options);
            }
        }
        found
    }

    /// The documentation of a place: its own, else that of what it refers to.
    pub(super) fn description<'s>(&'s self, schema: &'s Value) -> Option<&'s str> {
        let own = schema.get("description").and_then(Value::as_str);
        own.or_else(|| {
            let target = schema.get("$ref").and_then(Value::as_str)?;
            self.resolve(target)?
                .get("description")
                .and_then(Value::as_str)
        })
    }

    fn resolve(&self, path: &str) -> Option<&Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }
}

fn list<'s>(schema: &'s Value, keyword: &str) -> &'s [Value] {
    schema
        .get(keyword)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn own(schema: &Value) -> Alternative<'_> {
    let types = match schema.get("type") {
        Some(Value::String(kind)) => BTreeSet::from([kind.as_str()]),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    };
    let words = match (schema.get("const"), schema.get("enum")) {
        (Some(Value::String(word)), _) => Some(BTreeSet::from([word.as_str()])),
        (_, Some(Value::Array(words))) => Some(words.iter().filter_map(Value::as_str).collect()),
        _ => None,
    };
    let properties = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect()
        })
        .unwrap_or_default();
    Alternative {
        types,
        words,
        properties,
        items: schema.get("items"),
        minimum: schema.get("minimum").and_then(Value::as_f64),
        maximum: schema.get("maximum").and_then(Value::as_f64),
        meaning: None,
    }
}

fn product<'s>(left: &[Alternative<'s>], right: &[Alternative<'s>]) -> Vec<Alternative<'s>> {
    let mut out = Vec::new();
    for a in left {
        for b in right {
            let mut merged = a.clone();
            if merged.types.is_empty() {
                merged.types.clone_from(&b.types);
            }
            merged.words = merged.words.or_else(|| b.words.clone());
            merged
                .properties
                .extend(b.properties.iter().map(|(&key, &value)| (key, value)));
            merged.items = merged.items.or(b.items);
            merged.minimum = merged.minimum.or(b.minimum);
            merged.maximum = merged.maximum.or(b.maximum);
            merged.meaning = merged.meaning.or(b.meaning);
            out.push(merged);
        }
    }
    out
}
