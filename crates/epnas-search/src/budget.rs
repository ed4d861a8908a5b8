//! When a search ends: [`Budget`] counts children and their cost, [`TimeBudget`] shares wall time among search, baseline
//! and selection.

use crate::history::History;
use crate::observer::Total;
use crate::select::shortlist;

/// What a search may spend: it ends at whichever limit is reached first. The default has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Children at most, failed ones included.
    pub children: Option<u64>,
    /// Training multiply-accumulates (of the network, per image, times image passes). The child that reaches the limit is
    /// the last, so a search gets at least as much.
    pub training_macs: Option<u128>,
}

impl Budget {
    /// A number of children.
    #[must_use]
    pub fn children(children: u64) -> Self {
        Self {
            children: Some(children),
            training_macs: None,
        }
    }

    /// What a finished search spent: its multiply-accumulates, or its number of children where its evaluator knows no cost.
    #[must_use]
    pub fn spent_by(history: &History) -> Self {
        let children = history.len() as u64;
        match history.training_macs() {
            0 => Self::children(children),
            macs => Self {
                // A full-length child costs more than the average child of a progressive search, so fewer are needed; the
                // factor only guards against an evaluator that reports next to nothing.
                children: Some(children.saturating_mul(100)),
                training_macs: Some(macs),
            },
        }
    }

    /// Whether a search with this history has spent it.
    #[must_use]
    pub fn is_spent(&self, history: &History) -> bool {
        let children = self
            .children
            .is_some_and(|limit| history.len() as u64 >= limit);
        // The sum over the history is only made where it is asked for.
        children
            || self
                .training_macs
                .is_some_and(|limit| history.training_macs() >= limit)
    }

    /// The limit that is expected to be reached; `planned` children where there is none.
    #[must_use]
    pub fn total(&self, planned: u64) -> Total {
        match self.training_macs {
            Some(macs) => Total::TrainingMacs(macs),
            None => Total::Pieces(self.children.unwrap_or(planned)),
        }
    }
}

/// Wall time for a whole run and what must fit into it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeBudget {
    /// Wall time of the whole run in seconds.
    pub seconds: f64,
    /// Whether random search at equal budget follows the search.
    pub baseline: Baseline,
    /// How many candidates of each list are retrained.
    pub retrained: usize,
    /// Image passes of one retraining.
    pub retrained_images: u64,
}

/// Whether a baseline follows the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// None does.
    None,
    /// Random search at equal budget does.
    Random,
}

impl TimeBudget {
    fn lists(&self) -> f64 {
        match self.baseline {
            Baseline::None => 1.0,
            Baseline::Random => 2.0,
        }
    }

    /// Time kept for the selection, in seconds: what retraining should take at the speed of the search so far, at most
    /// half of the budget.
    #[must_use]
    pub fn reserve(&self, history: &History, search_seconds: f64) -> f64 {
        let spent = history.training_macs();
        if spent == 0 || self.retrained == 0 {
            return 0.0;
        }
        let Some(list) = shortlist(history, self.retrained) else {
            return 0.0;
        };
        let macs: u128 = list
            .candidates
            .iter()
            .map(|candidate| u128::from(candidate.macs.unwrap_or(0)))
            .sum();
        let wanted = macs as f64 * self.retrained_images as f64 * self.lists() / spent as f64
            * search_seconds;
        wanted.min(self.seconds / 2.0)
    }

    /// Whether the search must stop, after `search_seconds` of its own and `other_seconds` of earlier parts: it leaves
    /// the reserve, and as much as it took itself when a baseline follows.
    #[must_use]
    pub fn stops_search(
        &self,
        history: &History,
        search_seconds: f64,
        other_seconds: f64,
    ) -> Option<String> {
        let share = (self.seconds - self.reserve(history, search_seconds)) / self.lists();
        let over = search_seconds >= share || search_seconds + other_seconds >= self.seconds;
        over.then(|| self.reason("the search"))
    }

    /// Whether the baseline must stop, `total_seconds` into the run; `reserve` is that of the search.
    #[must_use]
    pub fn stops_baseline(&self, total_seconds: f64, reserve: f64) -> Option<String> {
        (total_seconds >= self.seconds - reserve).then(|| self.reason("the baseline"))
    }

    /// Whether no further candidate may be retrained, `total_seconds` into the run.
    #[must_use]
    pub fn stops_selection(&self, total_seconds: f64) -> Option<String> {
        (total_seconds >= self.seconds).then(|| self.reason("the selection"))
    }

    fn reason(&self, part: &str) -> String {
        let rounded = std::time::Duration::from_millis((self.seconds * 1000.0).round() as u64);
        format!(
            "{part} ended early, at its share of the time budget of {}; a longer `--budget` goes on (`epnas search` with `--resume`, `epnas run` and `epnas fleet` as they are)",
            humantime::format_duration(rounded)
        )
    }
}
