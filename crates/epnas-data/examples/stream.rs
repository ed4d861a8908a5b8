//! Reads a data set, divides it, and streams one augmented epoch.
//!
//! `cargo run --release -p epnas-data --example stream [DIR]` reads the folder, whatever it holds, or the built-in set.

use std::path::PathBuf;
use std::time::Instant;

use epnas_data::{
    AugmentConfig, BatchStream, DataConfig, Normalization, detect, epoch_order, load, split,
};

/// Images of a batch.
const BATCH: usize = 128;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = DataConfig::default();
    if let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) {
        config.source = detect(&dir)?;
        config.dir = Some(dir);
    }
    let start = Instant::now();
    let dataset = load(&config)?;
    println!(
        "{}: {} training and {} test images of {} classes, {} x {} x {}, in {:.2} s",
        dataset.name,
        dataset.train.len(),
        dataset.test.as_ref().map_or(0, |test| test.len()),
        dataset.classes.len(),
        dataset.train.height,
        dataset.train.width,
        dataset.train.channels,
        start.elapsed().as_secs_f64(),
    );
    let parts = split(&dataset, &config, 1)?;
    let normalization = Normalization::from_images(&dataset.train, &parts.train);
    println!(
        "{} to train on, {} to validate on; mean {:.4?}, deviation {:.4?}",
        parts.train.len(),
        parts.validation.len(),
        normalization.mean,
        normalization.std,
    );
    let augment = AugmentConfig::default();
    let order = epoch_order(&parts.train, 1);
    let mut stream = BatchStream::new(
        &dataset.train,
        &order,
        BATCH,
        &normalization,
        Some(&augment),
        1,
    );
    let mut pixels = vec![0.0; BATCH * dataset.train.image_len()];
    let mut labels = vec![0; BATCH];
    let start = Instant::now();
    let mut sum = 0.0;
    while let Some(images) = stream.next_into(&mut pixels, &mut labels) {
        sum += f64::from(pixels[images - 1]);
    }
    println!(
        "{} batches, {:.0} images/s, checksum {sum:.6}",
        stream.batches(),
        order.len() as f64 / start.elapsed().as_secs_f64(),
    );
    Ok(())
}
