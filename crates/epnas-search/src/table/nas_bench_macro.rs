//! NAS-Bench-Macro (Su et al., 2021, *Prioritized Architecture Sampling with Monto-Carlo Tree Search*): all 6,561 networks of
//! eight layers, each the identity, or an inverted bottleneck with an expansion of 3 or 6, trained on CIFAR-10 three times.

use std::collections::BTreeMap;

use epnas_arch::{Arch, ChoiceArch, Cost};
use serde::Deserialize;

use super::{Row, Table, choices_of};

/// The choice that leaves a layer out, so that a shorter network is a row of the table too.
const IDENTITY: u16 = 0;

/// A value of the published file, whose keys are the choices as digits.
#[derive(Deserialize)]
struct Entry {
    /// Test accuracies in percent, one per training.
    test_acc: Vec<f64>,
    params: u64,
    /// Multiply-accumulates, as the file's authors count them.
    flops: u64,
}

/// Whether the file looks like one: an object whose keys are all digits.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    let object: Result<BTreeMap<String, serde::de::IgnoredAny>, _> = serde_json::from_slice(bytes);
    object.is_ok_and(|object| !object.is_empty() && object.keys().all(|key| choices(key).is_some()))
}

fn choices(key: &str) -> Option<Vec<u16>> {
    let digits = key.chars().map(|c| c.to_digit(10));
    let choices = digits.map(|digit| digit.and_then(|digit| u16::try_from(digit).ok()));
    choices
        .collect::<Option<Vec<u16>>>()
        .filter(|choices| !choices.is_empty())
}

pub(super) fn parse(name: String, bytes: &[u8]) -> Result<Table, String> {
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let rows: Vec<(Arch, Row)> = entries
        .into_iter()
        .filter_map(|(key, entry)| {
            let arch = Arch::Choices(ChoiceArch {
                choices: choices(&key)?,
            });
            let row = Row {
                accuracies: entry
                    .test_acc
                    .iter()
                    .map(|percent| percent / 100.0)
                    .collect(),
                cost: Some(Cost {
                    params: entry.params,
                    macs: entry.flops,
                }),
            };
            Some((arch, row))
        })
        .collect();
    let space = choices_of(rows.iter().map(|(arch, _)| arch)).map_err(|error| error.to_string())?;
    Table::new(name, space, Some(IDENTITY), rows)
}
