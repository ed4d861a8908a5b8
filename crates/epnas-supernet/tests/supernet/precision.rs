//! Training with convolutions in bfloat16: that it learns as single precision does, and what becomes of it on a CPU
//! without instructions for it.

use epnas_arch::{Evaluator, Job};
use epnas_ops::Precision;
use epnas_supernet::{
    Arena, DeviceKind, Mode, Optimizer, Plan, PlanOptions, PrecisionKind, Refinements, Supernet,
    TrainConfig, Trainer, TrainerConfig, TrainingPart, WeightStore,
};

use crate::samples::{arch, fill, gratings, quick, supernet, tiny};

const BATCH: usize = 20;

/// Trains a network for some epochs, by emulation where the CPU has no instructions; the losses of all steps.
fn losses(text: &str, precision: Precision) -> Vec<f64> {
    let data = gratings(400, 8);
    let network = epnas_arch::Network::build(
        &arch(text),
        3,
        &epnas_arch::NetworkConfig {
            downsample: epnas_arch::Downsample::FactorizedReduction,
            channels: 9,
            ..tiny()
        },
        data.image_shape(),
        data.classes.len(),
    )
    .unwrap();
    let options = PlanOptions {
        mode: Mode::Train,
        precision,
        ..PlanOptions::default()
    };
    let (mut weights, mut arena) = (WeightStore::new(5), Arena::new());
    let mut plan = Plan::compile_with(&network, &mut weights, BATCH, options, &mut arena).unwrap();
    let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..12 {
        for indices in data.train.chunks_exact(BATCH) {
            fill(&mut plan, &data, indices);
            plan.forward().unwrap();
            losses.push(plan.loss().unwrap().loss_sum / BATCH as f64);
            plan.backward().unwrap();
            optimizer.step(0.05).unwrap();
        }
    }
    losses
}

#[test]
fn bfloat16_learns_as_single_precision_does() {
    let text = "macro:c3.0/d3.0+1/c5.1+2";
    let [single, bf16] = [Precision::F32, Precision::Bf16].map(|precision| losses(text, precision));
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let epoch = single.len() / 12;
    // The very first loss is that of the same weights: only rounding differs, and it does.
    let first = (single[0] - bf16[0]).abs();
    assert!(
        first > 0.0 && first < 0.02 * single[0],
        "{} {}",
        single[0],
        bf16[0]
    );
    let ends = [&single, &bf16].map(|losses| mean(&losses[losses.len() - epoch..]));
    // Ten classes: guessing costs ln 10 = 2.3.
    assert!(ends[0] < 1.0, "single precision has not learned: {ends:?}");
    assert!((ends[0] - ends[1]).abs() < 0.15, "{ends:?}");
}

fn recipe(precision: PrecisionKind) -> TrainConfig {
    TrainConfig {
        precision,
        ..quick()
    }
}

fn child(precision: PrecisionKind) -> (Supernet, Vec<u8>) {
    let mut supernet = supernet(recipe(precision), &gratings(60, 8), 1);
    let job = Job {
        arch: &arch("macro:c3.0/c5.0+1"),
        seed: 2,
        progress: &mut |_| (),
    };
    supernet.evaluate(job).unwrap();
    let bytes = supernet.snapshot().unwrap();
    (supernet, bytes)
}

#[test]
fn a_cpu_without_the_instructions_trains_in_single_precision() {
    let (single, expected) = child(PrecisionKind::F32);
    let (asked, found) = child(PrecisionKind::Bf16);
    assert_eq!(single.config().training.precision, PrecisionKind::F32);
    let used = asked.config().training.precision;
    assert_eq!(used, PrecisionKind::Bf16.available_on(DeviceKind::Cpu));
    // Bit for bit what was not asked for, or not that at all.
    assert_eq!(found == expected, used == PrecisionKind::F32);
}

#[test]
fn a_training_says_its_precision_and_is_not_continued_in_another() {
    let data = gratings(60, 8);
    let config = TrainerConfig {
        arch: arch("macro:c3.0").into(),
        space_len: 3,
        network: tiny(),
        training: recipe(PrecisionKind::Bf16),
        refinements: Refinements::default(),
        part: TrainingPart::Train,
    };
    let mut trainer = Trainer::new(config.clone(), data.clone(), 1).unwrap();
    trainer.train_epoch(&mut |_| ()).unwrap();
    let used = PrecisionKind::Bf16.available_on(DeviceKind::Cpu);
    let model = trainer.model().unwrap();
    let record = &model.info().training;
    assert_eq!(record.config.precision, used);
    let checkpoint = trainer.checkpoint().unwrap();
    assert!(Trainer::resume(config.clone(), data.clone(), 1, &checkpoint).is_ok());

    // The same checkpoint from a CPU that has what this one lacks, or lacks what this one has.
    let other = match used {
        PrecisionKind::F32 => "bf16",
        PrecisionKind::Bf16 => "f32",
    };
    // JSON in JSON in JSON.
    let written = format!(r#"\\\"precision\\\":\\\"{used}\\\""#);
    let forged = replaced(
        &checkpoint,
        &written,
        &written.replace(&used.to_string(), other),
    );
    let error = Trainer::resume(config, data, 1, &forged)
        .unwrap_err()
        .to_string();
    let expected = format!("training.precision (stored {other}, given {used})");
    assert!(error.contains(&expected), "{error}");
}

/// Safetensors bytes with a word of the header replaced, whose length is written before it.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = std::str::from_utf8(header).unwrap().trim_end();
    assert_eq!(header.matches(from).count(), 1, "{header}");
    let mut header = header.replace(from, to);
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), tensors].concat()
}
