//! Speed: criterion benches of every operator and step, or whole training steps beside PyTorch.
//!
//! The comparison runs both sides in turn, several times, so that a machine that drifts drifts for both; medians are
//! compared. Ours is `crates/epnas-supernet/examples/throughput.rs`, the peer is `benches/peer/peer.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::figures::{finite, median};
use crate::networks::{self, Network};
use crate::{command, python, table};

#[derive(Args)]
pub(crate) struct Flags {
    /// Compare whole training steps with PyTorch instead of running the criterion benches.
    #[arg(long)]
    peer: bool,
    /// Print the comparison as one JSON object instead of a table.
    #[arg(long, requires = "peer")]
    json: bool,
    /// How often each side runs, in turn.
    #[arg(long, value_name = "N", default_value_t = 3)]
    repeats: usize,
    /// Length of a timing window; a run has three after its warm-up.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.5)]
    seconds: f64,
    /// Only networks whose name, channels and batch contain this, as in `fig4` or `C24 B128`; without --peer, only the
    /// benches whose name does.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Threads of either side [default: one per processor].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// PyTorch's modes: fp32, bf16 (autocast), bf16w (bf16 weights), each also with -cl (channels last); one under half
    /// the speed of the fastest runs once.
    #[arg(
        long,
        value_name = "MODES",
        value_delimiter = ',',
        value_parser = ["fp32", "fp32-cl", "bf16", "bf16-cl", "bf16w", "bf16w-cl"],
        default_value = "fp32,fp32-cl,bf16-cl,bf16w-cl"
    )]
    modes: Vec<String>,
    /// What our side's convolutions multiply in. bf16 needs a CPU with AVX512-BF16.
    #[arg(long, value_name = "f32|bf16", value_parser = ["f32", "bf16"], default_value = "f32")]
    precision: String,
    /// A Python with torch [default: a private environment under target/].
    #[arg(long, value_name = "PY")]
    python: Option<PathBuf>,
    /// Where the figures of the comparison go.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    out: PathBuf,
}

impl Flags {
    fn threads(&self) -> usize {
        self.threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

fn networks() -> Vec<Network> {
    let mut networks = networks::of_search(&[64, 128]);
    networks.push(networks::wide(64));
    networks
}

fn arguments(network: &Network, flags: &Flags) -> [String; 12] {
    [
        "--arch".into(),
        network.arch.into(),
        "--channels".into(),
        network.channels.to_string(),
        "--batch".into(),
        network.batch.to_string(),
        "--seconds".into(),
        flags.seconds.to_string(),
        "--windows".into(),
        "3".into(),
        "--threads".into(),
        flags.threads().to_string(),
    ]
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    match flags.peer {
        true => compare(root, flags),
        false => command::run(
            command::cargo(root)
                .args(["bench", "--workspace", "--benches", "--"])
                .args(&flags.filter),
        ),
    }
}

fn compare(root: &Path, flags: &Flags) -> Result<()> {
    ensure!(
        flags.repeats > 0 && flags.seconds > 0.0,
        "--repeats must be at least 1 and --seconds above 0"
    );
    let mut chosen = networks();
    if let Some(filter) = &flags.filter {
        chosen.retain(|network| network.title().contains(filter.as_str()));
        ensure!(!chosen.is_empty(), "no network is called `{filter}`");
    }
    let ours = command::build_release(root, &["--workspace", "--example", "throughput"])?;
    let python = python::with_torch(root, flags.python.as_deref())?;
    let script = root.join("benches/peer/peer.py");
    if let Some(folder) = flags.out.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut measured = Vec::new();
    let mut report = Value::Null;
    for network in &chosen {
        let mut figures = Figures::default();
        let mut modes = flags.modes.clone();
        for _ in 0..flags.repeats {
            figures.add_ours(&lines(
                Command::new(&ours).args(arguments(network, flags)).args([
                    "--limit",
                    "0.5",
                    "--precision",
                    &flags.precision,
                ]),
            )?)?;
            figures.add_peer(&lines(
                Command::new(&python)
                    .arg(&script)
                    .arg("--bench")
                    .args(arguments(network, flags))
                    .args(["--modes", &modes.join(",")]),
            )?)?;
            modes = figures.contenders();
        }
        let row = figures.row(network);
        eprintln!(
            "{}: {:.0} images/s, x {:.2} of torch's best",
            network.title(),
            row["ours_img_s"].as_f64().unwrap_or(0.0),
            row["ratio_best"].as_f64().unwrap_or(0.0)
        );
        measured.push(row);
        // After every network, so that a later one's failure loses nothing.
        report = json!({
            "threads": flags.threads(),
            "precision": flags.precision,
            "repeats": flags.repeats,
            "seconds": flags.seconds,
            "networks": measured,
        });
        fs::write(&flags.out, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", flags.out.display()))?;
    }
    eprintln!("figures: {}", flags.out.display());
    match flags.json {
        true => println!("{report}"),
        false => print!("{}", render(&report)),
    }
    Ok(())
}

/// Runs one side and parses its JSON lines.
fn lines(command: &mut Command) -> Result<Vec<Value>> {
    let text = command::capture(command)?;
    let parse =
        |line: &str| serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"));
    text.lines().map(parse).collect()
}

/// What the repeats of one network gave.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    limit_flops: Vec<f64>,
    flop_per_image: f64,
    peer: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    fn add_ours(&mut self, lines: &[Value]) -> Result<()> {
        for line in lines {
            if let Some(limit) = line["limit_flops"].as_f64() {
                self.limit_flops.push(limit);
            }
            if let Some(rate) = line["images_per_second"].as_f64() {
                self.ours.push(rate);
                let flop = line["flop_per_image"].as_f64();
                self.flop_per_image = flop.context("a line without flop_per_image")?;
            }
        }
        ensure!(
            !self.ours.is_empty(),
            "our side printed no images_per_second"
        );
        Ok(())
    }

    fn add_peer(&mut self, lines: &[Value]) -> Result<()> {
        for line in lines {
            let mode = line["mode"].as_str().context("a line without mode")?;
            let rate = line["images_per_second"].as_f64();
            let rate = rate.context("a line without images_per_second")?;
            self.peer.entry(mode.to_owned()).or_default().push(rate);
        }
        Ok(())
    }

    /// The peer's modes that are worth another repeat: at half the speed of the fastest or more.
    fn contenders(&self) -> Vec<String> {
        let best = self.peer.values().map(|rates| median(rates));
        let least = 0.5 * best.fold(f64::NAN, f64::max);
        let modes = self.peer.iter();
        let modes = modes.filter(|(_, rates)| median(rates) >= least);
        modes.map(|(mode, _)| mode.clone()).collect()
    }

    fn row(&self, network: &Network) -> Value {
        let ours = median(&self.ours);
        let peer: BTreeMap<&String, f64> = self
            .peer
            .iter()
            .map(|(mode, rates)| (mode, median(rates)))
            .collect();
        let best = peer.values().copied().fold(f64::NAN, f64::max);
        let channels_last = peer
            .iter()
            .find(|(mode, _)| mode.as_str() == "fp32-cl")
            .map_or(f64::NAN, |(_, rate)| *rate);
        json!({
            "name": network.name,
            "arch": network.arch,
            "channels": network.channels,
            "batch": network.batch,
            "ours_img_s": ours,
            "ours_repeats": self.ours,
            "torch": peer,
            "torch_repeats": self.peer,
            "ratio_fp32_cl": finite(ours / channels_last),
            "ratio_best": finite(ours / best),
            "limit_gflops": median(&self.limit_flops) / 1e9,
            "limit_fraction": finite(ours * self.flop_per_image / median(&self.limit_flops)),
        })
    }
}

fn render(report: &Value) -> String {
    let empty = Vec::new();
    let networks = report["networks"].as_array().unwrap_or(&empty);
    let modes: Vec<String> = networks
        .first()
        .and_then(|network| network["torch"].as_object())
        .map(|torch| torch.keys().cloned().collect())
        .unwrap_or_default();
    let mut head = vec!["network".to_owned(), "ours".to_owned()];
    head.extend(modes.iter().map(|mode| format!("torch {mode}")));
    head.extend(["/ fp32-cl", "/ best", "of limit"].map(str::to_owned));
    let mut rows = vec![head];
    let number = |value: &Value, digits: usize| {
        value
            .as_f64()
            .map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    for network in networks {
        let mut row = vec![
            format!(
                "{} C{} B{}",
                network["name"].as_str().unwrap_or_default(),
                network["channels"],
                network["batch"]
            ),
            number(&network["ours_img_s"], 0),
        ];
        row.extend(modes.iter().map(|mode| number(&network["torch"][mode], 0)));
        row.push(number(&network["ratio_fp32_cl"], 2));
        row.push(number(&network["ratio_best"], 2));
        row.push(
            network["limit_fraction"]
                .as_f64()
                .map_or("-".to_owned(), |share| format!("{:.0}%", 100.0 * share)),
        );
        rows.push(row);
    }
    table::render(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let mut figures = Figures::default();
        for rate in [100.0, 400.0, 200.0] {
            let ours = json!({ "images_per_second": rate, "flop_per_image": 1e6 });
            figures
                .add_ours(&[json!({ "limit_flops": 1e9 }), ours])
                .unwrap();
            let peer = |mode: &str, rate: f64| json!({ "mode": mode, "images_per_second": rate });
            figures
                .add_peer(&[peer("fp32-cl", rate / 2.0), peer("bf16-cl", 160.0)])
                .unwrap();
        }
        figures
            .add_peer(&[json!({ "mode": "bf16w", "images_per_second": 79.0 })])
            .unwrap();
        assert_eq!(figures.contenders(), ["bf16-cl", "fp32-cl"]);
        let row = figures.row(&networks()[0]);
        assert_eq!(row["ours_img_s"], 200.0);
        assert_eq!(row["ratio_fp32_cl"], 2.0);
        assert_eq!(row["ratio_best"], 1.25);
        // 200 images a second of 1e6 operations, of 1e9.
        assert_eq!(row["limit_fraction"], 0.2);
        let text = render(&json!({ "networks": [row] }));
        assert!(text.contains("macro-L4 C24 B64"), "{text}");
        assert!(text.contains("20%"), "{text}");
    }

    #[test]
    fn a_mode_that_did_not_run_has_no_ratio() {
        let mut figures = Figures::default();
        let ours = json!({ "images_per_second": 1.0, "flop_per_image": 1 });
        figures.add_ours(&[ours]).unwrap();
        assert_eq!(figures.row(&networks()[0])["ratio_fp32_cl"], Value::Null);
        assert!(figures.add_ours(&[]).is_ok());
        assert!(Figures::default().add_ours(&[]).is_err());
        assert!(Figures::default().add_peer(&[json!({})]).is_err());
    }
}
