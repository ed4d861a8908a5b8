//! Learning parity: the same macro network on the same images by the same recipe, here and in PyTorch.
//!
//! Ours is the child training of the search (`crates/epnas-supernet/examples/parity.rs`), the peer is
//! `benches/peer/peer.py`. Both print one JSON line per epoch; only their random numbers differ, so accuracies are
//! compared as means over seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{cifar10, command, python, table};

#[derive(Args)]
pub(crate) struct Flags {
    /// Folder with CIFAR-10's binary files (see `cargo xtask data cifar10`).
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The network, as architecture text.
    #[arg(
        long,
        value_name = "ARCH",
        default_value = "macro:c3.0/d3.1/c5.1+2/mp.0+3"
    )]
    arch: String,
    /// Training images: the first N of the 50,000. The last 5,000 validate.
    #[arg(long, value_name = "N", default_value_t = 45_000)]
    images: usize,
    /// Seeds of each side: 1, 2, ..
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// Passes over the training images.
    #[arg(long, value_name = "N", default_value_t = 3)]
    epochs: usize,
    /// Images a step.
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: usize,
    /// Learning rate at the start of the cosine.
    #[arg(long, value_name = "X", default_value_t = 0.05)]
    lr: f64,
    /// Channels of the network.
    #[arg(long, value_name = "N", default_value_t = 24)]
    channels: usize,
    /// Threads of each side [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// What our side's convolutions multiply in. bf16 needs a CPU with AVX512-BF16.
    #[arg(long, value_name = "f32|bf16", value_parser = ["f32", "bf16"], default_value = "f32")]
    precision: String,
    /// A Python with torch [default: a private environment under target/].
    #[arg(long, value_name = "PY")]
    python: Option<PathBuf>,
    /// Largest difference of the means, in points of accuracy.
    #[arg(long, value_name = "POINTS", default_value_t = 1.5)]
    tolerance: f64,
    /// Where the figures go.
    #[arg(long, value_name = "FILE", default_value = "target/parity.json")]
    out: PathBuf,
}

/// One side's training with one seed.
struct Run {
    /// One object per epoch: `epoch`, `loss`, `accuracy`, `images_per_second`.
    epochs: Vec<Value>,
}

impl Run {
    fn accuracy(&self) -> f64 {
        self.epochs
            .last()
            .and_then(|epoch| epoch["accuracy"].as_f64())
            .unwrap_or(f64::NAN)
    }

    fn images_per_second(&self) -> f64 {
        mean(
            &self
                .epochs
                .iter()
                .filter_map(|epoch| epoch["images_per_second"].as_f64())
                .collect::<Vec<_>>(),
        )
    }
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    ensure!(
        flags.seeds > 0 && flags.epochs > 0,
        "--seeds and --epochs must be at least 1"
    );
    cifar10::verify(&flags.data).context("--data: see `cargo xtask data cifar10`")?;
    let ours = command::build_release(
        root,
        &["--package", "epnas-supernet", "--example", "parity"],
    )?;
    let python = python::with_torch(root, flags.python.as_deref())?;
    let script = root.join("benches/peer/peer.py");

    let mut pairs = Vec::new();
    for seed in 1..=flags.seeds {
        // Alternating: a machine that drifts drifts for both.
        let mut ours = Command::new(&ours);
        let our = train(
            "ours",
            ours.args(["--precision", &flags.precision]),
            flags,
            seed,
        )?;
        let peer = train(
            "peer",
            Command::new(&python).arg(&script).arg("--channels-last"),
            flags,
            seed,
        )?;
        pairs.push((seed, our, peer));
    }
    let report = Report::new(&pairs);
    print!("{}", report.text(&pairs));
    write(&flags.out, &report.json(&pairs, flags))?;
    eprintln!("figures: {}", flags.out.display());
    if report.difference_points().abs() > flags.tolerance {
        bail!(
            "the means differ by {:.2} points, more than {}",
            report.difference_points(),
            flags.tolerance
        );
    }
    Ok(())
}

/// Runs one side and reads its epochs.
fn train(side: &str, program: &mut Command, flags: &Flags, seed: u64) -> Result<Run> {
    program
        .arg("--data")
        .arg(&flags.data)
        .args(["--arch", &flags.arch]);
    program.args([
        "--images",
        &flags.images.to_string(),
        "--epochs",
        &flags.epochs.to_string(),
    ]);
    program.args([
        "--batch",
        &flags.batch.to_string(),
        "--lr",
        &flags.lr.to_string(),
    ]);
    program.args([
        "--channels",
        &flags.channels.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    if let Some(threads) = flags.threads {
        program.args(["--threads", &threads.to_string()]);
    }
    let epochs = parse_epochs(&command::capture(program)?)?;
    ensure!(
        epochs.len() == flags.epochs,
        "{side} reported {} epochs, expected {}",
        epochs.len(),
        flags.epochs
    );
    let run = Run { epochs };
    eprintln!(
        "seed {seed} {side}: validation accuracy {:.4}, {:.0} images/s",
        run.accuracy(),
        run.images_per_second()
    );
    Ok(run)
}

fn parse_epochs(stdout: &str) -> Result<Vec<Value>> {
    let parse =
        |line: &str| serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"));
    stdout.lines().map(parse).collect()
}

/// What the seeds amount to.
struct Report {
    ours: Side,
    peer: Side,
}

struct Side {
    mean: f64,
    /// Largest minus smallest.
    spread: f64,
    images_per_second: f64,
}

impl Side {
    fn new(runs: &[&Run]) -> Self {
        let accuracies: Vec<f64> = runs.iter().map(|run| run.accuracy()).collect();
        let rates: Vec<f64> = runs.iter().map(|run| run.images_per_second()).collect();
        let largest = accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let smallest = accuracies.iter().copied().fold(f64::INFINITY, f64::min);
        Self {
            mean: mean(&accuracies),
            spread: largest - smallest,
            images_per_second: mean(&rates),
        }
    }

    fn json(&self) -> Value {
        json!({ "mean": self.mean, "spread": self.spread, "images_per_second": self.images_per_second })
    }
}

impl Report {
    fn new(pairs: &[(u64, Run, Run)]) -> Self {
        let ours: Vec<&Run> = pairs.iter().map(|(_, our, _)| our).collect();
        let peer: Vec<&Run> = pairs.iter().map(|(_, _, peer)| peer).collect();
        Self {
            ours: Side::new(&ours),
            peer: Side::new(&peer),
        }
    }

    /// Ours minus the peer's, in points of accuracy.
    fn difference_points(&self) -> f64 {
        100.0 * (self.ours.mean - self.peer.mean)
    }

    fn text(&self, pairs: &[(u64, Run, Run)]) -> String {
        let mut rows = vec![row(
            "",
            ["ours".into(), "peer".into(), "ours - peer".into()],
        )];
        for (seed, our, peer) in pairs {
            rows.push(accuracy_row(
                &format!("seed {seed}"),
                our.accuracy(),
                peer.accuracy(),
            ));
        }
        rows.push(accuracy_row("mean", self.ours.mean, self.peer.mean));
        rows.push(row(
            "spread",
            [
                points(self.ours.spread),
                points(self.peer.spread),
                String::new(),
            ],
        ));
        let (our, peer) = (self.ours.images_per_second, self.peer.images_per_second);
        rows.push(row(
            "images/s",
            [
                format!("{our:.0}"),
                format!("{peer:.0}"),
                format!("x {:.2}", our / peer),
            ],
        ));
        table::render(&rows)
    }

    fn json(&self, pairs: &[(u64, Run, Run)], flags: &Flags) -> Value {
        let run = |(seed, our, peer): &(u64, Run, Run)| json!({ "seed": seed, "ours": our.epochs, "peer": peer.epochs });
        json!({
            "arch": flags.arch,
            "images": flags.images,
            "epochs": flags.epochs,
            "batch": flags.batch,
            "lr": flags.lr,
            "channels": flags.channels,
            "threads": flags.threads,
            "runs": pairs.iter().map(run).collect::<Vec<_>>(),
            "ours": self.ours.json(),
            "peer": self.peer.json(),
            "difference_points": self.difference_points(),
        })
    }
}

fn row(name: &str, cells: [String; 3]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(cells).collect()
}

fn accuracy_row(name: &str, our: f64, peer: f64) -> Vec<String> {
    row(
        name,
        [
            points(our),
            points(peer),
            format!("{:+.2}", 100.0 * (our - peer)),
        ],
    )
}

fn points(accuracy: f64) -> String {
    format!("{:.2}", 100.0 * accuracy)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn write(path: &Path, value: &Value) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(accuracy: f64, rate: f64) -> Run {
        let line = format!(
            "{{\"epoch\":1,\"loss\":2,\"accuracy\":{accuracy},\"images_per_second\":{rate}}}\n"
        );
        Run {
            epochs: parse_epochs(&line).unwrap(),
        }
    }

    #[test]
    fn means_spreads_and_difference() {
        let pairs = [
            (1, side(0.60, 100.0), side(0.61, 50.0)),
            (2, side(0.64, 300.0), side(0.60, 150.0)),
        ];
        let report = Report::new(&pairs);
        // (60 + 64) / 2 - (61 + 60) / 2 = 62 - 60.5
        assert!((report.difference_points() - 1.5).abs() < 1e-9);
        let expected = "          ours   peer  ours - peer\n\
                        seed 1    60.00  61.00        -1.00\n\
                        seed 2    64.00  60.00        +4.00\n\
                        mean      62.00  60.50        +1.50\n\
                        spread     4.00   1.00\n\
                        images/s    200    100       x 2.00\n";
        let normal = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(normal(&report.text(&pairs)), normal(expected));
    }

    #[test]
    fn a_line_that_is_not_json_is_shown() {
        let error = parse_epochs("{\"epoch\":1}\nTraceback")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "not a JSON line: Traceback");
    }
}
