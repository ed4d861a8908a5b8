//! The composition of everything: a configuration becomes a data set, shared weights, a surrogate and a search.
//!
//! This is the only place where the crates of the workspace meet; what they do is theirs.

mod forecast;
mod train;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use epnas_arch::seed::split;
use epnas_arch::{Evaluator, NetworkConfig};
use epnas_data::{DataError, Dataset, Split};
use epnas_supernet::{Supernet, SupernetConfig, TrainConfig, TrainingData};
use epnas_surrogate::Lstm;

pub use forecast::{DryRun, ForecastBytes, ForecastSeconds};
pub use train::{TrainReport, Which};

use crate::best::{Best, BestRandom, ESTIMATE_NOTE, Machine, TotalCost, Versions, rank};
use crate::budget::{Baseline, TimeBudget};
use crate::config::{BaselineKind, Config, MAY_DIFFER, StrategyKind};
use crate::driver::{Driver, Ended, Outcome, elapsed_seconds};
use crate::error::SearchError;
use crate::history::{History, read_history};
use crate::observer::{Event, Observer, Phase};
use crate::progressive::Progressive;
use crate::random::{RandomBudget, RandomSearch};
use crate::run::{Run, RunFolder, Start};
use crate::schedule::Schedule;
use crate::select::{Candidate, Selection, SelectionRecord, Shortlist, read_selection, shortlist};

/// A configuration with its images.
#[derive(Debug)]
pub struct Session {
    config: Config,
    images: OnceLock<LoadedImages>,
}

#[derive(Debug)]
struct LoadedImages {
    dataset: Dataset,
    training: Arc<TrainingData>,
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
        })
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
        tracing::info!(
            name = dataset.name,
            train = training.train.len(),
            validation = training.validation.len(),
            "images loaded"
        );
        Ok(self
            .images
            .get_or_init(|| LoadedImages { dataset, training }))
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
        Ok(Supernet::new(config, self.training()?, seed)?)
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
        let config = self.config.to_toml()?;
        let run = Run::prepare(dir, &config, &MAY_DIFFER, start)?;
        let training = self.training()?;
        run.store_config(&config)?;
        let folder = run.folder();
        let budget = self.budget(&training)?;

        let search = self.run_search(folder, budget, observer)?;
        let baseline = match self.baseline() {
            Baseline::None => None,
            Baseline::Random => Some(self.run_baseline(folder, budget, &search, observer)?),
        };
        self.finish(folder, search, baseline, budget, observer)
    }

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

    fn driver(&self, folder: &Path) -> Driver<'_> {
        Driver {
            folder: folder.to_owned(),
            space: self.config.space.clone(),
            policy: self.config.search.history,
            seed: self.config.seed,
            stop: None,
        }
    }

    fn run_search(
        &self,
        folder: &RunFolder,
        budget: Option<TimeBudget>,
        observer: &mut dyn Observer,
    ) -> Result<Part, SearchError> {
        let Config {
            seed,
            ref space,
            ref search,
            ..
        } = self.config;
        let mut evaluator = self.supernet(
            &self.config.network,
            &self.config.training.recipe,
            split(seed, "weights"),
        )?;
        let total = Schedule::new(space, search).children();
        observer.event(Event::Phase {
            phase: Phase::Search,
            total: Some(total),
        });
        let others = elapsed_seconds(&folder.random())? + selection_seconds(folder)?;
        let mut stop =
            |history: &History, seconds: f64| budget?.stops_search(history, seconds, others);
        let driver = Driver {
            stop: Some(&mut stop),
            ..self.driver(folder.dir())
        };
        let outcome = match search.strategy {
            StrategyKind::Epnas => {
                let mut strategy =
                    Progressive::new(space.clone(), search.clone(), self.surrogate()?, seed);
                driver.run(&mut evaluator, &mut strategy, observer)?
            }
            StrategyKind::Random => {
                let budget = RandomBudget {
                    training_macs: None,
                    children: total,
                };
                driver.run(
                    &mut evaluator,
                    &mut RandomSearch::new(space.clone(), budget, seed),
                    observer,
                )?
            }
        };
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
        let equal = RandomBudget::of(&search.history);
        let mut strategy = RandomSearch::new(self.config.space.clone(), equal, seed);
        observer.event(Event::Phase {
            phase: Phase::Baseline,
            total: None,
        });
        let before = search.seconds + selection_seconds(folder)?;
        let reserve = budget.map_or(0.0, |budget| {
            budget.reserve(&search.history, search.seconds)
        });
        let mut stop =
            |_: &History, seconds: f64| budget?.stops_baseline(before + seconds, reserve);
        let driver = Driver {
            stop: Some(&mut stop),
            ..self.driver(&folder.random())
        };
        Ok(driver.run(&mut evaluator, &mut strategy, observer)?.into())
    }

    fn baseline(&self) -> Baseline {
        match (self.config.baseline.kind, self.config.search.strategy) {
            (BaselineKind::Random, StrategyKind::Epnas) => Baseline::Random,
            // Random search needs no second one beside it.
            _ => Baseline::None,
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

    /// Recipe and network of the selection.
    fn selection_settings(&self) -> (NetworkConfig, TrainConfig) {
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

    fn finish(
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
        let mut stop = |seconds: f64| budget?.stops_selection(used + seconds);
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
    space: &epnas_arch::Space,
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

fn selection_seconds(folder: &RunFolder) -> Result<f64, SearchError> {
    Ok(read_selection(&folder.selection())?
        .iter()
        .map(|record| record.seconds)
        .sum())
}
