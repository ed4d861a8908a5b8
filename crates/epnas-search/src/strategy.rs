//! Who proposes the children: the [`Strategy`] trait, and those that implement it.

pub mod enas;
pub mod evolution;
pub mod local_search;
pub mod progressive;
pub mod random;

use epnas_arch::{Arch, ParseArchError, Space, SpaceError, Surrogate, SurrogateError};
use epnas_sampler::SampleError;
use serde::{Deserialize, Serialize};

use self::enas::Enas;
use self::evolution::Evolution;
use self::local_search::LocalSearch;
use self::progressive::Progressive;
use self::random::RandomSearch;
use crate::admission::Admission;
use crate::config::{SearchConfig, StrategyKind};
use crate::history::{History, Status};
use crate::limits::Shortfall;
use crate::observer::Observer;
use crate::pool::{Pool, PoolError};

/// A strategy that could go on without a single success gives up after this many failed children in a row.
const FAILURES: usize = 25;

/// A child to be trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The architecture.
    #[serde(with = "crate::text")]
    pub arch: Arch,
    /// The surrogate's prediction; `None` when it was not asked.
    pub predicted: Option<f64>,
    /// Probability of this child in a single draw among all candidates; `None` when nothing was drawn.
    pub probability: Option<f64>,
}

/// The children of one step, in the order in which they are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Iteration, from 0.
    pub iteration: usize,
    /// Step within the iteration, from 1.
    pub step: usize,
    /// How many candidates the children were chosen from.
    pub candidates: u64,
    /// Temperature of the step; `None` for strategies without one.
    pub temperature: Option<f64>,
    /// Name under the root seed below which each child's own seed is split.
    pub seed_name: String,
    /// The children.
    pub children: Vec<Proposal>,
}

impl Batch {
    /// Full-length children, of a strategy that has neither steps nor predictions.
    #[must_use]
    pub fn whole(space: &Space, seed_name: String, children: Vec<Arch>) -> Self {
        let children = children.into_iter();
        Self {
            iteration: 0,
            step: space.levels(),
            candidates: space
                .cardinality()
                .map_or(u64::MAX, |n| u64::try_from(n).unwrap_or(u64::MAX)),
            temperature: None,
            seed_name,
            children: children
                .map(|arch| Proposal {
                    arch,
                    predicted: None,
                    probability: None,
                })
                .collect(),
        }
    }
}

/// Why a strategy cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StrategyError {
    /// The space does not allow what was asked for.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The surrogate failed.
    #[error(transparent)]
    Surrogate(#[from] SurrogateError),
    /// The scores cannot be drawn from.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// No child of a step could be evaluated, so the search has nothing to continue from.
    #[error(
        "all {children} children of iteration {iteration}, step {step} failed; the last: {reason}"
    )]
    AllFailed {
        /// Iteration, from 0.
        iteration: usize,
        /// Step, from 1.
        step: usize,
        /// How many.
        children: usize,
        /// Why the last one failed.
        reason: String,
    },
    /// No candidate is within the limits, or next to none.
    #[error(
        "none of the last {refused} networks that were looked at is within the limits: {}",
        joined(limits)
    )]
    Limits {
        /// How many were refused in a row.
        refused: u64,
        /// The limits, with the smallest seen.
        limits: Vec<Shortfall>,
    },
    /// A latency cannot be measured or recorded.
    #[error("latency of {arch}: {source}")]
    Latency {
        /// The architecture, in text form.
        arch: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What other searches know cannot be had.
    #[error(transparent)]
    Pool(Box<PoolError>),
    /// A stored state does not fit this strategy.
    #[error("the checkpoint's strategy state does not fit: {reason}")]
    State {
        /// What is wrong with it.
        reason: String,
    },
}

impl From<PoolError> for StrategyError {
    fn from(error: PoolError) -> Self {
        Self::Pool(Box::new(error))
    }
}

/// An architecture of a stored state, which has to be of the space: what is computed from it takes that for granted.
fn stored(space: &Space, text: &str) -> Result<Arch, StrategyError> {
    let wrong = |reason| StrategyError::State { reason };
    let parsed = text.parse();
    let arch = parsed.map_err(|error: ParseArchError| wrong(error.to_string()))?;
    let checked = space.check(&arch);
    checked.map_err(|error| wrong(error.to_string()))?;
    Ok(arch)
}

fn joined(limits: &[Shortfall]) -> String {
    let limits: Vec<String> = limits.iter().map(ToString::to_string).collect();
    limits.join("; ")
}

/// Something that decides which children are trained.
///
/// It proposes a batch, the driver trains its children one by one and hands back the history that ends with them. All
/// that a strategy knows beyond the history travels through [`state`](Strategy::state) and
/// [`surrogate`](Strategy::surrogate), and one that is restored must continue exactly as the uninterrupted one.
pub trait Strategy {
    /// The next children, or `None` when there is nothing left to propose. The driver's budget may end the search
    /// before that, also within a batch. Asking again without [`observe`](Strategy::observe) between must give the
    /// same.
    ///
    /// # Errors
    /// [`StrategyError`] when the candidates cannot be scored or drawn from.
    fn propose(
        &mut self,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError>;

    /// Learns from a batch; its children are the last ones of `history`, in order. By default nothing is learned, and the
    /// search ends when very many children in a row have failed.
    ///
    /// # Errors
    /// [`StrategyError`] when nothing can be learned or continued from.
    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        _observer: &mut dyn Observer,
    ) -> Result<(), StrategyError> {
        give_up(batch, history)
    }

    /// The small part of the state; by default there is none beyond the history.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// How often a surrogate has been fitted: it is stored when this number changes.
    fn fits(&self) -> u64 {
        0
    }

    /// The surrogate's state; `None` without a surrogate.
    ///
    /// # Errors
    /// [`StrategyError::Surrogate`] when it cannot be read back.
    fn surrogate(&self) -> Result<Option<Vec<u8>>, StrategyError> {
        Ok(None)
    }

    /// Takes a stored state. `surrogate` is `None` when none was ever fitted.
    ///
    /// # Errors
    /// [`StrategyError::State`] or [`StrategyError::Surrogate`] when it does not fit.
    fn restore(
        &mut self,
        _state: &serde_json::Value,
        _surrogate: Option<&[u8]>,
    ) -> Result<(), StrategyError> {
        Ok(())
    }
}

/// The strategy that a configuration names, which proposes only what `admission` admits. `surrogate` is asked for by
/// those that have one, which also learns from `pool`; `seed` is the run's root seed.
///
/// # Errors
/// That of `surrogate`.
pub fn configured<S: Surrogate + 'static, E>(
    space: &Space,
    config: &SearchConfig,
    admission: Admission,
    pool: Option<Pool>,
    surrogate: impl FnOnce() -> Result<S, E>,
    seed: u64,
) -> Result<Box<dyn Strategy>, E> {
    let space = space.clone();
    Ok(match config.strategy {
        StrategyKind::Epnas | StrategyKind::Pnas => {
            let config = config.in_force();
            let search = Progressive::new(space, config, surrogate()?, seed);
            Box::new(search.limited(admission).learning_from(pool))
        }
        StrategyKind::Random => Box::new(RandomSearch::new(space, seed).limited(admission)),
        StrategyKind::RegularizedEvolution => {
            Box::new(Evolution::new(space, config.evolution.clone(), seed).limited(admission))
        }
        StrategyKind::LocalSearch => Box::new(LocalSearch::new(space, seed).limited(admission)),
        StrategyKind::Enas => {
            Box::new(Enas::new(space, config.enas.clone(), seed).limited(admission))
        }
    })
}

/// Ends a search whose latest children all failed.
pub(crate) fn give_up(batch: &Batch, history: &History) -> Result<(), StrategyError> {
    let latest = history.records().iter().rev();
    let failed = latest
        .take_while(|record| record.status == Status::Failed)
        .count();
    if failed < FAILURES {
        return Ok(());
    }
    let last = history.records().last();
    Err(StrategyError::AllFailed {
        iteration: batch.iteration,
        step: batch.step,
        children: failed,
        reason: last
            .and_then(|record| record.reason.clone())
            .unwrap_or_default(),
    })
}
