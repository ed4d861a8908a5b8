//! Strategies side by side on networks that are trained. A budget of N is the training of N average networks of the space,
//! in multiply-accumulates, so that a strategy of small children gets more of them. Each search is a run folder of its
//! own, which goes on where it was when the comparison is asked for again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use epnas_supernet::{Compute, DeviceKind};
use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::compare::{Point, Summarizer, Summary, steps};
use crate::compose::Session;
use crate::config::{BaselineKind, Config, StrategyKind};
use crate::error::SearchError;
use crate::observer::{Event, Observer, Phase};
use crate::settings::SettingsError;
use crate::statistics::mean;

/// As many as a configuration may have: the budget ends the search.
const ITERATIONS: usize = 1000;

/// What is compared.
#[derive(Debug)]
pub struct NetworkComparison {
    /// How each search runs; its strategy, iterations, children and baseline do not count. Trial t has its seed plus t.
    pub config: Config,
    /// Strategies, each with its number of trials.
    pub trials: BTreeMap<StrategyKind, u64>,
    /// Numbers of average networks whose training a search may spend; the results are told after each.
    pub budgets: Vec<u64>,
    /// The folder of all runs.
    pub dir: PathBuf,
    /// Where networks are trained.
    pub compute: Compute,
    /// Searches at a time, which share the threads of the CPU; 1 on a GPU. Results do not depend on it.
    pub side_by_side: usize,
    /// Becomes true when the comparison is to end soon.
    pub stop: Arc<AtomicBool>,
}

/// How far a search has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrialProgress {
    /// Its strategy.
    pub strategy: StrategyKind,
    /// Its root seed.
    pub seed: u64,
    /// The share of its training that is done, retraining included, 0 to 1; it ends before 1 where a strategy does.
    pub share: f64,
}

/// How a strategy did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkStrategyResult {
    /// Trials.
    pub trials: u64,
    /// Wall time of a trial in seconds, on average, with others beside it.
    pub seconds_per_trial: f64,
    /// By budget: children trained until then, on average.
    pub children: BTreeMap<u64, f64>,
    /// By budget: validation accuracy, 0 to 1, of the best of the few that looked best, after brief retraining from scratch;
    /// over the searches of which one could be retrained.
    pub retrained: BTreeMap<u64, Summary>,
    /// By budget: its estimate in the search. Estimates of different searches compare roughly at best: each has shared
    /// weights of its own.
    pub estimate: BTreeMap<u64, Summary>,
    /// The highest estimate of a full-length network by budget, from where every trial has one.
    pub curve: Vec<Point>,
    /// Every search.
    pub searches: Vec<Trial>,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkComparisonResult {
    /// The images.
    pub data: String,
    /// The root seed of the first trial.
    pub seed: u64,
    /// Training multiply-accumulates that a budget of 1 stands for.
    pub network_macs: u64,
    /// Levels of a full-length network.
    pub levels: usize,
    /// How many of those that look best are retrained for each budget.
    pub retrained_top: usize,
    /// Epochs of each retraining.
    pub retrained_epochs: usize,
    /// What networks were trained on: `cpu`, or the name of a GPU.
    pub device: String,
    /// By name.
    pub strategies: BTreeMap<String, NetworkStrategyResult>,
}

/// Tells of a search's share.
struct Share<'a> {
    tell: &'a (dyn Fn(TrialProgress) + Sync),
    strategy: StrategyKind,
    seed: u64,
    /// Training multiply-accumulates of search and retraining.
    search: f64,
    retraining: f64,
    /// Those that are done.
    spent: f64,
    phase: Phase,
    candidates: f64,
    retrained: f64,
}

impl Observer for Share<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase { phase, .. } => self.phase = phase,
            Event::Resumed { training_macs, .. } if self.phase == Phase::Search => {
                self.spent = training_macs as f64;
            }
            Event::ChildFinished { record } => self.spent += record.training_macs() as f64,
            Event::CandidateStarted { total, .. } => self.candidates = total as f64,
            Event::CandidateFinished { .. } => self.retrained += 1.0,
            _ => return,
        }
        let retrained = self.retrained / self.candidates.max(1.0) * self.retraining;
        let done = self.spent.min(self.search) + retrained;
        (self.tell)(TrialProgress {
            strategy: self.strategy,
            seed: self.seed,
            share: (done / (self.search + self.retraining)).min(1.0),
        });
    }
}

impl NetworkComparison {
    /// Runs all trials, or goes on with them; `None` when they were stopped. `tell` is told how each comes on.
    ///
    /// # Errors
    /// What ends a search, and [`SearchError::Settings`] for a comparison that makes no sense.
    pub fn run(
        &self,
        tell: &(dyn Fn(TrialProgress) + Sync),
    ) -> Result<Option<NetworkComparisonResult>, SearchError> {
        self.validate()?;
        let first = self.session(StrategyKind::Random, 0)?;
        let unit = first.average_training_macs()?;
        let jobs: Vec<(StrategyKind, u64)> = self
            .trials
            .iter()
            .flat_map(|(&kind, &trials)| (0..trials).map(move |trial| (kind, trial)))
            .collect();
        let Some(outcomes) =
            self.side_by_side(&jobs, |&(kind, trial)| self.trial(kind, trial, unit, tell))?
        else {
            return Ok(None);
        };
        let mut searches: BTreeMap<StrategyKind, Vec<Trial>> = BTreeMap::new();
        for ((kind, _), trial) in jobs.into_iter().zip(outcomes) {
            searches.entry(kind).or_default().push(trial);
        }
        let random = searches.get(&StrategyKind::Random).cloned();
        let strategies = searches.into_iter().map(|(kind, trials)| {
            let random = random.as_deref().filter(|_| kind != StrategyKind::Random);
            (kind.name().to_owned(), self.summarize(kind, trials, random))
        });
        Ok(Some(NetworkComparisonResult {
            data: first.dataset()?.name.clone(),
            seed: self.config.seed,
            network_macs: unit,
            levels: self.config.space.levels(),
            retrained_top: self.config.select.top,
            retrained_epochs: self.config.select.epochs,
            device: self.compute.name().to_owned(),
            strategies: strategies.collect(),
        }))
    }

    /// Checks that the comparison makes sense; [`NetworkComparison::run`] does too.
    ///
    /// # Errors
    /// [`SearchError::Settings`] naming what does not.
    pub fn validate(&self) -> Result<(), SearchError> {
        let refuse = |key: &str, value: String, expected: &str| {
            Err(SettingsError::value(key, value, expected).into())
        };
        if let Some(budget) = &self.config.search.budget {
            let expected = "none: the budget of a comparison counts training, not time";
            return refuse("search.budget", budget.clone(), expected);
        }
        if self.config.select.top == 0 {
            let expected =
                "at least 1: estimates of different searches do not compare without retraining";
            return refuse("select.top", "0".into(), expected);
        }
        if self.side_by_side > 1 && self.compute.kind() != DeviceKind::Cpu {
            let expected = "1 on a GPU, which one search keeps busy";
            return refuse("--parallel", self.side_by_side.to_string(), expected);
        }
        Ok(())
    }

    fn session(&self, strategy: StrategyKind, trial: u64) -> Result<Session, SearchError> {
        let mut config = self.config.clone();
        config.seed = config.seed.saturating_add(trial);
        config.search.strategy = strategy;
        config.search.iterations = ITERATIONS;
        config.search.children = None;
        config.baseline.kind = BaselineKind::None;
        let session = Session::new(config)?.with_compute(self.compute.clone());
        Ok(session.with_stop(Arc::clone(&self.stop)))
    }

    fn longest(&self) -> u64 {
        self.budgets.iter().copied().max().unwrap_or(0)
    }

    fn trial(
        &self,
        strategy: StrategyKind,
        trial: u64,
        unit: u64,
        tell: &(dyn Fn(TrialProgress) + Sync),
    ) -> Result<Option<Trial>, SearchError> {
        let session = self.session(strategy, trial)?;
        let seed = session.config().seed;
        let (_, recipe) = session.config().selection();
        let passes = |recipe| session.image_passes(recipe).map(|passes| passes as f64);
        let retraining = passes(&recipe)? / passes(&session.config().training.recipe)?.max(1.0);
        let candidates = (self.config.select.top * self.budgets.len()) as f64;
        let mut observer = Share {
            tell,
            strategy,
            seed,
            search: self.longest() as f64 * unit as f64,
            retraining: candidates * retraining * unit as f64,
            spent: 0.0,
            phase: Phase::Search,
            candidates: 0.0,
            retrained: 0.0,
        };
        let dir = self.dir.join(format!("{}-{seed}", strategy.name()));
        let points = steps(self.longest());
        session.trial(&dir, unit, &self.budgets, &points, &mut observer)
    }

    /// The results of all jobs in their order, so many at a time; `None` when one was stopped.
    fn side_by_side<J: Sync, T: Send>(
        &self,
        jobs: &[J],
        work: impl Fn(&J) -> Result<Option<T>, SearchError> + Sync,
    ) -> Result<Option<Vec<T>>, SearchError> {
        let workers = self.side_by_side.clamp(1, jobs.len().max(1));
        if workers == 1 {
            return jobs.iter().map(work).collect();
        }
        let threads = (rayon::current_num_threads() / workers).max(1);
        let next = Mutex::new(0..jobs.len());
        let ended = AtomicBool::new(false);
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let worker = || {
                // Threads of its own: a search that waits for its own must not begin another's.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let mut outcomes = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let index = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(index) = index else { break };
                    let outcome = match &pool {
                        Ok(pool) => pool.install(|| work(&jobs[index])),
                        Err(_) => work(&jobs[index]),
                    };
                    ended.fetch_or(!matches!(outcome, Ok(Some(_))), Ordering::Relaxed);
                    outcomes.push((index, outcome));
                }
                outcomes
            };
            let handles: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            let joined = handles.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined
                .flat_map(|outcomes| {
                    outcomes.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut ordered: BTreeMap<usize, Option<T>> = BTreeMap::new();
        for (index, outcome) in outcomes {
            ordered.insert(index, outcome?);
        }
        Ok(ordered.into_values().collect())
    }

    fn summarize(
        &self,
        kind: StrategyKind,
        searches: Vec<Trial>,
        random: Option<&[Trial]>,
    ) -> NetworkStrategyResult {
        let summarizer = Summarizer {
            seed: self.config.seed,
            strategy: kind,
        };
        type Number = fn(&super::trial::Found) -> Option<f64>;
        let values = |trials: &[Trial], budget: u64, number: Number| -> Vec<f64> {
            let found = trials.iter().filter_map(|trial| trial.found.get(&budget));
            found.filter_map(number).collect()
        };
        let summaries = |number: Number| {
            let summary = |&budget: &u64| {
                let against = random.map(|random| values(random, budget, number));
                let values = values(&searches, budget, number);
                let summary = summarizer.summary(budget, &values, against.as_deref());
                (!values.is_empty()).then_some((budget, summary))
            };
            self.budgets.iter().filter_map(summary).collect()
        };
        let children = |&budget: &u64| {
            let children = values(&searches, budget, |found| Some(found.children as f64));
            (budget, mean(&children).unwrap_or(0.0))
        };
        let curve = steps(self.longest()).into_iter().filter_map(|budget| {
            let estimates = searches
                .iter()
                .map(|trial| trial.curve.get(&budget).copied());
            let estimates: Option<Vec<f64>> = estimates.collect();
            Some(summarizer.point(budget, &estimates?))
        });
        let seconds: Vec<f64> = searches.iter().map(|trial| trial.seconds).collect();
        NetworkStrategyResult {
            trials: searches.len() as u64,
            seconds_per_trial: mean(&seconds).unwrap_or(0.0),
            children: self.budgets.iter().map(children).collect(),
            retrained: summaries(|found| found.retrained_accuracy),
            estimate: summaries(|found| Some(found.estimate)),
            curve: curve.collect(),
            searches,
        }
    }
}
