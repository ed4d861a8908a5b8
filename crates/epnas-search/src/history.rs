//! The history of a search: one JSON line per child, on disk the moment it is known, and an index over it.

mod tail;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use epnas_arch::{Arch, EpochReport, Measurement, Space};
use serde::{Deserialize, Serialize};

use crate::config::HistoryPolicy;
use epnas_disk::{self as disk, DiskError, FileError, Line};

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
    /// A checksum of what children were and reached, times aside.
    #[must_use]
    pub fn checksum(records: &[Self]) -> String {
        let mut hasher = crc32fast::Hasher::new();
        for record in records {
            let estimate = record.estimate.map_or(u64::MAX, f64::to_bits);
            hasher.update(record.arch.to_string().as_bytes());
            hasher.update(&estimate.to_le_bytes());
        }
        format!("{:08x}", hasher.finalize())
    }

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
    /// The file cannot be read or written, or a complete line is no record or was changed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line stands where another child belongs.
    #[error("{}, line {line}: child {found}, expected child {}", path.display(), line - 1)]
    Order {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The position that the child in it says it has, from 0.
        found: u64,
    },
    /// The file does not hold the children of its checkpoint.
    #[error("{} {found}, expected {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
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

    /// The same as pairs of architecture and accuracy.
    pub(crate) fn accuracies(&self) -> Vec<(Arch, f64)> {
        let distinct = self.distinct().into_iter();
        distinct
            .filter_map(|record| Some((record.arch.clone(), record.estimate?)))
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
        let each = self.records.iter().map(Record::training_macs);
        each.fold(0, u128::saturating_add)
    }
}

/// Reads `history.jsonl`. A last line without its line feed is a write that was cut off and is left out.
///
/// # Errors
/// [`HistoryError`] when the file cannot be read, or a complete line is no record, was changed or is out of order.
pub fn read_history(path: &Path) -> Result<Vec<Record>, HistoryError> {
    whole(path, 0, None)
}

/// The same of a history whose checkpoint has `count` children, `last` being the checksum of the last of them.
pub(crate) fn whole(
    path: &Path,
    count: usize,
    last: Option<&str>,
) -> Result<Vec<Record>, HistoryError> {
    let bytes = std::fs::read(path)
        .map_err(|source| FileError::from(DiskError::new("read", path, source)))?;
    let lines = parse(path, &bytes, 0)?;
    require(path, &lines, count, last)?;
    Ok(lines.into_iter().map(|line| line.value).collect())
}

/// The complete lines in `bytes`, which stand after `before` others in the file at `path`.
fn parse(path: &Path, bytes: &[u8], before: usize) -> Result<Vec<Line<Record>>, HistoryError> {
    let lines = epnas_disk::parse_lines::<Record>(path, bytes).map_err(|error| match error {
        FileError::Damaged {
            path,
            line,
            message,
        } => FileError::Damaged {
            path,
            line: line.map(|line| before + line),
            message,
        },
        error => error,
    })?;
    let misplaced = (before..)
        .zip(&lines)
        .find(|(position, line)| line.value.index != *position as u64);
    match misplaced {
        None => Ok(lines),
        Some((position, line)) => Err(HistoryError::Order {
            path: path.to_owned(),
            line: position + 1,
            found: line.value.index,
        }),
    }
}

/// Fails when there are children. Without a checkpoint to go on from they would have to be thrown away.
pub(crate) fn require_none(path: &Path) -> Result<(), HistoryError> {
    let bytes = disk::read_if_present(path).map_err(FileError::from)?;
    let lines = bytes.unwrap_or_default();
    match lines.iter().filter(|&&byte| byte == b'\n').count() {
        0 => Ok(()),
        children => Err(HistoryError::Other {
            path: path.to_owned(),
            found: format!("holds {children} children, but there is no checkpoint to go on from"),
            expected: "checkpoint/state.json beside it: put it back, or begin in another folder"
                .into(),
        }),
    }
}

/// The children behind a checkpoint.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) records: Vec<Record>,
    /// Where their lines end in bytes.
    pub(crate) length: u64,
}

/// The first `count` children of a history, which may hold more. `last` is the checksum of the last of them.
pub(crate) fn kept(path: &Path, count: usize, last: Option<&str>) -> Result<Kept, HistoryError> {
    let bytes = disk::read_if_present(path).map_err(FileError::from)?;
    let bytes = bytes.unwrap_or_default();
    // Lines beyond the checkpoint need not even be whole.
    let length: usize = bytes
        .split_inclusive(|&byte| byte == b'\n')
        .take(count)
        .map(<[u8]>::len)
        .sum();
    let lines = parse(path, &bytes[..length], 0)?;
    require(path, &lines, count, last)?;
    let records = lines.into_iter().map(|line| line.value).collect();
    Ok(Kept {
        records,
        length: length as u64,
    })
}

/// Fails unless the first `count` lines are there, the last of them with the checksum `last`.
fn require(
    path: &Path,
    lines: &[Line<Record>],
    count: usize,
    last: Option<&str>,
) -> Result<(), HistoryError> {
    let other = |found: String, expected: String| HistoryError::Other {
        path: path.to_owned(),
        found,
        expected,
    };
    if lines.len() < count {
        let found = format!("holds {} children", lines.len());
        let expected = format!("at least the {count} of its checkpoint");
        return Err(other(found, expected));
    }
    match (lines[..count].last(), last) {
        (Some(line), Some(last)) if line.crc32 != last => {
            let found = format!(
                "is of another search: the CRC-32 of line {count} is {}",
                line.crc32
            );
            Err(other(found, format!("{last}, that of its checkpoint")))
        }
        _ => Ok(()),
    }
}
