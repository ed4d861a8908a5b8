//! Strict TOML settings for any type with a schema: unknown keys are refused with a suggestion, wrong types are named
//! with their key and line, and every key can be listed with its type, default and documentation.
//!
//! Serde alone reports `unknown field` without the path, ignores unknown keys of tagged enums with flattened content
//! and cannot list what exists, so the document is first walked against the schema that `schemars` derives from the
//! same doc comments the user reads.

mod check;
mod complete;
mod error;
mod large;
mod reference;
mod schema;
mod suggest;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use error::SettingsError;
pub use reference::KeyDoc;
use schema::Schema;

/// Parses `text` as settings of type `T`, after applying `sets` (pairs of dotted key and raw value) over it: first those
/// that choose what a section means (a `kind` or `preset`), then the others, each in the given order.
///
/// # Errors
/// [`SettingsError`] for the first problem: syntax, unknown key, wrong type or word.
pub fn parse<T: JsonSchema + DeserializeOwned>(
    text: &str,
    sets: &[(String, String)],
) -> Result<T, SettingsError> {
    let schema = Schema::of::<T>();
    let mut table = parse_table(text).map_err(|error| large::written(&schema, error, text))?;
    complete::complete(&schema, &mut table);
    check::check(&schema, &table, Some(text))?;
    let chooses = |key: &str| CHOOSERS.contains(&key.rsplit('.').next().unwrap_or(key));
    let (first, then): (Vec<_>, Vec<_>) = sets.iter().partition(|(key, _)| chooses(key));
    for (key, raw) in first.into_iter().chain(then) {
        assign(&schema, &mut table, key, raw)?;
    }
    build(&schema, table, Some(text))
}

/// Parses `text` as a TOML table, with syntax errors that carry the line.
///
/// # Errors
/// [`SettingsError::Syntax`].
pub fn parse_table(text: &str) -> Result<Table, SettingsError> {
    text.parse::<Table>()
        .map_err(|error| SettingsError::Syntax {
            line: error.span().map(|span| line_at(text, span.start)),
            message: error.message().replace('\n', "; "),
        })
}

/// `value` with the setting `key` (dotted path) replaced by `raw`, read as a TOML value or, failing that, as a bare
/// string.
///
/// Setting a `kind` or `preset` to another word starts its section afresh with the defaults of that word; of a section with a
/// `preset`, what no preset decides stays.
///
/// # Errors
/// [`SettingsError`] when the key does not exist or the value does not fit.
pub fn set<T: JsonSchema + Serialize + DeserializeOwned>(
    value: &T,
    key: &str,
    raw: &str,
) -> Result<T, SettingsError> {
    let schema = Schema::of::<T>();
    let mut table = to_table(value)?;
    assign(&schema, &mut table, key, raw)?;
    build(&schema, table, None)
}

/// The settings as a TOML table, everything included.
///
/// # Errors
/// [`SettingsError::Syntax`] when a value cannot be written in TOML (an integer above 2^63-1).
pub fn to_table<T: Serialize>(value: &T) -> Result<Table, SettingsError> {
    Table::try_from(value).map_err(|error| SettingsError::Syntax {
        line: None,
        message: error.to_string(),
    })
}

/// Every key of `T` with type, default and documentation, in the order of the schema.
#[must_use]
pub fn reference<T: JsonSchema + Serialize + Default>() -> Vec<KeyDoc> {
    let defaults = to_table(&T::default()).unwrap_or_default();
    reference::reference(&Schema::of::<T>(), &defaults)
}

/// Splits a `key=value` argument.
///
/// # Errors
/// [`SettingsError::Assignment`] without an equals sign or a key.
pub fn split_assignment(argument: &str) -> Result<(String, String), SettingsError> {
    match argument.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(SettingsError::Assignment {
            argument: argument.to_owned(),
        }),
    }
}

/// Whether a dotted key is one of `keys`, or lies in one of the sections among them, which end with a dot.
pub(crate) fn is_among(key: &str, keys: &[&str]) -> bool {
    keys.iter()
        .any(|one| key == *one || (one.ends_with('.') && key.starts_with(one)))
}

/// A table as dotted leaf keys and their values in TOML notation.
#[must_use]
pub fn leaves(table: &Table) -> BTreeMap<String, String> {
    fn walk(prefix: &str, table: &Table, out: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            let path = join(prefix, key);
            match value {
                Value::Table(inner) => walk(&path, inner, out),
                other => {
                    out.insert(path, other.to_string());
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk("", table, &mut out);
    out
}

/// Overlays `over` on `under`, table by table. A table whose `kind` differs replaces the one below it.
#[cfg_attr(not(feature = "supernet"), allow(dead_code))]
pub(crate) fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above))
                if above.get("kind").is_none() || above.get("kind") == below.get("kind") =>
            {
                overlay(below, above);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn build<T: DeserializeOwned>(
    schema: &Schema,
    table: Table,
    text: Option<&str>,
) -> Result<T, SettingsError> {
    check::check(schema, &table, text)?;
    table
        .try_into()
        .map_err(|error: toml::de::Error| SettingsError::Syntax {
            line: None,
            message: error.message().to_owned(),
        })
}

fn assign(schema: &Schema, table: &mut Table, key: &str, raw: &str) -> Result<(), SettingsError> {
    let parsed = format!("value = {raw}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| match t.len() {
            1 => t.remove("value"),
            _ => None,
        });
    let text = Value::String(raw.to_owned());
    let mut attempt = table.clone();
    let first = parsed.unwrap_or_else(|| text.clone());
    place(&mut attempt, key, first)?;
    complete::complete(schema, &mut attempt);
    if let Err(error) = check::check(schema, &attempt, None) {
        // A string key given a word that reads as a number or date (`--set data.dir=2024`).
        attempt = table.clone();
        place(&mut attempt, key, text)?;
        complete::complete(schema, &mut attempt);
        if check::check(schema, &attempt, None).is_err() {
            return Err(large::assigned(schema, error, raw));
        }
    }
    *table = attempt;
    Ok(())
}

/// Words that choose what the rest of their section means: changing one starts the section afresh.
const CHOOSERS: [&str; 2] = ["kind", "preset"];

/// Keys of sections with a `preset` that none decides: the size of a network and what it learns from.
const BESIDE_PRESETS: [&str; 5] = [
    "channels",
    "cells_per_stage",
    "stage_channels",
    "images",
    "seeds",
];

fn place(table: &mut Table, key: &str, value: Value) -> Result<(), SettingsError> {
    let (head, rest) = match key.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    if head.is_empty() {
        return Err(SettingsError::Assignment {
            argument: key.to_owned(),
        });
    }
    match rest {
        None => {
            if CHOOSERS.contains(&head) && table.get(head) != Some(&value) {
                table.retain(|key, _| head == "preset" && BESIDE_PRESETS.contains(&key));
            }
            table.insert(head.to_owned(), value);
            Ok(())
        }
        Some(rest) => {
            let inner = table
                .entry(head)
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            match inner {
                Value::Table(inner) => place(inner, rest, value),
                _ => Ok(()),
            }
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text
        .as_bytes()
        .iter()
        .take(offset)
        .filter(|&&byte| byte == b'\n')
        .count()
}
