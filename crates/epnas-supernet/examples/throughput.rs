//! Times whole training steps, augmentation included, of one network or several; one JSON line each. The other side of
//! `benches/peer/peer.py --bench`; `cargo xtask bench --peer` runs both.
//!
//! ```text
//! cargo run --release -p epnas-supernet --example throughput -- --arch macro:c3.0/d3.1 --channels 24 --batch 64
//! ```

use std::{
    error::Error,
    time::{Duration, Instant},
};

use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_data::{AugmentConfig, Images, Normalization, SyntheticConfig, fill_batch};
use epnas_ops::Precision;
use epnas_supernet::{Arena, Mode, Optimizer, Plan, PlanOptions, TrainConfig, WeightStore};

const USAGE: &str = "usage: throughput --arch ARCH [--arch ARCH ..] [--channels 24] [--batch 64] [--seconds 2] \
                     [--windows 5] [--threads N] [--limit SECONDS] [--precision f32|bf16]";

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
    precision: Precision,
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
        precision: Precision::F32,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--arch" => options.archs.push(value),
            "--channels" => options.channels = value.parse()?,
            "--batch" => options.batch = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--windows" => options.windows = value.parse()?,
            "--threads" => options.threads = value.parse()?,
            "--limit" => options.limit = value.parse()?,
            "--precision" => {
                options.precision = match value.as_str() {
                    "f32" => Precision::F32,
                    "bf16" => Precision::Bf16,
                    _ => return Err(USAGE.into()),
                }
            }
            _ => return Err(USAGE.into()),
        }
    }
    if !options.precision.is_native() {
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
    let data = SyntheticConfig {
        train: 1024,
        test: 1,
        seed: 0,
    };
    let images = epnas_data::synthetic::dataset(&data, 32, 3).train;
    if options.limit > 0.0 {
        let limit = epnas_ops::peak_flops(Duration::from_secs_f64(options.limit));
        println!("{}", serde_json::json!({ "limit_flops": limit }));
    }
    for arch in &options.archs {
        measure(arch, &options, &images)?;
    }
    Ok(())
}

fn measure(text: &str, options: &Options, images: &Images) -> Result<(), Box<dyn Error>> {
    let arch: Arch = text.parse()?;
    let config = NetworkConfig {
        channels: options.channels,
        ..NetworkConfig::default()
    };
    let network = Network::build(&arch, arch.len(), &config, Shape::new(32, 32, 3), 10)?;
    let mut weights = WeightStore::new(1);
    let how = PlanOptions {
        mode: Mode::Train,
        precision: options.precision,
        ..PlanOptions::default()
    };
    let mut arena = Arena::new();
    let mut plan = Plan::compile_with(&network, &mut weights, options.batch, how, &mut arena)?;
    let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters())?;
    let indices: Vec<u32> = (0..images.len() as u32).collect();
    let normalization = Normalization::from_images(images, &indices);
    let augment = AugmentConfig::default();
    let batches = indices.len() / options.batch;
    let mut number = 0;
    let mut step = || -> Result<(), Box<dyn Error>> {
        let first = number % batches.max(1) * options.batch;
        plan.fill(|pixels, labels| {
            let indices = &indices[first..first + options.batch];
            let position = (number * options.batch) as u64;
            fill_batch(
                images,
                indices,
                &normalization,
                Some(&augment),
                1,
                position,
                pixels,
                labels,
            );
        })?;
        plan.forward()?;
        plan.loss()?;
        plan.backward()?;
        optimizer.step(0.01)?;
        number += 1;
        Ok(())
    };
    let mut windows = Vec::new();
    // The first window warms up.
    for window in 0..=options.windows {
        let (start, mut steps) = (Instant::now(), 0);
        while steps == 0 || start.elapsed().as_secs_f64() < options.seconds {
            step()?;
            steps += 1;
        }
        if window > 0 {
            windows.push((steps * options.batch) as f64 / start.elapsed().as_secs_f64());
        }
    }
    windows.sort_by(f64::total_cmp);
    let description = plan.describe();
    println!(
        "{}",
        serde_json::json!({
            "arch": text,
            "batch": options.batch,
            "channels": options.channels,
            "images_per_second": windows[windows.len() / 2],
            "windows": windows,
            "flop_per_image": 2 * description.macs() / options.batch as u64,
            "mebibytes": description.total_bytes() >> 20,
        })
    );
    Ok(())
}
