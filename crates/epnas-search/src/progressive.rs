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

use crate::config::{Continuation, SearchConfig};
use crate::history::{History, Record};
use crate::observer::{Event, Observer};
use crate::schedule::Schedule;
use crate::strategy::{Batch, Proposal, Strategy, StrategyError};

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
        }
    }

    /// The surrogate.
    pub fn surrogate(&self) -> &S {
        &self.surrogate
    }

    fn candidates(&self) -> Result<Candidates, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        let parents = self.parents()?;
        let refines = self.config.continuation == Continuation::Refine
            && iteration > 0
            && !parents.is_empty();
        if refines {
            return Ok(Candidates::refine(
                &self.space,
                self.distinct_without(parents, step),
                step,
            )?);
        }
        match step {
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

    fn parents(&self) -> Result<Vec<Arch>, StrategyError> {
        let parse = |text: &String| {
            text.parse::<Arch>().map_err(|error| StrategyError::State {
                reason: error.to_string(),
            })
        };
        self.state.parents.iter().map(parse).collect()
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

    fn draw(
        &self,
        candidates: &Candidates,
        temperature: f64,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Proposal>, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        let total = candidates.len();
        let k = usize::try_from(total)
            .unwrap_or(usize::MAX)
            .min(self.config.children_per_step);
        let mut rng =
            ChaCha8Rng::seed_from_u64(split(self.seed, &format!("draw/{iteration}/{step}")));
        let mut sampler = StreamingSampler::new(self.config.selection, k, temperature, &mut rng)?;
        for range in chunks(total) {
            let start = range.start;
            let end = range.end;
            let scores = self.surrogate.predict(candidates, range)?;
            sampler.extend(start, &scores)?;
            observer.event(Event::Scoring { done: end, total });
        }
        let draws = sampler.finish().into_iter();
        Ok(draws
            .map(|draw| Proposal {
                arch: candidates.get(draw.index),
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
        _: &History,
        observer: &mut dyn Observer,
    ) -> Result<Option<Batch>, StrategyError> {
        let State {
            iteration, step, ..
        } = self.state;
        if iteration >= self.config.iterations {
            return Ok(None);
        }
        let candidates = self.candidates()?;
        let levels = self.space.levels();
        let temperature = self
            .config
            .temperature
            .at((iteration * levels + step - 1) as u64, levels as f64);
        let mut children = if iteration == 0 && step == 1 {
            let all = candidates.iter();
            all.map(|arch| Proposal {
                arch,
                predicted: None,
                probability: None,
            })
            .collect()
        } else {
            self.draw(&candidates, temperature, observer)?
        };
        // The last child of a step leaves the shared weights at their best for itself: a random order spreads that.
        let mut rng =
            ChaCha8Rng::seed_from_u64(split(self.seed, &format!("order/{iteration}/{step}")));
        children.shuffle(&mut rng);
        Ok(Some(Batch {
            iteration,
            step,
            candidates: candidates.len(),
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
        let known: Vec<(Arch, f64)> = history
            .distinct()
            .into_iter()
            .filter_map(|record| Some((record.arch.clone(), record.estimate?)))
            .collect();
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

    fn total_children(&self) -> Option<u64> {
        Some(Schedule::new(&self.space, &self.config).children())
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

fn chunks(total: u64) -> impl Iterator<Item = Range<u64>> {
    (0..total.div_ceil(CHUNK)).map(move |chunk| chunk * CHUNK..((chunk + 1) * CHUNK).min(total))
}
