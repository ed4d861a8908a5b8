//! Serde: architectures as their text form, one short string in JSON.

use epnas_arch::Arch;
use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(arch: &Arch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(arch)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arch, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|error| de::Error::custom(one_line(&error)))
}

/// The first line of a parse error: the rest draws a caret.
fn one_line(error: &impl ToString) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
