//! Selection: the best few by estimate are retrained briefly from scratch, and the best of those wins.
//!
//! Estimates from shared weights rank architectures only roughly; retraining the top few recovers most of what that
//! loses. Each retrained candidate is a line of `selection.jsonl`, so that an interrupted selection goes on with the
//! next one, and an architecture on two lists (the search's and the baseline's) is retrained once.

use std::path::{Path, PathBuf};
use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{Arch, EpochReport, EvaluateError, Evaluator, Space};
use serde::{Deserialize, Serialize};

use crate::error::SearchError;
use crate::history::{History, Record, Status};
use crate::observer::{Event, Observer};
use epnas_disk::{Lines, read_lines};

/// An architecture that may win.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The architecture, in text form.
    #[serde(with = "crate::text")]
    pub arch: Arch,
    /// Its estimate in the search.
    pub estimate: f64,
    /// Trainable parameters in the search, when known.
    pub params: Option<u64>,
    /// Multiply-accumulates per image in the search, when known.
    pub macs: Option<u64>,
}

impl Candidate {
    /// That of a record; `None` when the child failed.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Some(Self {
            arch: record.arch.clone(),
            estimate: record.estimate?,
            params: record.params,
            macs: record.macs,
        })
    }
}

/// The best candidates of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shortlist {
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Levels of each.
    pub length: usize,
    /// Said when they are not full-length.
    pub note: Option<String>,
}

/// The best `n` full-length architectures by estimate; when the search was cut off before there were any, the deepest.
#[must_use]
pub fn shortlist(history: &History, n: usize) -> Option<Shortlist> {
    let full = history.space().levels();
    let length = history.deepest()?;
    let candidates = history
        .best(n.max(1), length)
        .into_iter()
        .filter_map(Candidate::of)
        .collect();
    let note = (length < full).then(|| {
        format!("the search ended before any full-length architecture: the best of {length} of {full} levels are given")
    });
    Some(Shortlist {
        candidates,
        length,
        note,
    })
}

/// A retrained candidate: a line of `selection.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionRecord {
    /// The architecture, in text form.
    #[serde(with = "crate::text")]
    pub arch: Arch,
    /// Validation accuracy after retraining, 0 to 1; `None` when it failed.
    pub retrained_accuracy: Option<f64>,
    /// Whether it could be retrained.
    pub status: Status,
    /// Why not.
    pub reason: Option<String>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Trainable parameters of the retrained network.
    pub params: Option<u64>,
    /// Multiply-accumulates per image of the retrained network.
    pub macs: Option<u64>,
    /// Image passes trained.
    pub images: u64,
    /// Training epoch by epoch.
    pub epochs: Vec<EpochReport>,
    /// The settings it was retrained with: only records with the same are used again.
    pub settings: String,
}

/// Reads `selection.jsonl`; a missing file is empty and a last line that was cut off is left out.
///
/// # Errors
/// [`SearchError`] when the file cannot be read or a complete line is no record.
pub fn read_selection(path: &Path) -> Result<Vec<SelectionRecord>, SearchError> {
    Ok(read_lines(path)?)
}

/// Retrains candidates from scratch.
pub struct Selection<'a> {
    /// `selection.jsonl`.
    pub file: PathBuf,
    /// What was searched.
    pub space: Space,
    /// The run's root seed.
    pub seed: u64,
    /// What the retraining depends on besides architecture and seed, in any text form.
    pub settings: String,
    /// Asked before each candidate with the wall time of this call in seconds: the reason to stop, or `None`.
    pub stop: Option<&'a mut dyn FnMut(f64) -> Option<String>>,
}

impl Selection<'_> {
    /// Retrains those of `candidates` that are not in the file yet, each from fresh weights. Returns all records with
    /// these settings, and the reason when it stopped early.
    ///
    /// # Errors
    /// [`SearchError`]; what was retrained until then is on disk.
    pub fn run<E: Evaluator + ?Sized>(
        mut self,
        candidates: &[Candidate],
        evaluator: &mut E,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<SelectionRecord>, Option<String>), SearchError> {
        let clock = Instant::now();
        let (mut file, stored) = Lines::open::<SelectionRecord>(&self.file)?;
        let mut records: Vec<SelectionRecord> = stored
            .into_iter()
            .filter(|record| record.settings == self.settings)
            .collect();
        let mut stopped = None;
        for (index, candidate) in candidates.iter().enumerate() {
            if self.find(&records, &candidate.arch).is_some() {
                continue;
            }
            let seconds = clock.elapsed().as_secs_f64();
            stopped = self.stop.as_mut().and_then(|stop| stop(seconds));
            if let Some(reason) = &stopped {
                observer.event(Event::Stopped { reason });
                break;
            }
            let Candidate { arch, estimate, .. } = candidate;
            observer.event(Event::CandidateStarted {
                index,
                total: candidates.len(),
                arch,
                estimate: Some(*estimate),
            });
            let record = self.retraining().run(arch, evaluator, observer)?;
            file.push(&record)?;
            observer.event(Event::CandidateFinished {
                index,
                arch,
                accuracy: record.retrained_accuracy,
            });
            records.push(record);
        }
        Ok((records, stopped))
    }

    fn retraining(&self) -> Retraining<'_> {
        Retraining {
            space: &self.space,
            seed: self.seed,
            settings: &self.settings,
        }
    }

    fn find<'r>(&self, records: &'r [SelectionRecord], arch: &Arch) -> Option<&'r SelectionRecord> {
        let key = self.space.key(arch);
        records
            .iter()
            .find(|record| self.space.key(&record.arch) == key)
    }
}

/// Training from scratch, which depends on architecture, seed and settings alone.
pub(crate) struct Retraining<'a> {
    pub(crate) space: &'a Space,
    /// The root seed.
    pub(crate) seed: u64,
    /// As in [`Selection`].
    pub(crate) settings: &'a str,
}

impl Retraining<'_> {
    pub(crate) fn run<E: Evaluator + ?Sized>(
        &self,
        arch: &Arch,
        evaluator: &mut E,
        observer: &mut dyn Observer,
    ) -> Result<SelectionRecord, SearchError> {
        let key = self.space.key(arch);
        let failed = |source| SearchError::Evaluate {
            arch: arch.to_string(),
            source,
        };
        evaluator
            .reset(split(self.seed, &format!("select/weights/{key}")))
            .map_err(failed)?;
        let seed = split(self.seed, &format!("select/{key}"));
        let clock = Instant::now();
        let result = crate::driver::attempt(evaluator, arch, seed, observer);
        let mut record = SelectionRecord {
            arch: arch.clone(),
            retrained_accuracy: None,
            status: Status::Ok,
            reason: None,
            seconds: clock.elapsed().as_secs_f64(),
            params: None,
            macs: None,
            images: 0,
            epochs: Vec::new(),
            settings: self.settings.to_owned(),
        };
        match result {
            Ok(measurement) => {
                record.retrained_accuracy = Some(measurement.estimate);
                record.params = Some(measurement.params);
                record.macs = Some(measurement.macs);
                record.images = measurement.images;
                record.epochs = measurement.epochs;
            }
            Err(EvaluateError::Child { reason }) => {
                tracing::warn!(%arch, %reason, "retraining failed");
                record.status = Status::Failed;
                record.reason = Some(reason);
            }
            Err(error @ EvaluateError::Fatal(_)) => return Err(failed(error)),
        }
        Ok(record)
    }
}
