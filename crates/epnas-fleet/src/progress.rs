//! How far a fleet has come, as its folder tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use epnas_search::driver::trained_children;
use epnas_search::run::is_locked;
use epnas_search::{Schedule, Which, read_curve};
use serde::Serialize;

use crate::error::FleetError;
use crate::fleet::{Fleet, candidate_lists};
use crate::stage::Stage;

/// How far a stage has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageProgress {
    /// Which.
    pub stage: Stage,
    /// Pieces; before the merge those of the selection are what there are at most.
    pub pieces: usize,
    /// Those that are not done.
    pub missing: Vec<usize>,
    /// Those of them that a process is doing, on this machine or, where the file system's locks say so, on another.
    pub running: Vec<usize>,
}

/// How far a fleet has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Stage by stage.
    pub stages: Vec<StageProgress>,
    /// Children of the searches so far, by replica.
    pub children: Vec<usize>,
    /// Those of their baselines; empty without one.
    pub random: Vec<usize>,
    /// Children that a search is planned to have.
    pub planned: u64,
    /// Epochs of the final training so far.
    pub epochs: usize,
}

impl Progress {
    /// Reads it from the folder.
    ///
    /// # Errors
    /// [`FleetError`] when a file of the fleet cannot be read.
    pub fn of(fleet: &Fleet) -> Result<Self, FleetError> {
        let snapshot = fleet.snapshot()?;
        let mut stages = Vec::new();
        let mut may_run = true;
        for stage in Stage::ALL {
            let missing = snapshot.missing(stage)?;
            let locks = match may_run {
                true => fleet.locks(stage, &missing)?,
                false => BTreeMap::new(),
            };
            may_run &= missing.is_empty();
            let held = locks.into_iter().filter(|(_, lock)| is_locked(lock));
            stages.push(StageProgress {
                stage,
                pieces: snapshot.pieces(stage),
                running: held
                    .map(|(piece, _)| piece)
                    .filter(|piece| missing.contains(piece))
                    .collect(),
                missing,
            });
        }
        let config = fleet.config();
        let folder = fleet.folder();
        // One that is just being written or cannot be read says nothing of the others.
        let so_far = |dir: &Path| trained_children(dir).unwrap_or(0);
        let replicas = fleet.replicas().iter();
        let replicas = replicas.map(|replica| folder.replica(replica.number));
        let random = replicas.clone().filter(|_| candidate_lists(config) > 1);
        let training = folder.run().training(Which::Found).work;
        Ok(Self {
            stages,
            random: random.map(|replica| so_far(&replica.random())).collect(),
            children: replicas.map(|replica| so_far(replica.dir())).collect(),
            planned: Schedule::new(&config.space, &config.search).children(),
            epochs: read_curve(&training).map_or(0, |curve| curve.len()),
        })
    }

    /// Whether a process is at work.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.stages.iter().any(|stage| !stage.running.is_empty())
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stages.iter().all(|stage| stage.missing.is_empty())
    }
}

impl Fleet {
    /// A number that grows while searches make progress.
    #[must_use]
    pub fn searched(&self) -> u64 {
        let replicas = self.replicas().iter();
        replicas
            .map(|replica| self.mark(Stage::Search, replica.number))
            .sum()
    }

    /// A number that grows while a piece makes progress.
    #[must_use]
    pub fn mark(&self, stage: Stage, number: usize) -> u64 {
        let folder = self.folder();
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        match stage {
            Stage::Search => {
                let replica = folder.replica(number);
                size(&replica.history()) + size(&replica.random().join("history.jsonl"))
            }
            Stage::Train => {
                // Steps within an epoch are saved too: each checkpoint is newer than the one before.
                let checkpoint = folder.run().training(Which::Found).checkpoint();
                let written = fs::metadata(checkpoint).and_then(|meta| meta.modified());
                let since = written
                    .ok()
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                since.map_or(0, |time| time.as_secs())
            }
            Stage::Merge | Stage::Select => 0,
        }
    }
}
