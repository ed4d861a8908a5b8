//! Ranks a run's estimates: the final shared weights, the surrogate and sizes against retraining from scratch.

mod joined;

use std::path::Path;
use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{Arch, EvaluateError, Evaluator, Surrogate};
use epnas_supernet::{BnEval, Supernet};
use epnas_surrogate::Lstm;

use joined::Joined;

use super::{Fingerprint, Session};
use crate::checkpoint::{Generation, Loaded};
use crate::config::WeightSharing;
use crate::driver::attempt;
use crate::error::SearchError;
use crate::history::History;
use crate::observer::{Event, Observer, Phase, Total};
use crate::rank::{Draw, Estimates, Predictor, RankRecord, RankReport, Ranking, draws};
use crate::run::{Run, RunFolder};
use crate::settings::SettingsError;

/// What to rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankOptions {
    /// How many architectures, half of them children of the run; at least 2.
    pub architectures: usize,
    /// Root seed of the ranking: which architectures, and their training. Images are divided by the run's own.
    pub seed: u64,
}

/// What a ranking gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// As in `rank.json`.
    pub report: RankReport,
    /// What it is made of.
    pub records: Vec<RankRecord>,
}

const MODES: [(BnEval, Predictor, Predictor); 3] = [
    (
        BnEval::Running,
        Predictor::TrainedRunning,
        Predictor::InheritedRunning,
    ),
    (
        BnEval::Recalibrated,
        Predictor::TrainedRecalibrated,
        Predictor::InheritedRecalibrated,
    ),
    (
        BnEval::Batch,
        Predictor::TrainedBatch,
        Predictor::InheritedBatch,
    ),
];

/// Architectures that the bootstrap needs to tell how uncertain a statistic is.
const FEW: usize = 10;

/// What a run has learnt.
struct Learnt {
    weights: Vec<u8>,
    surrogate: Option<Lstm>,
    supernet: Supernet,
}

impl Session {
    /// Estimates architectures with what the run in `dir` has learnt, retrains them as the selection does, and writes
    /// what the one tells of the other to `rank.json`. Architectures that are in `rank.jsonl` with the same settings are
    /// not trained again.
    ///
    /// # Errors
    /// [`SearchError`] for fewer than two architectures, when the folder holds no run with a trained child and a
    /// checkpoint, or when the images are not those of the search.
    pub fn rank(
        &self,
        dir: &Path,
        options: RankOptions,
        observer: &mut dyn Observer,
    ) -> Result<Ranked, SearchError> {
        if options.architectures < 2 {
            let expected = "at least 2: one architecture has no order";
            return Err(SettingsError::value("-n", options.architectures, expected).into());
        }
        let run = Run::open(dir)?;
        let folder = run.folder();
        folder.require_single()?;
        self.same_images(folder, Fingerprint::Compare)?;
        let history = self.stored(folder.dir())?.history;
        let loaded = self.last_state(folder, &history)?;
        let admission = self.admission(Some(folder))?;
        let draws = draws(&history, &admission, options.seed, options.architectures)?;
        let settings = self.rank_key(options.seed, &loaded)?;
        let mut learnt = self.learnt(loaded)?;
        let (network, recipe) = self.config.selection();
        let mut retraining = self.supernet(&network, &recipe, 0)?;
        observer.event(Event::Phase {
            phase: Phase::Ranking,
            total: Total::Pieces(draws.len() as u64),
        });
        let ranking = Ranking {
            file: folder.rank_lines(),
            space: self.config.space.clone(),
            seed: options.seed,
            settings,
            stop: &mut || {
                let stopped = "the ranking was stopped on request; the same command continues it";
                self.stop_requested().then(|| stopped.to_owned())
            },
        };
        let mut estimate = |draw: &Draw, observer: &mut dyn Observer| {
            self.estimates(&mut learnt, draw, options.seed, observer)
        };
        let passes =
            self.image_passes(&self.config.training.recipe)? + self.image_passes(&recipe)?;
        let mut observer = Joined::new(observer, passes);
        let (records, stopped) =
            ranking.run(&draws, &mut estimate, &mut retraining, &mut observer)?;
        let mut notes: Vec<String> = stopped.into_iter().collect();
        if draws.len() < options.architectures {
            let (found, asked) = (draws.len(), options.architectures);
            notes.push(format!(
                "there are {found} architectures to rank, not {asked}"
            ));
        }
        if draws.iter().all(|draw| draw.record.is_none()) {
            notes.push("the run has no full-length child: all are drawn from the space".into());
        }
        if records.len() < FEW {
            notes.push(format!(
                "of fewer than {FEW} architectures the intervals are too narrow"
            ));
        }
        let mode = self.config.training.recipe.bn_eval;
        let report = RankReport::new(&records, trained(mode), options.seed, notes);
        report.write(&folder.rank())?;
        Ok(Ranked { report, records })
    }

    fn last_state(&self, folder: &RunFolder, history: &History) -> Result<Loaded, SearchError> {
        let nothing = |reason: &str| SearchError::Nothing {
            dir: folder.dir().to_owned(),
            reason: reason.to_owned(),
        };
        let dir = folder.dir().join("checkpoint");
        let loaded = match dir.is_dir() {
            true => Loaded::read(&dir, Generation::Latest)?,
            false => None,
        };
        let loaded = loaded.ok_or_else(|| {
            nothing("there is no checkpoint, and with it no shared weights to rank by")
        })?;
        match history.distinct().is_empty() {
            true => Err(nothing("no child of the search has an estimate")),
            false => Ok(loaded),
        }
    }

    fn learnt(&self, loaded: Loaded) -> Result<Learnt, SearchError> {
        let supernet = self.supernet(&self.config.network, &self.config.training.recipe, 0)?;
        let surrogate = match loaded.surrogate {
            None => None,
            Some(bytes) => {
                let mut surrogate = self.surrogate()?;
                match surrogate.restore(&bytes) {
                    Ok(()) => Some(surrogate),
                    // Its checksum is right: it is what another strategy learnt.
                    Err(error) => {
                        tracing::info!(%error, "the run has no surrogate of accuracies");
                        None
                    }
                }
            }
        };
        Ok(Learnt {
            weights: loaded.weights,
            surrogate,
            supernet,
        })
    }

    /// What a line of `rank.jsonl` depends on besides the architecture.
    fn rank_key(&self, seed: u64, loaded: &Loaded) -> Result<String, SearchError> {
        let training = &self.config.training.recipe;
        let precision = training.precision.available_on(self.compute.kind());
        let weights = crc32fast::hash(&loaded.weights);
        let (children, retraining) = (loaded.children(), self.selection_key()?);
        Ok(format!(
            r#"{{"seed":{seed},"children":{children},"weights":"{weights:08x}","precision":"{precision}","retraining":{retraining}}}"#
        ))
    }

    /// Asks every predictor about an architecture, from the run's last weights.
    fn estimates(
        &self,
        learnt: &mut Learnt,
        draw: &Draw,
        seed: u64,
        observer: &mut dyn Observer,
    ) -> Result<Estimates, SearchError> {
        let arch = &draw.arch;
        let Learnt {
            weights,
            surrogate,
            supernet,
        } = learnt;
        let mut found = Estimates::default();
        if let Some(record) = &draw.record
            && let Some(estimate) = record.estimate
        {
            found.values.insert(Predictor::Recorded, estimate);
            found.seconds.insert(Predictor::Recorded, record.seconds);
        }
        if let Some(cost) = supernet.cost(arch) {
            found.values.insert(Predictor::Macs, cost.macs as f64);
            found.values.insert(Predictor::Params, cost.params as f64);
        }
        if let Some(surrogate) = surrogate {
            let clock = Instant::now();
            let predicted = surrogate.predict_arch(arch)?;
            found.seconds.insert(Predictor::Surrogate, seconds(clock));
            found.values.insert(Predictor::Surrogate, predicted.into());
        }
        let seed = split(seed, &format!("rank/child/{}", self.config.space.key(arch)));
        let inherits = self.config.search.weight_sharing() == WeightSharing::Shared;
        match inherits {
            true => supernet.restore(weights),
            // As in the search: from fresh weights.
            false => supernet.reset(split(seed, "weights")),
        }
        .map_err(SearchError::snapshot)?;
        for (mode, _, inherited) in MODES.into_iter().filter(|_| inherits) {
            let clock = Instant::now();
            let accuracy = supernet.validate(arch, mode, seed);
            if let Some(accuracy) = unless_child_failed(arch, accuracy)? {
                found.values.insert(inherited, accuracy);
                found.seconds.insert(inherited, seconds(clock));
            }
        }
        let clock = Instant::now();
        let measured = attempt(supernet, arch, seed, observer);
        let Some(measured) = unless_child_failed(arch, measured)? else {
            return Ok(found);
        };
        let training = seconds(clock);
        for (mode, predictor, _) in MODES {
            let accuracy = match mode == self.config.training.recipe.bn_eval {
                true => Ok(measured.estimate),
                false => supernet.validate(arch, mode, seed),
            };
            if let Some(accuracy) = unless_child_failed(arch, accuracy)? {
                found.values.insert(predictor, accuracy);
                found.seconds.insert(predictor, training);
            }
        }
        Ok(found)
    }
}

fn trained(mode: BnEval) -> Predictor {
    match mode {
        BnEval::Running => Predictor::TrainedRunning,
        BnEval::Recalibrated => Predictor::TrainedRecalibrated,
        BnEval::Batch => Predictor::TrainedBatch,
    }
}

fn seconds(clock: Instant) -> f64 {
    clock.elapsed().as_secs_f64()
}

/// A child that fails has no estimate; whatever else fails ends the ranking.
fn unless_child_failed<T>(
    arch: &Arch,
    result: Result<T, EvaluateError>,
) -> Result<Option<T>, SearchError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(EvaluateError::Child { reason }) => {
            tracing::warn!(%arch, %reason, "no estimate");
            Ok(None)
        }
        Err(source @ EvaluateError::Fatal(_)) => Err(SearchError::Evaluate {
            arch: arch.to_string(),
            source,
        }),
    }
}
