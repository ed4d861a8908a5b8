//! What all searches of a fleet found, put together.

use std::collections::BTreeSet;
use std::path::Path;

use epnas_arch::Space;
use epnas_disk::{FileError, Replacement, read_lines, seal, write_json};
use epnas_search::driver::elapsed_seconds;
use epnas_search::select::Candidate;
use epnas_search::{Finding, Fronts, History, HistoryPolicy, Record, SearchError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ended::EndedSearch;
use crate::error::FleetError;
use crate::fleet::{Fleet, Replica};
use crate::folder::FleetFolder;
use crate::stage::Stage;

/// Replicas that are held in memory at a time.
const AT_A_TIME: usize = 32;

/// A child of a fleet: a line of `children.jsonl`. They come in the order of the replicas, those of the search before those of
/// its baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetChild {
    /// Which search, counted from 0.
    pub replica: usize,
    /// Whether it is of the baseline.
    pub random: bool,
    /// As in the replica's history.
    #[serde(flatten)]
    pub record: Record,
}

/// What a search of a fleet found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaFinding {
    /// Which search.
    #[serde(flatten)]
    pub replica: Replica,
    /// Its best few, and its cost. Its Pareto front is part of that of all.
    pub found: Finding,
    /// Those of its baseline.
    pub random: Option<Finding>,
}

/// What all searches of a fleet found: `merged.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// What it depends on.
    pub(crate) key: String,
    /// Children in all, those of baselines included.
    pub children: u64,
    /// The best of all searches.
    pub found: Finding,
    /// The best of all baselines.
    pub random: Option<Finding>,
    /// Search by search.
    pub replicas: Vec<ReplicaFinding>,
    /// Replicas that had not ended and are not in it.
    pub absent: Vec<usize>,
}

impl Merged {
    /// Among whom is chosen: the candidates of the searches, then those of the baselines, none twice.
    #[must_use]
    pub fn candidates(&self, space: &Space) -> Vec<Candidate> {
        let mut seen = BTreeSet::new();
        let lists = [Some(&self.found), self.random.as_ref()];
        let all = lists.into_iter().flatten();
        all.flat_map(|finding| &finding.list.candidates)
            .filter(|candidate| seen.insert(space.key(&candidate.arch)))
            .cloned()
            .collect()
    }
}

/// What one replica adds.
struct Part {
    lines: Vec<u8>,
    children: u64,
    finding: ReplicaFinding,
    fronts: [Option<Fronts>; 2],
}

/// Merges the searches of a fleet: `children.jsonl` and `merged.json`. They have to have ended, unless a `partial` merge is
/// asked for, which leaves out those that have not.
///
/// # Errors
/// [`FleetError::Unfinished`], or when a history cannot be read or has no child with an estimate.
pub fn merge(fleet: &Fleet, partial: bool) -> Result<Merged, FleetError> {
    let snapshot = fleet.snapshot()?;
    let absent = snapshot.missing(Stage::Search)?;
    if !partial && !absent.is_empty() {
        return Err(FleetError::Unfinished {
            dir: fleet.folder().dir().to_owned(),
            stage: Stage::Search,
            of: snapshot.pieces(Stage::Search),
            missing: absent,
        });
    }
    let present = fleet.replicas().iter().copied();
    let present = present.filter(|replica| !absent.contains(&replica.number));
    let config = fleet.config();
    let merge = Merge {
        folder: fleet.folder(),
        space: &config.space,
        policy: config.search.history,
        replicas: present.collect(),
        top: config.select.top,
        most: fleet.most_of_a_list(),
    };
    merge.run(fleet.merge_key(&snapshot.ended), absent)
}

/// What is merged, and how: also of searches that were no `Session`'s, such as those of tables.
#[derive(Debug)]
pub struct Merge<'a> {
    /// Where they lie.
    pub folder: &'a FleetFolder,
    /// What they searched.
    pub space: &'a Space,
    /// Which accuracy counts for an architecture that was trained more than once.
    pub policy: HistoryPolicy,
    /// Searches that have ended.
    pub replicas: Vec<Replica>,
    /// How many of the best of each may win.
    pub top: usize,
    /// How many of all.
    pub most: usize,
}

impl Merge<'_> {
    /// Writes `children.jsonl` and `merged.json`. `key` is kept with the result, to tell whether there is more to merge since;
    /// `absent` are replicas that are left out.
    ///
    /// # Errors
    /// When a history cannot be read or has no child with an estimate.
    pub fn run(&self, key: String, absent: Vec<usize>) -> Result<Merged, FleetError> {
        let mut children = Replacement::begin(&self.folder.children())?;
        let (mut count, mut replicas) = (0, Vec::new());
        let mut fronts: [Vec<Fronts>; 2] = Default::default();
        for some in self.replicas.chunks(AT_A_TIME) {
            let parts = some.par_iter().map(|replica| self.part(*replica));
            for part in parts.collect::<Result<Vec<Part>, FleetError>>()? {
                children.write(&part.lines)?;
                count += part.children;
                replicas.push(part.finding);
                for (all, front) in fronts.iter_mut().zip(part.fronts) {
                    all.extend(front);
                }
            }
        }
        let [fronts, random_fronts] = fronts.map(|fronts| Fronts::joined(&fronts));
        let found = replicas.iter().map(|replica| replica.found.clone());
        let random = replicas.iter().filter_map(|replica| replica.random.clone());
        let joined = |findings: Vec<Finding>, pareto| {
            let joined = Finding::joined(&findings, self.space, self.most)?;
            Some(Finding { pareto, ..joined })
        };
        let found = joined(found.collect(), fronts);
        let merged = Merged {
            key,
            children: count,
            found: found.ok_or_else(|| nothing(self.folder.dir(), "no search has ended"))?,
            random: joined(random.collect(), random_fronts),
            replicas,
            absent,
        };
        children.finish()?;
        write_json(&self.folder.merged(), &merged)?;
        Ok(merged)
    }

    fn part(&self, replica: Replica) -> Result<Part, FleetError> {
        let folder = self.folder.replica(replica.number);
        let ended = EndedSearch::read(&self.folder.ended(replica.number))?;
        let ended = ended.ok_or_else(|| nothing(folder.dir(), "its search has not ended"))?;
        let lost = |error: FleetError| FleetError::Altered {
            ended: self.folder.ended(replica.number),
            source: Box::new(error),
        };
        let mut part = Lines::default();
        let mut finding = |dir: &Path, random: bool| {
            let which = usize::from(random);
            let records = ended.records(dir, which).map_err(lost)?;
            let note = ended.notes[which].clone();
            self.finding(dir, replica, random, records, note, &mut part)
        };
        let found = finding(folder.dir(), false)?;
        let mut found =
            found.ok_or_else(|| nothing(folder.dir(), "no child of the search has an estimate"))?;
        let mut random = match ended.children[1] {
            0 => None,
            _ => finding(&folder.random(), true)?,
        };
        let fronts = [Some(&mut found), random.as_mut()];
        let fronts = fronts.map(|finding| finding.map(|f| std::mem::take(&mut f.pareto)));
        Ok(Part {
            lines: part.bytes,
            children: part.children,
            finding: ReplicaFinding {
                replica,
                found,
                random,
            },
            fronts,
        })
    }

    /// What the search in a folder found whose children are `records`, which are added to `lines`.
    fn finding(
        &self,
        dir: &Path,
        replica: Replica,
        random: bool,
        records: Vec<Record>,
        note: Option<String>,
        lines: &mut Lines,
    ) -> Result<Option<Finding>, FleetError> {
        for record in &records {
            lines.push(&Line {
                replica: replica.number,
                random,
                record,
            })?;
        }
        let history = History::from_records(self.space.clone(), self.policy, records);
        let seconds = elapsed_seconds(dir).map_err(SearchError::from)?;
        Ok(Finding::of(&history, seconds, note, self.top.max(1)))
    }
}

fn nothing(dir: &Path, reason: &str) -> SearchError {
    SearchError::Nothing {
        dir: dir.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Lines of `children.jsonl`.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    children: u64,
}

impl Lines {
    fn push(&mut self, child: &Line<'_>) -> Result<(), FleetError> {
        let line = seal::json_line(child)
            .map_err(|error| FileError::damaged(Path::new("children.jsonl"), error.to_string()))?;
        self.bytes.extend_from_slice(line.content.as_bytes());
        self.bytes.push(b'\n');
        self.children += 1;
        Ok(())
    }
}

/// A [`FleetChild`] that is written.
#[derive(Serialize)]
struct Line<'a> {
    replica: usize,
    random: bool,
    #[serde(flatten)]
    record: &'a Record,
}

/// Reads `children.jsonl`.
///
/// # Errors
/// [`FleetError`] when it cannot be read or a line was changed.
pub fn read_children(path: &Path) -> Result<Vec<FleetChild>, FleetError> {
    Ok(read_lines(path)?)
}
