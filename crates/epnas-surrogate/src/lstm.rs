//! The LSTM predictor: construction and the [`Surrogate`] trait.

use std::ops::Range;

use epnas_arch::{Arch, Candidates, FitReport, Space, Surrogate, SurrogateError, seed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::adam::Adam;
use crate::config::LstmConfig;
use crate::error::LstmError;
use crate::layout::{Part, Sizes, Weights, gate_bias};
use crate::train::Example;
use crate::{predict, snapshot, train};

/// Predicts the validation accuracy of an architecture from its sequence of layers or blocks
/// (Perez-Rua et al., 2018, section 4).
///
/// Per time step `x` (a layer or block): `e = sigmoid(W_e x + b_e)`, `h = LSTM(e)`; in the end
/// `sigmoid(w_o h + b_o)`.
///
/// # Guarantees
/// - Results are the same bits for every number of threads.
/// - A score does not depend on the range or the candidates it was asked for with.
/// - [`restore`](Surrogate::restore) brings back everything: predictions and further fits are bit
///   for bit those of the snapshot's owner.
/// - A fit that fails leaves the state as it was.
#[derive(Debug, Clone)]
pub struct Lstm {
    config: LstmConfig,
    space: Space,
    sizes: Sizes,
    values: Vec<f32>,
    adam: Adam,
}

impl Lstm {
    /// An untrained predictor for the architectures of a space.
    ///
    /// The linear layers start uniform in `-init..init` (the paper's 1 by default), the LSTM in
    /// `-1/sqrt(hidden)..1/sqrt(hidden)` (PyTorch's default), the output bias at `output_bias`. Every
    /// matrix has a random stream of its own, derived from `seed`.
    ///
    /// # Errors
    /// [`LstmError`] for settings or a space out of range.
    pub fn new(config: &LstmConfig, space: &Space, seed: u64) -> Result<Self, LstmError> {
        config.validate()?;
        space.validate()?;
        let sizes = Sizes {
            features: space.features(config.encoding),
            embedding: config.embedding,
            hidden: config.hidden,
        };
        let mut values = vec![0.0; sizes.total()];
        let lstm = 1.0 / (sizes.hidden as f64).sqrt();
        for part in Part::ALL {
            let range = match part {
                Part::EmbeddingWeight | Part::EmbeddingBias | Part::OutputWeight => config.init,
                Part::OutputBias => 0.0,
                _ => lstm,
            };
            let mut rng = ChaCha8Rng::seed_from_u64(seed::split(seed, part.name()));
            for value in &mut values[sizes.range(part)] {
                *value = (range * (2.0 * rng.random::<f64>() - 1.0)) as f32;
            }
        }
        values[sizes.range(Part::OutputBias)].fill(config.output_bias as f32);
        Ok(Lstm {
            config: config.clone(),
            space: space.clone(),
            sizes,
            adam: Adam::new(values.len()),
            values,
        })
    }

    /// Number of trained weights: 82,701 for the macro space of 12 layers with default settings.
    #[must_use]
    pub fn params(&self) -> usize {
        self.values.len()
    }

    /// Predicted accuracy of one architecture, in (0, 1): what [`Surrogate::predict`] gives for it.
    ///
    /// # Errors
    /// [`SurrogateError::Space`] when the architecture is of another space.
    pub fn predict_arch(&self, arch: &Arch) -> Result<f32, SurrogateError> {
        let example = self.example(arch, 0.0)?;
        Ok(train::predictions(self.sizes, &self.values, &[example])[0])
    }

    fn example(&self, arch: &Arch, target: f32) -> Result<Example, SurrogateError> {
        self.space.check(arch)?;
        Ok(Example {
            length: arch.len(),
            features: self.space.encode(arch, self.config.encoding).concat(),
            target,
        })
    }
}

impl Surrogate for Lstm {
    fn predict(
        &self,
        candidates: &Candidates,
        range: Range<u64>,
    ) -> Result<Vec<f32>, SurrogateError> {
        if candidates.space() != &self.space {
            return Err(LstmError::OtherSpace {
                found: format!("{:?}", candidates.space()),
                expected: format!("{:?}", self.space),
            }
            .into());
        }
        let len = candidates.len();
        if range.start > range.end || range.end > len {
            return Err(SurrogateError::Range { range, len });
        }
        let bias = gate_bias(self.sizes, &self.values);
        let weights = Weights::new(self.sizes, &self.values, &bias);
        let encoding = self.config.encoding;
        Ok(predict::predict(
            self.sizes, &weights, encoding, candidates, range,
        ))
    }

    fn fit(&mut self, records: &[(Arch, f64)], seed: u64) -> Result<FitReport, SurrogateError> {
        let mut examples = Vec::with_capacity(records.len());
        for (arch, target) in records {
            if !target.is_finite() {
                let (arch, found) = (arch.to_string(), *target);
                return Err(SurrogateError::Target { arch, found });
            }
            examples.push(self.example(arch, *target as f32)?);
        }
        if examples.is_empty() {
            return Ok(FitReport {
                loss: 0.0,
                epochs: 0,
                records: 0,
                saturation: 0.0,
            });
        }
        let (mut values, mut adam) = (self.values.clone(), self.adam.clone());
        let config = &self.config;
        let loss = train::train(config, self.sizes, &mut values, &mut adam, &examples, seed);
        if !loss.is_finite() || values.iter().any(|value| !value.is_finite()) {
            let learning_rate = config.learning_rate;
            return Err(LstmError::Diverged {
                loss,
                learning_rate,
            }
            .into());
        }
        let predicted = train::predictions(self.sizes, &values, &examples);
        let saturated = predicted
            .iter()
            .filter(|p| !(0.01..=0.99).contains(*p))
            .count();
        (self.values, self.adam) = (values, adam);
        let report = FitReport {
            loss,
            epochs: self.config.epochs,
            records: records.len(),
            saturation: saturated as f64 / records.len() as f64,
        };
        tracing::debug!(
            loss,
            records = report.records,
            saturation = report.saturation,
            updates = self.adam.step,
            "surrogate fitted"
        );
        Ok(report)
    }

    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError> {
        let encoding = self.config.encoding;
        snapshot::write(self.sizes, encoding, &self.values, &self.adam)
            .map_err(SurrogateError::backend)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SurrogateError> {
        let encoding = self.config.encoding;
        let state = snapshot::read(self.sizes, encoding, bytes);
        (self.values, self.adam) = state.map_err(|reason| SurrogateError::Snapshot { reason })?;
        Ok(())
    }
}
