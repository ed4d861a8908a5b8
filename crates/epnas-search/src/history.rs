//! The history of a search: one JSON line per child, on disk the moment it is known, and an index over it.

mod tail;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use epnas_arch::{Arch, EpochReport, Measurement, Space};
use serde::{Deserialize, Serialize};

use crate::config::HistoryPolicy;
use crate::disk::{self, DiskError};

pub use tail::{HistoryTail, News};

/// Whether a child could be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has an estimate.
    Ok,
    /// It has none; see the reason.
    Failed,
}

/// One child: a line of `history.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Position in the history, from 0.
    pub index: u64,
    /// Iteration, from 0.
    pub iteration: usize,
    /// Step within the iteration, from 1: the level that was grown or replaced.
    pub step: usize,
    /// The architecture, in text form.
    #[serde(with = "crate::text")]
    pub arch: Arch,
    /// Validation accuracy from 0 to 1, or the value of a table; `None` when failed.
    pub estimate: Option<f64>,
    /// Whether the child could be evaluated.
    pub status: Status,
    /// Why it failed.
    pub reason: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Trainable parameters; `None` when unknown.
    pub params: Option<u64>,
    /// Multiply-accumulates per image; `None` when unknown.
    pub macs: Option<u64>,
    /// Image passes trained.
    pub images: u64,
    /// The surrogate's prediction when the child was drawn; `None` when it was not asked.
    pub predicted: Option<f64>,
    /// Probability of this child in a single draw among all candidates; `None` when nothing was drawn.
    pub probability: Option<f64>,
    /// Temperature of the step.
    pub temperature: Option<f64>,
    /// Training epoch by epoch; empty for evaluators without epochs.
    pub epochs: Vec<EpochReport>,
}

impl Record {
    /// The same child without the fields that measure time, for comparing runs.
    #[must_use]
    pub fn timeless(&self) -> Self {
        let mut record = self.clone();
        record.seconds = 0.0;
        for epoch in &mut record.epochs {
            epoch.seconds = 0.0;
        }
        record
    }

    /// Training multiply-accumulates: per image and pass, times image passes.
    #[must_use]
    pub fn training_macs(&self) -> u128 {
        u128::from(self.macs.unwrap_or(0)) * u128::from(self.images)
    }

    /// Fills in what a measurement knows.
    pub(crate) fn measured(&mut self, measurement: Measurement) {
        self.estimate = Some(measurement.estimate);
        self.params = Some(measurement.params);
        self.macs = Some(measurement.macs);
        self.images = measurement.images;
        self.epochs = measurement.epochs;
    }
}

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A complete line is not a record.
    #[error("{}, line {line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The file holds fewer children than its checkpoint.
    #[error("{} holds {found} children, expected at least the {expected} of its checkpoint", path.display())]
    Short {
        /// The file.
        path: PathBuf,
        /// Children in the file.
        found: usize,
        /// Children in the checkpoint.
        expected: usize,
    },
}

/// What is known of every architecture, in memory.
///
/// Architectures are the same when their canonical text is the same.
#[derive(Debug, Clone)]
pub struct History {
    space: Space,
    policy: HistoryPolicy,
    records: Vec<Record>,
    /// By canonical key: the position of the first success, and of the one that counts.
    known: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    first: usize,
    counts: usize,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(space: Space, policy: HistoryPolicy) -> Self {
        Self {
            space,
            policy,
            records: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// A history of records as they were measured.
    #[must_use]
    pub fn from_records(space: Space, policy: HistoryPolicy, records: Vec<Record>) -> Self {
        let mut history = Self::new(space, policy);
        for record in records {
            history.push(record);
        }
        history
    }

    /// Other records of the same space, under the same policy.
    #[cfg(feature = "supernet")]
    #[must_use]
    pub(crate) fn with(&self, records: Vec<Record>) -> Self {
        Self::from_records(self.space.clone(), self.policy, records)
    }

    /// Adds a child.
    pub fn push(&mut self, record: Record) {
        let position = self.records.len();
        if let Some(estimate) = record.estimate {
            let key = self.space.key(&record.arch);
            let known = self.known.entry(key).or_insert(Known {
                first: position,
                counts: position,
            });
            let better = match self.policy {
                HistoryPolicy::Latest => true,
                HistoryPolicy::Best => self
                    .records
                    .get(known.counts)
                    .and_then(|r| r.estimate)
                    .is_none_or(|best| estimate > best),
            };
            if better {
                known.counts = position;
            }
        }
        self.records.push(record);
    }

    /// The estimate that counts for an architecture; `None` when it was not evaluated, or failed.
    #[must_use]
    pub fn estimate(&self, arch: &Arch) -> Option<f64> {
        let known = self.known.get(&self.space.key(arch))?;
        self.records.get(known.counts)?.estimate
    }

    /// Every child in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many children there are, failed and repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The space of the architectures.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// One record per distinct architecture that was evaluated, the one that counts, in order of first success: what
    /// the surrogate learns from.
    #[must_use]
    pub fn distinct(&self) -> Vec<&Record> {
        let mut known: Vec<Known> = self.known.values().copied().collect();
        known.sort_unstable_by_key(|known| known.first);
        known
            .iter()
            .filter_map(|known| self.records.get(known.counts))
            .collect()
    }

    /// The best `n` distinct architectures of `length` levels by estimate, best first; the earlier of equals first.
    #[must_use]
    pub fn best(&self, n: usize, length: usize) -> Vec<&Record> {
        let mut found: Vec<&Record> = self
            .distinct()
            .into_iter()
            .filter(|record| record.arch.len() == length)
            .collect();
        found.sort_by(|a, b| {
            let by_estimate = b
                .estimate
                .unwrap_or(f64::MIN)
                .total_cmp(&a.estimate.unwrap_or(f64::MIN));
            by_estimate.then(a.index.cmp(&b.index))
        });
        found.truncate(n);
        found
    }

    /// The length of the longest architecture with an estimate.
    #[must_use]
    pub fn deepest(&self) -> Option<usize> {
        self.distinct().iter().map(|record| record.arch.len()).max()
    }

    /// Training multiply-accumulates of all children.
    #[must_use]
    pub fn training_macs(&self) -> u128 {
        self.records.iter().map(Record::training_macs).sum()
    }
}

/// Reads `history.jsonl`. A last line without its line feed is a write that was cut off and is left out.
///
/// # Errors
/// [`HistoryError::Disk`] when the file cannot be read, [`HistoryError::Line`] for a complete line that is no record.
pub fn read_history(path: &Path) -> Result<Vec<Record>, HistoryError> {
    let text = std::fs::read(path).map_err(|source| DiskError::new("read", path, source))?;
    Ok(parse(path, &text)?
        .into_iter()
        .map(|(record, _)| record)
        .collect())
}

/// Records with the offset of the end of their line.
fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(Record, u64)>, HistoryError> {
    let mut records = Vec::new();
    let mut end = 0;
    for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        end += line.len() as u64;
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let record = serde_json::from_slice(line).map_err(|error| HistoryError::Line {
            path: path.to_owned(),
            line: number + 1,
            message: format!(
                "column {}: not a child's record: {}",
                error.column(),
                without_place(&error)
            ),
        })?;
        records.push((record, end));
    }
    Ok(records)
}

/// What serde_json says, less the place: it counts lines from the start of what it was given.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// The file that a running search appends to.
#[derive(Debug)]
pub(crate) struct HistoryFile {
    path: PathBuf,
    file: File,
}

impl HistoryFile {
    /// Opens the file with its first `count` children, dropping what lies beyond them.
    pub(crate) fn open(path: &Path, count: usize) -> Result<(Self, Vec<Record>), HistoryError> {
        let mut records = Vec::new();
        let mut length = 0;
        if count > 0 {
            let bytes = disk::read_if_present(path)?.unwrap_or_default();
            // Lines beyond the checkpoint need not even be whole.
            let kept: usize = bytes
                .split_inclusive(|&byte| byte == b'\n')
                .take(count)
                .map(<[u8]>::len)
                .sum();
            let parsed = parse(path, &bytes[..kept])?;
            if parsed.len() < count {
                return Err(HistoryError::Short {
                    path: path.to_owned(),
                    found: parsed.len(),
                    expected: count,
                });
            }
            length = parsed.last().map_or(0, |(_, end)| *end);
            records = parsed.into_iter().map(|(record, _)| record).collect();
        }
        let file = disk::open_truncated(path, length)?;
        Ok((
            Self {
                path: path.to_owned(),
                file,
            },
            records,
        ))
    }

    /// Appends a child; it is on disk when this returns.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), HistoryError> {
        let line = serde_json::to_string(record).map_err(|error| {
            DiskError::new("append to", &self.path, std::io::Error::other(error))
        })?;
        Ok(disk::append(&mut self.file, &self.path, &line)?)
    }
}
