//! Where everything of a fleet lies.

use std::path::{Path, PathBuf};

use epnas_arch::seed::split;
use epnas_search::RunFolder;

use crate::stage::Stage;

/// The places in a fleet's folder. It is a run folder too, whose `config.toml` is that of all replicas and whose `best.json`
/// and `model/` are those of the best of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetFolder {
    run: RunFolder,
}

impl FleetFolder {
    /// The places in `dir`, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            run: RunFolder::new(dir),
        }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.run.dir()
    }

    /// What a fleet's folder has in common with a run's.
    #[must_use]
    pub fn run(&self) -> &RunFolder {
        &self.run
    }

    /// The run folder of a replica, counted from 0.
    #[must_use]
    pub fn replica(&self, number: usize) -> RunFolder {
        self.run.replica(number)
    }

    /// Up to which number there are folders of replicas.
    pub(crate) fn begun(&self) -> usize {
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten();
        let numbers = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("replica-")?.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |last| last + 1)
    }

    /// Says that the search of a replica has ended by itself.
    #[must_use]
    pub fn ended(&self, number: usize) -> PathBuf {
        self.replica(number).dir().join("ended.json")
    }

    /// What all searches found together.
    #[must_use]
    pub fn merged(&self) -> PathBuf {
        self.dir().join("merged.json")
    }

    /// The children of all replicas, one JSON line each.
    #[must_use]
    pub fn children(&self) -> PathBuf {
        self.dir().join("children.jsonl")
    }

    /// A candidate after its retraining, by the key that its space gives it: its place among the others may change.
    #[must_use]
    pub fn candidate(&self, key: &str) -> PathBuf {
        self.dir()
            .join("selection")
            .join(format!("{:016x}.json", split(0, key)))
    }

    /// What is locked while a process retrains it.
    #[must_use]
    pub fn candidate_lock(&self, key: &str) -> PathBuf {
        self.candidate(key).with_extension("lock")
    }

    /// What became of each replica.
    #[must_use]
    pub fn outcomes(&self) -> PathBuf {
        self.dir().join("replicas.json")
    }

    /// Says that everything is done, and of what.
    #[must_use]
    pub fn done(&self) -> PathBuf {
        self.dir().join("done.json")
    }

    /// What processes on this host print, a file for each piece.
    #[must_use]
    pub fn log(&self, stage: Stage, number: usize) -> PathBuf {
        self.dir()
            .join("logs")
            .join(format!("{stage}-{number:04}.log"))
    }

    /// Scripts, numbers and logs of jobs.
    #[must_use]
    pub fn slurm(&self) -> PathBuf {
        self.dir().join("slurm")
    }
}
