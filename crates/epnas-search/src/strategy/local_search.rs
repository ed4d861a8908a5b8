//! Local search (White et al., 2021, *Exploring the Loss Landscape in Neural Architecture Search*): measure all neighbours
//! of an architecture, go to the best while that is better, begin anew where it is not.

use std::collections::BTreeMap;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::random::draw;
use super::{Batch, Strategy, StrategyError, give_up, stored};
use crate::admission::Admission;
use crate::history::History;
use crate::observer::Observer;

/// Local search with restarts. It ends with its budget.
#[derive(Debug, Clone)]
pub struct LocalSearch {
    space: Space,
    seed: u64,
    state: State,
    admission: Admission,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Where it stands, in text form; `None` before it begins, and after a summit.
    here: Option<String>,
    /// Climbs begun.
    climbs: u64,
    /// Steps taken in all.
    steps: u64,
}

impl LocalSearch {
    /// A local search from a random architecture; `seed` is the run's root seed.
    #[must_use]
    pub fn new(space: Space, seed: u64) -> Self {
        Self {
            space,
            seed,
            state: State::default(),
            admission: Admission::default(),
        }
    }

    /// The same, which proposes only what is admitted.
    #[must_use]
    pub fn limited(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    fn rng(&self, name: &str, number: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(split(self.seed, &format!("local_search/{name}/{number}")))
    }

    fn here(&self) -> Result<Option<Arch>, StrategyError> {
        let here = self.state.here.as_ref();
        here.map(|text| stored(&self.space, text)).transpose()
    }
}

/// The architectures that differ from `arch` in one decision (an operation, or one source), in order, each once.
#[must_use]
pub fn neighbours(space: &Space, arch: &Arch) -> Vec<Arch> {
    let mut found = BTreeMap::from([(space.key(arch), None)]);
    for level in 1..=arch.len() {
        let decided = space.decided(level, space.element(arch, level));
        for (at, size) in space.decisions(level).into_iter().enumerate() {
            for other in (0..size).filter(|&other| other != decided[at]) {
                let mut decided = decided.clone();
                decided[at] = other;
                let neighbour = space.replace(arch, level, space.decide(level, &decided));
                found
                    .entry(space.key(&neighbour))
                    .or_insert(Some(neighbour));
            }
        }
    }
    found.into_values().flatten().collect()
}

impl Strategy for LocalSearch {
    fn propose(
        &mut self,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let State { climbs, steps, .. } = self.state;
        let Some(here) = self.here()? else {
            let mut rng = self.rng("start", climbs);
            let start = self.admission.first(|| draw(&self.space, &mut rng))?;
            let seed_name = format!("local_search/start/{climbs}");
            return Ok(start.map(|start| Batch::whole(&self.space, seed_name, vec![start])));
        };
        // What was measured before is not measured again; all may be known, and then the batch is empty.
        let mut unknown = neighbours(&self.space, &here);
        unknown.retain(|arch| history.estimate(arch).is_none());
        let mut unknown = self.admission.only(unknown)?;
        unknown.shuffle(&mut self.rng("order", steps));
        let seed_name = format!("local_search/step/{steps}");
        Ok(Some(Batch::whole(&self.space, seed_name, unknown)))
    }

    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<(), StrategyError> {
        give_up(batch, history)?;
        match self.here()? {
            None => {
                self.state.climbs += 1;
                let start = batch.children.first().map(|child| &child.arch);
                let known = start.filter(|start| history.estimate(start).is_some());
                self.state.here = known.map(ToString::to_string);
            }
            Some(here) => {
                self.state.steps += 1;
                let around = neighbours(&self.space, &here).into_iter();
                let best = around
                    .filter_map(|arch| Some((history.estimate(&arch)?, arch)))
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let better = best.filter(|(estimate, _)| Some(*estimate) > history.estimate(&here));
                self.state.here = better.map(|(_, arch)| arch.to_string());
            }
        }
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn restore(
        &mut self,
        state: &serde_json::Value,
        _: Option<&[u8]>,
    ) -> Result<(), StrategyError> {
        self.state =
            serde_json::from_value(state.clone()).map_err(|error| StrategyError::State {
                reason: error.to_string(),
            })?;
        self.here().map(|_| ())
    }
}
