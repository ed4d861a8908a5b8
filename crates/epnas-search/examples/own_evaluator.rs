//! Bring your own evaluator: EPNAS over anything that can say how good an architecture is.
//!
//! Here a table stands in for training (a formula, to keep the example short), and a nearest-neighbor average stands in
//! for the surrogate. Neither needs tensors; the example runs in a second:
//!
//! ```text
//! cargo run -p epnas-search --no-default-features --example own_evaluator
//! ```

use std::error::Error;
use std::ops::Range;

use epnas_arch::{
    Arch, Candidates, Cost, Encoding, EvaluateError, Evaluator, FitReport, Job, MacroSpace,
    Measurement, Space, Surrogate, SurrogateError,
};
use epnas_search::{Budget, Driver, Event, HistoryPolicy, Progressive, SearchConfig};

/// Looks accuracies up. It keeps nothing between children, so its state is empty.
struct Table;

impl Table {
    /// Convolutions are good, large ones late, and every skip helps a little.
    fn accuracy(arch: &Arch) -> f64 {
        let Arch::Macro(arch) = arch else { return 0.0 };
        let mut score = 0.0;
        for (depth, layer) in arch.layers.iter().enumerate() {
            let convolves = !layer.op.name().contains("pool");
            score += if convolves {
                0.5 + 0.05 * (layer.op.kernel() * depth) as f64
            } else {
                0.1
            };
            score += 0.05 * layer.sources.len() as f64;
        }
        1.0 - (-score / 4.0).exp()
    }
}

impl Evaluator for Table {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        let (estimate, macs) = (Self::accuracy(job.arch), 1_000_000 * job.arch.len() as u64);
        Ok(Measurement {
            estimate,
            params: 0,
            macs,
            seconds: 0.0,
            images: 1,
            epochs: Vec::new(),
        })
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        Some(Cost {
            params: 0,
            macs: 1_000_000 * arch.len() as u64,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), EvaluateError> {
        Ok(())
    }

    fn reset(&mut self, _: u64) -> Result<(), EvaluateError> {
        Ok(())
    }
}

/// Predicts the mean of the three most similar architectures that were measured.
#[derive(Default)]
struct Neighbors {
    known: Vec<(Arch, f64)>,
}

fn distance(space: &Space, a: &Arch, b: &Arch) -> f32 {
    let (a, b) = (
        space.encode(a, Encoding::OneHot),
        space.encode(b, Encoding::OneHot),
    );
    let rows = a
        .iter()
        .zip(&b)
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y).abs()).sum::<f32>());
    rows.sum::<f32>() + 4.0 * a.len().abs_diff(b.len()) as f32
}

impl Surrogate for Neighbors {
    fn predict(
        &self,
        candidates: &Candidates,
        range: Range<u64>,
    ) -> Result<Vec<f32>, SurrogateError> {
        let score = |index| {
            let arch = candidates.get(index);
            let near = self
                .known
                .iter()
                .map(|(known, value)| (distance(candidates.space(), &arch, known), *value));
            let mut near: Vec<(f32, f64)> = near.collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0));
            near.truncate(3);
            let mean = near.iter().map(|(_, value)| value).sum::<f64>() / near.len().max(1) as f64;
            mean.clamp(0.001, 0.999) as f32
        };
        Ok(range.map(score).collect())
    }

    fn fit(&mut self, records: &[(Arch, f64)], _: u64) -> Result<FitReport, SurrogateError> {
        self.known = records.to_vec();
        Ok(FitReport {
            loss: 0.0,
            epochs: 1,
            records: records.len(),
            saturation: 0.0,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>, SurrogateError> {
        let lines = self
            .known
            .iter()
            .map(|(arch, value)| format!("{arch} {value}\n"));
        Ok(lines.collect::<String>().into_bytes())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SurrogateError> {
        let wrong = |reason: &str| SurrogateError::Snapshot {
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))?;
        self.known.clear();
        for line in text.lines() {
            let (arch, value) = line.split_once(' ').ok_or_else(|| wrong("no value"))?;
            let arch = arch.parse().map_err(|_| wrong("no architecture"))?;
            self.known
                .push((arch, value.parse().map_err(|_| wrong("no number"))?));
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let space = Space::Macro(MacroSpace {
        layers: 5,
        ..MacroSpace::default()
    });
    let config = SearchConfig {
        iterations: 2,
        children_per_step: 6,
        ..SearchConfig::default()
    };
    let folder = std::env::temp_dir().join(format!("epnas-own-evaluator-{}", std::process::id()));

    let mut strategy = Progressive::new(space.clone(), config, Neighbors::default(), 1);
    let mut observer = |event: Event<'_>| {
        if let Event::Step {
            iteration,
            step,
            candidates,
            children,
            ..
        } = event
        {
            println!("iteration {iteration}, step {step}: {children} of {candidates} candidates");
        }
    };
    let driver = Driver {
        folder: Some(folder.clone()),
        space,
        policy: HistoryPolicy::Best,
        seed: 1,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let outcome = driver.run(&mut Table, &mut strategy, &mut observer)?;

    println!(
        "\n{} children; the best of 5 layers:",
        outcome.history.len()
    );
    for record in outcome.history.best(3, 5) {
        println!(
            "{:.4}  {}",
            record.estimate.unwrap_or(f64::NAN),
            record.arch
        );
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
