//! Does the pieces of a fleet's work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epnas_disk::{make_dir, read_if_present, remove, seal, write_atomic, write_json};
use epnas_search::run::lock_file;
use epnas_search::select::SelectionRecord;
use epnas_search::{Best, Machine, Observer, SearchError, Session, Start};
use epnas_supernet::Compute;

use crate::derived::read_derived;
use crate::error::FleetError;
use crate::fleet::Fleet;
use crate::merge::Merged;
use crate::outcome::write_outcomes;
use crate::stage::Stage;

/// Whether a piece is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is.
    Done,
    /// It was asked to end early; what is done of it is on disk.
    Stopped,
}

/// Does pieces of a fleet's work on a device.
#[derive(Debug)]
pub struct Worker<'f> {
    fleet: &'f Fleet,
    compute: Compute,
    stop: Arc<AtomicBool>,
}

impl<'f> Worker<'f> {
    /// One that ends early and in order once `stop` becomes true.
    #[must_use]
    pub fn new(fleet: &'f Fleet, compute: Compute, stop: Arc<AtomicBool>) -> Self {
        Self {
            fleet,
            compute,
            stop,
        }
    }

    /// A session with the fleet's own configuration, for its selection and its final training.
    ///
    /// # Errors
    /// When the configuration is not valid.
    pub fn session(&self) -> Result<Session, FleetError> {
        self.session_of(self.fleet.config().clone())
    }

    fn session_of(&self, config: epnas_search::Config) -> Result<Session, FleetError> {
        let session = Session::new(config)?.with_compute(self.compute.clone());
        Ok(session.with_stop(Arc::clone(&self.stop)))
    }

    /// Runs the search of a replica, or goes on with it.
    ///
    /// # Errors
    /// [`FleetError`]; everything up to the last child is on disk then.
    pub fn search(&self, number: usize, observer: &mut dyn Observer) -> Result<Ended, FleetError> {
        let fleet = self.fleet;
        let Some(&replica) = fleet.replicas().get(number) else {
            return Err(self.no_piece(Stage::Search, number));
        };
        if fleet.ended(number)?.is_some() {
            return Ok(Ended::Done);
        }
        let folder = fleet.folder().replica(number);
        let others = fleet
            .replicas()
            .iter()
            .filter(|other| other.number != number);
        let histories = others.map(|other| fleet.folder().replica(other.number).history());
        let session = self.session_of(fleet.replica_config(replica))?;
        session.same_images_as(fleet.folder().run())?;
        let session = session.with_searches_beside(histories.collect());
        let best = session.search(folder.dir(), Start::Resume, observer)?;
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Ended::Stopped);
        }
        fleet.note_end(number, &best)?;
        Ok(Ended::Done)
    }

    /// Retrains a candidate from scratch, unless that is done.
    ///
    /// # Errors
    /// [`FleetError::Unfinished`] before the merge; when the evaluator cannot go on.
    pub fn select(&self, number: usize, observer: &mut dyn Observer) -> Result<Ended, FleetError> {
        let fleet = self.fleet;
        let merged = fleet.whole_merge()?.ok_or_else(|| self.not_merged())?;
        let candidates = merged.candidates(&fleet.config().space);
        let Some(candidate) = candidates.get(number) else {
            return match number < fleet.most_candidates() {
                true => Ok(Ended::Done),
                false => Err(self.no_piece(Stage::Select, number)),
            };
        };
        let settings = fleet.selection_settings()?;
        if fleet.retrained_one(candidate, &settings)?.is_some() {
            return Ok(Ended::Done);
        }
        let key = fleet.config().space.key(&candidate.arch);
        let path = fleet.folder().candidate(&key);
        if let Some(dir) = path.parent() {
            make_dir(dir)?;
        }
        // Another process may have the same piece: a job that was put back while it still ends, a second crew.
        let _held = lock_file(&fleet.folder().candidate_lock(&key), fleet.folder().dir())?;
        if fleet.retrained_one(candidate, &settings)?.is_some() {
            return Ok(Ended::Done);
        }
        let session = self.session()?;
        session.same_images_as(fleet.folder().run())?;
        let record = session.retrain_one(&candidate.arch, observer)?;
        write_json(&path, &record)?;
        Ok(Ended::Done)
    }

    /// Chooses the winner: `best.json`, `selection.jsonl` and `replicas.json`. All candidates have to be retrained, unless a
    /// `partial` choice is asked for.
    ///
    /// # Errors
    /// [`FleetError::Unfinished`], or when not one candidate could be retrained.
    pub fn conclude(&self, partial: bool) -> Result<Best, FleetError> {
        let fleet = self.fleet;
        let merged = match partial {
            true => fleet.latest_merge()?.ok_or_else(|| self.not_merged())?,
            false => self.merged()?,
        };
        if !partial {
            fleet.require(Stage::Select)?;
        }
        let folder = fleet.folder();
        // It vouches for the results that are replaced now.
        remove(&folder.done())?;
        let known = fleet.retrained(&merged)?;
        let (of, records) = (known.len(), known.into_iter().flatten());
        let records: Vec<SelectionRecord> = records.collect();
        let mut lines = String::new();
        for record in &records {
            let line = seal::json_line(record).map_err(|error| SearchError::Result {
                path: folder.run().selection(),
                message: error.to_string(),
            })?;
            lines.push_str(&line.content);
            lines.push('\n');
        }
        write_atomic(&folder.run().selection(), lines.as_bytes())?;
        self.copy_precision(&merged)?;
        let mut notes = Vec::new();
        if !merged.absent.is_empty() {
            let (absent, all) = (merged.absent.len(), fleet.replicas().len());
            notes.push(format!(
                "{absent} of {all} searches have not ended and are not in it"
            ));
        }
        if records.len() < of && fleet.config().select.top > 0 {
            notes.push(format!(
                "{} of {of} candidates are not retrained",
                of - records.len()
            ));
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        let (found, random) = (&merged.found, merged.random.as_ref());
        write_outcomes(folder, &fleet.config().space, &merged, &records)?;
        let session = self.session()?;
        // Who concludes need not have what the others trained on.
        let session = match self.machine(&merged)? {
            Some(machine) => session.with_trained_on(fleet.device(), machine),
            None => session,
        };
        Ok(session.conclude(folder.run(), found, random, None, &records, note)?)
    }

    /// The machine of the first search.
    fn machine(&self, merged: &Merged) -> Result<Option<Machine>, FleetError> {
        let Some(first) = self.fleet.first_search(merged) else {
            return Ok(None);
        };
        let best: Option<Best> = read_derived(&first.best())?;
        Ok(best.map(|best| best.machine))
    }

    /// What the searches were trained in and on is what the fleet was.
    fn copy_precision(&self, merged: &Merged) -> Result<(), FleetError> {
        let Some(first) = self.fleet.first_search(merged) else {
            return Ok(());
        };
        if let Some(bytes) = read_if_present(&first.precision())? {
            write_atomic(&self.fleet.folder().run().precision(), &bytes)?;
        }
        Ok(())
    }

    fn merged(&self) -> Result<Merged, FleetError> {
        self.fleet.merged()?.ok_or_else(|| self.not_merged())
    }

    fn not_merged(&self) -> FleetError {
        FleetError::Unfinished {
            dir: self.fleet.folder().dir().to_owned(),
            stage: Stage::Merge,
            missing: vec![0],
            of: 1,
        }
    }

    fn no_piece(&self, stage: Stage, number: usize) -> FleetError {
        FleetError::Piece {
            dir: self.fleet.folder().dir().to_owned(),
            stage,
            number,
            of: self.fleet.pieces(stage).unwrap_or(0),
        }
    }
}
