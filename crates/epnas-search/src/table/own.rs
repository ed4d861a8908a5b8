//! Tables of one's own, as JSON or CSV: `docs/tables.md`.

use epnas_arch::{Arch, ChoiceArch, Cost, Space};
use serde::Deserialize;

use super::{Row, Table, choices_of};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Option<String>,
    /// As in a configuration; left out for plain choices.
    space: Option<Space>,
    padding: Option<u16>,
    rows: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    arch: Written,
    accuracy: Accuracies,
    params: Option<u64>,
    macs: Option<u64>,
}

/// An architecture in text form, or plain choices as a list.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "arch: expected a list of choices from 0 to 65535, or an architecture in text form"
)]
enum Written {
    Text(String),
    Choices(Vec<u16>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "accuracy: expected a number from 0 to 1, or a list of them"
)]
enum Accuracies {
    One(f64),
    Several(Vec<f64>),
}

impl Written {
    fn parse(self) -> Result<Arch, String> {
        match self {
            Written::Choices(choices) => Ok(Arch::Choices(ChoiceArch { choices })),
            // A row's place is told, so the caret under the character is not needed.
            Written::Text(text) => {
                let parsed: Result<Arch, _> = text.parse();
                parsed.map_err(
                    |error| match text.starts_with(|c: char| c.is_ascii_digit()) {
                        true => format!(
                            "arch {text:?}: plain choices begin with choices:, as in choices:0/2/1"
                        ),
                        false => format!("arch {text:?}: {}", error.message),
                    },
                )
            }
        }
    }
}

/// Both or none: what is unknown is within no limit.
fn cost(params: Option<u64>, macs: Option<u64>) -> Result<Option<Cost>, String> {
    match (params, macs) {
        (Some(params), Some(macs)) => Ok(Some(Cost { params, macs })),
        (None, None) => Ok(None),
        _ => Err("params or macs alone, expected both or none".to_owned()),
    }
}

/// The space that is given, or one of plain choices that holds all rows.
fn space(given: Option<Space>, rows: &[(Arch, Row)]) -> Result<Space, String> {
    if let Some(space) = given {
        return Ok(space);
    }
    if rows.iter().all(|(arch, _)| arch.is_empty()) {
        return Err("the table has no rows".to_owned());
    }
    match rows
        .iter()
        .find(|(arch, _)| !matches!(arch, Arch::Choices(_)))
    {
        Some((arch, _)) => Err(format!(
            "{arch} needs the space it is of, such as \"space\": {{\"kind\": \"macro\", \"layers\": 4}} in JSON"
        )),
        None => choices_of(rows.iter().map(|(arch, _)| arch)).map_err(|error| error.to_string()),
    }
}

pub(super) fn parse_json(name: String, bytes: &[u8]) -> Result<Table, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut rows = Vec::with_capacity(document.rows.len());
    for (number, entry) in (1..).zip(document.rows) {
        let arch = entry
            .arch
            .parse()
            .map_err(|error| format!("row {number}: {error}"))?;
        let accuracies = match entry.accuracy {
            Accuracies::One(accuracy) => vec![accuracy],
            Accuracies::Several(accuracies) => accuracies,
        };
        let cost =
            cost(entry.params, entry.macs).map_err(|error| format!("row {number}: {error}"))?;
        rows.push((arch, Row { accuracies, cost }));
    }
    let space = space(document.space, &rows)?;
    Table::new(document.name.unwrap_or(name), space, document.padding, rows)
}

/// Columns: `arch`, then `accuracy` or several that begin with it, and `params` and `macs` if known. A cell of `accuracy`
/// may be empty where an architecture was trained less often.
pub(super) fn parse_csv(name: String, bytes: &[u8]) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let known = |title: &str| {
        title == "arch" || title.starts_with("accuracy") || title == "params" || title == "macs"
    };
    if let Some(title) = header.iter().find(|title| !known(title)) {
        return Err(format!(
            "column {title:?}, expected arch, accuracy (or several that begin with it), params, macs"
        ));
    }
    let twice = |title: &&str| header.iter().filter(|other| other == title).count() > 1;
    if let Some(title) = header.iter().find(twice) {
        return Err(format!("column {title:?} comes twice"));
    }
    let column = |wanted: &str| header.iter().position(|title| title == wanted);
    let Some(arch_column) = column("arch") else {
        return Err("there is no column arch".to_owned());
    };
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let number = |column: Option<usize>| -> Result<Option<u64>, String> {
            let text = column.and_then(|column| record.get(column)).unwrap_or("");
            let parsed = (!text.is_empty()).then(|| text.parse());
            parsed
                .transpose()
                .map_err(|_| format!("line {line}: {text:?}, expected a whole number"))
        };
        let text = record.get(arch_column).unwrap_or("").to_owned();
        let arch = Written::Text(text)
            .parse()
            .map_err(|error| format!("line {line}: {error}"))?;
        let mut accuracies = Vec::new();
        for (title, text) in header.iter().zip(&record) {
            if title.starts_with("accuracy") && !text.is_empty() {
                let parsed = text.parse();
                let wrong =
                    |_| format!("line {line}: {title} is {text:?}, expected a number from 0 to 1");
                accuracies.push(parsed.map_err(wrong)?);
            }
        }
        let cost = cost(number(column("params"))?, number(column("macs"))?)
            .map_err(|error| format!("line {line}: {error}"))?;
        rows.push((arch, Row { accuracies, cost }));
    }
    let space = space(None, &rows)?;
    Table::new(name, space, None, rows)
}
