//! Our side of `cargo xtask parity`: one child trained on CIFAR-10, a JSON line per epoch.
//!
//! The flags and the lines are those of `benches/peer/peer.py`:
//!
//! ```text
//! cargo run --release --example parity -- --data DIR [--arch macro:c3.0/d3.1/c5.1+2/mp.0+3] [--images 45000]
//!     [--validation 5000] [--epochs 3] [--batch 128] [--lr 0.05] [--channels 24] [--seed 0] [--threads N]
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use epnas_arch::{Arch, Evaluator, Job, MacroSpace, NetworkConfig, Progress, Space};
use epnas_data::{DataConfig, Source, Split, load};
use epnas_supernet::{
    DeviceKind, PrecisionKind, Supernet, SupernetConfig, TrainConfig, TrainingData,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let flags = Flags::read(std::env::args().skip(1))?;
    if let Some(threads) = flags.get::<usize>("threads")? {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let arch: Arch = flags
        .get("arch")?
        .unwrap_or_else(|| "macro:c3.0/d3.1/c5.1+2/mp.0+3".to_owned())
        .parse()?;
    let layers = arch.len();
    let network = NetworkConfig {
        channels: flags.get("channels")?.unwrap_or(24),
        ..NetworkConfig::default()
    };
    let fast = TrainConfig::fast();
    let precision = match flags.get::<String>("precision")?.as_deref() {
        None | Some("f32") => PrecisionKind::F32,
        Some("bf16")
            if PrecisionKind::Bf16.available_on(DeviceKind::Cpu) == PrecisionKind::Bf16 =>
        {
            PrecisionKind::Bf16
        }
        Some("bf16") => return Err("this CPU has no bfloat16 dot products (AVX512-BF16)".into()),
        Some(other) => return Err(format!("--precision {other}: expected f32 or bf16").into()),
    };
    let training = TrainConfig {
        precision,
        epochs: flags.get("epochs")?.unwrap_or(fast.epochs),
        batch: flags.get("batch")?.unwrap_or(fast.batch),
        learning_rate: flags.get("lr")?.unwrap_or(fast.learning_rate),
        ..fast
    };
    let space = Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    });
    let config = SupernetConfig {
        space,
        network,
        training,
    };
    let seed = flags.get("seed")?.unwrap_or(0);
    let mut supernet = Supernet::new(config, Arc::new(images(&flags)?), seed)?;

    let mut clock = Clock::default();
    let measured = supernet.evaluate(Job {
        arch: &arch,
        seed,
        progress: &mut |progress| clock.tick(&progress),
    })?;
    for (epoch, rate) in measured
        .epochs
        .iter()
        .zip(clock.rates(measured.images / measured.epochs.len() as u64))
    {
        let line = serde_json::json!({
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "accuracy": epoch.accuracy,
            "images_per_second": rate,
        });
        println!("{line}");
    }
    Ok(())
}

/// The first images of the training part to train on, its last ones to validate on.
fn images(flags: &Flags) -> Result<TrainingData> {
    let dir = flags
        .get("data")?
        .ok_or("--data is needed: a folder with CIFAR-10's binary files")?;
    let dataset = load(&DataConfig {
        source: Source::Cifar10,
        dir: Some(dir),
        ..DataConfig::default()
    })?;
    let total = dataset.train.len();
    let train: usize = flags.get("images")?.unwrap_or(45_000);
    let validation: usize = flags.get("validation")?.unwrap_or(5_000);
    if train + validation > total {
        return Err(format!(
            "--images {train} and --validation {validation} overlap: {total} images"
        )
        .into());
    }
    let split = Split {
        train: (0..train as u32).collect(),
        validation: ((total - validation) as u32..total as u32).collect(),
    };
    Ok(TrainingData::from_dataset(&dataset, &split)?)
}

/// When how many images had been trained on: training speed without validation.
#[derive(Default)]
struct Clock {
    ticks: Vec<(u64, Instant)>,
}

impl Clock {
    fn tick(&mut self, progress: &Progress) {
        self.ticks.push((progress.images, Instant::now()));
    }

    /// Images per second of each epoch, from its first step's end to its last's.
    fn rates(&self, images_per_epoch: u64) -> Vec<Option<f64>> {
        let mut epochs: BTreeMap<u64, Vec<(u64, Instant)>> = BTreeMap::new();
        for &(images, at) in &self.ticks {
            epochs
                .entry(images.saturating_sub(1) / images_per_epoch)
                .or_default()
                .push((images, at));
        }
        let rate = |ticks: Vec<(u64, Instant)>| {
            let ((first, began), (last, ended)) = (ticks.first()?, ticks.last()?);
            let seconds = ended.duration_since(*began).as_secs_f64();
            (seconds > 0.0).then(|| (last - first) as f64 / seconds)
        };
        epochs.into_values().map(rate).collect()
    }
}

/// `--name value` pairs.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut flags = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .ok_or_else(|| format!("{word:?}: expected --name value"))?;
            let value = words
                .next()
                .ok_or_else(|| format!("--{name} lacks its value"))?;
            flags.insert(name.to_owned(), value);
        }
        Ok(Self(flags))
    }

    fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |text: &String| {
            text.parse()
                .map_err(|error| format!("--{name} {text}: {error}").into())
        };
        self.0.get(name).map(parse).transpose()
    }
}
