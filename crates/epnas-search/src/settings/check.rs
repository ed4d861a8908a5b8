//! Walks a document against the schema and reports the first thing that does not fit, with key, line and suggestion.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::schema::{Alternative, Schema};
use super::suggest::{documented_range, short_form, slip};
use super::words::{expected, one_of, shown};
use super::{SettingsError, join, line_at};

type Json = serde_json::Value;

/// Checks `table` against `schema`; `text` is its source, for line numbers.
pub(super) fn check(
    schema: &Schema,
    table: &Table,
    text: Option<&str>,
) -> Result<(), SettingsError> {
    let walk = Walk { schema, text };
    walk.value("", &Value::Table(table.clone()), schema.root())
}

/// The documented range of the key, such as "from 1 to 1000".
pub(super) fn range_of(schema: &Schema, key: &str) -> Option<String> {
    let mut place = schema.root();
    for part in key.split('.') {
        let alternatives = schema.alternatives(place);
        place = alternatives
            .iter()
            .find_map(|table| table.properties.get(part).copied())?;
    }
    schema.description(place).and_then(documented_range)
}

struct Walk<'s> {
    schema: &'s Schema,
    text: Option<&'s str>,
}

impl<'s> Walk<'s> {
    fn value(&self, key: &str, value: &Value, schema: &'s Json) -> Result<(), SettingsError> {
        let alternatives = self.schema.alternatives(schema);
        match value {
            Value::Table(table) => self.table(key, table, &alternatives),
            Value::Array(items) => self.array(key, value, items, &alternatives),
            Value::String(word) => self.word(key, value, word, &alternatives),
            Value::Integer(number) => {
                self.number(key, value, *number as f64, &["integer", "number"], schema)
            }
            Value::Float(number) => self.number(key, value, *number, &["number"], schema),
            Value::Boolean(_) if alternatives.iter().any(|a| a.accepts("boolean")) => Ok(()),
            Value::Boolean(_) | Value::Datetime(_) => Err(self.wrong(key, value, &alternatives)),
        }
    }

    fn table(
        &self,
        key: &str,
        table: &Table,
        alternatives: &[Alternative<'s>],
    ) -> Result<(), SettingsError> {
        let tables: Vec<_> = alternatives.iter().filter(|a| a.is_table()).collect();
        if tables.is_empty() {
            return Err(self.wrong(key, &Value::Table(table.clone()), alternatives));
        }
        let chosen = self.variant(key, table, &tables)?;
        let elsewhere = |name: &str| {
            let (tag, words) = tag(&tables)?;
            let at = tables
                .iter()
                .position(|t| t.properties.contains_key(name))?;
            Some(format!("{} = \"{}\"", join(key, tag), words.get(at)?))
        };
        let mut properties: BTreeMap<&str, &Json> = BTreeMap::new();
        for alternative in chosen {
            properties.extend(
                alternative
                    .properties
                    .iter()
                    .map(|(&name, &schema)| (name, schema)),
            );
        }
        for (name, value) in table {
            let path = join(key, name);
            match properties.get(name.as_str()) {
                Some(schema) => self.value(&path, value, schema)?,
                None => return Err(self.unknown(&path, name, &properties, elsewhere(name))),
            }
        }
        Ok(())
    }

    /// The tables that the section's tag (a key whose word differs from table to table) leaves possible.
    fn variant<'a>(
        &self,
        key: &str,
        table: &Table,
        tables: &[&'a Alternative<'s>],
    ) -> Result<Vec<&'a Alternative<'s>>, SettingsError> {
        let Some((tag, words)) = tag(tables) else {
            return Ok(tables.to_vec());
        };
        let path = join(key, tag);
        match table.get(tag) {
            Some(Value::String(word)) => match words.iter().position(|w| w == word) {
                Some(at) => Ok(vec![tables[at]]),
                None => Err(self.not_a_word(&path, word, &words.iter().copied().collect())),
            },
            Some(other) => Err(SettingsError::Type {
                line: self.line(&path),
                key: path,
                found: shown(other),
                expected: one_of(words.iter().copied()),
                suggestion: None,
            }),
            None => Err(SettingsError::Value {
                key: path,
                value: "missing".into(),
                expected: one_of(words.iter().copied()),
            }),
        }
    }

    fn array(
        &self,
        key: &str,
        value: &Value,
        items: &[Value],
        alternatives: &[Alternative<'s>],
    ) -> Result<(), SettingsError> {
        let Some(list) = alternatives.iter().find(|a| a.accepts("array")) else {
            return Err(self.wrong(key, value, alternatives));
        };
        if let Some(schema) = list.items {
            for item in items {
                self.value(key, item, schema)?;
            }
        }
        Ok(())
    }

    fn word(
        &self,
        key: &str,
        value: &Value,
        word: &str,
        alternatives: &[Alternative<'s>],
    ) -> Result<(), SettingsError> {
        let strings: Vec<_> = alternatives
            .iter()
            .filter(|a| a.accepts("string"))
            .collect();
        if strings.is_empty() {
            return Err(self.wrong(key, value, alternatives));
        }
        let mut allowed = BTreeSet::new();
        for string in strings {
            match &string.words {
                None => return Ok(()),
                Some(words) if words.contains(word) => return Ok(()),
                Some(words) => allowed.extend(words.iter().copied()),
            }
        }
        Err(self.not_a_word(key, word, &allowed))
    }

    fn number(
        &self,
        key: &str,
        value: &Value,
        number: f64,
        kinds: &[&str],
        schema: &'s Json,
    ) -> Result<(), SettingsError> {
        let alternatives = &self.schema.alternatives(schema);
        let numbers: Vec<_> = alternatives
            .iter()
            .filter(|a| kinds.iter().any(|kind| a.accepts(kind)))
            .collect();
        if numbers.is_empty() {
            return Err(self.wrong(key, value, alternatives));
        }
        let fits = |a: &&&Alternative<'_>| {
            a.minimum.is_none_or(|low| number >= low) && a.maximum.is_none_or(|high| number <= high)
        };
        if numbers.iter().find(fits).is_some() && !number.is_nan() {
            return Ok(());
        }
        let number = match numbers[0].types.contains("integer") {
            true => "a whole number",
            false => "a number",
        };
        let documented = self.schema.description(schema).and_then(documented_range);
        let range = match (documented, numbers[0].minimum, numbers[0].maximum) {
            (Some(range), ..) => format!("{number} {range}"),
            (None, Some(low), Some(high)) => format!("{number} from {low} to {high}"),
            (None, Some(low), None) => format!("{number} of at least {low}"),
            (None, None, Some(high)) => format!("{number} of at most {high}"),
            (None, None, None) => number.to_owned(),
        };
        Err(SettingsError::Type {
            line: self.line(key),
            key: key.to_owned(),
            found: shown(value),
            expected: range,
            suggestion: None,
        })
    }

    fn wrong(&self, key: &str, value: &Value, alternatives: &[Alternative<'_>]) -> SettingsError {
        SettingsError::Type {
            line: self.line(key),
            key: key.to_owned(),
            found: shown(value),
            expected: expected(alternatives),
            suggestion: None,
        }
    }

    fn not_a_word(&self, key: &str, word: &str, allowed: &BTreeSet<&str>) -> SettingsError {
        SettingsError::Type {
            line: self.line(key),
            key: key.to_owned(),
            found: format!("\"{word}\""),
            expected: one_of(allowed.iter().copied()),
            suggestion: slip(word, allowed.iter().copied()).map(str::to_owned),
        }
    }

    /// The suggestion is, in this order: the word of the section's tag under which the key exists (`variant`), a
    /// sibling with a slip or in short form, the same name in another section, and then slips and short forms
    /// elsewhere.
    fn unknown(
        &self,
        path: &str,
        name: &str,
        siblings: &BTreeMap<&str, &Json>,
        variant: Option<String>,
    ) -> SettingsError {
        let section = path.strip_suffix(name).unwrap_or("");
        let siblings = || siblings.keys().copied();
        let sibling = |near: &str| format!("{section}{near}");
        let keys = super::reference::keys(self.schema);
        let last = |key: &str| key.rsplit('.').next().unwrap_or("").to_owned();
        let names: Vec<String> = keys.iter().map(|key| last(key)).collect();
        let names = || names.iter().map(String::as_str);
        let elsewhere = |near: &str| keys.iter().find(|key| last(key) == near).cloned();
        SettingsError::UnknownKey {
            line: self.line(path),
            key: path.to_owned(),
            suggestion: variant
                .or_else(|| slip(name, siblings()).map(sibling))
                .or_else(|| short_form(name, siblings()).map(sibling))
                .or_else(|| elsewhere(name))
                .or_else(|| elsewhere(slip(name, names())?))
                .or_else(|| elsewhere(short_form(name, names())?)),
        }
    }

    fn line(&self, key: &str) -> Option<usize> {
        let text = self.text?;
        let document = DeTable::parse(text).ok()?;
        let mut table: &DeTable<'_> = document.get_ref();
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            let (name, value): (&Spanned<_>, &Spanned<DeValue<'_>>) = table
                .iter()
                .find(|(name, _)| name.get_ref().as_ref() == part)?;
            if parts.peek().is_none() {
                return Some(line_at(text, name.span().start));
            }
            table = value.get_ref().as_table()?;
        }
        None
    }
}

/// The key by which tables of one section are told apart, with its word in each of them.
pub(super) fn tag<'s>(tables: &[&Alternative<'s>]) -> Option<(&'s str, Vec<&'s str>)> {
    let [first, _, ..] = tables else { return None };
    first.properties.keys().find_map(|&name| {
        let words: Option<Vec<&str>> = tables
            .iter()
            .map(|table| table.properties.get(name)?.get("const")?.as_str())
            .collect();
        words.map(|words| (name, words))
    })
}
