//! Children on shared weights.

use std::{collections::BTreeMap, sync::Arc};

use epnas_arch::{EvaluateError, Evaluator, Job, Measurement, Progress};
use epnas_supernet::{
    BnEval, Score, Supernet, SupernetConfig, TrainConfig, TrainingData, network_params,
};

use crate::samples::{
    arch, data, gratings, macro_space, micro_space, quick, random_arch, supernet, tiny,
};

fn train(supernet: &mut Supernet, text: &str, seed: u64) -> Result<Measurement, EvaluateError> {
    let arch = arch(text);
    supernet.evaluate(Job {
        arch: &arch,
        seed,
        progress: &mut |_| (),
    })
}

/// The bits of every tensor.
fn bits(supernet: &Supernet) -> BTreeMap<String, Vec<u32>> {
    supernet
        .weights()
        .iter()
        .map(|(path, tensor)| {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            (
                path.to_owned(),
                values.iter().map(|v| v.to_bits()).collect(),
            )
        })
        .collect()
}

fn without_times(mut measurement: Measurement) -> Measurement {
    measurement.seconds = 0.0;
    measurement
        .epochs
        .iter_mut()
        .for_each(|epoch| epoch.seconds = 0.0);
    measurement
}

#[test]
fn children_share_by_name_and_touch_nothing_else() {
    let data = data(80, 8);
    let mut supernet = supernet(quick(), &data, 1);
    train(&mut supernet, "macro:c3.0/c5.1/mp.0+2", 1).unwrap();
    let before = bits(&supernet);
    // Shares the stem, layer 1 and the head; layer 2 has another operation and layer 3 another source.
    train(&mut supernet, "macro:c3.0/d3.1/mp.2", 2).unwrap();
    let after = bits(&supernet);
    let network = supernet.network(&arch("macro:c3.0/d3.1/mp.2")).unwrap();
    let active: Vec<&str> = network_params(&network)
        .iter()
        .map(|p| p.path.as_str())
        .collect();
    for (path, old) in &before {
        if active.contains(&path.as_str()) {
            assert_ne!(old, &after[path], "{path} is active and did not change");
        } else {
            assert_eq!(old, &after[path], "{path} is inactive and changed");
        }
    }
    assert!(
        active.contains(&"layer.1.conv_3x3.weight")
            && before.contains_key("layer.1.conv_3x3.weight")
    );
    assert!(
        !active.contains(&"layer.2.conv_5x5.weight")
            && before.contains_key("layer.2.conv_5x5.weight")
    );
    assert!(!active.contains(&"layer.3.in.0.weight") && before.contains_key("layer.3.in.0.weight"));
    assert!(after.contains_key("layer.2.dw_conv_3x3.depthwise.weight"));
}

#[test]
fn a_child_depends_on_weights_architecture_and_seed_only() {
    let data = data(80, 8);
    let run = |seed: u64| {
        let mut supernet = supernet(
            TrainConfig {
                epochs: 2,
                ..quick()
            },
            &data,
            1,
        );
        let first = train(&mut supernet, "macro:c3.0/d5.1", 3).unwrap();
        let second = train(&mut supernet, "macro:c3.0/d5.0+1/ap.2", seed).unwrap();
        (without_times(first), without_times(second), bits(&supernet))
    };
    let expected = run(4);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        assert_eq!(pool.install(|| run(4)), expected, "{threads} threads");
    }
    assert_ne!(run(5).2, expected.2, "the child's seed matters");
}

#[test]
fn both_spaces_train_every_option_deterministically() {
    let data = data(60, 8);
    for (space, seed) in [
        (macro_space(3), 1),
        (micro_space(3), 2),
        (micro_space(2), 3),
    ] {
        let arch = random_arch(&space, space.levels(), seed);
        let config = SupernetConfig {
            space,
            network: tiny(),
            training: quick(),
        };
        let run = || {
            let mut supernet = Supernet::new(config.clone(), data.clone(), 1).unwrap();
            let job = Job {
                arch: &arch,
                seed: 1,
                progress: &mut |_| (),
            };
            let measurement = supernet.evaluate(job).unwrap();
            (without_times(measurement), bits(&supernet))
        };
        let (measurement, weights) = run();
        assert_eq!((measurement.clone(), weights), run());
        let network = Supernet::new(config.clone(), data.clone(), 1)
            .unwrap()
            .network(&arch)
            .unwrap();
        assert_eq!(
            (measurement.params, measurement.macs),
            (network.params(), network.macs())
        );
        // 54 of 60 images train: 3 full batches of 16.
        assert_eq!(measurement.images, 48);
    }
}

#[test]
fn snapshots_continue_exactly() {
    let data = data(80, 8);
    let mut through = supernet(quick(), &data, 1);
    train(&mut through, "macro:c3.0/d3.1", 1).unwrap();
    let snapshot = through.snapshot().unwrap();
    let second = train(&mut through, "macro:c5.0/d3.0+1/mp.2", 2).unwrap();

    let mut resumed = supernet(quick(), &data, 999);
    resumed.restore(&snapshot).unwrap();
    assert_eq!(resumed.snapshot().unwrap(), snapshot);
    let again = train(&mut resumed, "macro:c5.0/d3.0+1/mp.2", 2).unwrap();
    assert_eq!(without_times(again), without_times(second));
    assert_eq!(resumed.snapshot().unwrap(), through.snapshot().unwrap());

    through.reset(1).unwrap();
    assert!(through.weights().is_empty());
    train(&mut through, "macro:c3.0/d3.1", 1).unwrap();
    assert_eq!(through.snapshot().unwrap(), snapshot);
    assert!(matches!(
        through.restore(b"nonsense"),
        Err(EvaluateError::Fatal(_))
    ));
    assert_eq!(
        through.snapshot().unwrap(),
        snapshot,
        "a failed restore changes nothing"
    );
}

#[test]
fn a_child_that_diverges_fails_alone_and_leaves_the_weights() {
    let data = data(80, 8);
    let mut supernet = supernet(quick(), &data, 1);
    train(&mut supernet, "macro:c3.0", 1).unwrap();
    let snapshot = supernet.snapshot().unwrap();
    let wild = SupernetConfig {
        training: TrainConfig {
            learning_rate: 1e30,
            clip: 0.0,
            ..quick()
        },
        ..supernet.config().clone()
    };
    let mut wild = Supernet::new(wild, data.clone(), 1).unwrap();
    wild.restore(&snapshot).unwrap();
    match train(&mut wild, "macro:c3.0/d5.1", 2).unwrap_err() {
        EvaluateError::Child { reason } => {
            assert!(
                reason.contains("diverged at step 2") && reason.contains("e29"),
                "{reason}"
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(wild.snapshot().unwrap(), snapshot);
}

#[test]
fn a_network_that_cannot_be_built_fails_alone() {
    let data = data(60, 8);
    let mut supernet = supernet(quick(), &data, 1);
    // Four layers, but the space has three.
    let error = train(&mut supernet, "macro:c3.0/c3.1/c3.2/c3.3", 1).unwrap_err();
    assert!(matches!(error, EvaluateError::Child { .. }), "{error}");
    assert!(supernet.cost(&arch("macro:c3.0/c3.1/c3.2/c3.3")).is_none());
    assert!(supernet.weights().is_empty());
}

#[test]
fn progress_counts_images_up_to_the_total() {
    let data = data(80, 8);
    let mut supernet = supernet(
        TrainConfig {
            epochs: 2,
            ..quick()
        },
        &data,
        1,
    );
    let mut seen: Vec<Progress> = Vec::new();
    let arch = arch("macro:c3.0");
    let job = Job {
        arch: &arch,
        seed: 1,
        progress: &mut |progress| seen.push(progress),
    };
    let measurement = supernet.evaluate(job).unwrap();
    // 72 training images: 4 batches of 16 an epoch.
    let images: Vec<u64> = seen.iter().map(|progress| progress.images).collect();
    assert_eq!(images, [16, 32, 48, 64, 80, 96, 112, 128]);
    assert!(
        seen.iter()
            .all(|progress| progress.total_images == 128 && progress.loss.is_finite())
    );
    assert_eq!(measurement.images, 128);
    assert_eq!(measurement.epochs.len(), 2);
}

#[test]
fn fewer_images_than_a_batch_make_one_smaller_batch() {
    let data = data(60, 8);
    let config = TrainConfig {
        batch: 1000,
        eval_batch: 1000,
        ..quick()
    };
    let measurement = train(&mut supernet(config, &data, 1), "macro:c3.0", 1).unwrap();
    assert_eq!(measurement.images, 54);
}

#[test]
fn the_best_epoch_keeps_its_weights() {
    let data = data(120, 8);
    // A constant high rate: accuracy goes up and down.
    let config = |epochs, score| TrainConfig {
        epochs,
        score,
        learning_rate: 0.4,
        schedule: epnas_supernet::Schedule::Constant,
        ..quick()
    };
    let mut tried = 0;
    for seed in 0..6 {
        let mut best = supernet(config(4, Score::BestEpoch), &data, seed);
        let measurement = train(&mut best, "macro:c3.0", seed).unwrap();
        let accuracies: Vec<f64> = measurement
            .epochs
            .iter()
            .map(|epoch| epoch.accuracy)
            .collect();
        let top = accuracies.iter().cloned().fold(0.0, f64::max);
        assert_eq!(measurement.estimate, top);
        let epoch = accuracies
            .iter()
            .position(|accuracy| *accuracy == top)
            .unwrap()
            + 1;
        // The rate is constant, so training just that long gives the same weights.
        let mut short = supernet(config(epoch, Score::Last), &data, seed);
        let last = train(&mut short, "macro:c3.0", seed).unwrap();
        assert_eq!(last.estimate, top);
        assert_eq!(bits(&short), bits(&best), "seed {seed}, epoch {epoch}");
        tried += usize::from(epoch < 4);
    }
    assert!(
        tried > 0,
        "the best epoch was always the last: choose other seeds"
    );
}

#[test]
fn batch_norm_modes_differ_and_leave_the_statistics() {
    let data = data(120, 8);
    let run = |bn_eval| {
        let config = TrainConfig {
            bn_eval,
            recalibration_batches: 4,
            score: Score::Last,
            ..quick()
        };
        let mut supernet = supernet(config, &data, 1);
        let accuracy = train(&mut supernet, "macro:c3.0/d3.1", 1).unwrap().estimate;
        (accuracy, bits(&supernet))
    };
    let running = run(BnEval::Running);
    let recalibrated = run(BnEval::Recalibrated);
    let batch = run(BnEval::Batch);
    assert_eq!(running.1, recalibrated.1);
    assert_eq!(running.1, batch.1);
}

#[test]
fn every_preset_trains() {
    let data = data(60, 8);
    for preset in [
        TrainConfig::fast(),
        TrainConfig::nasnet(),
        TrainConfig::mfas(),
    ] {
        let config = TrainConfig {
            batch: 16,
            eval_batch: 100,
            ..preset
        };
        let measurement = train(&mut supernet(config, &data, 1), "macro:d3.0/c3.1", 1).unwrap();
        assert_eq!(measurement.epochs.len(), 3);
        let (first, last) = (measurement.epochs[0].loss, measurement.epochs[2].loss);
        assert!(last < first, "{measurement:?}");
    }
}

/// Ten classes, so chance is 0.1.
#[test]
fn children_learn_and_pass_on_what_they_learned() {
    let data = gratings(2000, 16);
    let training = TrainConfig {
        epochs: 6,
        batch: 32,
        ..TrainConfig::fast()
    };
    let config = SupernetConfig {
        space: macro_space(3),
        network: epnas_arch::NetworkConfig {
            channels: 16,
            ..tiny()
        },
        training,
    };
    let mut supernet = Supernet::new(config, data, 1).unwrap();
    let first = train(&mut supernet, "macro:c3.0/c3.1", 1).unwrap();
    assert!(first.estimate > 0.3, "{first:?}");
    let losses: Vec<f64> = first.epochs.iter().map(|epoch| epoch.loss).collect();
    assert!(losses[5] < losses[0] - 0.2, "{losses:?}");
    // The second child has a new layer on top of two trained ones: its first epoch starts ahead.
    let second = train(&mut supernet, "macro:c3.0/c3.1/c3.2", 2).unwrap();
    assert!(second.epochs[0].loss < losses[0] - 0.1, "{second:?}");
}

#[test]
fn a_forecast_changes_nothing() {
    let data = data(80, 8);
    let mut supernet = supernet(quick(), &data, 1);
    train(&mut supernet, "macro:c3.0", 1).unwrap();
    let before = supernet.snapshot().unwrap();
    let forecast = supernet.forecast(&arch("macro:c3.0/d5.1")).unwrap();
    assert_eq!(supernet.snapshot().unwrap(), before);
    assert!(
        forecast.seconds_per_child > 0.0 && forecast.bytes > 10_000,
        "{forecast:?}"
    );
    assert!(
        forecast.training_images_per_second > 0.0 && forecast.validation_images_per_second > 0.0
    );
}

#[test]
fn data_that_cannot_be_trained_on_is_refused() {
    let data = data(60, 8);
    let build = |change: &dyn Fn(&mut TrainingData)| {
        let mut parts = (*data).clone();
        change(&mut parts);
        TrainingData::new(
            parts.images,
            parts.train,
            parts.validation,
            parts.normalization,
            parts.classes,
        )
        .unwrap_err()
        .to_string()
    };
    assert_eq!(
        build(&|data| data.train.clear()),
        "there are no images to train on"
    );
    assert_eq!(
        build(&|data| data.validation = vec![60]),
        "image 60 of 60 does not exist"
    );
    assert!(build(&|data| data.classes.truncate(2)).contains("but there are 2 classes"));
    assert!(build(&|data| data.normalization.mean.truncate(1)).contains("3 channels"));
    assert!(
        build(&|data| {
            let mut images = (*data.images).clone();
            images.pixels.pop();
            data.images = Arc::new(images);
        })
        .contains("pixel values")
    );
    let bad = TrainConfig {
        learning_rate: -1.0,
        ..quick()
    };
    let config = SupernetConfig {
        space: macro_space(3),
        network: tiny(),
        training: bad,
    };
    let error = Supernet::new(config, data, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "training `learning_rate` is -1, expected a finite number above 0"
    );
}

#[test]
fn validation_reads_the_weights_and_changes_none() {
    let data = data(80, 8);
    for bn_eval in [BnEval::Running, BnEval::Recalibrated, BnEval::Batch] {
        let recipe = TrainConfig {
            bn_eval,
            score: Score::Last,
            ..quick()
        };
        let mut supernet = supernet(recipe, &data, 1);
        let (child, other) = (arch("macro:c3.0/c5.1/mp.0+2"), arch("macro:d3.0/d5.1/c3.2"));
        let trained = train(&mut supernet, "macro:c3.0/c5.1/mp.0+2", 7).unwrap();
        let before = bits(&supernet);
        let modes = [BnEval::Running, BnEval::Recalibrated, BnEval::Batch];
        let accuracies = modes.map(|mode| supernet.validate(&child, mode, 7).unwrap());
        // The seed draws the same batches to recalibrate with as in the training.
        let same = modes.iter().position(|mode| *mode == bn_eval).unwrap();
        assert_eq!(accuracies[same], trained.estimate, "{bn_eval:?}");
        // Weights that nothing has trained are not kept either.
        supernet.validate(&other, bn_eval, 7).unwrap();
        assert_eq!(bits(&supernet), before);
    }
}

#[test]
fn validation_of_hopeless_weights_fails_as_a_child_does() {
    let data = data(80, 8);
    let mut supernet = supernet(quick(), &data, 1);
    train(&mut supernet, "macro:c3.0", 1).unwrap();
    let paths: Vec<String> = bits(&supernet).into_keys().collect();
    let mut weights = supernet.weights().clone();
    for path in paths {
        let broken = (weights.tensor(&path).unwrap() * f64::INFINITY).unwrap();
        weights.insert(path, broken).unwrap();
    }
    supernet.restore(&weights.to_bytes().unwrap()).unwrap();
    let error = supernet.validate(&arch("macro:c3.0"), BnEval::Running, 1);
    assert!(
        matches!(error, Err(EvaluateError::Child { .. })),
        "{error:?}"
    );
}
