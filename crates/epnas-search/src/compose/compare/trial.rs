//! One search of a comparison: an ordinary run, whose budget is training, and whose best few are retrained for every
//! budget that the comparison tells of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use serde::{Deserialize, Serialize};

use crate::admission::Meter;
use crate::best::rank;
use crate::budget::Budget;
use crate::compose::Session;
use crate::compose::finish::selection_seconds;
use crate::error::SearchError;
use crate::history::{History, Record};
use crate::observer::Observer;
use crate::run::Start;
use crate::select::{Candidate, Shortlist, shortlist};
use crate::strategy::random::random_architecture;

/// Networks whose training is averaged for the unit of budgets.
const SAMPLES: u64 = 1000;

/// What a search had found when it had spent a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Children that were trained.
    pub children: u64,
    /// The architecture, in text form.
    #[serde(with = "crate::text")]
    pub architecture: Arch,
    /// Its estimate in the search.
    pub estimate: f64,
    /// Its validation accuracy after brief retraining; `None` when that failed.
    pub retrained_accuracy: Option<f64>,
}

/// A search of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its root seed.
    pub seed: u64,
    /// By budget: the best of the few that looked best, after retraining.
    pub found: BTreeMap<u64, Found>,
    /// Wall time of search and retraining in seconds.
    pub seconds: f64,
    /// The highest estimate of a full-length network by budget; nothing before there is one.
    #[serde(skip)]
    pub curve: BTreeMap<u64, f64>,
}

impl Session {
    /// Training multiply-accumulates of a full-length network of the space on average, which a budget of 1 stands for.
    ///
    /// # Errors
    /// [`SearchError`] when the images cannot be read.
    pub(super) fn average_training_macs(&self) -> Result<u64, SearchError> {
        let meter = self.meter_of(self.config.network.clone())?;
        let seed = split(0, "compare/average");
        let macs = (0..SAMPLES).filter_map(|index| {
            let arch = random_architecture(&self.config.space, seed, index)?;
            Some(u128::from(meter.cost(&arch)?.macs))
        });
        let macs: Vec<u128> = macs.collect();
        let average = macs.iter().sum::<u128>() / macs.len().max(1) as u128;
        let passes = self.image_passes(&self.config.training.recipe)?;
        Ok(u64::try_from(average * u128::from(passes)).unwrap_or(u64::MAX))
    }

    /// Searches in the folder `dir`, or goes on there, until it has spent the largest of `budgets`, each so many times `unit`
    /// training multiply-accumulates; `None` when it was stopped.
    ///
    /// # Errors
    /// As [`Session::search`].
    pub(super) fn trial(
        &self,
        dir: &Path,
        unit: u64,
        budgets: &[u64],
        points: &[u64],
        observer: &mut dyn Observer,
    ) -> Result<Option<Trial>, SearchError> {
        let run = self.begin(dir, Start::Resume)?;
        let folder = run.folder();
        let longest = budgets.iter().copied().max().unwrap_or(0);
        let spent = |budget: u64| u128::from(budget) * u128::from(unit);
        let limit = Budget {
            // A child may cost less than the average, and next to nothing only by mistake.
            children: Some(longest.saturating_mul(100)),
            training_macs: Some(spent(longest)),
        };
        let search = self.run_search(folder, limit, None, observer)?;
        if self.stop_requested() {
            return Ok(None);
        }
        let parts: BTreeMap<u64, (History, Shortlist)> = budgets
            .iter()
            .map(|&budget| {
                let part = within(&search.history, spent(budget)).cloned();
                let part = search.history.with(part.collect());
                let list = shortlist(&part, self.config.select.top);
                let list = list.ok_or_else(|| SearchError::Nothing {
                    dir: dir.to_owned(),
                    reason: format!("no child of the first {} has an estimate", part.len()),
                })?;
                Ok((budget, (part, list)))
            })
            .collect::<Result<_, SearchError>>()?;
        let candidates = distinct(&self.config.space, parts.values().map(|(_, list)| list));
        let (retrained, stopped) = self.retrain(folder, &candidates, 0.0, None, observer)?;
        if stopped.is_some() {
            return Ok(None);
        }
        let space = &self.config.space;
        let found = parts.iter().filter_map(|(&budget, (part, list))| {
            let best = rank(space, list, &retrained).into_iter().next()?;
            Some((
                budget,
                Found {
                    children: part.len() as u64,
                    architecture: best.architecture,
                    estimate: best.estimate,
                    retrained_accuracy: best.retrained_accuracy,
                },
            ))
        });
        let found = found.collect();
        let best_estimate = |&budget: &u64| {
            let part = within(&search.history, spent(budget));
            let full = part.filter(|record| record.arch.len() == space.levels());
            let best = full
                .filter_map(|record| record.estimate)
                .max_by(f64::total_cmp);
            Some((budget, best?))
        };
        let curve = points.iter().filter_map(best_estimate).collect();
        let seconds = search.seconds + selection_seconds(folder)?;
        // The run ends like any other, so that what it found can be trained.
        self.finish(folder, search, None, None, observer)?;
        Ok(Some(Trial {
            seed: self.config.seed,
            found,
            seconds,
            curve,
        }))
    }
}

/// The children up to the one that reached so many training multiply-accumulates.
fn within(history: &History, macs: u128) -> impl Iterator<Item = &Record> {
    let mut spent = 0;
    history.records().iter().take_while(move |record| {
        let open = spent < macs;
        spent += record.training_macs();
        open
    })
}

/// The candidates of all lists, each once.
fn distinct<'l>(space: &Space, lists: impl Iterator<Item = &'l Shortlist>) -> Vec<Candidate> {
    let mut known = BTreeSet::new();
    lists
        .flat_map(|list| list.candidates.clone())
        .filter(|candidate| known.insert(space.key(&candidate.arch)))
        .collect()
}
