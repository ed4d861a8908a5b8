//! Random search: full-length architectures, uniform over the space. The baseline that a search has to beat.

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::history::{History, Status};
use crate::observer::{Observer, Total};
use crate::strategy::{Batch, Proposal, Strategy, StrategyError};

/// Random search gives up after this many failed children in a row.
const FAILURES: usize = 25;

/// When random search ends: at whichever limit is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomBudget {
    /// Training multiply-accumulates (of the network, per image, times image passes). The child that reaches the limit
    /// is the last, so random search gets at least as much; `None` for no limit.
    pub training_macs: Option<u128>,
    /// Children at most.
    pub children: u64,
}

impl RandomBudget {
    /// What a finished search spent: its multiply-accumulates, or its number of children when its evaluator knows no
    /// cost.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let children = history.len() as u64;
        match history.training_macs() {
            0 => Self {
                training_macs: None,
                children,
            },
            // A full-length child costs more than the average child of the search, so fewer are needed; the factor only
            // guards against an evaluator that reports next to nothing.
            macs => Self {
                training_macs: Some(macs),
                children: children.saturating_mul(100),
            },
        }
    }
}

impl RandomBudget {
    /// The limit that is expected to be reached.
    #[must_use]
    pub fn total(&self) -> Total {
        self.training_macs
            .map_or(Total::Pieces(self.children), Total::TrainingMacs)
    }
}

/// Random search.
#[derive(Debug, Clone)]
pub struct RandomSearch {
    space: Space,
    budget: RandomBudget,
    seed: u64,
}

impl RandomSearch {
    /// A random search; `seed` is the run's root seed.
    #[must_use]
    pub fn new(space: Space, budget: RandomBudget, seed: u64) -> Self {
        Self {
            space,
            budget,
            seed,
        }
    }
}

/// Architecture number `index` of the random search under `seed`: uniform over the full-length architectures of
/// `space`, counted as [`Space::cardinality`] counts them.
#[must_use]
pub fn random_architecture(space: &Space, seed: u64, index: u64) -> Option<Arch> {
    let mut rng = ChaCha8Rng::seed_from_u64(split(seed, &format!("random/architecture/{index}")));
    let mut arch = None;
    for level in 1..=space.levels() {
        let element = rng.random_range(0..space.level_len(level).max(1));
        arch = Some(space.extend(arch.as_ref(), element));
    }
    arch
}

impl Strategy for RandomSearch {
    fn propose(
        &mut self,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let index = history.len() as u64;
        let spent = self
            .budget
            .training_macs
            .is_some_and(|limit| history.training_macs() >= limit);
        if spent || index >= self.budget.children {
            return Ok(None);
        }
        let Some(arch) = random_architecture(&self.space, self.seed, index) else {
            return Ok(None);
        };
        Ok(Some(Batch {
            iteration: 0,
            step: self.space.levels(),
            candidates: self
                .space
                .cardinality()
                .map_or(u64::MAX, |n| u64::try_from(n).unwrap_or(u64::MAX)),
            temperature: None,
            seed_name: format!("random/child/{index}"),
            children: vec![Proposal {
                arch,
                predicted: None,
                probability: None,
            }],
        }))
    }

    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<(), StrategyError> {
        let failed = history
            .records()
            .iter()
            .rev()
            .take_while(|record| record.status == Status::Failed)
            .count();
        if failed < FAILURES {
            return Ok(());
        }
        let reason = history
            .records()
            .last()
            .and_then(|record| record.reason.clone())
            .unwrap_or_default();
        Err(StrategyError::AllFailed {
            iteration: batch.iteration,
            step: batch.step,
            children: failed,
            reason,
        })
    }

    fn total_children(&self) -> Option<u64> {
        self.budget
            .training_macs
            .is_none()
            .then_some(self.budget.children)
    }

    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn restore(&mut self, _: &serde_json::Value, _: Option<&[u8]>) -> Result<(), StrategyError> {
        Ok(())
    }
}
