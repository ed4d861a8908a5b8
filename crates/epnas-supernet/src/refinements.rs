//! What training from scratch may do beyond the recipe of a child: averaged weights, mixup, drop-path, an auxiliary head.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use epnas_arch::{Network, seed::split};
use epnas_data::counter::draw;

use crate::config::{BnEval, TrainConfig, TrainConfigError};
use crate::error::SupernetError;

/// Additions to a recipe, each of them off at 0, the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Refinements {
    /// Decay of an exponential moving average of the weights, which is what is validated and kept: from 0 (off) to below
    /// 1. Step t averages with min(ema, (1 + t) / (10 + t)), so that the first weights are soon forgotten.
    pub ema: f64,
    /// Mixup (Zhang et al., 2018): images and targets of a batch are mixed in pairs, with shares drawn from a beta
    /// distribution with this parameter twice, one share a batch. 0 is off; 0.2 is usual.
    pub mixup: f64,
    /// Drop-path with a schedule (Zoph et al., 2018): the probability that a branch of a sum, unless it is an identity, is
    /// left out for an image. It grows linearly from 0 at the first step to this at the last; what stays is scaled up.
    /// From 0 (off) to below 1.
    pub drop_path: f64,
    /// Weight of the loss of an auxiliary head after two thirds of the layers or cells (Szegedy et al., 2015; Zoph et
    /// al., 2018: 0.4). It trains only: the model, its parameters and its operations do not have it. 0 is off.
    pub auxiliary_head: f64,
}

impl Refinements {
    /// Checks every range, and that they fit the recipe.
    ///
    /// # Errors
    /// [`TrainConfigError`] names the first key out of range.
    pub fn check(&self, recipe: &TrainConfig) -> Result<(), TrainConfigError> {
        let fail = |key, value, expected| {
            Err(TrainConfigError {
                key,
                value,
                expected,
            })
        };
        for (key, value) in [("ema", self.ema), ("drop_path", self.drop_path)] {
            if !(0.0..1.0).contains(&value) {
                return fail(key, value, "from 0 to below 1");
            }
        }
        for (key, value) in [
            ("mixup", self.mixup),
            ("auxiliary_head", self.auxiliary_head),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return fail(key, value, "a finite number of at least 0");
            }
        }
        if self.ema > 0.0 && recipe.bn_eval == BnEval::Recalibrated {
            let expected =
                "0 with `bn_eval = \"recalibrated\"`: averaged weights have averaged statistics";
            return fail("ema", self.ema, expected);
        }
        Ok(())
    }

    /// Checks that a network has what they need: branches to drop, a place for an auxiliary head.
    ///
    /// # Errors
    /// [`SupernetError::NoBranches`] or [`SupernetError::Network`].
    pub fn check_network(&self, network: &Network) -> Result<(), SupernetError> {
        if self.drop_path > 0.0 && network.branches().is_empty() {
            return Err(SupernetError::NoBranches);
        }
        if self.auxiliary_head > 0.0 {
            network.with_auxiliary_head()?;
        }
        Ok(())
    }

    /// The decay of a step's average, counted from 0; `None` without one.
    pub(crate) fn decay(&self, step: u64) -> Option<f64> {
        let step = step as f64;
        (self.ema > 0.0).then(|| self.ema.min((1.0 + step) / (10.0 + step)))
    }

    /// Whether steps differ in more than their images.
    pub(crate) fn has_chances(&self) -> bool {
        self.mixup > 0.0 || self.drop_path > 0.0
    }
}

/// What chance decides in a step: the share of each image in its mixture, and a factor of each branch for each image.
#[derive(Debug, Clone)]
pub(crate) struct Chances {
    refinements: Refinements,
    seed: u64,
    branches: usize,
    batch: usize,
    /// Steps of the whole training.
    steps: u64,
}

impl Chances {
    /// Those of a training of so many steps.
    pub(crate) fn new(
        refinements: Refinements,
        seed: u64,
        branches: usize,
        batch: usize,
        steps: u64,
    ) -> Chances {
        Chances {
            refinements,
            seed,
            branches,
            batch,
            steps,
        }
    }

    /// How many numbers a step has.
    pub(crate) fn width(&self) -> usize {
        1 + self.branches * self.batch
    }

    /// Writes the numbers of a step, counted from 0 over all epochs: the share, then `[branches, batch]` factors.
    pub(crate) fn fill(&self, step: u64, row: &mut [f32]) {
        let Some((share, factors)) = row.split_first_mut() else {
            return;
        };
        *share = self.share(step);
        let dropped = self.drop_probability(step);
        let seed = split(split(self.seed, "drop_path"), &step.to_string());
        for (at, factor) in factors.iter_mut().enumerate() {
            // 53 bits make a number from 0 to below 1.
            let chance = (draw(seed, at as u64, 0) >> 11) as f64 / (1u64 << 53) as f64;
            *factor = match chance < dropped {
                true => 0.0,
                false => (1.0 / (1.0 - dropped)) as f32,
            };
        }
    }

    /// How much of an image is itself, at least a half: which of a pair is the first does not matter.
    fn share(&self, step: u64) -> f32 {
        let alpha = self.refinements.mixup;
        let Ok(beta) = Beta::new(alpha, alpha) else {
            return 1.0;
        };
        let seed = split(split(self.seed, "mixup"), &step.to_string());
        let share = beta.sample(&mut ChaCha8Rng::seed_from_u64(seed));
        share.max(1.0 - share) as f32
    }

    fn drop_probability(&self, step: u64) -> f64 {
        let last = self.steps.saturating_sub(1).max(1);
        self.refinements.drop_path * (step as f64 / last as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chances(refinements: Refinements) -> Chances {
        Chances::new(refinements, 7, 30, 50, 101)
    }

    fn row(chances: &Chances, step: u64) -> Vec<f32> {
        let mut row = vec![f32::NAN; chances.width()];
        chances.fill(step, &mut row);
        row
    }

    #[test]
    fn branches_are_dropped_ever_more_often_and_the_rest_is_scaled_up() {
        let chances = chances(Refinements {
            drop_path: 0.4,
            ..Refinements::default()
        });
        for (step, dropped) in [(0, 0.0), (50, 0.2), (100, 0.4)] {
            let factors = &row(&chances, step)[1..];
            let zeros = factors.iter().filter(|factor| **factor == 0.0).count();
            // 1,500 draws: a standard deviation is at most 0.013.
            let share = zeros as f64 / factors.len() as f64;
            assert!((share - dropped).abs() < 0.05, "{step}: {share}");
            let kept = (1.0 / (1.0 - dropped)) as f32;
            assert!(
                factors
                    .iter()
                    .all(|factor| *factor == 0.0 || (*factor - kept).abs() < 1e-6)
            );
        }
        assert_ne!(row(&chances, 99), row(&chances, 100));
        assert_eq!(row(&chances, 100), row(&chances, 100));
        assert_eq!(row(&chances, 100)[0], 1.0, "no mixup");
    }

    #[test]
    fn shares_are_the_larger_of_a_beta_draw() {
        let chances = chances(Refinements {
            mixup: 1.0,
            ..Refinements::default()
        });
        let shares: Vec<f64> = (0..2000)
            .map(|step| f64::from(chances.share(step)))
            .collect();
        assert!(shares.iter().all(|share| (0.5..=1.0).contains(share)));
        // Beta(1, 1) is uniform: the larger part is uniform from a half to 1, with mean 3/4 and deviation 0.144.
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((mean - 0.75).abs() < 0.015, "{mean}");
        assert!(row(&chances, 3)[1..].iter().all(|factor| *factor == 1.0));
    }

    #[test]
    fn averages_begin_short() {
        let refinements = Refinements {
            ema: 0.99,
            ..Refinements::default()
        };
        assert_eq!(refinements.decay(0), Some(0.1));
        assert_eq!(refinements.decay(1_000_000), Some(0.99));
        assert_eq!(Refinements::default().decay(5), None);
    }
}
