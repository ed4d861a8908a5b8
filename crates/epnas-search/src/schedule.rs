//! What a search will do, counted before it begins: candidates and children of every step.

use epnas_arch::Space;
use serde::Serialize;

use crate::config::{Continuation, SearchConfig, StrategyKind};

/// One step of a planned search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Iteration, from 0.
    pub iteration: usize,
    /// Step, from 1.
    pub step: usize,
    /// Candidates that are scored; an upper bound for "refine", where equal ones are scored once.
    pub candidates: u64,
    /// Children that are trained.
    pub children: u64,
    /// Levels of each child.
    pub length: usize,
}

/// All steps of a planned search, if no child fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// In order.
    pub steps: Vec<PlannedStep>,
}

impl Schedule {
    /// The steps of a search of `space`.
    #[must_use]
    pub fn new(space: &Space, config: &SearchConfig) -> Self {
        let k = config.children_per_step as u64;
        let mut steps = Vec::new();
        for iteration in 0..config.iterations {
            let refines = iteration > 0 && config.continuation == Continuation::Refine;
            let mut parents = if refines { last_children(&steps) } else { 1 };
            for step in 1..=space.levels() {
                // The second step extends all of the first level.
                if step == 2 && !refines {
                    parents = space.level_len(1);
                }
                let candidates = parents.saturating_mul(space.level_len(step));
                let children = if iteration == 0 && step == 1 {
                    candidates
                } else {
                    candidates.min(k)
                };
                let length = if refines { space.levels() } else { step };
                steps.push(PlannedStep {
                    iteration,
                    step,
                    candidates,
                    children,
                    length,
                });
                parents = children;
            }
        }
        let schedule = Self { steps };
        match config.strategy {
            StrategyKind::Epnas => schedule,
            StrategyKind::Random => schedule.random(space),
        }
    }

    /// As many full-length children, drawn at random.
    fn random(self, space: &Space) -> Self {
        let candidates = space
            .cardinality()
            .map_or(u64::MAX, |n| u64::try_from(n).unwrap_or(u64::MAX));
        let length = space.levels();
        let children = self.children();
        Self {
            steps: vec![PlannedStep {
                iteration: 0,
                step: length,
                candidates,
                children,
                length,
            }],
        }
    }

    /// Children in all.
    #[must_use]
    pub fn children(&self) -> u64 {
        self.steps.iter().map(|step| step.children).sum()
    }

    /// Candidates scored in all: every step's but the first of the first iteration, which trains all it has.
    #[must_use]
    pub fn scored(&self) -> u64 {
        self.steps.iter().skip(1).map(|step| step.candidates).sum()
    }
}

fn last_children(steps: &[PlannedStep]) -> u64 {
    steps.last().map_or(0, |step| step.children)
}
