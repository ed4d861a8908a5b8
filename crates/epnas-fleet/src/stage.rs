//! What there is to do in a fleet, in order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A part of a fleet's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The searches: a piece for each replica.
    Search,
    /// Their children in one file and the best of all: one piece.
    Merge,
    /// Brief retraining from scratch: a piece for each candidate.
    Select,
    /// The choice, the training of the winner, the report: one piece.
    Train,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Stage; 4] = [Stage::Search, Stage::Merge, Stage::Select, Stage::Train];

    /// In a word, as files and flags have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stage::Search => "search",
            Stage::Merge => "merge",
            Stage::Select => "select",
            Stage::Train => "train",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|stage| stage.name() == text);
        found.ok_or_else(|| format!("expected one of {}", Self::ALL.map(Stage::name).join(", ")))
    }
}
