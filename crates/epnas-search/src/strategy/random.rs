//! Random search: full-length architectures, uniform over the space. The baseline that a search has to beat.

use epnas_arch::seed::split;
use epnas_arch::{Arch, Space};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Batch, Strategy, StrategyError};
use crate::admission::Admission;
use crate::history::History;
use crate::observer::Observer;

/// Random search. It ends with its budget.
#[derive(Debug, Clone)]
pub struct RandomSearch {
    space: Space,
    seed: u64,
    admission: Admission,
}

impl RandomSearch {
    /// A random search; `seed` is the run's root seed.
    #[must_use]
    pub fn new(space: Space, seed: u64) -> Self {
        Self {
            space,
            seed,
            admission: Admission::default(),
        }
    }

    /// The same, which proposes only what is admitted.
    #[must_use]
    pub fn limited(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }
}

/// Architecture number `index` of the random search under `seed`: uniform over the full-length architectures of
/// `space`, counted as [`Space::cardinality`] counts them.
#[must_use]
pub fn random_architecture(space: &Space, seed: u64, index: u64) -> Option<Arch> {
    draw(space, &mut rng(seed, index))
}

fn rng(seed: u64, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(split(seed, &format!("random/architecture/{index}")))
}

/// A full-length architecture, uniform over the space; `None` when the space has no levels.
pub(super) fn draw(space: &Space, rng: &mut ChaCha8Rng) -> Option<Arch> {
    (1..=space.levels()).fold(None, |arch, level| {
        let element = rng.random_range(0..space.level_len(level).max(1));
        Some(space.extend(arch.as_ref(), element))
    })
}

impl Strategy for RandomSearch {
    fn propose(
        &mut self,
        history: &History,
        _: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let index = history.len() as u64;
        let mut rng = rng(self.seed, index);
        let arch = self.admission.first(|| draw(&self.space, &mut rng))?;
        Ok(arch.map(|arch| Batch::whole(&self.space, format!("random/child/{index}"), vec![arch])))
    }
}
