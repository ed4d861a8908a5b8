//! Sections whose tag is not given take the tag of their default: `[space] layers = 3` is of the kind "macro".

use serde_json::Value as Json;
use toml::{Table, Value};

use super::schema::Schema;

/// Writes the tags that `table` leaves to their defaults into it.
pub(super) fn complete(schema: &Schema, table: &mut Table) {
    section(schema, schema.root(), table, 0);
}

fn section(schema: &Schema, place: &Json, table: &mut Table, depth: usize) {
    if depth > 8 {
        return;
    }
    let alternatives = schema.alternatives(place);
    let tables: Vec<_> = alternatives.iter().filter(|a| a.is_table()).collect();
    if let Some((tag, _)) = super::check::tag(&tables)
        && !table.contains_key(tag)
        && let Some(word) = place
            .get("default")
            .and_then(|json| json.get(tag)?.as_str())
    {
        table.insert(tag.to_owned(), Value::String(word.to_owned()));
    }
    for (name, value) in table.iter_mut() {
        let place = tables
            .iter()
            .find_map(|table| table.properties.get(name.as_str()));
        if let (Some(place), Value::Table(inner)) = (place, value) {
            section(schema, place, inner, depth + 1);
        }
    }
}
