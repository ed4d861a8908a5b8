//! From histories to the result: shortlists, brief retraining, `best.json`.

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{Arch, Evaluator, Space};

use super::{Fingerprint, Part, Session};
use crate::best::{Best, BestRandom, ESTIMATE_NOTE, Retrained, TotalCost, Versions};
use crate::budget::TimeBudget;
use crate::checkpoint::run_history;
use crate::diagnostics::Diagnostics;
use crate::driver::elapsed_seconds;
use crate::error::SearchError;
use crate::finding::Finding;
use crate::history::{History, Status};
use crate::observer::{Event, Observer, Phase, Total};
use crate::run::{Run, RunFolder};
use crate::select::{Candidate, Retraining, Selection, SelectionRecord, read_selection, shortlist};
use crate::settings::SettingsError;

impl Session {
    /// Retrains the best few of the search in `dir`, and of its baseline, as far as they are there, and writes
    /// `best.json`. Candidates that were retrained with the same settings are not retrained again.
    ///
    /// # Errors
    /// [`SearchError`] when `select.top` is 0, when the folder holds no child that was evaluated, when the images are
    /// not those of the search, or when not one candidate can be retrained.
    pub fn select(&self, dir: &Path, observer: &mut dyn Observer) -> Result<Best, SearchError> {
        if self.config.select.top == 0 {
            let expected =
                "at least 1 (`--set select.top=1`): without a candidate there is nothing to select";
            return Err(SettingsError::value("select.top", 0, expected).into());
        }
        let run = Run::open(dir)?;
        let folder = run.folder();
        folder.require_single()?;
        self.same_images(folder, Fingerprint::Compare)?;
        let search = self.stored(folder.dir())?;
        let baseline = if folder.random().join("history.jsonl").is_file() {
            Some(self.stored(&folder.random())?)
        } else {
            None
        };
        self.finish(folder, search, baseline, None, observer)
    }

    pub(super) fn stored(&self, folder: &Path) -> Result<Part, SearchError> {
        let records = run_history(folder)?;
        let history = History::from_records(
            self.config.space.clone(),
            self.config.search.history,
            records,
        );
        Ok(Part {
            history,
            seconds: elapsed_seconds(folder)?,
            note: None,
        })
    }

    /// Retrains the shortlists and writes the result.
    pub(super) fn finish(
        &self,
        folder: &RunFolder,
        search: Part,
        baseline: Option<Part>,
        budget: Option<TimeBudget>,
        observer: &mut dyn Observer,
    ) -> Result<Best, SearchError> {
        let top = match self.config.select.top {
            // Nothing is retrained now, but what was retrained before keeps its place.
            0 => self.retrained_before(folder, &search.history)?,
            top => top,
        };
        let used = search.seconds + baseline.as_ref().map_or(0.0, |part| part.seconds);
        let surrogate = Diagnostics::of(&search.history);
        let found = search.finding(top).ok_or_else(|| nothing(folder))?;
        let random = baseline.and_then(|part| part.finding(top));
        let mut candidates: Vec<Candidate> = found.list.candidates.clone();
        candidates.extend(random.iter().flat_map(|of| of.list.candidates.clone()));
        let (retrained, stopped) = match self.config.select.top {
            0 => (self.known(folder)?, None),
            _ => self.retrain(folder, &candidates, used, budget, observer)?,
        };
        let random = random.as_ref();
        self.conclude(folder, &found, random, surrogate, &retrained, stopped)
    }

    /// Writes `best.json`: what was found, in the order that retraining gives it. `stopped` says why some was not retrained.
    ///
    /// # Errors
    /// [`SearchError`] when not one candidate could be retrained, or the file cannot be written.
    pub fn conclude(
        &self,
        folder: &RunFolder,
        found: &Finding,
        random: Option<&Finding>,
        surrogate: Option<Diagnostics>,
        retrained: &[SelectionRecord],
        stopped: Option<String>,
    ) -> Result<Best, SearchError> {
        let space = &self.config.space;
        let mut notes: Vec<String> = [&found.note, &found.list.note]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let failed = all_failed(space, &found.list.candidates, retrained);
        if let Some(record) = failed {
            notes.push(format!(
                "no candidate could be retrained: {}",
                record.reason.as_deref().unwrap_or_default()
            ));
        }
        notes.extend(stopped);
        let accuracies = Retrained::of(space, retrained);
        let ranked = accuracies.rank(&found.list);
        let winner = ranked.first().cloned().ok_or_else(|| nothing(folder))?;
        let (device, machine) = self.trained_on();
        let best = Best {
            architecture: winner.architecture,
            estimate: winner.estimate,
            estimate_note: ESTIMATE_NOTE.to_owned(),
            retrained_accuracy: winner.retrained_accuracy,
            retrained_epochs: winner.retrained_accuracy.map(|_| self.config.select.epochs),
            notes,
            random: random.and_then(|random| random_result(random, &accuracies)),
            surrogate,
            cost: found.cost,
            selection_cost: TotalCost::of_selection(retrained),
            seed: self.config.seed,
            precision: self.precisions(folder, device)?,
            machine,
            pareto: found.pareto.retrained(&accuracies),
            versions: Versions::default(),
            top: ranked,
        };
        best.write(&folder.best())?;
        match failed {
            None => Ok(best),
            Some(record) => Err(SearchError::Selection {
                dir: folder.dir().to_owned(),
                arch: record.arch.to_string(),
                reason: record.reason.clone().unwrap_or_default(),
            }),
        }
    }

    /// Retrains one architecture from scratch, briefly, as a selection does; what comes of it depends on the configuration and
    /// the architecture alone.
    ///
    /// # Errors
    /// [`SearchError`] when the images cannot be read or the evaluator cannot go on.
    pub fn retrain_one(
        &self,
        arch: &Arch,
        observer: &mut dyn Observer,
    ) -> Result<SelectionRecord, SearchError> {
        let (network, recipe) = self.config.selection();
        let mut evaluator = self.supernet(&network, &recipe, 0)?;
        let retraining = Retraining {
            space: &self.config.space,
            seed: self.config.seed,
            settings: &self.selection_key()?,
        };
        observer.event(Event::Phase {
            phase: Phase::Selection,
            total: Total::Pieces(1),
        });
        retraining.run(arch, &mut evaluator, observer)
    }

    /// What the retraining depends on besides the architecture.
    pub(super) fn selection_key(&self) -> Result<String, SearchError> {
        Ok(self.config.selection_key(self.compute.kind())?)
    }

    /// What was retrained with the present settings.
    fn known(&self, folder: &RunFolder) -> Result<Vec<SelectionRecord>, SearchError> {
        let settings = self.selection_key()?;
        let mut records = read_selection(&folder.selection())?;
        records.retain(|record| record.settings == settings);
        Ok(records)
    }

    /// How many of the best by estimate have been retrained with the present settings; at least 1.
    fn retrained_before(
        &self,
        folder: &RunFolder,
        history: &History,
    ) -> Result<usize, SearchError> {
        let known = self.known(folder)?;
        let space = &self.config.space;
        let list = shortlist(history, known.len());
        let candidates = list.map(|list| list.candidates).unwrap_or_default();
        let retrained = candidates
            .iter()
            .take_while(|candidate| record_of(space, &candidate.arch, &known).is_some())
            .count();
        Ok(retrained.max(1))
    }

    pub(super) fn retrain(
        &self,
        folder: &RunFolder,
        candidates: &[Candidate],
        used: f64,
        budget: Option<TimeBudget>,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<SelectionRecord>, Option<String>), SearchError> {
        let (network, recipe) = self.config.selection();
        let settings = self.selection_key()?;
        let mut evaluator = self.supernet(&network, &recipe, 0)?;
        observer.event(Event::Phase {
            phase: Phase::Selection,
            total: Total::Pieces(candidates.len() as u64),
        });
        let used = used + selection_seconds(folder)?;
        let mut stop = |seconds: f64| {
            self.stop_reason("the selection")
                .or_else(|| budget?.stops_selection(used + seconds))
        };
        let selection = Selection {
            file: folder.selection(),
            space: self.config.space.clone(),
            seed: self.config.seed,
            settings,
            stop: Some(&mut stop),
        };
        selection.run(candidates, &mut evaluator as &mut dyn Evaluator, observer)
    }
}

fn record_of<'r>(
    space: &Space,
    arch: &Arch,
    records: &'r [SelectionRecord],
) -> Option<&'r SelectionRecord> {
    let key = space.key(arch);
    records.iter().find(|record| space.key(&record.arch) == key)
}

/// The first record when every candidate was retrained and not one with success.
fn all_failed<'r>(
    space: &Space,
    candidates: &[Candidate],
    records: &'r [SelectionRecord],
) -> Option<&'r SelectionRecord> {
    let mut known = BTreeMap::new();
    for record in records {
        known.entry(space.key(&record.arch)).or_insert(record);
    }
    let found: Option<Vec<&SelectionRecord>> = candidates
        .iter()
        .map(|candidate| known.get(&space.key(&candidate.arch)).copied())
        .collect();
    let found = found?;
    let failed = found.iter().all(|record| record.status == Status::Failed);
    found.first().copied().filter(|_| failed)
}

fn random_result(random: &Finding, retrained: &Retrained<'_>) -> Option<BestRandom> {
    let top = retrained.rank(&random.list);
    let winner = top.first()?.clone();
    Some(BestRandom {
        architecture: winner.architecture,
        estimate: winner.estimate,
        retrained_accuracy: winner.retrained_accuracy,
        cost: random.cost,
        note: random.note.clone().or_else(|| random.list.note.clone()),
        top,
    })
}

fn nothing(folder: &RunFolder) -> SearchError {
    SearchError::Nothing {
        dir: folder.dir().to_owned(),
        reason: "no child of the search has an estimate".into(),
    }
}

/// Wall time of all retraining so far.
pub(super) fn selection_seconds(folder: &RunFolder) -> Result<f64, SearchError> {
    Ok(read_selection(&folder.selection())?
        .iter()
        .map(|record| record.seconds)
        .sum())
}
