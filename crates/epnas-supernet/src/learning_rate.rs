//! The learning rate of every step of a training.

use std::f64::consts::PI;

use crate::config::{Schedule, TrainConfig};

/// Learning rates of a training of `epochs * steps_per_epoch` steps.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRate {
    peak: f64,
    schedule: Schedule,
    warmup: u64,
    epoch: u64,
    total: u64,
}

impl LearningRate {
    /// The schedule of a recipe.
    pub fn new(config: &TrainConfig, steps_per_epoch: usize) -> LearningRate {
        let epoch = steps_per_epoch.max(1) as u64;
        LearningRate {
            peak: config.learning_rate,
            schedule: config.schedule,
            warmup: config.warmup_epochs.min(config.epochs.saturating_sub(1)) as u64 * epoch,
            epoch,
            total: config.epochs as u64 * epoch,
        }
    }

    /// The rate of a step, counted from 0 over all epochs. The first step after the warm-up has the full rate.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let step = step - self.warmup;
        match self.schedule {
            Schedule::Constant => self.peak,
            Schedule::Cosine => self.cosine(step, self.total.saturating_sub(self.warmup)),
            Schedule::CosineRestarts => {
                let (mut start, mut length) = (0, self.epoch);
                while step >= start + length {
                    start += length;
                    length *= 2;
                }
                self.cosine(step - start, length)
            }
        }
    }

    fn cosine(&self, step: u64, steps: u64) -> f64 {
        let progress = (step as f64 / steps.max(1) as f64).min(1.0);
        0.5 * self.peak * (1.0 + (PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(config: TrainConfig, steps_per_epoch: usize) -> Vec<f64> {
        let rate = LearningRate::new(&config, steps_per_epoch);
        (0..(config.epochs * steps_per_epoch) as u64)
            .map(|step| rate.at(step))
            .collect()
    }

    #[test]
    fn cosine_starts_at_the_peak_and_falls_towards_zero() {
        // 4 steps: (1 + cos(k pi / 4)) / 2 = 1, 0.853553, 0.5, 0.146447.
        let config = TrainConfig {
            epochs: 2,
            learning_rate: 1.0,
            ..TrainConfig::fast()
        };
        let expected = [1.0, 0.853_553_4, 0.5, 0.146_446_6];
        for (rate, expected) in rates(config, 2).iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-6, "{rate} {expected}");
        }
    }

    #[test]
    fn restarts_last_one_two_and_four_epochs() {
        let config = TrainConfig {
            epochs: 7,
            learning_rate: 1.0,
            ..TrainConfig::mfas()
        };
        let rates = rates(config, 3);
        let peaks: Vec<usize> = (0..rates.len())
            .filter(|step| rates[*step] == 1.0)
            .collect();
        assert_eq!(peaks, [0, 3, 9]);
        assert!(rates[2] < 0.3 && rates[8] < 0.1);
    }

    #[test]
    fn warm_up_rises_to_the_peak() {
        let config = TrainConfig {
            epochs: 3,
            warmup_epochs: 1,
            learning_rate: 1.0,
            ..TrainConfig::fast()
        };
        let rates = rates(config, 4);
        for (step, expected) in [0.2, 0.4, 0.6, 0.8, 1.0].into_iter().enumerate() {
            assert!((rates[step] - expected).abs() < 1e-12, "{rates:?}");
        }
        assert!(rates[11] < 0.1);
    }

    #[test]
    fn short_trainings_warm_up_for_all_but_the_last_epoch() {
        let config = |epochs| TrainConfig {
            epochs,
            warmup_epochs: 5,
            learning_rate: 1.0,
            ..TrainConfig::fast()
        };
        assert_eq!(rates(config(2), 2)[..3], [1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert_eq!(rates(config(1), 2)[0], 1.0);
    }
}
