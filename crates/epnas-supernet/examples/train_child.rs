//! Trains two children on shared weights and shows the second one's plan.
//!
//! ```text
//! cargo run --release -p epnas-supernet --example train_child
//! ```

use std::sync::Arc;
use std::time::Duration;

use epnas_arch::{Arch, Evaluator, Job, MacroSpace, NetworkConfig, Space};
use epnas_data::DataConfig;
use epnas_supernet::{StepProfile, Supernet, SupernetConfig, TrainConfig, TrainingData};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut data = DataConfig {
        image_size: 16,
        ..DataConfig::default()
    };
    data.synthetic.train = 3000;
    let dataset = epnas_data::load(&data)?;
    let split = epnas_data::split(&dataset, &data, 1)?;
    let data = Arc::new(TrainingData::from_dataset(&dataset, &split)?);

    let config = SupernetConfig {
        space: Space::Macro(MacroSpace {
            layers: 3,
            ..MacroSpace::default()
        }),
        network: NetworkConfig {
            channels: 16,
            ..NetworkConfig::default()
        },
        training: TrainConfig {
            batch: 64,
            ..TrainConfig::fast()
        },
    };
    let mut supernet = Supernet::new(config, data, 1)?;
    let first: Arch = "macro:c3.0/c3.1".parse()?;
    let second: Arch = "macro:c3.0/c3.1/d5.0+2".parse()?;
    let forecast = supernet.forecast(&second)?;
    println!(
        "forecast of {second}: {:.1} s, {:.1} MiB",
        forecast.seconds_per_child,
        forecast.bytes as f64 / f64::from(1 << 20)
    );
    for (seed, arch) in [&first, &second].into_iter().enumerate() {
        let job = Job {
            arch,
            seed: seed as u64,
            progress: &mut |_| (),
        };
        let measurement = supernet.evaluate(job)?;
        println!(
            "{arch}: validation accuracy {:.3} in {:.1} s, {} parameters",
            measurement.estimate, measurement.seconds, measurement.params
        );
        for epoch in &measurement.epochs {
            println!(
                "  epoch {}: loss {:.3}, validation accuracy {:.3}",
                epoch.epoch, epoch.loss, epoch.accuracy
            );
        }
    }
    let network = supernet.network(&second)?;
    let step = StepProfile::measure(&network, 64, &TrainConfig::fast(), Duration::from_secs(1))?;
    println!("{step}");
    Ok(())
}
