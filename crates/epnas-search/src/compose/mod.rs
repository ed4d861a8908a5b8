//! The composition of everything: a configuration becomes a data set, shared weights, a surrogate and a search.
//!
//! This is the only place where the crates of the workspace meet; what they do is theirs.

mod compare;
mod finish;
mod forecast;
mod fresh;
mod images;
mod meter;
mod precision;
mod rank;
mod train;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use epnas_arch::seed::split;
use epnas_arch::{Evaluator, NetworkConfig};
use epnas_data::{DataError, Dataset, Normalization, Split};
use epnas_supernet::{Compute, DeviceKind, Supernet, SupernetConfig, TrainConfig, TrainingData};
use epnas_surrogate::Lstm;

pub use compare::{NetworkComparison, NetworkComparisonResult, TrialProgress, compare_on_table};
use finish::selection_seconds;
pub use forecast::{DryRun, ForecastBytes, ForecastSeconds};
use fresh::FreshWeights;
use images::Fingerprint;
pub use images::{MODEL_IMAGES_FILE, ModelImages, run_images};
pub use precision::run_device;
pub use rank::{RankOptions, Ranked};
pub use train::{
    CURVE_FILE, PREVIOUS_TRAINING_FILE, RESULT_FILE, TRAINING_FILE, TrainReport, TrainingFolders,
    Which, read_curve, read_training,
};

use crate::best::{Best, Machine};
use crate::budget::{Baseline, Budget, TimeBudget};
use crate::config::{BaselineKind, Config, MAY_DIFFER, StrategyKind, WeightSharing};
use crate::driver::{Driver, Ended, Outcome, elapsed_seconds};
use crate::error::SearchError;
use crate::finding::Finding;
use crate::history::History;
use crate::observer::{Event, Observer, Phase};
use crate::pool::Pool;
use crate::run::{Run, RunFolder, Start};
use crate::schedule::Schedule;
use crate::settings::SettingsError;
use crate::strategy::random::RandomSearch;
use crate::strategy::{self, StrategyError};

/// A configuration with its images.
#[derive(Debug)]
pub struct Session {
    config: Config,
    images: OnceLock<LoadedImages>,
    /// Where networks are trained.
    compute: Compute,
    /// Becomes true when whoever runs the session wants it to end soon.
    stop: Arc<AtomicBool>,
    /// The histories of searches that the surrogate learns from too; `None` of a run by itself.
    beside: Option<Vec<PathBuf>>,
    /// Where others trained what this session reads; `None` when it trains itself.
    trained_on: Option<(DeviceKind, Machine)>,
}

#[derive(Debug)]
struct LoadedImages {
    dataset: Dataset,
    /// What children and candidates of the selection train on: at most `data.train_limit` images.
    training: Arc<TrainingData>,
    /// What a final training trains on.
    unlimited: Arc<TrainingData>,
}

/// The division of the training images that a run with this configuration uses.
///
/// # Errors
/// [`DataError`] when the data set is too small for it.
pub fn data_split(dataset: &Dataset, config: &Config) -> Result<Split, DataError> {
    epnas_data::split(dataset, &config.data, split(config.seed, "data/split"))
}

/// A finished or stopped part of a run.
struct Part {
    history: History,
    seconds: f64,
    note: Option<String>,
}

impl Part {
    /// With its best `top`; `None` when no child has an estimate.
    fn finding(self, top: usize) -> Option<Finding> {
        Finding::of(&self.history, self.seconds, self.note, top)
    }
}

impl From<Outcome> for Part {
    fn from(outcome: Outcome) -> Self {
        let note = match outcome.ended {
            Ended::Finished => None,
            Ended::Stopped(reason) => Some(reason),
        };
        Self {
            history: outcome.history,
            seconds: outcome.seconds,
            note,
        }
    }
}

impl Session {
    /// Takes a configuration; images are read when they are first needed.
    ///
    /// # Errors
    /// [`SearchError::Settings`] when the configuration is not valid.
    pub fn new(config: Config) -> Result<Self, SearchError> {
        config.validate()?;
        Ok(Self {
            config,
            images: OnceLock::new(),
            compute: Compute::cpu(),
            stop: Arc::default(),
            beside: None,
            trained_on: None,
        })
    }

    /// Trains networks on another device than the CPU.
    #[must_use]
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// Takes a flag that ends the session's work early and in order, once someone sets it to true (a signal handler,
    /// another thread). A search ends after the child or candidate in progress, skips what would follow, and writes
    /// `best.json` with a note; a training ends after the step in progress with [`SearchError::Stopped`]. Everything
    /// is saved then, and [`Start::Resume`] goes on to the same end as without the stop.
    #[must_use]
    pub fn with_stop(self, stop: Arc<AtomicBool>) -> Self {
        Self { stop, ..self }
    }

    /// With `fleet.pooled`, the surrogate also learns from these histories of searches of the same space, which may be under
    /// way.
    #[must_use]
    pub fn with_searches_beside(self, histories: Vec<PathBuf>) -> Self {
        Self {
            beside: Some(histories),
            ..self
        }
    }

    /// Says where networks were trained that this session chooses among and does not train: results have that machine.
    #[must_use]
    pub fn with_trained_on(self, device: DeviceKind, machine: Machine) -> Self {
        Self {
            trained_on: Some((device, machine)),
            ..self
        }
    }

    /// Where networks are trained, or were.
    fn trained_on(&self) -> (DeviceKind, Machine) {
        self.trained_on.clone().unwrap_or_else(|| {
            let machine = Machine {
                device: self.compute.name().to_owned(),
                ..Machine::here()
            };
            (self.compute.kind(), machine)
        })
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Why `part` must end, when someone asked for it.
    fn stop_reason(&self, part: &str) -> Option<String> {
        self.stop_requested()
            .then(|| format!("{part} was stopped on request; --resume continues it"))
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The data set, read on the first call.
    ///
    /// # Errors
    /// [`SearchError::Data`] when it cannot be read.
    pub fn dataset(&self) -> Result<&Dataset, SearchError> {
        Ok(&self.images()?.dataset)
    }

    fn training(&self) -> Result<Arc<TrainingData>, SearchError> {
        Ok(Arc::clone(&self.images()?.training))
    }

    fn images(&self) -> Result<&LoadedImages, SearchError> {
        if let Some(images) = self.images.get() {
            return Ok(images);
        }
        let dataset = epnas_data::load(&self.config.data)?;
        let training = Arc::new(TrainingData::from_dataset(
            &dataset,
            &data_split(&dataset, &self.config)?,
        )?);
        let unlimited = match self.config.data.train_limit {
            None => Arc::clone(&training),
            Some(_) => {
                let mut config = self.config.clone();
                config.data.train_limit = None;
                let Split { train, validation } = data_split(&dataset, &config)?;
                let images = Arc::clone(&training.images);
                let normalization = Normalization::from_images(&images, &train);
                let classes = dataset.classes.clone();
                Arc::new(TrainingData::new(
                    images,
                    train,
                    validation,
                    normalization,
                    classes,
                )?)
            }
        };
        tracing::info!(
            name = dataset.name,
            train = training.train.len(),
            validation = training.validation.len(),
            "images loaded"
        );
        Ok(self.images.get_or_init(|| LoadedImages {
            dataset,
            training,
            unlimited,
        }))
    }

    fn supernet(
        &self,
        network: &NetworkConfig,
        recipe: &TrainConfig,
        seed: u64,
    ) -> Result<Supernet, SearchError> {
        let config = SupernetConfig {
            space: self.config.space.clone(),
            network: network.clone(),
            training: recipe.clone(),
        };
        let (compute, images) = (self.compute.clone(), self.training()?);
        Ok(Supernet::on(compute, config, images, seed)?)
    }

    fn surrogate(&self) -> Result<Lstm, SearchError> {
        let seed = split(self.config.seed, "surrogate");
        let surrogate = Lstm::new(&self.config.surrogate, &self.config.space, seed);
        surrogate.map_err(|error| SearchError::Surrogate(error.into()))
    }

    /// Searches, runs the baseline, retrains the best few and writes `best.json`; or goes on with all that.
    ///
    /// # Errors
    /// [`SearchError`]; everything up to the last finished child is in the run folder then, and [`Start::Resume`] goes
    /// on from there.
    pub fn search(
        &self,
        dir: &Path,
        start: Start,
        observer: &mut dyn Observer,
    ) -> Result<Best, SearchError> {
        let run = self.begin(dir, start)?;
        let folder = run.folder();
        let time = self.budget(&*self.training()?)?;
        let children = self.planned_children();
        let search = match self.run_search(folder, Budget::children(children), time, observer) {
            // Nothing was trained: other limits may be tried in the same folder.
            Err(error @ SearchError::Strategy(StrategyError::Limits { .. })) => {
                if self.stored(dir)?.history.is_empty() {
                    run.abandon()?;
                }
                return Err(error);
            }
            result => result?,
        };
        let baseline = match self.baseline() {
            Baseline::None => None,
            Baseline::Random if self.stop_requested() => None,
            Baseline::Random => Some(self.run_baseline(folder, time, &search, observer)?),
        };
        self.finish(folder, search, baseline, time, observer)
    }

    /// Begins a run in `dir`, or goes on with the one in it if its settings, images and device are the same.
    fn begin(&self, dir: &Path, start: Start) -> Result<Run, SearchError> {
        RunFolder::new(dir).require_single()?;
        if self.config.fleet.pooled && self.beside.is_none() {
            let expected = "false: a run by itself has no others beside it to learn from";
            return Err(SettingsError::value("fleet.pooled", true, expected).into());
        }
        self.claim(dir, start, |folder, fingerprint| {
            self.same_computation(folder, fingerprint)
        })
    }

    /// Makes `dir` the folder of a fleet, or opens that of the same fleet: settings, images and, while the result lives, a lock.
    ///
    /// # Errors
    /// As [`Session::search`] before its first child.
    pub fn claim_fleet(&self, dir: &Path, start: Start) -> Result<Run, SearchError> {
        self.claim(dir, start, |_, _| Ok(()))
    }

    fn claim(
        &self,
        dir: &Path,
        start: Start,
        same: impl Fn(&RunFolder, Fingerprint) -> Result<(), SearchError>,
    ) -> Result<Run, SearchError> {
        let config = self.config.to_toml()?;
        RunFolder::new(dir).require_free()?;
        let run = Run::prepare(dir, &config, &MAY_DIFFER, start)?;
        let folder = run.folder();
        let fingerprint = match folder.holds_run() {
            true => Fingerprint::Compare,
            false => Fingerprint::Store,
        };
        self.same_images(folder, fingerprint)?;
        same(folder, fingerprint)?;
        run.store_config(&config)?;
        Ok(run)
    }

    fn planned_children(&self) -> u64 {
        Schedule::new(&self.config.space, &self.config.search).children()
    }

    /// Image passes of a training.
    fn image_passes(&self, recipe: &TrainConfig) -> Result<u64, SearchError> {
        let images = self.training()?.train.len();
        let batch = recipe.batch.min(images);
        Ok((images / batch * batch * recipe.epochs) as u64)
    }

    fn driver(&self, folder: &Path) -> Result<Driver<'_>, SearchError> {
        Ok(Driver {
            folder: Some(folder.to_owned()),
            space: self.config.space.clone(),
            policy: self.config.search.history,
            seed: self.config.seed,
            settings: self.config.digest()?,
            budget: Budget::default(),
            stop: None,
        })
    }

    fn run_search(
        &self,
        folder: &RunFolder,
        budget: Budget,
        time: Option<TimeBudget>,
        observer: &mut dyn Observer,
    ) -> Result<Part, SearchError> {
        let Config {
            seed,
            ref space,
            ref search,
            ..
        } = self.config;
        let evaluator = self.supernet(
            &self.config.network,
            &self.config.training.recipe,
            split(seed, "weights"),
        )?;
        observer.event(Event::Phase {
            phase: Phase::Search,
            total: budget.total(self.planned_children()),
        });
        let others = elapsed_seconds(&folder.random())? + selection_seconds(folder)?;
        let mut stop = |history: &History, seconds: f64| {
            self.stop_reason("the search")
                .or_else(|| time?.stops_search(history, seconds, others))
        };
        let driver = Driver {
            budget,
            stop: Some(&mut stop),
            ..self.driver(folder.dir())?
        };
        let admission = self.admission(Some(folder))?;
        let surrogate = || self.surrogate();
        let pool = match (&self.beside, self.config.fleet.pooled) {
            (Some(beside), true) => Some(Pool::open(folder.pool(), beside.iter().cloned())),
            _ => None,
        };
        let pool = pool.transpose().map_err(StrategyError::from)?;
        let mut strategy = strategy::configured(space, search, admission, pool, surrogate, seed)?;
        let mut evaluator: Box<dyn Evaluator> = match search.weight_sharing() {
            WeightSharing::Shared => Box::new(evaluator),
            WeightSharing::None => Box::new(FreshWeights(evaluator)),
        };
        let outcome = driver.run(&mut *evaluator, &mut *strategy, observer)?;
        Ok(outcome.into())
    }

    fn run_baseline(
        &self,
        folder: &RunFolder,
        budget: Option<TimeBudget>,
        search: &Part,
        observer: &mut dyn Observer,
    ) -> Result<Part, SearchError> {
        let seed = self.config.seed;
        let weights = split(seed, "random/weights");
        let mut evaluator =
            self.supernet(&self.config.network, &self.config.training.recipe, weights)?;
        let equal = Budget::spent_by(&search.history);
        let admission = self.admission(Some(folder))?;
        let mut strategy = RandomSearch::new(self.config.space.clone(), seed).limited(admission);
        observer.event(Event::Phase {
            phase: Phase::Baseline,
            total: equal.total(search.history.len() as u64),
        });
        let before = search.seconds + selection_seconds(folder)?;
        let reserve = budget.map_or(0.0, |budget| {
            budget.reserve(&search.history, search.seconds)
        });
        let mut stop = |_: &History, seconds: f64| {
            self.stop_reason("the baseline")
                .or_else(|| budget?.stops_baseline(before + seconds, reserve))
        };
        let driver = Driver {
            budget: equal,
            stop: Some(&mut stop),
            ..self.driver(&folder.random())?
        };
        Ok(driver.run(&mut evaluator, &mut strategy, observer)?.into())
    }

    fn baseline(&self) -> Baseline {
        match (self.config.baseline.kind, self.config.search.strategy) {
            // Random search needs no second one beside it.
            (BaselineKind::None, _) | (_, StrategyKind::Random) => Baseline::None,
            (BaselineKind::Random, _) => Baseline::Random,
        }
    }

    fn budget(&self, training: &TrainingData) -> Result<Option<TimeBudget>, SearchError> {
        let Some(limit) = self.config.search.budget()? else {
            return Ok(None);
        };
        Ok(Some(TimeBudget {
            seconds: limit.as_secs_f64(),
            baseline: self.baseline(),
            retrained: self.config.select.top,
            retrained_images: training.train.len() as u64 * self.config.select.epochs as u64,
        }))
    }
}
