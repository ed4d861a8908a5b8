//! Measures a training step of one network, operator by operator.
//!
//! ```text
//! cargo run --release -p epnas-supernet --example profile_step -- [ARCH] [CHANNELS] [BATCH] [STEPS]
//! ```

use std::{collections::BTreeMap, time::Instant};

use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_data::{AugmentConfig, Normalization, SyntheticConfig, fill_batch};
use epnas_supernet::{Mode, Optimizer, Plan, TrainConfig, WeightStore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| {
        arguments
            .get(place)
            .map_or(Ok(default), |text| text.parse())
    };
    let text = arguments
        .first()
        .map_or("macro:c3.0/d3.1/c5.1+2/mp.0+3", String::as_str);
    let (channels, batch, steps) = (number(1, 24)?, number(2, 64)?, number(3, 40)?);

    let arch: Arch = text.parse()?;
    let config = NetworkConfig {
        channels,
        ..NetworkConfig::default()
    };
    let network = Network::build(&arch, arch.len(), &config, Shape::new(32, 32, 3), 10)?;
    let images = epnas_data::synthetic::dataset(
        &SyntheticConfig {
            train: 1024,
            test: 1,
            seed: 0,
        },
        32,
        3,
    )
    .train;
    let indices: Vec<u32> = (0..images.len() as u32).collect();
    let normalization = Normalization::from_images(&images, &indices);
    let augment = AugmentConfig::default();

    let mut weights = WeightStore::new(1);
    let mut plan = Plan::compile(&network, &mut weights, batch, Mode::Train)?;
    let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters())?;
    println!("{}", plan.describe());
    let mut fill_seconds = 0.0;
    let mut update_seconds = 0.0;
    let mut step = |plan: &mut Plan, number: usize| -> Result<(), Box<dyn std::error::Error>> {
        let first = (number * batch) % (images.len() - batch + 1);
        let start = Instant::now();
        plan.fill(|pixels, labels| {
            let indices = &indices[first..first + batch];
            fill_batch(
                &images,
                indices,
                &normalization,
                Some(&augment),
                1,
                first as u64,
                pixels,
                labels,
            );
        })?;
        fill_seconds += start.elapsed().as_secs_f64();
        plan.forward()?;
        plan.loss()?;
        plan.backward()?;
        let start = Instant::now();
        optimizer.step(0.01)?;
        update_seconds += start.elapsed().as_secs_f64();
        Ok(())
    };
    for number in 0..3 {
        step(&mut plan, number)?;
    }
    let start = Instant::now();
    for number in 0..steps {
        step(&mut plan, number)?;
    }
    let plain = start.elapsed().as_secs_f64();
    plan.start_profile();
    for number in 0..steps {
        step(&mut plan, number)?;
    }

    let mut by_operator: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    println!(
        "{:<8} {:<32} {:<22} {:>9} {:>9}",
        "phase", "node", "operator", "ms", "GFLOP/s"
    );
    for timing in plan.profile() {
        println!(
            "{:<8} {:<32} {:<22} {:>9.3} {:>9.1}",
            timing.phase.to_string(),
            timing.label,
            timing.operator,
            timing.milliseconds(),
            timing.gflops()
        );
        let entry = by_operator
            .entry(format!("{} {}", timing.operator, timing.phase))
            .or_default();
        entry.0 += timing.milliseconds();
        entry.1 += timing.macs;
    }
    let mut by_operator: Vec<(String, (f64, u64))> = by_operator.into_iter().collect();
    by_operator.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    println!();
    for (operator, (milliseconds, macs)) in by_operator {
        println!(
            "{operator:<36} {milliseconds:>9.3} ms {:>9.1} GFLOP/s",
            2e-6 * macs as f64 / milliseconds
        );
    }
    let all = (2 * steps + 3) as f64;
    println!(
        "{:<36} {:>9.3} ms",
        "batch (augmentation)",
        1e3 * fill_seconds / all
    );
    println!("{:<36} {:>9.3} ms", "update", 1e3 * update_seconds / all);
    println!(
        "{text}, {channels} channels, batch {batch}: {:.2} ms a step, {:.0} images/s",
        1e3 * plain / steps as f64,
        (steps * batch) as f64 / plain
    );
    Ok(())
}
