//! What searches have to show before anything is retrained.

use std::collections::BTreeSet;

use epnas_arch::Space;
use serde::{Deserialize, Serialize};

use crate::best::{Fronts, TotalCost};
use crate::history::History;
use crate::select::{Candidate, Shortlist, shortlist};

/// The best of a search, or of several, and what they have cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What may win.
    pub list: Shortlist,
    /// What was spent.
    pub cost: TotalCost,
    /// Estimates against cost.
    pub pareto: Fronts,
    /// Why a search ended early, if it did.
    pub note: Option<String>,
}

impl Finding {
    /// That of a search that took `seconds`, with its best `top`; `None` when no child has an estimate.
    #[must_use]
    pub fn of(history: &History, seconds: f64, note: Option<String>, top: usize) -> Option<Self> {
        let list = shortlist(history, top)?;
        Some(Self {
            // The list may say so by itself.
            note: note.filter(|note| Some(note) != list.note.as_ref()),
            list,
            cost: TotalCost::of(history, seconds),
            pareto: Fronts::of(history),
        })
    }

    /// That of several searches of one space: the best of each, then the second of each, and so on, those of a turn by
    /// estimate; no architecture twice, and at most `most`. `None` of none.
    ///
    /// Estimates of different searches come from different weights. So the turns come first: the best of every search is
    /// retrained before the second of any.
    #[must_use]
    pub fn joined(findings: &[Self], space: &Space, most: usize) -> Option<Self> {
        let length = findings.iter().map(|finding| finding.list.length).max()?;
        let whole = || {
            let lists = findings.iter().map(|finding| &finding.list);
            lists.filter(|list| list.length == length)
        };
        let turns = whole().map(|list| list.candidates.len()).max().unwrap_or(0);
        let mut seen = BTreeSet::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for turn in 0..turns {
            let of_turn = whole().filter_map(|list| list.candidates.get(turn));
            let mut of_turn: Vec<&Candidate> = of_turn.collect();
            // Stable: of equals the earlier search comes first.
            of_turn.sort_by(|a, b| b.estimate.total_cmp(&a.estimate));
            let new = of_turn
                .into_iter()
                .filter(|candidate| seen.insert(space.key(&candidate.arch)));
            candidates.extend(new.cloned());
        }
        candidates.truncate(most.max(1));
        let costs = findings.iter().map(|finding| finding.cost);
        let fronts = findings.iter().map(|finding| finding.pareto.clone());
        let mut notes = findings.iter().filter_map(|finding| finding.note.as_ref());
        Some(Self {
            list: Shortlist {
                candidates,
                length,
                note: whole().find_map(|list| list.note.clone()),
            },
            cost: costs.reduce(TotalCost::and)?,
            pareto: Fronts::joined(&fronts.collect::<Vec<_>>()),
            note: notes.next().cloned(),
        })
    }
}
