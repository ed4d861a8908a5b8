//! Regularized evolution (Real et al., 2019, *Regularized Evolution for Image Classifier Architecture Search*,
//! algorithm 1): the population is the latest children, so that each dies of age however good it is.

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use rand::{Rng, RngExt, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::random::draw;
use super::{Batch, Strategy, StrategyError};
use crate::admission::Admission;
use crate::config::range;
use crate::history::{History, Record};
use crate::observer::Observer;
use crate::settings::SettingsError;

/// The `[search.evolution]` section: regularized evolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvolutionConfig {
    /// Children that may have children: the latest this many. Default 20 (Real et al. use 100 for 20,000 children), range 1
    /// to 100,000.
    pub population: usize,
    /// Children drawn from the population, of which the best is changed. Default 5 (Real et al.: 25), range 1 to population.
    pub tournament: usize,
}

impl Default for EvolutionConfig {
    fn default() -> Self {
        Self {
            population: 20,
            tournament: 5,
        }
    }
}

impl EvolutionConfig {
    pub(crate) fn validate(&self) -> Result<(), SettingsError> {
        range("search.evolution.population", self.population, 1, 100_000)?;
        range(
            "search.evolution.tournament",
            self.tournament,
            1,
            self.population,
        )
    }
}

/// Regularized evolution. It ends with its budget.
#[derive(Debug, Clone)]
pub struct Evolution {
    space: Space,
    config: EvolutionConfig,
    seed: u64,
    admission: Admission,
}

impl Evolution {
    /// An evolution from random architectures; `seed` is the run's root seed.
    #[must_use]
    pub fn new(space: Space, config: EvolutionConfig, seed: u64) -> Self {
        Self {
            space,
            config,
            seed,
            admission: Admission::default(),
        }
    }

    /// The same, which proposes only what is admitted.
    #[must_use]
    pub fn limited(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The best of a few of the population.
    fn parent<'a>(&self, population: &[&'a Record], rng: &mut ChaCha8Rng) -> Option<&'a Record> {
        let few = index::sample(rng, population.len(), self.config.tournament);
        let entrants = few.iter().map(|entrant| population[entrant]);
        entrants.max_by(|a, b| {
            let estimate = |record: &Record| record.estimate.unwrap_or(f64::MIN);
            estimate(a)
                .total_cmp(&estimate(b))
                .then(b.index.cmp(&a.index))
        })
    }
}

/// `arch` with one decision changed (an operation, or one source): the level is uniform, and so is the decision in it among
/// those that have a choice. An architecture without any choice stays as it is.
pub fn mutate(space: &Space, arch: &Arch, rng: &mut impl Rng) -> Arch {
    let open = |level: usize| -> Vec<usize> {
        let sizes = space.decisions(level);
        (0..sizes.len()).filter(|&at| sizes[at] > 1).collect()
    };
    let levels: Vec<usize> = (1..=arch.len())
        .filter(|&level| !open(level).is_empty())
        .collect();
    if levels.is_empty() {
        return arch.clone();
    }
    let level = levels[rng.random_range(0..levels.len())];
    let open = open(level);
    let at = open[rng.random_range(0..open.len())];
    let mut decided = space.decided(level, space.element(arch, level));
    let other = rng.random_range(0..space.decisions(level)[at] - 1);
    decided[at] = other + usize::from(other >= decided[at]);
    space.replace(arch, level, space.decide(level, &decided))
}

impl Strategy for Evolution {
    fn propose(
        &mut self,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let index = history.len();
        let name = format!("evolution/architecture/{index}");
        let mut rng = ChaCha8Rng::seed_from_u64(split(self.seed, &name));
        let latest = history.records().iter().rev();
        let population: Vec<&Record> = latest
            .filter(|record| record.estimate.is_some())
            .take(self.config.population)
            .collect();
        let child = self.admission.first(|| {
            if population.len() < self.config.population {
                return draw(&self.space, &mut rng);
            }
            let parent = self.parent(&population, &mut rng);
            parent.map(|parent| mutate(&self.space, &parent.arch, &mut rng))
        })?;
        let seed_name = format!("evolution/child/{index}");
        Ok(child.map(|child| Batch::whole(&self.space, seed_name, vec![child])))
    }
}
