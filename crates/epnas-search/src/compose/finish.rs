//! From histories to the result: shortlists, brief retraining, `best.json`.

use std::path::Path;

use epnas_arch::{Evaluator, NetworkConfig, Space};
use epnas_supernet::TrainConfig;

use super::{Part, Session};
use crate::best::{Best, BestRandom, ESTIMATE_NOTE, Machine, TotalCost, Versions, rank};
use crate::budget::TimeBudget;
use crate::driver::elapsed_seconds;
use crate::error::SearchError;
use crate::history::{History, read_history};
use crate::observer::{Event, Observer, Phase};
use crate::run::{Run, RunFolder};
use crate::select::{Candidate, Selection, SelectionRecord, Shortlist, read_selection, shortlist};

impl Session {
    /// Retrains the best few of the search in `dir`, and of its baseline, as far as they are there, and writes
    /// `best.json`. Candidates that were retrained with the same settings are not retrained again.
    ///
    /// # Errors
    /// [`SearchError`] when the folder holds no child that was evaluated.
    pub fn select(&self, dir: &Path, observer: &mut dyn Observer) -> Result<Best, SearchError> {
        let run = Run::open(dir)?;
        let folder = run.folder();
        let search = self.stored(folder.dir())?;
        let baseline = if folder.random().join("history.jsonl").is_file() {
            Some(self.stored(&folder.random())?)
        } else {
            None
        };
        self.finish(folder, search, baseline, None, observer)
    }

    fn stored(&self, folder: &Path) -> Result<Part, SearchError> {
        let records = read_history(&folder.join("history.jsonl"))?;
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

    /// Recipe and network of the selection.
    pub(super) fn selection_settings(&self) -> (NetworkConfig, TrainConfig) {
        let select = &self.config.select;
        let mut network = self.config.network.clone();
        network.channels = select.channels.unwrap_or(network.channels);
        network.cells_per_stage = select.cells_per_stage.unwrap_or(network.cells_per_stage);
        let mut recipe = self.config.training.recipe.clone();
        recipe.epochs = select.epochs;
        recipe.batch = select.batch.unwrap_or(recipe.batch);
        recipe.learning_rate = select.learning_rate.unwrap_or(recipe.learning_rate);
        (network, recipe)
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
        let top = self.config.select.top;
        let list = shortlist(&search.history, top).ok_or_else(|| SearchError::Nothing {
            dir: folder.dir().to_owned(),
            reason: "no child of the search has an estimate".into(),
        })?;
        let random_list = baseline
            .as_ref()
            .and_then(|part| shortlist(&part.history, top));
        let mut notes: Vec<String> = search
            .note
            .iter()
            .chain(list.note.iter())
            .cloned()
            .collect();

        let mut candidates: Vec<Candidate> = list.candidates.clone();
        candidates.extend(random_list.iter().flat_map(|list| list.candidates.clone()));
        let used = search.seconds + baseline.as_ref().map_or(0.0, |part| part.seconds);
        let (retrained, stopped) = match top {
            0 => (Vec::new(), None),
            _ => self.retrain(folder, &candidates, used, budget, observer)?,
        };
        notes.extend(stopped);

        let space = &self.config.space;
        let ranked = rank(space, &list, &retrained);
        let winner = ranked
            .first()
            .cloned()
            .ok_or_else(|| SearchError::Nothing {
                dir: folder.dir().to_owned(),
                reason: "no child of the search has an estimate".into(),
            })?;
        let random = match (baseline, random_list) {
            (Some(part), Some(list)) => random_result(space, part, &list, &retrained),
            _ => None,
        };
        let best = Best {
            architecture: winner.architecture,
            estimate: winner.estimate,
            estimate_note: ESTIMATE_NOTE.to_owned(),
            retrained_accuracy: winner.retrained_accuracy,
            retrained_epochs: winner.retrained_accuracy.map(|_| self.config.select.epochs),
            notes,
            random,
            cost: TotalCost::of(&search.history, search.seconds),
            selection_cost: TotalCost::of_selection(&retrained),
            seed: self.config.seed,
            machine: Machine::here(),
            versions: Versions::default(),
            top: ranked,
        };
        best.write(&folder.best())?;
        Ok(best)
    }

    fn retrain(
        &self,
        folder: &RunFolder,
        candidates: &[Candidate],
        used: f64,
        budget: Option<TimeBudget>,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<SelectionRecord>, Option<String>), SearchError> {
        let (network, recipe) = self.selection_settings();
        let settings =
            serde_json::to_string(&(&network, &recipe)).map_err(|error| SearchError::Result {
                path: folder.selection(),
                message: error.to_string(),
            })?;
        let mut evaluator = self.supernet(&network, &recipe, 0)?;
        observer.event(Event::Phase {
            phase: Phase::Selection,
            total: Some(candidates.len() as u64),
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

fn random_result(
    space: &Space,
    part: Part,
    list: &Shortlist,
    retrained: &[SelectionRecord],
) -> Option<BestRandom> {
    let top = rank(space, list, retrained);
    let winner = top.first()?.clone();
    Some(BestRandom {
        architecture: winner.architecture,
        estimate: winner.estimate,
        retrained_accuracy: winner.retrained_accuracy,
        cost: TotalCost::of(&part.history, part.seconds),
        note: part.note.or_else(|| list.note.clone()),
        top,
    })
}

/// Wall time of all retraining so far.
pub(super) fn selection_seconds(folder: &RunFolder) -> Result<f64, SearchError> {
    Ok(read_selection(&folder.selection())?
        .iter()
        .map(|record| record.seconds)
        .sum())
}
