//! EPNAS: progressive search led by a surrogate, with a temperature that decides how far to trust it
//! (Perez-Rua et al., 2018, section 3).
//!
//! Every iteration grows architectures level by level. All architectures of one level are trained first; each further
//! step scores every extension of its parents, draws K children, trains them and fits the surrogate on everything that
//! is known. Surrogate, history and shared weights are kept from one iteration to the next.

use std::collections::BTreeSet;
use std::ops::Range;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Candidates, Space, Surrogate};
use epnas_sampler::StreamingSampler;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Batch, Proposal, Strategy, StrategyError, stored};
use crate::admission::Admission;
use crate::config::{Continuation, Known, Parents, SearchConfig};
use crate::history::{History, Record};
use crate::observer::{Event, Observer};
use crate::pool::Pool;

/// Candidates scored at a time: enough to keep every core busy, few enough that their scores stay in the cache.
const CHUNK: u64 = 16_384;

/// The progressive search.
#[derive(Debug)]
pub struct Progressive<S> {
    space: Space,
    config: SearchConfig,
    surrogate: S,
    seed: u64,
    state: State,
    admission: Admission,
    pool: Option<Pool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    iteration: usize,
    /// From 1.
    step: usize,
    /// What the next step extends or refines, in text form.
    parents: Vec<String>,
    /// Architectures of one level that failed in this iteration.
    failed: Vec<String>,
    fits: u64,
}

impl<S: Surrogate> Progressive<S> {
    /// A search from the beginning. `seed` is the run's root seed.
    pub fn new(space: Space, config: SearchConfig, surrogate: S, seed: u64) -> Self {
        let state = State {
            iteration: 0,
            step: 1,
            parents: Vec::new(),
            failed: Vec::new(),
            fits: 0,
        };
        Self {
            space,
            config,
            surrogate,
            seed,
            state,
            admission: Admission::default(),
            pool: None,
        }
    }

    /// The same, which proposes only what is admitted.
    #[must_use]
    pub fn limited(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The same, whose surrogate also learns from what other searches have measured.
    #[must_use]
    pub fn learning_from(self, pool: Option<Pool>) -> Self {
        Self { pool, ..self }
    }

    /// The surrogate.
    pub fn surrogate(&self) -> &S {
        &self.surrogate
    }

    /// What the step chooses from, set by set. An architecture may be in several.
    fn candidates(&self, history: &History, most: usize) -> Result<Vec<Candidates>, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        let continuation = match iteration {
            0 => Continuation::Restart,
            _ => self.config.continuation,
        };
        let length = match continuation {
            Continuation::Restart => step - 1,
            Continuation::Refine | Continuation::Improve => self.space.levels(),
        };
        let parents = self.parents(history, length, most)?;
        match continuation {
            Continuation::Refine if !parents.is_empty() => {
                let parents = self.distinct_without(parents, step);
                Ok(vec![Candidates::refine(&self.space, parents, step)?])
            }
            Continuation::Improve if !parents.is_empty() => {
                let refine = |level| Candidates::refine(&self.space, parents.clone(), level);
                Ok((1..=self.space.levels())
                    .map(refine)
                    .collect::<Result<_, _>>()?)
            }
            _ => Ok(vec![self.extensions(parents)?]),
        }
    }

    fn extensions(&self, parents: Vec<Arch>) -> Result<Candidates, StrategyError> {
        match self.state.step {
            1 => Ok(Candidates::first(&self.space)),
            // The paper scores |B_1| x |B_2| candidates here, whichever of B_1 were trained in this iteration.
            2 => {
                let first = Candidates::first(&self.space);
                let parents = first
                    .iter()
                    .filter(|arch| !self.state.failed.contains(&arch.to_string()));
                Ok(Candidates::extend(&self.space, parents.collect())?)
            }
            _ => Ok(Candidates::extend(&self.space, parents)?),
        }
    }

    /// What a step extends or changes, of `length` levels; of the best at most so many.
    fn parents(
        &self,
        history: &History,
        length: usize,
        most: usize,
    ) -> Result<Vec<Arch>, StrategyError> {
        if self.config.parents == Parents::Best && length > 0 {
            let best = history.best(most, length).into_iter();
            return Ok(best.map(|record| record.arch.clone()).collect());
        }
        let parent = |text: &String| {
            let arch = stored(&self.space, text)?;
            if arch.len() == length {
                return Ok(arch);
            }
            let reason = format!("parent {arch} has {} levels, expected {length}", arch.len());
            Err(StrategyError::State { reason })
        };
        self.state.parents.iter().map(parent).collect()
    }

    /// Parents that differ only in `level` have the same replacements there: the first stands for all, so that no
    /// candidate comes twice.
    fn distinct_without(&self, parents: Vec<Arch>, level: usize) -> Vec<Arch> {
        let mut seen = BTreeSet::new();
        let rest = |arch: &Arch| self.space.key(&self.space.replace(arch, level, 0));
        parents
            .into_iter()
            .filter(|arch| seen.insert(rest(arch)))
            .collect()
    }

    /// Draws the children of a step. Where all around the parents is known, more of the best become parents; where that does
    /// not help either, what is known is trained again.
    fn choose(
        &self,
        temperature: f64,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<(Vec<Candidates>, Vec<Proposal>), StrategyError> {
        let mut most = self.config.children_per_step;
        loop {
            let sets = self.candidates(history, most)?;
            let widest = self.config.parents == Parents::Latest || most >= history.len();
            let children = self.draw(&sets, self.config.known, temperature, history, observer)?;
            if !children.is_empty() {
                return Ok((sets, children));
            }
            if widest {
                let children = self.draw(&sets, Known::Again, temperature, history, observer)?;
                return Ok((sets, children));
            }
            most *= 2;
        }
    }

    fn draw(
        &self,
        sets: &[Candidates],
        known: Known,
        temperature: f64,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Proposal>, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        let total: u64 = sets.iter().map(Candidates::len).sum();
        let k = usize::try_from(total)
            .unwrap_or(usize::MAX)
            .min(self.config.children_per_step);
        let mut rng =
            ChaCha8Rng::seed_from_u64(split(self.seed, &format!("draw/{iteration}/{step}")));
        let mut sampler = StreamingSampler::new(self.config.selection, k, temperature, &mut rng)?;
        let is_open = |arch: &Arch| match known {
            Known::Again => true,
            Known::Never => history.estimate(arch).is_none(),
        };
        // Last of all, because it may have to measure.
        let mut failure = None;
        let mut is_admitted = |arch: &Arch| match self.admission.admits(arch) {
            Ok(admitted) => admitted && failure.is_none(),
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        };
        let mut before = 0;
        for (set, candidates) in sets.iter().enumerate() {
            for range in chunks(candidates.len()) {
                let (start, end) = (range.start, before + range.end);
                let scores = self.surrogate.predict(candidates, range)?;
                sampler.extend_where(before + start, &scores, |index| {
                    let arch = candidates.get(index - before);
                    is_open(&arch) && is_first(sets, set, index - before) && is_admitted(&arch)
                })?;
                observer.event(Event::Scoring { done: end, total });
            }
            before += candidates.len();
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let draws = sampler.finish().into_iter();
        Ok(draws
            .map(|draw| Proposal {
                arch: numbered(sets, draw.index),
                predicted: Some(f64::from(draw.score)),
                probability: Some(draw.probability),
            })
            .collect())
    }

    fn advance(&mut self) {
        self.state.step += 1;
        if self.state.step > self.space.levels() {
            self.state.step = 1;
            self.state.iteration += 1;
            self.state.failed.clear();
            if self.config.continuation == Continuation::Restart {
                self.state.parents.clear();
            }
        }
    }
}

impl<S: Surrogate> Strategy for Progressive<S> {
    fn propose(
        &mut self,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        if iteration >= self.config.iterations {
            return Ok(None);
        }
        let levels = self.space.levels();
        let temperature = self
            .config
            .temperature
            .at((iteration * levels + step - 1) as u64, levels as f64);
        let (sets, mut children) = if iteration == 0 && step == 1 {
            let first = Candidates::first(&self.space);
            let all = self.admission.only(first.iter())?.into_iter();
            let all = all.map(|arch| Proposal {
                arch,
                predicted: None,
                probability: None,
            });
            let all = all.collect();
            (vec![first], all)
        } else {
            self.choose(temperature, history, observer)?
        };
        if children.is_empty()
            && let Some(error) = self.admission.nothing_left()
        {
            return Err(error);
        }
        // The last child of a step leaves the shared weights at their best for itself: a random order spreads that.
        let mut rng =
            ChaCha8Rng::seed_from_u64(split(self.seed, &format!("order/{iteration}/{step}")));
        children.shuffle(&mut rng);
        Ok(Some(Batch {
            iteration,
            step,
            candidates: sets.iter().map(Candidates::len).sum(),
            temperature: Some(temperature),
            seed_name: format!("child/{iteration}/{step}"),
            children,
        }))
    }

    fn observe(
        &mut self,
        batch: &Batch,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<(), StrategyError> {
        let Batch {
            iteration, step, ..
        } = *batch;
        let records = history.records();
        let children = &records[records.len().saturating_sub(batch.children.len())..];
        let (good, failed): (Vec<&Record>, Vec<&Record>) = children
            .iter()
            .partition(|record| record.estimate.is_some());
        if good.is_empty() {
            let reason = failed
                .last()
                .and_then(|record| record.reason.clone())
                .unwrap_or_default();
            return Err(StrategyError::AllFailed {
                iteration,
                step,
                children: children.len(),
                reason,
            });
        }
        let known = match &mut self.pool {
            None => history.accuracies(),
            Some(pool) => pool.joined(iteration, step, history)?,
        };
        let report = self
            .surrogate
            .fit(&known, split(self.seed, &format!("fit/{iteration}/{step}")))?;
        self.state.fits += 1;
        tracing::info!(
            iteration,
            step,
            loss = report.loss,
            saturation = report.saturation,
            "surrogate fitted"
        );
        observer.event(Event::Fit {
            iteration,
            step,
            report: &report,
        });
        self.state.parents = good.iter().map(|record| record.arch.to_string()).collect();
        if step == 1 {
            self.state.failed = failed
                .iter()
                .map(|record| record.arch.to_string())
                .collect();
        }
        self.advance();
        Ok(())
    }

    fn state(&self) -> serde_json::Value {
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn fits(&self) -> u64 {
        self.state.fits
    }

    fn surrogate(&self) -> Result<Option<Vec<u8>>, StrategyError> {
        Ok(Some(self.surrogate.snapshot()?))
    }

    fn restore(
        &mut self,
        state: &serde_json::Value,
        surrogate: Option<&[u8]>,
    ) -> Result<(), StrategyError> {
        let state: State =
            serde_json::from_value(state.clone()).map_err(|error| StrategyError::State {
                reason: error.to_string(),
            })?;
        let levels = self.space.levels();
        if !(1..=levels).contains(&state.step) {
            let reason = format!("step {}, expected 1 to {levels}", state.step);
            return Err(StrategyError::State { reason });
        }
        match surrogate {
            Some(bytes) => self.surrogate.restore(bytes)?,
            None if state.fits > 0 => {
                let reason = format!("{} fits but no surrogate", state.fits);
                return Err(StrategyError::State { reason });
            }
            None => {}
        }
        self.state = state;
        Ok(())
    }
}

/// Candidate `index` over all sets.
fn numbered(sets: &[Candidates], mut index: u64) -> Arch {
    for set in sets {
        match index.checked_sub(set.len()) {
            None => return set.get(index),
            Some(rest) => index = rest,
        }
    }
    panic!("candidate beyond all sets");
}

/// Whether no set before this one, and no parent before its own, makes the same architecture by replacing a level.
fn is_first(sets: &[Candidates], set: usize, index: u64) -> bool {
    let candidates = &sets[set];
    if sets.len() == 1 {
        return true;
    }
    let arch = candidates.get(index);
    let space = candidates.space();
    let made = |parent: &Arch| {
        let differs = |&level: &usize| space.element(parent, level) != space.element(&arch, level);
        let mut levels = (1..=arch.len()).filter(differs);
        match (levels.next(), levels.next()) {
            (None, _) => Some(1),
            (only, None) => only,
            _ => None,
        }
    };
    let parents = candidates.parents().iter().enumerate();
    let first = parents
        .filter_map(|(number, parent)| Some((made(parent)?, number)))
        .min();
    first
        == candidates
            .parent(index)
            .map(|parent| (candidates.level(), parent))
}

fn chunks(total: u64) -> impl Iterator<Item = Range<u64>> {
    (0..total.div_ceil(CHUNK)).map(move |chunk| chunk * CHUNK..((chunk + 1) * CHUNK).min(total))
}
