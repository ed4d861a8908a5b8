//! What several searches of one space know together.
//!
//! Searches beside one another write a history each. At the end of a step a search reads those of the others, as far as they
//! have come, and its surrogate learns from all of them. How far that was depends on the machines; so it is written down, in
//! `pool.jsonl`, before it is used, and a search that is resumed or repeated reads the same children again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use epnas_arch::Arch;
use serde::{Deserialize, Serialize};

use crate::history::{History, HistoryError, HistoryTail, News, Record};
use epnas_disk::{FileError, Lines};

/// Why the children of other searches cannot be learned from.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A history cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The record of what was read before cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A search is begun anew whose children were learned from, and has yet to come so far again.
    #[error(
        "{}, iteration {iteration}, step {step}: {} has {found} children, expected {expected}; that search has to come so far first",
        record.display(),
        history.display()
    )]
    Behind {
        /// `pool.jsonl`.
        record: PathBuf,
        /// Iteration, from 0.
        iteration: usize,
        /// Step, from 1.
        step: usize,
        /// The history of another search.
        history: PathBuf,
        /// How many children it has.
        found: usize,
        /// How many it had.
        expected: usize,
    },
    /// Others are in the place of children that were learned from.
    #[error(
        "{}, iteration {iteration}, step {step}: the first {children} children of {} are not those that were learned from; without \
         this record the search learns from what is there now, and ends otherwise than it did",
        record.display(),
        history.display()
    )]
    Others {
        /// `pool.jsonl`.
        record: PathBuf,
        /// Iteration, from 0.
        iteration: usize,
        /// Step, from 1.
        step: usize,
        /// The history of another search.
        history: PathBuf,
        /// How many of them.
        children: usize,
    },
}

/// What was read at the end of a step: a line of `pool.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    /// Iteration, from 0.
    iteration: usize,
    /// Step, from 1.
    step: usize,
    /// How many children of each search, in the order of the searches.
    children: Vec<usize>,
    /// Checksums of those children.
    checksums: Vec<String>,
}

/// The histories of the searches beside one.
#[derive(Debug)]
pub struct Pool {
    record: PathBuf,
    lines: Lines,
    readings: Vec<Reading>,
    others: Vec<Other>,
}

/// A search beside this one.
#[derive(Debug)]
struct Other {
    path: PathBuf,
    tail: HistoryTail,
    records: Vec<Record>,
}

impl Other {
    /// Reads what has come. Training by epochs teaches a surrogate nothing and takes memory.
    fn poll(&mut self) -> Result<(), HistoryError> {
        let (news, keep) = match self.tail.poll()? {
            News::None => return Ok(()),
            News::More(news) => (news, true),
            News::Anew(news) => (news, false),
        };
        if !keep {
            self.records.clear();
        }
        self.records.extend(news.into_iter().map(|record| Record {
            epochs: Vec::new(),
            ..record
        }));
        Ok(())
    }

    /// How many children are there to stay: the checkpoint of its search may lack the latest.
    fn settled(&self) -> usize {
        self.records.len().saturating_sub(1)
    }

    fn checksum(&self, children: usize) -> Option<String> {
        Some(Record::checksum(self.records.get(..children)?))
    }
}

impl Pool {
    /// Reads `histories`, which need not exist yet, always in this order, and remembers in the file `record` how far.
    ///
    /// # Errors
    /// [`PoolError::File`] when that file cannot be read or written.
    pub fn open(
        record: PathBuf,
        histories: impl IntoIterator<Item = PathBuf>,
    ) -> Result<Self, PoolError> {
        let (lines, readings) = Lines::open(&record)?;
        let other = |path: PathBuf| Other {
            tail: HistoryTail::new(&path),
            path,
            records: Vec::new(),
        };
        Ok(Self {
            record,
            lines,
            readings,
            others: histories.into_iter().map(other).collect(),
        })
    }

    /// What is known at the end of a step: every architecture once, with the mean over the searches that measured it; those of
    /// `own` first, each in the order in which they were first measured.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn joined(
        &mut self,
        iteration: usize,
        step: usize,
        own: &History,
    ) -> Result<Vec<(Arch, f64)>, PoolError> {
        for other in &mut self.others {
            other.poll()?;
        }
        let before = self
            .readings
            .iter()
            .find(|reading| (reading.iteration, reading.step) == (iteration, step));
        let children = match before {
            Some(reading) => {
                self.require(reading)?;
                reading.children.clone()
            }
            None => self.note(iteration, step)?,
        };
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut sums: Vec<(Arch, f64, f64)> = Vec::new();
        let mut add = |history: &History| {
            for (arch, accuracy) in history.accuracies() {
                let next = sums.len();
                let place = *known.entry(history.space().key(&arch)).or_insert(next);
                match sums.get_mut(place) {
                    Some((_, sum, count)) => {
                        *sum += accuracy;
                        *count += 1.0;
                    }
                    None => sums.push((arch, accuracy, 1.0)),
                }
            }
        };
        add(own);
        for (other, &children) in self.others.iter().zip(&children) {
            add(&own.with(other.records[..children].to_vec()));
        }
        let means = sums.into_iter();
        Ok(means
            .map(|(arch, sum, count)| (arch, sum / count))
            .collect())
    }

    /// Writes down what is read now.
    fn note(&mut self, iteration: usize, step: usize) -> Result<Vec<usize>, PoolError> {
        let children: Vec<usize> = self.others.iter().map(Other::settled).collect();
        let checksums = self.others.iter().zip(&children);
        let reading = Reading {
            iteration,
            step,
            children: children.clone(),
            checksums: checksums
                .filter_map(|(other, &children)| other.checksum(children))
                .collect(),
        };
        self.lines.push(&reading)?;
        self.readings.push(reading);
        Ok(children)
    }

    /// Fails when what was read before cannot be read again.
    fn require(&self, reading: &Reading) -> Result<(), PoolError> {
        // There may be more searches by now, after those that there were.
        if reading.children.len() > self.others.len()
            || reading.checksums.len() != reading.children.len()
        {
            let message = format!(
                "is of {} other searches, expected at most {}",
                reading.children.len(),
                self.others.len()
            );
            return Err(FileError::damaged(&self.record, message).into());
        }
        for ((other, &children), checksum) in self
            .others
            .iter()
            .zip(&reading.children)
            .zip(&reading.checksums)
        {
            let (record, history) = (self.record.clone(), other.path.clone());
            let (iteration, step) = (reading.iteration, reading.step);
            match other.checksum(children) {
                Some(found) if found == *checksum => {}
                Some(_) => {
                    return Err(PoolError::Others {
                        record,
                        iteration,
                        step,
                        history,
                        children,
                    });
                }
                None => {
                    return Err(PoolError::Behind {
                        record,
                        iteration,
                        step,
                        history,
                        found: other.records.len(),
                        expected: children,
                    });
                }
            }
        }
        Ok(())
    }
}
