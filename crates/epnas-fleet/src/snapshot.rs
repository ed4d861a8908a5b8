//! What of a fleet's work is done, as its folder says: every file is read once.

use crate::ended::EndedSearch;
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::merge::Merged;
use crate::stage::Stage;

pub(crate) struct Snapshot<'f> {
    fleet: &'f Fleet,
    /// By replica.
    pub(crate) ended: Vec<Option<EndedSearch>>,
    /// Of all searches: neither what lacks some, nor what lacks children that have come since.
    pub(crate) merged: Option<Merged>,
}

impl<'f> Snapshot<'f> {
    pub(crate) fn of(fleet: &'f Fleet) -> Result<Self, FleetError> {
        let replicas = fleet.replicas().iter();
        let ended = replicas.map(|replica| fleet.ended(replica.number));
        let ended: Vec<_> = ended.collect::<Result<_, _>>()?;
        let key = fleet.merge_key(&ended);
        let has_children = fleet.folder().children().exists();
        let merged = fleet.whole_merge()?;
        Ok(Self {
            fleet,
            ended,
            merged: merged.filter(|merged| merged.key == key && has_children),
        })
    }

    /// How many pieces a stage has, or may have at most.
    pub(crate) fn pieces(&self, stage: Stage) -> usize {
        match (stage, &self.merged) {
            (Stage::Search, _) => self.ended.len(),
            (Stage::Merge | Stage::Train, _) => 1,
            (Stage::Select, Some(merged)) if self.fleet.config().select.top > 0 => {
                merged.candidates(&self.fleet.config().space).len()
            }
            (Stage::Select, _) => self.fleet.most_candidates(),
        }
    }

    /// Those that are not done.
    pub(crate) fn missing(&self, stage: Stage) -> Result<Vec<usize>, FleetError> {
        let one = |is_done: bool| match is_done {
            true => Vec::new(),
            false => vec![0],
        };
        Ok(match (stage, &self.merged) {
            (Stage::Search, _) => without(&self.ended),
            (Stage::Merge, merged) => one(merged.is_some()),
            (Stage::Select, _) if self.fleet.config().select.top == 0 => Vec::new(),
            (Stage::Select, Some(merged)) => without(&self.fleet.retrained(merged)?),
            (Stage::Select, None) => (0..self.fleet.most_candidates()).collect(),
            (Stage::Train, None) => one(false),
            (Stage::Train, Some(merged)) => one(self.fleet.is_concluded(merged)?),
        })
    }
}

/// Where nothing is.
fn without<T>(known: &[Option<T>]) -> Vec<usize> {
    let all = known.iter().enumerate();
    all.filter(|(_, one)| one.is_none())
        .map(|(number, _)| number)
        .collect()
}
