//! What a run will take, measured on this machine before it begins.

use std::time::Instant;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Candidates, Surrogate};
use serde::Serialize;

use super::Session;
use crate::budget::Baseline;
use crate::error::SearchError;
use crate::schedule::{PlannedStep, Schedule};
use crate::strategy::random::random_architecture;

/// Architectures measured for each length.
const SAMPLES: u64 = 2;
/// Architectures that the fit of the surrogate is timed with.
const FITTED: u64 = 64;
/// Architectures that the share within the limits is taken from.
const SAMPLED: u64 = 1000;
/// Draws for one that is within the limits.
const ATTEMPTS: u64 = 200;
/// More than there are samples, so that no draw serves two.
const SPREAD: u64 = 100_000;

/// Wall time of the parts of a run, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ForecastSeconds {
    /// Training and validating the children of the search.
    pub children: f64,
    /// Scoring candidates with the surrogate.
    pub scoring: f64,
    /// Fitting the surrogate.
    pub fitting: f64,
    /// The baseline at equal budget.
    pub baseline: f64,
    /// Retraining the best few, the baseline's included.
    pub selection: f64,
    /// All of them.
    pub total: f64,
}

/// Memory of a run, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ForecastBytes {
    /// The largest network measured: buffers, optimizer and weights.
    pub network: u64,
    /// The images, one byte per value.
    pub images: u64,
    /// Both, with the scores and parents of a step.
    pub total: u64,
}

/// What a run will do and take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    /// Full-length architectures in the space, in decimal; `None` when there are more than 128 bits count.
    pub cardinality: Option<String>,
    /// Candidates and children of every step.
    pub steps: Vec<PlannedStep>,
    /// Children in all.
    pub children: u64,
    /// Candidates scored in all.
    pub candidates: u64,
    /// With limits, the share of full-length architectures drawn at random that are within those that need no measurement,
    /// 0 to 1; `None` without limits. A search can still find some where this is 0.
    pub within_limits: Option<f64>,
    /// Image passes of one child.
    pub images_per_child: u64,
    /// Training speed of full-length children, images per second.
    pub images_per_second: f64,
    /// Wall time.
    pub seconds: ForecastSeconds,
    /// Wall time in hours.
    pub hours: f64,
    /// Memory.
    pub bytes: ForecastBytes,
}

/// Seconds per child at some lengths, ascending.
type Measured = Vec<(usize, f64)>;

impl Session {
    /// Counts what the search will do, and measures a few training steps, predictions and a fit to forecast how long it
    /// takes and how much memory. Writes nothing.
    ///
    /// # Errors
    /// [`SearchError`] when the images cannot be read or a network cannot be built.
    pub fn dry_run(&self) -> Result<DryRun, SearchError> {
        let config = &self.config;
        let schedule = Schedule::new(&config.space, &config.search);
        let training = self.training()?;
        let mut bytes = ForecastBytes {
            images: (training.images.pixels.len() + 4 * training.images.labels.len()) as u64,
            ..ForecastBytes::default()
        };
        let levels = config.space.levels();
        let mut lengths = vec![1, levels.div_ceil(2), levels];
        lengths.dedup();
        let (measured, speed) = self.measure(&lengths, &mut bytes)?;
        let mut seconds = ForecastSeconds {
            children: schedule
                .steps
                .iter()
                .map(|step| step.children as f64 * at(&measured, step.length))
                .sum(),
            ..ForecastSeconds::default()
        };
        if config.search.strategy.is_progressive() {
            let surrogate = self.measure_surrogate(&schedule)?;
            seconds.scoring = surrogate.0;
            seconds.fitting = surrogate.1;
        }
        let lists = match self.baseline() {
            Baseline::None => 1.0,
            Baseline::Random => {
                seconds.baseline = seconds.children;
                2.0
            }
        };
        if config.select.top > 0 {
            seconds.selection =
                config.select.top as f64 * lists * self.measure_selection(&mut bytes)?;
        }
        seconds.total = seconds.children
            + seconds.scoring
            + seconds.fitting
            + seconds.baseline
            + seconds.selection;
        bytes.total = bytes.network + bytes.images + (64 << 20);
        Ok(DryRun {
            cardinality: config
                .space
                .cardinality()
                .ok()
                .map(|count| count.to_string()),
            children: schedule.children(),
            candidates: if config.search.strategy.is_progressive() {
                schedule.scored()
            } else {
                0
            },
            steps: schedule.steps,
            within_limits: self.within_limits()?,
            images_per_child: (training.train.len() * config.training.recipe.epochs) as u64,
            images_per_second: speed,
            hours: seconds.total / 3600.0,
            seconds,
            bytes,
        })
    }

    /// Seconds of a final training, from a few steps of an architecture drawn at random; averaged weights, mixup and the like
    /// are not counted.
    ///
    /// # Errors
    /// As [`Session::dry_run`].
    pub fn final_training_seconds(&self) -> Result<f64, SearchError> {
        let network = self.config.final_network();
        let supernet = self.supernet(&network, &self.config.train.recipe, self.config.seed)?;
        let Some(arch) = self.sample(0, self.config.space.levels()) else {
            return Ok(0.0);
        };
        let images = self.images()?;
        let share = images.unlimited.train.len() as f64 / images.training.train.len() as f64;
        Ok(share * supernet.forecast(&arch)?.seconds_per_child)
    }

    /// What networks are trained on: `cpu`, or the name of a GPU.
    #[must_use]
    pub fn device_name(&self) -> &str {
        self.compute.name()
    }

    /// The share of random architectures within the limits that can be counted.
    fn within_limits(&self) -> Result<Option<f64>, SearchError> {
        if self.config.search.limits.parse()?.is_unlimited() {
            return Ok(None);
        }
        let counted = self.counted_admission()?;
        let seed = split(self.config.seed, "forecast/limits");
        let (mut drawn, mut within) = (0, 0);
        for arch in (0..SAMPLED).map_while(|i| random_architecture(&self.config.space, seed, i)) {
            drawn += 1;
            within += usize::from(counted.admits(&arch)?);
        }
        Ok(Some(within as f64 / f64::from(drawn.max(1))))
    }

    /// Architecture `index` among those that are measured, cut to `length`: one within the limits that can be counted, if
    /// there are any among the first draws.
    fn sample(&self, index: u64, length: usize) -> Option<Arch> {
        let (space, seed) = (&self.config.space, split(self.config.seed, "forecast"));
        let draw = |attempt: u64| random_architecture(space, seed, index + attempt * SPREAD);
        let counted = self.counted_admission().ok()?;
        let admitted = (0..ATTEMPTS)
            .map_while(draw)
            .find(|arch| counted.admits(arch).unwrap_or(false));
        Some(admitted.or_else(|| draw(0))?.prefix(length))
    }

    fn measure(
        &self,
        lengths: &[usize],
        bytes: &mut ForecastBytes,
    ) -> Result<(Measured, f64), SearchError> {
        let supernet = self.supernet(
            &self.config.network,
            &self.config.training.recipe,
            self.config.seed,
        )?;
        let mut measured = Measured::new();
        let mut speed = 0.0;
        for &length in lengths {
            let mut seconds = 0.0;
            speed = 0.0;
            for index in 0..SAMPLES {
                let Some(arch) = self.sample(index, length) else {
                    continue;
                };
                let forecast = supernet.forecast(&arch)?;
                seconds += forecast.seconds_per_child / SAMPLES as f64;
                speed += forecast.training_images_per_second / SAMPLES as f64;
                bytes.network = bytes.network.max(forecast.bytes);
            }
            measured.push((length, seconds));
        }
        Ok((measured, speed))
    }

    fn measure_selection(&self, bytes: &mut ForecastBytes) -> Result<f64, SearchError> {
        let (network, recipe) = self.config.selection();
        let supernet = self.supernet(&network, &recipe, self.config.seed)?;
        let Some(arch) = self.sample(0, self.config.space.levels()) else {
            return Ok(0.0);
        };
        let forecast = supernet.forecast(&arch)?;
        bytes.network = bytes.network.max(forecast.bytes);
        Ok(forecast.seconds_per_child)
    }

    /// Seconds of all scoring and of all fits.
    fn measure_surrogate(&self, schedule: &Schedule) -> Result<(f64, f64), SearchError> {
        let space = &self.config.space;
        let levels = space.levels();
        let mut surrogate = self.surrogate()?;
        let parents: Vec<Arch> = (0..self.config.search.children_per_step.min(25) as u64)
            .filter_map(|index| self.sample(index, levels.saturating_sub(1)))
            .collect();
        let candidates = if levels > 1 {
            Candidates::extend(space, parents)?
        } else {
            Candidates::first(space)
        };
        let scored = candidates.len().min(16_384);
        let clock = Instant::now();
        surrogate.predict(&candidates, 0..scored)?;
        let per_candidate = clock.elapsed().as_secs_f64() / scored.max(1) as f64;

        let records: Vec<(Arch, f64)> = (0..FITTED)
            .filter_map(|index| Some((self.sample(index, 1 + index as usize % levels)?, 0.5)))
            .collect();
        let steps: usize = records.iter().map(|(arch, _)| arch.len()).sum();
        let clock = Instant::now();
        surrogate.fit(&records, 0)?;
        let per_level = clock.elapsed().as_secs_f64() / steps.max(1) as f64;
        // Every fit learns from all children so far, each as many time steps as it has levels.
        let (mut known, mut fitting) = (0.0, 0.0);
        for step in &schedule.steps {
            known += (step.children * step.length as u64) as f64;
            fitting += known * per_level;
        }
        Ok((per_candidate * schedule.scored() as f64, fitting))
    }
}

/// Seconds of a child of `length` levels, interpolated.
fn at(measured: &[(usize, f64)], length: usize) -> f64 {
    let after = measured
        .iter()
        .position(|(l, _)| *l >= length)
        .unwrap_or(measured.len().saturating_sub(1));
    let Some(&(high, high_seconds)) = measured.get(after) else {
        return 0.0;
    };
    match after.checked_sub(1).and_then(|before| measured.get(before)) {
        Some(&(low, low_seconds)) if high > low => {
            let share = (length as f64 - low as f64) / (high as f64 - low as f64);
            low_seconds + share * (high_seconds - low_seconds)
        }
        _ => high_seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn lengths_between_measurements_are_interpolated() {
        let measured = [(1, 1.0), (3, 2.0), (6, 8.0)];
        let values: Vec<f64> = (1..=6).map(|length| at(&measured, length)).collect();
        // Straight lines: 1 -> 2 over 2 levels, then 2 -> 8 over 3.
        assert_eq!(values, [1.0, 1.5, 2.0, 4.0, 6.0, 8.0]);
    }
}
