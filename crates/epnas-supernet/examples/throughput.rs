//! Times whole training steps, augmentation included, of one network or several; one JSON line each. The other side of
//! `benches/peer/peer.py --bench`; `cargo xtask bench --peer` runs both.
//!
//! ```text
//! cargo run --release -p epnas-supernet --example throughput -- --arch macro:c3.0/d3.1 --channels 24 --batch 64
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use epnas_arch::{Arch, MacroSpace, MicroSpace, NetworkConfig, Space};
use epnas_data::{DataConfig, Split, SyntheticConfig};
use epnas_supernet::{
    Arena, Compute, DeviceKind, Mode, Plan, PlanOptions, PrecisionKind, Steps, Supernet,
    SupernetConfig, TrainConfig, TrainingData, WeightStore,
};

const USAGE: &str = "usage: throughput --arch ARCH [--arch ARCH ..] [--channels 24] [--batch 64] [--seconds 2] \
                     [--windows 5] [--threads N] [--limit SECONDS] [--precision f32|bf16] [--device cpu|cuda] \
                     [--steps graph|eager]";

struct Options {
    archs: Vec<String>,
    channels: usize,
    batch: usize,
    seconds: f64,
    windows: usize,
    /// 0: one per processor.
    threads: usize,
    /// Seconds to measure the machine's limit for, before anything else.
    limit: f64,
    precision: PrecisionKind,
    compute: Compute,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        archs: Vec::new(),
        channels: 24,
        batch: 64,
        seconds: 2.0,
        windows: 5,
        threads: 0,
        limit: 0.0,
        precision: PrecisionKind::F32,
        compute: Compute::cpu(),
    };
    let mut steps = Steps::Recorded;
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match (flag.as_str(), value.as_str()) {
            ("--arch", _) => options.archs.push(value),
            ("--channels", _) => options.channels = value.parse()?,
            ("--batch", _) => options.batch = value.parse()?,
            ("--seconds", _) => options.seconds = value.parse()?,
            ("--windows", _) => options.windows = value.parse()?,
            ("--threads", _) => options.threads = value.parse()?,
            ("--limit", _) => options.limit = value.parse()?,
            ("--precision", "f32") => options.precision = PrecisionKind::F32,
            ("--precision", "bf16") => options.precision = PrecisionKind::Bf16,
            ("--device", "cpu") => options.compute = Compute::cpu(),
            ("--device", "cuda") => options.compute = Compute::gpu(0)?,
            ("--steps", "graph") => steps = Steps::Recorded,
            ("--steps", "eager") => steps = Steps::Called,
            _ => return Err(USAGE.into()),
        }
    }
    options.compute = options.compute.with_steps(steps);
    if options.precision.available_on(options.compute.kind()) != options.precision {
        return Err("this CPU has no bfloat16 dot products (AVX512-BF16)".into());
    }
    match options.archs.is_empty() {
        true => Err(USAGE.into()),
        false => Ok(options),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()?;
    if options.limit > 0.0 {
        let limit = epnas_ops::peak_flops(Duration::from_secs_f64(options.limit));
        println!("{}", serde_json::json!({ "limit_flops": limit }));
    }
    let data = images(&options)?;
    for arch in &options.archs {
        measure(arch, &options, &data)?;
    }
    Ok(())
}

/// Enough for some batches, and one to validate on.
fn images(options: &Options) -> Result<Arc<TrainingData>, Box<dyn Error>> {
    let batches = match options.compute.kind() {
        DeviceKind::Cpu => 8,
        DeviceKind::Cuda => 64,
    };
    let train = options.batch * batches;
    let config = DataConfig {
        synthetic: SyntheticConfig {
            train: train + 1,
            test: 1,
            seed: 0,
        },
        ..DataConfig::default()
    };
    let dataset = epnas_data::load(&config)?;
    let split = Split {
        train: (0..train as u32).collect(),
        validation: vec![train as u32],
    };
    Ok(Arc::new(TrainingData::from_dataset(&dataset, &split)?))
}

fn measure(text: &str, options: &Options, data: &Arc<TrainingData>) -> Result<(), Box<dyn Error>> {
    let arch: Arch = text.parse()?;
    let space = match arch {
        Arch::Macro(_) => Space::Macro(MacroSpace {
            layers: arch.len(),
            ..MacroSpace::default()
        }),
        Arch::Micro(_) => Space::Micro(MicroSpace {
            blocks: arch.len(),
            ..MicroSpace::default()
        }),
        Arch::Choices(_) => return Err("plain choices have no network".into()),
    };
    let config = SupernetConfig {
        space,
        network: NetworkConfig {
            channels: options.channels,
            ..NetworkConfig::default()
        },
        training: TrainConfig {
            batch: options.batch,
            precision: options.precision,
            ..TrainConfig::fast()
        },
    };
    let supernet = Supernet::on(options.compute.clone(), config, data.clone(), 1)?;
    let rates = supernet.step_rates(&arch, options.windows + 1, options.seconds)?;
    // The first window warms up.
    let mut windows = rates.images_per_second[1..].to_vec();
    windows.sort_by(f64::total_cmp);
    let rate = windows[windows.len() / 2];
    let step = options.batch as f64 / rate;
    let compute = &options.compute;
    let capture = compute.kind() == DeviceKind::Cuda && compute.steps() == Steps::Recorded;

    let how = PlanOptions {
        mode: Mode::Train,
        ..PlanOptions::default()
    };
    let (mut weights, mut arena) = (WeightStore::new(1), Arena::new());
    let network = supernet.network(&arch)?;
    let plan = Plan::compile_with(&network, &mut weights, options.batch, how, &mut arena)?;
    let description = plan.describe();
    println!(
        "{}",
        serde_json::json!({
            "arch": text,
            "batch": options.batch,
            "channels": options.channels,
            "device": options.compute.name(),
            "precision": options.precision.to_string(),
            "images_per_second": rate,
            "windows": windows,
            "first_step_seconds": rates.first_step_seconds,
            // The second step is captured, then run.
            "capture_seconds": capture.then_some(rates.second_step_seconds - step),
            "flop_per_image": 2 * description.macs() / options.batch as u64,
            "mebibytes": description.total_bytes() >> 20,
        })
    );
    Ok(())
}
