//! An evaluator and a surrogate without tensors, for tests: milliseconds for a whole search.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::ops::Range;

use epnas_arch::seed::split;
use epnas_arch::{
    Arch, Candidates, Cost, Encoding, EpochReport, EvaluateError, Evaluator, FitReport, Job,
    Measurement, Progress, Space, Surrogate, SurrogateError,
};

/// A temporary folder, in memory where the system has such a place: the driver synchronizes every file it writes, and a
/// busy disk would make these tests wait for minutes.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

/// What goes wrong with a child, asked with its position among all evaluations of this object.
pub enum Trouble {
    None,
    /// The child of this text form fails.
    Child(String),
    /// The child of this text form panics, after it has changed the weights.
    Panic(String),
    /// Every child fails.
    EveryChild,
    /// The evaluation with this number (from 0) ends everything, after it has changed the weights.
    FatalAt(usize),
    /// The child of this text form has an estimate that is not a number.
    Nan(String),
}

/// A smooth landscape over a space, with "shared weights" that every child changes and that its estimate depends on a
/// little: whoever resumes from other weights gets another history.
pub struct Landscape {
    pub space: Space,
    pub weights: BTreeMap<String, u64>,
    pub trouble: Trouble,
    pub evaluations: usize,
    /// Share of the estimate that comes from the weights.
    pub noise: f64,
}

impl Landscape {
    pub fn new(space: &Space) -> Self {
        Self {
            space: space.clone(),
            weights: BTreeMap::new(),
            trouble: Trouble::None,
            evaluations: 0,
            noise: 1e-3,
        }
    }

    /// The part of the estimate that depends on the architecture alone, from 0 to 1: every feature of every level adds or
    /// takes away its worth, and half of all architectures lie below 0.5.
    pub fn value(&self, arch: &Arch) -> f64 {
        let encoded = self.space.encode(arch, Encoding::OneHot);
        let mut total = 0.0;
        for (level, features) in encoded.iter().enumerate() {
            for (feature, &on) in features.iter().enumerate() {
                let worth = split(17, &format!("{level}/{feature}")) as f64 / u64::MAX as f64;
                total += f64::from(on) * (worth - 0.5);
            }
        }
        1.0 / (1.0 + (-total).exp())
    }
}

impl Evaluator for Landscape {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        let number = self.evaluations;
        self.evaluations += 1;
        let text = job.arch.to_string();
        (job.progress)(Progress {
            images: 50,
            total_images: 100,
            loss: 1.0,
        });
        let mut mixed = job.seed;
        for level in 1..=job.arch.len() {
            let name = format!("{level}/{}", self.space.element(job.arch, level));
            let weight = self.weights.entry(name).or_insert(level as u64);
            mixed = split(mixed ^ *weight, "step");
            *weight = mixed;
        }
        match &self.trouble {
            Trouble::Child(bad) if *bad == text => {
                return Err(EvaluateError::child("out of memory"));
            }
            Trouble::Panic(bad) if *bad == text => panic!("index 7 is out of range"),
            Trouble::EveryChild => return Err(EvaluateError::child("never works")),
            Trouble::FatalAt(at) if *at == number => {
                return Err(EvaluateError::fatal("the machine is on fire"));
            }
            _ => {}
        }
        let noise = self.noise * mixed as f64 / u64::MAX as f64;
        let mut estimate = self.value(job.arch) * (1.0 - self.noise) + noise;
        if matches!(&self.trouble, Trouble::Nan(bad) if *bad == text) {
            estimate = f64::NAN;
        }
        let Cost { params, macs } = self.cost(job.arch).unwrap_or(Cost { params: 0, macs: 0 });
        let epochs = vec![EpochReport {
            epoch: 1,
            loss: 1.0 - estimate,
            accuracy: estimate,
            seconds: 0.001,
        }];
        Ok(Measurement {
            estimate,
            params,
            macs,
            seconds: 0.001,
            images: 100,
            epochs,
        })
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        Some(Cost {
            params: 10 * arch.len() as u64,
            macs: 1000 * arch.len() as u64,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        Ok(self
            .weights
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect::<String>()
            .into_bytes())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), EvaluateError> {
        let text = std::str::from_utf8(bytes).map_err(EvaluateError::fatal)?;
        self.weights.clear();
        for line in text.lines() {
            let (name, value) = line
                .split_once('=')
                .ok_or_else(|| EvaluateError::fatal("not weights"))?;
            self.weights.insert(
                name.to_owned(),
                value.parse().map_err(EvaluateError::fatal)?,
            );
        }
        Ok(())
    }

    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError> {
        self.weights = BTreeMap::from([("seed".to_owned(), seed)]);
        Ok(())
    }
}

/// A linear model of the one-hot features with a sigmoid: learns a landscape in a few dozen records.
#[derive(Debug, Clone)]
pub struct Linear {
    space: Space,
    weights: Vec<f32>,
    /// Every fit changes the next through this.
    fits: u64,
}

impl Linear {
    pub fn new(space: &Space) -> Self {
        let length = space.levels() * space.features(Encoding::OneHot) + 1;
        Self {
            space: space.clone(),
            weights: vec![0.0; length],
            fits: 0,
        }
    }

    fn raw(&self, arch: &Arch) -> f32 {
        let features = self.space.features(Encoding::OneHot);
        let encoded = self.space.encode(arch, Encoding::OneHot);
        let dot = encoded.iter().enumerate().map(|(level, row)| {
            let weights = &self.weights[level * features..(level + 1) * features];
            row.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>()
        });
        dot.sum::<f32>() + self.weights.last().copied().unwrap_or(0.0)
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Surrogate for Linear {
    fn predict(
        &self,
        candidates: &Candidates,
        range: Range<u64>,
    ) -> Result<Vec<f32>, SurrogateError> {
        let features = self.space.features(Encoding::OneHot);
        let level = candidates.level();
        let weights = &self.weights[(level - 1) * features..level * features];
        // What the level adds does not depend on the parent.
        let mut row = vec![0.0; features];
        let mut element = |element: u64| {
            self.space
                .encode_element(level, element, Encoding::OneHot, &mut row);
            row.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>()
        };
        let parents: Vec<f32> = candidates
            .parents()
            .iter()
            .map(|arch| {
                let own = if candidates.is_refine() {
                    element(self.space.element(arch, level))
                } else {
                    0.0
                };
                self.raw(arch) - own
            })
            .collect();
        let bias = self.weights.last().copied().unwrap_or(0.0);
        Ok(range
            .map(|index| {
                let parent = candidates
                    .parent(index)
                    .map_or(bias, |parent| parents[parent]);
                sigmoid(parent + element(candidates.element(index)))
            })
            .collect())
    }

    fn fit(&mut self, records: &[(Arch, f64)], seed: u64) -> Result<FitReport, SurrogateError> {
        let features = self.space.features(Encoding::OneHot);
        let mut loss = 0.0;
        for _ in 0..60 {
            loss = 0.0;
            for (arch, target) in records {
                let error = sigmoid(self.raw(arch)) - *target as f32;
                loss += f64::from(error.abs());
                for (level, row) in self.space.encode(arch, Encoding::OneHot).iter().enumerate() {
                    for (feature, x) in row.iter().enumerate() {
                        self.weights[level * features + feature] -= 0.3 * error * x;
                    }
                }
                if let Some(bias) = self.weights.last_mut() {
                    *bias -= 0.3 * error;
                }
            }
        }
        self.fits += 1;
        // A trace of the seed, so that a fit with another one is noticed.
        if let Some(bias) = self.weights.last_mut() {
            *bias += (seed % 1000) as f32 * 1e-7;
        }
        Ok(FitReport {
            loss: loss / records.len() as f64,
            epochs: 60,
            records: records.len(),
            saturation: 0.0,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError> {
        let mut bytes = self.fits.to_le_bytes().to_vec();
        bytes.extend(self.weights.iter().flat_map(|w| w.to_le_bytes()));
        Ok(bytes)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SurrogateError> {
        let wrong = || SurrogateError::Snapshot {
            reason: format!("{} bytes", bytes.len()),
        };
        let (fits, weights) = bytes.split_at_checked(8).ok_or_else(wrong)?;
        self.fits = u64::from_le_bytes(fits.try_into().map_err(|_| wrong())?);
        let weights: Vec<f32> = weights
            .as_chunks::<4>()
            .0
            .iter()
            .map(|chunk| f32::from_le_bytes(*chunk))
            .collect();
        if weights.len() != self.weights.len() {
            return Err(wrong());
        }
        self.weights = weights;
        Ok(())
    }
}

/// A surrogate that knows nothing and costs nothing: for counting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Constant;

impl Surrogate for Constant {
    fn predict(&self, _: &Candidates, range: Range<u64>) -> Result<Vec<f32>, SurrogateError> {
        Ok(range
            .map(|index| 0.5 + 0.1 * (index % 7) as f32 / 7.0)
            .collect())
    }

    fn fit(&mut self, records: &[(Arch, f64)], _: u64) -> Result<FitReport, SurrogateError> {
        Ok(FitReport {
            loss: 0.0,
            epochs: 0,
            records: records.len(),
            saturation: 0.0,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), SurrogateError> {
        Ok(())
    }
}
