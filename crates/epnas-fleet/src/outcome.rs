//! What became of each search of a fleet.

use epnas_arch::Space;
use epnas_disk::{read_json, write_json};
use epnas_search::best::{RankedCandidate, Retrained, TotalCost};
use epnas_search::select::SelectionRecord;
use epnas_search::{Finding, SearchError};
use serde::{Deserialize, Serialize};

use crate::error::FleetError;
use crate::fleet::Replica;
use crate::folder::FleetFolder;
use crate::merge::{Merged, ReplicaFinding};

/// The best of a search, as retraining sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// The network, with its estimate by that search's shared weights.
    #[serde(flatten)]
    pub network: RankedCandidate,
    /// What the search spent.
    pub cost: TotalCost,
}

/// What became of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaOutcome {
    /// Which one.
    #[serde(flatten)]
    pub replica: Replica,
    /// What it found.
    pub found: Winner,
    /// What random search at equal budget found.
    pub random: Option<Winner>,
}

/// `replicas.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcomes {
    replicas: Vec<ReplicaOutcome>,
}

fn winner(finding: &Finding, retrained: &Retrained<'_>) -> Option<Winner> {
    Some(Winner {
        network: retrained.rank(&finding.list).into_iter().next()?,
        cost: finding.cost,
    })
}

/// Writes `replicas.json`.
pub(crate) fn write_outcomes(
    folder: &FleetFolder,
    space: &Space,
    merged: &Merged,
    retrained: &[SelectionRecord],
) -> Result<(), FleetError> {
    let retrained = Retrained::of(space, retrained);
    let outcome = |finding: &ReplicaFinding| {
        Some(ReplicaOutcome {
            replica: finding.replica,
            found: winner(&finding.found, &retrained)?,
            random: (finding.random.as_ref()).and_then(|random| winner(random, &retrained)),
        })
    };
    let replicas = merged.replicas.iter().filter_map(outcome).collect();
    Ok(write_json(&folder.outcomes(), &Outcomes { replicas })?)
}

/// Reads `replicas.json`.
///
/// # Errors
/// [`FleetError`] when there is none, or it was changed.
pub fn read_outcomes(folder: &FleetFolder) -> Result<Vec<ReplicaOutcome>, FleetError> {
    let path = folder.outcomes();
    let outcomes: Option<Outcomes> = read_json(&path)?;
    let outcomes = outcomes.ok_or(SearchError::NoResult { path })?;
    Ok(outcomes.replicas)
}
