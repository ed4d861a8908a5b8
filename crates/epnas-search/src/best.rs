//! The result of a run: `best.json`.

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{Arch, Space};
use serde::{Deserialize, Serialize};

use crate::diagnostics::Diagnostics;
use crate::error::SearchError;
use crate::history::{History, Record, Status};
use crate::pareto::{front, pareto};
use crate::select::{Candidate, SelectionRecord, Shortlist};
use epnas_disk as disk;

/// What an estimate is, for whoever reads the number out of its context.
pub const ESTIMATE_NOTE: &str = "estimate is a validation accuracy measured with weights shared among all children \
    after brief training; it ranks architectures and is not the accuracy of the final network";

/// An architecture of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedCandidate {
    /// The architecture, in text form.
    #[serde(with = "crate::text")]
    pub architecture: Arch,
    /// Validation accuracy with shared weights, or the value of a table.
    pub estimate: f64,
    /// Validation accuracy after brief retraining from scratch; `None` when it was not retrained.
    pub retrained_accuracy: Option<f64>,
    /// Trainable parameters in the search.
    pub params: Option<u64>,
    /// Multiply-accumulates per image in the search.
    pub macs: Option<u64>,
}

/// What nothing beats that costs no more, cheapest first: estimates of full-length children against cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fronts {
    /// By trainable parameters.
    pub params: Vec<RankedCandidate>,
    /// By multiply-accumulates per image.
    pub macs: Vec<RankedCandidate>,
}

impl Fronts {
    /// Those of a search; of the deepest architectures when it was cut off before there were full-length ones.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let records = history.best(usize::MAX, history.deepest().unwrap_or(0));
        let front = |cost: fn(&Record) -> Option<u64>| {
            let front = pareto(&records, cost).into_iter();
            let candidates = front.filter_map(Candidate::of);
            let unknown = Retrained::of(history.space(), &[]);
            candidates.map(|one| unknown.ranked(&one)).collect()
        };
        Self {
            params: front(|record| record.params),
            macs: front(|record| record.macs),
        }
    }

    /// That of all of several searches, from those of each.
    #[must_use]
    pub fn joined(fronts: &[Self]) -> Self {
        let joined = |of: fn(&Self) -> &[RankedCandidate],
                      cost: fn(&RankedCandidate) -> Option<u64>| {
            let all = fronts.iter().flat_map(of);
            front(all.filter_map(|one| Some((cost(one)?, one.estimate, one.clone()))))
        };
        Self {
            params: joined(|front| &front.params, |one| one.params),
            macs: joined(|front| &front.macs, |one| one.macs),
        }
    }

    /// The same with what retraining has shown since.
    #[must_use]
    pub fn retrained(&self, retrained: &Retrained<'_>) -> Self {
        let with = |front: &[RankedCandidate]| {
            let front = front.iter().cloned();
            let known = |candidate: RankedCandidate| RankedCandidate {
                retrained_accuracy: retrained.accuracy(&candidate.architecture),
                ..candidate
            };
            front.map(known).collect()
        };
        Self {
            params: with(&self.params),
            macs: with(&self.macs),
        }
    }
}

/// Accuracies after brief retraining, by architecture.
#[derive(Debug)]
pub struct Retrained<'s> {
    space: &'s Space,
    accuracies: BTreeMap<String, Option<f64>>,
}

impl<'s> Retrained<'s> {
    /// Those of records; of several for one architecture the first that succeeded.
    #[must_use]
    pub fn of(space: &'s Space, records: &[SelectionRecord]) -> Self {
        let mut accuracies = BTreeMap::new();
        for record in records.iter().filter(|record| record.status == Status::Ok) {
            let accuracy = accuracies.entry(space.key(&record.arch));
            accuracy.or_insert(record.retrained_accuracy);
        }
        Self { space, accuracies }
    }

    fn accuracy(&self, arch: &Arch) -> Option<f64> {
        *self.accuracies.get(&self.space.key(arch))?
    }

    fn ranked(&self, candidate: &Candidate) -> RankedCandidate {
        RankedCandidate {
            architecture: candidate.arch.clone(),
            estimate: candidate.estimate,
            retrained_accuracy: self.accuracy(&candidate.arch),
            params: candidate.params,
            macs: candidate.macs,
        }
    }

    /// A shortlist ranked by retrained accuracy; candidates that were not retrained, or failed, follow by estimate.
    #[must_use]
    pub fn rank(&self, shortlist: &Shortlist) -> Vec<RankedCandidate> {
        let candidates = shortlist.candidates.iter();
        let mut ranked: Vec<_> = candidates.map(|one| self.ranked(one)).collect();
        // Stable: of equals the better estimate stays first.
        ranked.sort_by(|a, b| {
            let of = |candidate: &RankedCandidate| {
                candidate.retrained_accuracy.unwrap_or(f64::NEG_INFINITY)
            };
            of(b).total_cmp(&of(a))
        });
        ranked
    }
}

/// What a search spent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TotalCost {
    /// Children trained, failed ones included.
    pub children: u64,
    /// Image passes.
    pub images: u64,
    /// Training multiply-accumulates: per image and pass, times image passes.
    pub macs: u64,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl TotalCost {
    /// The cost of a history that took `seconds`.
    #[must_use]
    pub fn of(history: &History, seconds: f64) -> Self {
        Self {
            children: history.len() as u64,
            images: history.records().iter().map(|record| record.images).sum(),
            macs: u64::try_from(history.training_macs()).unwrap_or(u64::MAX),
            seconds,
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            children: self.children + other.children,
            images: self.images + other.images,
            macs: self.macs.saturating_add(other.macs),
            seconds: self.seconds + other.seconds,
        }
    }

    /// The cost of retraining.
    #[must_use]
    pub fn of_selection(records: &[SelectionRecord]) -> Self {
        let macs: u128 = records
            .iter()
            .map(|r| u128::from(r.macs.unwrap_or(0)) * u128::from(r.images))
            .sum();
        Self {
            children: records.len() as u64,
            images: records.iter().map(|record| record.images).sum(),
            macs: u64::try_from(macs).unwrap_or(u64::MAX),
            seconds: records.iter().map(|record| record.seconds).sum(),
        }
    }
}

/// The baseline's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestRandom {
    /// The winner, in text form.
    #[serde(with = "crate::text")]
    pub architecture: Arch,
    /// Its estimate.
    pub estimate: f64,
    /// Its validation accuracy after brief retraining.
    pub retrained_accuracy: Option<f64>,
    /// What random search spent.
    pub cost: TotalCost,
    /// Why it is not all it should be, when it is not.
    pub note: Option<String>,
    /// Its best few, best first.
    pub top: Vec<RankedCandidate>,
}

/// What convolutions were computed in during training: `f32` or `bf16`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precisions {
    /// For the children of the search and the baseline.
    pub children: String,
    /// For the brief retraining.
    pub retrained: String,
}

impl Default for Precisions {
    fn default() -> Self {
        let single = String::from("f32");
        Self {
            children: single.clone(),
            retrained: single,
        }
    }
}

/// The machine of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, or its instruction set where the system does not tell.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Operating system.
    pub os: String,
    /// What networks were trained on: `cpu`, or the name of a GPU.
    #[serde(default = "Machine::cpu")]
    pub device: String,
}

impl Machine {
    fn cpu() -> String {
        "cpu".to_owned()
    }

    /// This machine, training on its CPU.
    #[must_use]
    pub fn here() -> Self {
        let model = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("model name"))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            });
        Self {
            cpu: model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            os: std::env::consts::OS.to_owned(),
            device: Self::cpu(),
        }
    }
}

/// What wrote a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of the software.
    pub epnas: String,
    /// Version of the layout of `best.json`.
    pub format: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            epnas: env!("CARGO_PKG_VERSION").to_owned(),
            format: 1,
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The architecture found, in text form.
    #[serde(with = "crate::text")]
    pub architecture: Arch,
    /// Its estimate in the search.
    pub estimate: f64,
    /// What an estimate is.
    pub estimate_note: String,
    /// Its validation accuracy after brief retraining from scratch; `None` when nothing was retrained.
    pub retrained_accuracy: Option<f64>,
    /// Epochs of that retraining.
    pub retrained_epochs: Option<usize>,
    /// Why the result is not all it should be, such as a budget that ended; empty when it is.
    pub notes: Vec<String>,
    /// Random search at equal budget; `None` without a baseline.
    pub random: Option<BestRandom>,
    /// How well the surrogate foresaw the estimates; `None` without one.
    #[serde(default)]
    pub surrogate: Option<Diagnostics>,
    /// What the search spent.
    pub cost: TotalCost,
    /// What the selection spent, the baseline's candidates included.
    pub selection_cost: TotalCost,
    /// Root seed.
    pub seed: u64,
    /// The machine.
    pub machine: Machine,
    /// What convolutions were computed in.
    #[serde(default)]
    pub precision: Precisions,
    /// The Pareto fronts of the search.
    #[serde(default)]
    pub pareto: Fronts,
    /// What wrote this.
    pub versions: Versions,
    /// The best few, best first: by retrained accuracy, those without one after them by estimate.
    pub top: Vec<RankedCandidate>,
}

impl Best {
    /// Reads `best.json`.
    ///
    /// # Errors
    /// [`SearchError`] when there is none or it is not understood.
    pub fn read(path: &Path) -> Result<Self, SearchError> {
        disk::read_json(path)?.ok_or_else(|| SearchError::NoResult {
            path: path.to_owned(),
        })
    }

    /// Writes `best.json`; readers see the old result or the new one, whole.
    ///
    /// # Errors
    /// [`SearchError`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), SearchError> {
        Ok(disk::write_json(path, self)?)
    }
}

/// As [`Retrained::rank`], for one list.
#[must_use]
pub fn rank(
    space: &Space,
    shortlist: &Shortlist,
    retrained: &[SelectionRecord],
) -> Vec<RankedCandidate> {
    Retrained::of(space, retrained).rank(shortlist)
}
