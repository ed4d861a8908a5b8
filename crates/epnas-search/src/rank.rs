//! How much estimates tell: some architectures are estimated in every way there is, retrained from scratch, and the
//! orders compared.
//!
//! Half of the architectures are children of the run, among which its search chose, half are drawn from the whole space,
//! where it did not look as closely. Each is a line of `rank.jsonl` as soon as it is known, so that an interrupted
//! ranking goes on with the next one, and a longer one begins with the same architectures.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use epnas_arch::seed::split;
use epnas_arch::{Arch, Evaluator, Space};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use report::{PredictorScores, RankReport, RetrainedSummary, Score};

use crate::admission::Admission;
use crate::error::SearchError;
use crate::history::{History, Record};
use crate::observer::{Event, Observer};
use crate::select::{Retraining, SelectionRecord};
use crate::strategy::StrategyError;
use crate::strategy::random::random_architecture;
use epnas_disk::{Lines, read_lines};

/// Draws from the space that may hit known architectures in a row before the space counts as used up.
const ATTEMPTS: usize = 1000;

/// Something that may tell which of two architectures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// What the search recorded, from the weights that it had then; of the run's children only.
    Recorded,
    /// Brief training on a copy of the final shared weights, as the search trains, then validation; batch norm with the
    /// running statistics.
    TrainedRunning,
    /// The same with statistics of some training batches.
    TrainedRecalibrated,
    /// The same with the statistics of each validation batch.
    TrainedBatch,
    /// The final shared weights as they are, validated; batch norm with the running statistics.
    InheritedRunning,
    /// The same with statistics of some training batches.
    InheritedRecalibrated,
    /// The same with the statistics of each validation batch.
    InheritedBatch,
    /// The prediction of the final surrogate.
    Surrogate,
    /// Multiply-accumulates per image: the larger, the better.
    Macs,
    /// Trainable parameters: the more, the better.
    Params,
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Predictor::Recorded => "recorded in the search",
            Predictor::TrainedRunning => "trained, running",
            Predictor::TrainedRecalibrated => "trained, recalibrated",
            Predictor::TrainedBatch => "trained, batch",
            Predictor::InheritedRunning => "inherited, running",
            Predictor::InheritedRecalibrated => "inherited, recalibrated",
            Predictor::InheritedBatch => "inherited, batch",
            Predictor::Surrogate => "surrogate",
            Predictor::Macs => "MACs",
            Predictor::Params => "parameters",
        })
    }
}

/// Where an architecture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A full-length child of the run.
    Run,
    /// Drawn evenly from the full-length architectures of the space.
    Space,
}

/// An architecture to estimate and retrain.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// Full-length.
    pub arch: Arch,
    /// Where it comes from.
    pub origin: Origin,
    /// The run's record of it, for [`Origin::Run`].
    pub record: Option<Record>,
}

/// Draws `n` distinct full-length architectures, by turns from the children of the run and from what `admission` admits of
/// the space, or fewer where there are not so many. The first of them do not depend on `n`.
///
/// # Errors
/// As [`Admission::admits`].
pub fn draws(
    history: &History,
    admission: &Admission,
    seed: u64,
    n: usize,
) -> Result<Vec<Draw>, StrategyError> {
    let space = history.space();
    let mut children = history.distinct();
    children.retain(|record| record.arch.len() == space.levels());
    children.shuffle(&mut ChaCha8Rng::seed_from_u64(split(seed, "rank/run")));
    let mut children = children.into_iter();
    let mut drawn =
        (0..).map_while(|index| random_architecture(space, split(seed, "rank/space"), index));
    let mut taken = BTreeSet::new();
    let mut draws = Vec::new();
    while draws.len() < n {
        let is_new = |arch: &Arch| !taken.contains(&space.key(arch));
        let mut from_run = || {
            let record = children.find(|record| is_new(&record.arch))?;
            Some(Draw {
                arch: record.arch.clone(),
                origin: Origin::Run,
                record: Some(record.clone()),
            })
        };
        let mut from_space = || {
            for arch in drawn.by_ref().take(ATTEMPTS) {
                if is_new(&arch) && admission.admits(&arch)? {
                    return Ok(Some(Draw {
                        arch,
                        origin: Origin::Space,
                        record: None,
                    }));
                }
            }
            Ok::<_, StrategyError>(None)
        };
        let draw = match draws.len() % 2 {
            0 => match from_run() {
                None => from_space()?,
                found => found,
            },
            _ => from_space()?.or_else(from_run),
        };
        let Some(draw) = draw else { break };
        taken.insert(space.key(&draw.arch));
        draws.push(draw);
    }
    Ok(draws)
}

/// What the predictors say of an architecture; one that could not be asked, or failed, is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimates {
    /// Each in its own unit, finite; more promises more.
    pub values: BTreeMap<Predictor, f64>,
    /// Wall time, where it was measured.
    pub seconds: BTreeMap<Predictor, f64>,
}

/// An architecture that was estimated and retrained: a line of `rank.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankRecord {
    /// Where it comes from.
    pub origin: Origin,
    /// As in [`Estimates`].
    pub estimates: BTreeMap<Predictor, f64>,
    /// As in [`Estimates`].
    pub estimate_seconds: BTreeMap<Predictor, f64>,
    /// The architecture, its retraining and the settings of both.
    #[serde(flatten)]
    pub retrained: SelectionRecord,
}

/// Reads `rank.jsonl`; a missing file is empty and a last line that was cut off is left out.
///
/// # Errors
/// [`SearchError`] when the file cannot be read or a complete line is no record.
pub fn read_rank(path: &Path) -> Result<Vec<RankRecord>, SearchError> {
    Ok(read_lines(path)?)
}

/// Asks the predictors about an architecture.
pub type Estimate<'a> =
    &'a mut dyn FnMut(&Draw, &mut dyn Observer) -> Result<Estimates, SearchError>;

/// Estimates and retrains architectures.
pub struct Ranking<'a> {
    /// `rank.jsonl`.
    pub file: PathBuf,
    /// What was searched.
    pub space: Space,
    /// The root seed of the ranking.
    pub seed: u64,
    /// What estimates and retraining depend on besides the architecture, in any text form.
    pub settings: String,
    /// Asked before each architecture: the reason to stop, or `None`.
    pub stop: &'a mut dyn FnMut() -> Option<String>,
}

impl Ranking<'_> {
    /// Estimates and retrains those of `draws` that are not in the file with these settings. Returns the records of
    /// `draws` in their order, and the reason when it stopped early.
    ///
    /// # Errors
    /// [`SearchError`]; what was retrained until then is on disk.
    pub fn run<E: Evaluator + ?Sized>(
        self,
        draws: &[Draw],
        estimate: Estimate<'_>,
        retraining: &mut E,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<RankRecord>, Option<String>), SearchError> {
        let (mut file, stored) = Lines::open::<RankRecord>(&self.file)?;
        let mut known: BTreeMap<String, RankRecord> = stored
            .into_iter()
            .filter(|record| record.retrained.settings == self.settings)
            .map(|record| (self.space.key(&record.retrained.arch), record))
            .collect();
        let mut records = Vec::new();
        for (index, draw) in draws.iter().enumerate() {
            let arch = &draw.arch;
            if let Some(record) = known.remove(&self.space.key(arch)) {
                records.push(record);
                continue;
            }
            if let Some(reason) = (self.stop)() {
                observer.event(Event::Stopped { reason: &reason });
                return Ok((records, Some(reason)));
            }
            observer.event(Event::CandidateStarted {
                index,
                total: draws.len(),
                arch,
                estimate: draw.record.as_ref().and_then(|record| record.estimate),
            });
            let estimates = estimate(draw, observer)?;
            let from_scratch = Retraining {
                space: &self.space,
                seed: self.seed,
                settings: &self.settings,
            };
            let retrained = from_scratch.run(arch, retraining, observer)?;
            let accuracy = retrained.retrained_accuracy;
            let record = RankRecord {
                origin: draw.origin,
                estimates: estimates.values,
                estimate_seconds: estimates.seconds,
                retrained,
            };
            file.push(&record)?;
            observer.event(Event::CandidateFinished {
                index,
                arch,
                accuracy,
            });
            records.push(record);
        }
        Ok((records, None))
    }
}
