//! What a search will do, counted before it begins: candidates and children of every step.

use epnas_arch::Space;
use serde::Serialize;

use crate::config::{Continuation, SearchConfig};

/// One step of a planned search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Iteration, from 0.
    pub iteration: usize,
    /// Step, from 1.
    pub step: usize,
    /// Candidates that are scored; an upper bound for "refine" and "improve", where equal or known ones are
    /// left out.
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
        let config = &config.in_force();
        let k = config.children_per_step as u64;
        let mut steps = Vec::new();
        for iteration in 0..config.iterations {
            let refines = iteration > 0 && config.continuation != Continuation::Restart;
            let improves = refines && config.continuation == Continuation::Improve;
            let mut parents = if refines { last_children(&steps) } else { 1 };
            let all_levels = (1..=space.levels())
                .map(|level| space.level_len(level))
                .sum();
            for step in 1..=space.levels() {
                // The second step extends all of the first level.
                if step == 2 && !refines {
                    parents = space.level_len(1);
                }
                let elements = if improves {
                    all_levels
                } else {
                    space.level_len(step)
                };
                let candidates = parents.saturating_mul(elements);
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
        if config.strategy.is_progressive() {
            return schedule.cut(config.children.unwrap_or(u64::MAX));
        }
        let children = config.children.unwrap_or_else(|| schedule.children());
        Self::whole(space, children)
    }

    /// The same up to so many children.
    fn cut(mut self, mut children: u64) -> Self {
        for step in &mut self.steps {
            step.children = step.children.min(children);
            children -= step.children;
        }
        self.steps.retain(|step| step.children > 0);
        self
    }

    /// So many full-length children.
    fn whole(space: &Space, children: u64) -> Self {
        let candidates = space
            .cardinality()
            .map_or(u64::MAX, |n| u64::try_from(n).unwrap_or(u64::MAX));
        let length = space.levels();
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
