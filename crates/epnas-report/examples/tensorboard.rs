//! Makes up a search and a training and writes their events: `cargo run -p epnas-report --example tensorboard -- FOLDER`,
//! then `tensorboard --logdir FOLDER`.

use std::path::Path;

use epnas_arch::{Arch, EpochReport, Network, NetworkConfig, Shape};
use epnas_report::diagram;
use epnas_report::raster::{Theme, png};
use epnas_report::tensorboard::{Events, SearchEvents, file_name};
use epnas_search::{Record, Status};

/// When the search began.
const BEGAN: f64 = 1_700_000_000.0;
const IMAGE: Shape = Shape {
    height: 32,
    width: 32,
    channels: 3,
};

/// Three iterations over four steps of eight children; longer networks and later children do better.
fn history() -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let mut records = Vec::new();
    for index in 0..96_u64 {
        let (iteration, step) = (index as usize / 32, index as usize / 8 % 4 + 1);
        let op = |level: usize| ["c3", "d5", "mp", "c5", "d3"][(index as usize * 7 + level) % 5];
        let layers: Vec<String> = (0..step)
            .map(|level| format!("{}.{level}", op(level)))
            .collect();
        let arch: Arch = format!("macro:{}", layers.join("/")).parse()?;
        let network = network(&arch)?;
        let chance = ((index * 37) % 17) as f64 / 17.0;
        let estimate = 0.4 + 0.08 * step as f64 + 0.05 * iteration as f64 + 0.1 * (chance - 0.5);
        let is_ok = index % 29 != 28;
        let epoch = |epoch: usize| EpochReport {
            epoch,
            loss: 2.0 - estimate - 0.2 * epoch as f64,
            accuracy: estimate,
            seconds: 5.0,
        };
        records.push(Record {
            index,
            iteration,
            step,
            arch,
            estimate: is_ok.then_some(estimate),
            status: if is_ok { Status::Ok } else { Status::Failed },
            reason: (!is_ok).then(|| "out of memory".to_owned()),
            seconds: 10.0 + chance,
            params: is_ok.then(|| network.params()),
            macs: is_ok.then(|| network.macs()),
            images: 90_000,
            predicted: (index >= 8).then_some(estimate - 0.06 * (chance - 0.4)),
            probability: (index >= 8).then_some(0.02 + 0.03 * chance),
            temperature: (index >= 8).then(|| 10.0 * 0.97_f64.powi(index as i32)),
            epochs: if is_ok {
                vec![epoch(1), epoch(2)]
            } else {
                vec![]
            },
        });
    }
    Ok(records)
}

fn network(arch: &Arch) -> Result<Network, Box<dyn std::error::Error>> {
    let config = NetworkConfig::default();
    Ok(Network::build(arch, arch.len(), &config, IMAGE, 10)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs".to_owned());
    let write = |run: &str, bytes: &[u8]| -> std::io::Result<()> {
        let folder = Path::new(&folder).join(run);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(file_name(BEGAN)), bytes)
    };

    let mut search = SearchEvents::new(BEGAN);
    let (mut now, mut bytes) = (BEGAN, Vec::new());
    for record in history()? {
        now += record.seconds;
        bytes.extend(search.child(&record, now));
        if search.best().is_some_and(|best| best.index == record.index) {
            let drawing = diagram::svg(&record.arch, &network(&record.arch)?);
            let picture = png(&drawing, Theme::Light, 1.0)?;
            search
                .events()
                .image("search/best_architecture", record.index, now, &picture)?;
        }
    }
    bytes.extend(search.finish());
    write("search", &bytes)?;

    let mut train = Events::new(BEGAN);
    for epoch in 1..=40_u32 {
        let now = now + 30.0 * f64::from(epoch);
        let loss = 2.3 * (-0.1 * f64::from(epoch)).exp();
        train.scalar("train/loss", epoch.into(), now, loss);
        train.scalar("train/accuracy", epoch.into(), now, 0.95 - 0.3 * loss);
    }
    write("train", &train.take())?;
    println!("tensorboard --logdir {folder}");
    Ok(())
}
