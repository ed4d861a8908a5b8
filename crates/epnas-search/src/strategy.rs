//! Who proposes the children: the [`Strategy`] trait.

use epnas_arch::{Arch, SpaceError, SurrogateError};
use epnas_sampler::SampleError;
use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::observer::Observer;

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
    /// A stored state does not fit this strategy.
    #[error("the checkpoint's strategy state does not fit: {reason}")]
    State {
        /// What is wrong with it.
        reason: String,
    },
}

/// Something that decides which children are trained.
///
/// It proposes a batch, the driver trains its children one by one and hands back the history that ends with them. All
/// that a strategy knows beyond the history travels through [`state`](Strategy::state) and
/// [`surrogate`](Strategy::surrogate), and one that is restored must continue exactly as the uninterrupted one.
pub trait Strategy {
    /// The next children, or `None` when the search is finished. Asking again without [`observe`](Strategy::observe)
    /// between must give the same.
    ///
    /// # Errors
    /// [`StrategyError`] when the candidates cannot be scored or drawn from.
    fn propose(
        &mut self,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError>;

    /// Learns from a batch; its children are the last ones of `history`, in order.
    ///
    /// # Errors
    /// [`StrategyError`] when nothing can be learned or continued from.
    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<(), StrategyError>;

    /// How many children the whole search trains, when that is known beforehand.
    fn total_children(&self) -> Option<u64>;

    /// The small part of the state.
    fn state(&self) -> serde_json::Value;

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
        state: &serde_json::Value,
        surrogate: Option<&[u8]>,
    ) -> Result<(), StrategyError>;
}
