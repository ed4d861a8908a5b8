//! Where the time of a training step goes, and how far that is from what the machine can do.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use epnas_arch::{Network, Shape};
use epnas_data::{Images, Normalization, fill_batch};
use epnas_ops::{copy_rate, peak_flops};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::{
    compute::DeviceKind,
    config::{PrecisionKind, TrainConfig},
    error::SupernetError,
    optimizer::Optimizer,
    plan::{Arena, Mode, Plan, PlanDescription, PlanOptions, StepTiming},
    weights::WeightStore,
};

/// What the machine can do at most, measured on the threads of the current pool.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MachineLimits {
    /// Single-precision operations a second, from register to register.
    pub flops: f64,
    /// Bytes a second that copying moves beyond the caches, those read and those written.
    pub bytes_per_second: f64,
}

impl MachineLimits {
    /// Measures both, each for `duration`.
    pub fn measure(duration: Duration) -> Self {
        MachineLimits {
            flops: peak_flops(duration),
            bytes_per_second: copy_rate(duration),
        }
    }

    /// The least time, in seconds, for so many multiply-accumulates and bytes: whichever of the two takes longer (the
    /// roofline of Williams, Waterman and Patterson, 2009).
    pub fn seconds(&self, macs: u64, bytes: u64) -> f64 {
        f64::max(
            2.0 * macs as f64 / self.flops,
            bytes as f64 / self.bytes_per_second,
        )
    }
}

/// A measured training step of one network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepProfile {
    /// Memory and work of the plan.
    #[serde(flatten)]
    pub plan: PlanDescription,
    /// Mean time of every step of the plan in seconds, in the order of `plan.steps`.
    pub seconds: Vec<f64>,
    /// Mean time of drawing, augmenting and normalizing a batch, in seconds.
    pub batch_seconds: f64,
    /// Mean time of the update of all weights, in seconds.
    pub update_seconds: f64,
    /// Mean time of a whole training step, in seconds; measured apart, without a look at the clock between operators.
    pub step_seconds: f64,
    /// What the machine can do.
    pub limits: MachineLimits,
    /// What dense convolutions multiplied in.
    pub precision: PrecisionKind,
}

impl StepProfile {
    /// Compiles a network and trains it on noise for about `duration`, with weights of its own.
    ///
    /// # Errors
    /// When the network cannot be compiled or an operator fails.
    pub fn measure(
        network: &Network,
        batch: usize,
        recipe: &TrainConfig,
        duration: Duration,
    ) -> Result<Self, SupernetError> {
        let recipe = recipe.clone().on(DeviceKind::Cpu);
        let mut bench = Bench::new(network, batch, &recipe)?;
        // The first step touches fresh memory.
        bench.step()?;
        let plain = bench.steps(duration / 2)?;
        bench.plan.start_profile();
        let (batch_seconds, update_seconds) = bench.around(duration / 2)?;
        Ok(StepProfile {
            seconds: bench.plan.profile().iter().map(StepTiming::mean).collect(),
            batch_seconds,
            update_seconds,
            step_seconds: plain,
            limits: MachineLimits::measure(duration / 10),
            precision: recipe.precision,
            plan: bench.plan.describe().clone(),
        })
    }

    /// Images trained a second.
    pub fn images_per_second(&self) -> f64 {
        self.plan.batch as f64 / self.step_seconds
    }

    /// The multiply-accumulates of a step as a share of what the machine could do in its time, 0 to 1.
    pub fn limit_share(&self) -> f64 {
        2.0 * self.plan.macs() as f64 / (self.step_seconds * self.limits.flops)
    }

    /// Steps of the same kind together, the longest first: what they are, and mean seconds, multiply-accumulates and
    /// bytes.
    fn by_operator(&self) -> Vec<(String, f64, u64, u64)> {
        let mut kinds: BTreeMap<String, (f64, u64, u64)> = BTreeMap::new();
        for (step, seconds) in self.plan.steps.iter().zip(&self.seconds) {
            let kind = format!("{} {}", step.phase, step.operator);
            let sum = kinds.entry(kind).or_default();
            *sum = (sum.0 + seconds, sum.1 + step.macs, sum.2 + step.bytes);
        }
        let mut kinds: Vec<_> = kinds
            .into_iter()
            .map(|(kind, (seconds, macs, bytes))| (kind, seconds, macs, bytes))
            .collect();
        kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
        kinds
    }

    /// Megabytes, millions of multiply-accumulates, milliseconds, their rates, and the share of the limit.
    fn figures(&self, seconds: f64, macs: u64, bytes: u64) -> [String; 6] {
        let of_macs = |figure: f64| match macs {
            0 => String::new(),
            _ => format!("{figure:.1}"),
        };
        [
            format!("{:.2}", bytes as f64 / 1e6),
            of_macs(macs as f64 / 1e6),
            format!("{:.3}", 1e3 * seconds),
            of_macs(2e-9 * macs as f64 / seconds),
            format!("{:.1}", 1e-9 * bytes as f64 / seconds),
            format!("{:.0}%", 1e2 * self.limits.seconds(macs, bytes) / seconds),
        ]
    }
}

/// The columns of [`StepProfile::figures`].
const FIGURES: [&str; 6] = ["MB", "MMAC", "ms", "GFLOP/s", "GB/s", "limit"];

/// Writes rows in columns as wide as they need: the first `texts` to the left, the others, figures, to the right.
fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    texts: usize,
    rows: &[[String; N]],
) -> fmt::Result {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = rows.iter().map(|row| row[column].len());
        widths.max().unwrap_or(0)
    });
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            line.push_str(&match column < texts {
                true => format!("{cell:<width$}  "),
                false => format!("{cell:>width$}  "),
            });
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The cells of a row.
fn row<const A: usize, const B: usize, const N: usize>(
    texts: [String; A],
    figures: [String; B],
) -> [String; N] {
    let mut cells = texts.into_iter().chain(figures);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

impl fmt::Display for StepProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["phase", "node", "operator", "output", "buffer"];
        let mut rows: Vec<[String; 11]> =
            vec![row(head.map(String::from), FIGURES.map(String::from))];
        for (step, &seconds) in self.plan.steps.iter().zip(&self.seconds) {
            let shape: Vec<String> = step.shape.iter().map(usize::to_string).collect();
            let buffer = step
                .buffer
                .map_or_else(|| "-".to_owned(), |buffer| buffer.to_string());
            rows.push(row(
                [
                    step.phase.to_string(),
                    step.label.clone(),
                    step.operator.clone(),
                    shape.join("x"),
                    buffer,
                ],
                self.figures(seconds, step.macs, step.bytes),
            ));
        }
        write_table(f, 3, &rows)?;
        let mut rows: Vec<[String; 7]> =
            vec![row(["together".to_owned()], FIGURES.map(String::from))];
        for (kind, seconds, macs, bytes) in self.by_operator() {
            rows.push(row([kind], self.figures(seconds, macs, bytes)));
        }
        for (what, seconds) in [
            ("batch: draw, augment, normalize", self.batch_seconds),
            ("update of all weights", self.update_seconds),
            ("whole step", self.step_seconds),
        ] {
            let figures = [
                String::new(),
                String::new(),
                format!("{:.3}", 1e3 * seconds),
            ];
            rows.push(row([what.to_owned()], figures));
        }
        writeln!(f)?;
        write_table(f, 1, &rows)?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "\n{:.0} images/s at batch {} in {}: {:.1} GFLOP/s, {:.0}% of the measured {:.0} GFLOP/s (f32); copying moves \
             {:.1} GB/s",
            self.images_per_second(),
            self.plan.batch,
            self.precision,
            2e-9 * self.plan.macs() as f64 / self.step_seconds,
            1e2 * self.limit_share(),
            1e-9 * self.limits.flops,
            1e-9 * self.limits.bytes_per_second
        )?;
        writeln!(
            f,
            "memory: {:.1} MiB of buffers ({:.1} if none were shared), {:.1} MiB fixed, {:.1} MiB of weights",
            mebibytes(self.plan.buffer_bytes),
            mebibytes(self.plan.unshared_bytes),
            mebibytes(self.plan.fixed_bytes),
            mebibytes(self.plan.weight_bytes)
        )?;
        f.write_str(
            "MB: what a step must read and write; limit: the least time that this and its MMAC take in f32, as a share of ms \
             (above 100% where a cache holds it)",
        )
    }
}

/// A network in training on noise.
struct Bench<'a> {
    recipe: &'a TrainConfig,
    images: Images,
    indices: Vec<u32>,
    normalization: Normalization,
    plan: Plan,
    optimizer: Optimizer,
}

impl<'a> Bench<'a> {
    fn new(
        network: &Network,
        batch: usize,
        recipe: &'a TrainConfig,
    ) -> Result<Self, SupernetError> {
        let options = PlanOptions {
            mode: Mode::Train,
            label_smoothing: recipe.label_smoothing,
            precision: recipe.precision.into(),
            ..PlanOptions::default()
        };
        let (mut weights, mut arena) = (WeightStore::new(1), Arena::new());
        let plan = Plan::compile_with(network, &mut weights, batch, options, &mut arena)?;
        let optimizer = Optimizer::new(recipe, plan.parameters())?;
        let images = noise(network, batch);
        let indices: Vec<u32> = (0..batch as u32).collect();
        Ok(Bench {
            normalization: Normalization::from_images(&images, &indices),
            recipe,
            images,
            indices,
            plan,
            optimizer,
        })
    }

    /// Trains a step; returns the seconds for the batch and for the update.
    fn step(&mut self) -> Result<(f64, f64), SupernetError> {
        let start = Instant::now();
        self.plan.fill(|pixels, labels| {
            fill_batch(
                &self.images,
                &self.indices,
                &self.normalization,
                Some(&self.recipe.augment),
                1,
                0,
                pixels,
                labels,
            );
        })?;
        let batch = start.elapsed().as_secs_f64();
        self.plan.forward()?;
        self.plan.loss()?;
        self.plan.backward()?;
        let start = Instant::now();
        // So small a rate that nothing diverges; the work is the same at any.
        self.optimizer.step(1e-6)?;
        Ok((batch, start.elapsed().as_secs_f64()))
    }

    /// Trains for so long; returns the mean seconds of a step.
    fn steps(&mut self, duration: Duration) -> Result<f64, SupernetError> {
        let (start, mut steps) = (Instant::now(), 0);
        while steps == 0 || start.elapsed() < duration {
            self.step()?;
            steps += 1;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(steps))
    }

    /// Trains for so long; returns the mean seconds for the batch and for the update.
    fn around(&mut self, duration: Duration) -> Result<(f64, f64), SupernetError> {
        let (start, mut steps) = (Instant::now(), 0);
        let mut sums = (0.0, 0.0);
        while steps == 0 || start.elapsed() < duration {
            let (batch, update) = self.step()?;
            sums = (sums.0 + batch, sums.1 + update);
            steps += 1;
        }
        Ok((sums.0 / f64::from(steps), sums.1 / f64::from(steps)))
    }
}

/// A batch of images without content, with every class in turn.
fn noise(network: &Network, batch: usize) -> Images {
    let Shape {
        height,
        width,
        channels,
    } = network.input;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut pixels = vec![0; batch * height * width * channels];
    rng.fill_bytes(&mut pixels);
    Images {
        pixels,
        labels: (0..batch).map(|i| (i % network.classes) as u32).collect(),
        height,
        width,
        channels,
    }
}

#[cfg(test)]
mod tests {
    use epnas_arch::{Arch, NetworkConfig};

    use super::*;

    #[test]
    fn every_step_is_measured_and_can_be_read() {
        let arch: Arch = "macro:c3.0/mp.1".parse().expect("an architecture");
        let config = NetworkConfig {
            channels: 8,
            ..NetworkConfig::default()
        };
        let network = Network::build(&arch, 2, &config, Shape::new(8, 8, 3), 3).expect("a network");
        let short = Duration::from_millis(20);
        let profile = StepProfile::measure(&network, 4, &TrainConfig::fast(), short);
        let profile = profile.expect("a profile");
        assert_eq!(profile.seconds.len(), profile.plan.steps.len());
        let sum: f64 = profile.seconds.iter().sum();
        assert!(sum > 0.0 && sum < 1.0, "{sum}");
        assert!(
            profile.limit_share() > 0.0 && profile.limit_share() < 1.0,
            "{}",
            profile.limit_share()
        );
        let text = profile.to_string();
        for word in ["stem.conv", "max pool/1", "images/s at batch 4", "update"] {
            assert!(text.contains(word), "{word} is missing in\n{text}");
        }
    }
}
