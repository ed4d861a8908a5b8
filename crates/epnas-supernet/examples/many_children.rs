//! Trains many random children on shared weights and prints time and memory: both should stay flat.
//!
//! ```text
//! cargo run --release -p epnas-supernet --example many_children -- [CHILDREN]
//! ```
//!
//! The resident memory is read from `/proc`, so it is shown on Linux only.

use std::{sync::Arc, time::Instant};

use epnas_arch::{Arch, Evaluator, Job, MacroSpace, NetworkConfig, Space, seed};
use epnas_data::DataConfig;
use epnas_supernet::{Supernet, SupernetConfig, TrainConfig, TrainingData};

const LAYERS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let children: u64 = std::env::args()
        .nth(1)
        .map_or(Ok(300), |text| text.parse())?;
    let mut data = DataConfig {
        image_size: 16,
        ..DataConfig::default()
    };
    data.synthetic.train = 1000;
    let dataset = epnas_data::load(&data)?;
    let split = epnas_data::split(&dataset, &data, 1)?;
    let data = Arc::new(TrainingData::from_dataset(&dataset, &split)?);
    let space = Space::Macro(MacroSpace {
        layers: LAYERS,
        ..MacroSpace::default()
    });
    let config = SupernetConfig {
        space: space.clone(),
        network: NetworkConfig {
            channels: 16,
            ..NetworkConfig::default()
        },
        training: TrainConfig {
            epochs: 1,
            ..TrainConfig::fast()
        },
    };
    let mut supernet = Supernet::new(config, data, 1)?;
    let mut start = Instant::now();
    for child in 0..children {
        let mut arch: Option<Arch> = None;
        for level in 1..=LAYERS {
            let element = seed::split(child, &level.to_string()) % space.level_len(level);
            arch = Some(space.extend(arch.as_ref(), element));
        }
        let Some(arch) = arch else { break };
        let job = Job {
            arch: &arch,
            seed: child,
            progress: &mut |_| (),
        };
        supernet.evaluate(job)?;
        if (child + 1) % 50 == 0 {
            println!(
                "{:>4} children: {:.3} s each, {:.1} MiB resident, {} weights of {:.1} MiB",
                child + 1,
                start.elapsed().as_secs_f64() / 50.0,
                resident().unwrap_or(f64::NAN),
                supernet.weights().len(),
                supernet.weights().bytes() as f64 / f64::from(1 << 20)
            );
            start = Instant::now();
        }
    }
    Ok(())
}

/// Resident memory of this process in MiB.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes / 1024.0)
}
