//! Training from scratch.

use std::ops::ControlFlow;
use std::sync::Arc;

use epnas_arch::HandMade;
use epnas_supernet::{
    Advance, BnEval, Model, MomentumKind, OptimizerKind, Refinements, Schedule, Score,
    SupernetError, TrainConfig, Trainer, TrainerConfig, TrainerReport, TrainingPart,
};

use crate::{
    reference::{self, Norm},
    samples::{arch, data, gratings, quick, tiny},
};

fn config(training: TrainConfig) -> TrainerConfig {
    TrainerConfig {
        arch: arch("macro:c3.0/d3.0+1/mp.2").into(),
        space_len: 3,
        network: tiny(),
        training,
        refinements: Refinements::default(),
        part: TrainingPart::Train,
    }
}

fn recipe() -> TrainConfig {
    TrainConfig {
        epochs: 4,
        label_smoothing: 0.1,
        momentum_kind: MomentumKind::Nesterov,
        warmup_epochs: 1,
        augment: epnas_data::AugmentConfig {
            cutout: 2,
            ..epnas_data::AugmentConfig::default()
        },
        ..quick()
    }
}

fn without_time(report: TrainerReport) -> TrainerReport {
    TrainerReport {
        seconds: 0.0,
        ..report
    }
}

fn run(trainer: &mut Trainer) -> Vec<TrainerReport> {
    while trainer.train_epoch(&mut |_| ()).unwrap().is_some() {}
    trainer
        .reports()
        .iter()
        .cloned()
        .map(without_time)
        .collect()
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    let data = data(90, 8);
    let adam = TrainConfig {
        optimizer: OptimizerKind::Adam,
        learning_rate: 1e-3,
        schedule: Schedule::CosineRestarts,
        bn_eval: BnEval::Recalibrated,
        score: Score::Last,
        ..recipe()
    };
    let adam = TrainConfig {
        momentum_kind: MomentumKind::Classical,
        ..adam
    };
    for training in [recipe(), adam] {
        let mut through = Trainer::new(config(training.clone()), data.clone(), 5).unwrap();
        let expected = run(&mut through);
        for stop in 0..4 {
            let mut first = Trainer::new(config(training.clone()), data.clone(), 5).unwrap();
            for _ in 0..stop {
                first.train_epoch(&mut |_| ()).unwrap();
            }
            let checkpoint = first.checkpoint().unwrap();
            drop(first);
            let mut second =
                Trainer::resume(config(training.clone()), data.clone(), 5, &checkpoint).unwrap();
            assert_eq!(second.epoch(), stop);
            assert_eq!(second.checkpoint().unwrap(), checkpoint);
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(1 + stop % 2)
                .build()
                .unwrap();
            assert_eq!(pool.install(|| run(&mut second)), expected);
            // The reports hold times, so compare the tensors.
            let bytes =
                |trainer: &mut Trainer| trainer.model().unwrap().weights().to_bytes().unwrap();
            assert_eq!(
                bytes(&mut second),
                bytes(&mut through),
                "stopped after {stop}"
            );
            assert_eq!(
                second.weights().to_bytes().unwrap(),
                through.weights().to_bytes().unwrap()
            );
        }
    }
}

#[test]
fn reports_follow_the_recipe() {
    let data = data(90, 8);
    let mut trainer = Trainer::new(config(recipe()), data, 5).unwrap();
    let mut images = Vec::new();
    let first = trainer
        .train_epoch(&mut |progress| images.push((progress.epoch, progress.images)))
        .unwrap();
    let first = first.unwrap();
    // 81 training images: 5 steps of 16.
    assert_eq!(images, [(1, 16), (1, 32), (1, 48), (1, 64), (1, 80)]);
    assert_eq!(
        (first.epoch, first.images, trainer.total_images()),
        (1, 80, 320)
    );
    // The fifth of five warm-up steps: 5 / 6 of the full rate.
    assert!((first.learning_rate - 0.05 * 5.0 / 6.0).abs() < 1e-12);
    assert!(first.validation_accuracy.is_some() && first.loss > 0.0);
    let reports = run(&mut trainer);
    assert_eq!(reports.len(), 4);
    assert!(trainer.is_finished() && trainer.train_epoch(&mut |_| ()).unwrap().is_none());
    assert!(reports[3].learning_rate < 0.001);
}

#[test]
fn all_images_can_train() {
    let data = data(90, 8);
    let all = TrainerConfig {
        refinements: Refinements::default(),
        part: TrainingPart::TrainAndValidation,
        ..config(recipe())
    };
    let mut trainer = Trainer::new(all, data, 5).unwrap();
    // 90 images: 5 steps of 16 again, but an epoch draws from all 90.
    let report = trainer.train_epoch(&mut |_| ()).unwrap().unwrap();
    assert_eq!(
        (report.validation_accuracy, report.validation_loss),
        (None, None)
    );
    assert_eq!(trainer.model().unwrap().info().training.images, 90);
}

#[test]
fn checkpoints_of_other_trainings_are_refused() {
    let data = data(90, 8);
    let trainer = Trainer::new(config(recipe()), data.clone(), 5).unwrap();
    let checkpoint = trainer.checkpoint().unwrap();
    let message = |config: TrainerConfig, seed, bytes: &[u8]| {
        Trainer::resume(config, data.clone(), seed, bytes)
            .unwrap_err()
            .to_string()
    };
    let mut other = config(recipe());
    other.arch = arch("macro:c5.0").into();
    assert_eq!(
        message(other, 6, &checkpoint),
        "the checkpoint was begun with other settings: \
         architecture (stored macro:c3.0/d3.0+1/mp.2, given macro:c5.0), seed (stored 5, given 6)"
    );
    let longer = TrainConfig {
        epochs: 9,
        ..recipe()
    };
    // Only the key that differs is named.
    assert_eq!(
        message(config(longer), 5, &checkpoint),
        "the checkpoint was begun with other settings: training.epochs (stored 4, given 9)"
    );
    assert!(message(config(recipe()), 5, &checkpoint[..100]).contains("safetensors"));
    let weights = trainer.weights().to_bytes().unwrap();
    assert!(message(config(recipe()), 5, &weights).contains("description"));
}

#[test]
fn checkpoints_of_other_images_are_refused() {
    let given = data(90, 8);
    let trainer = Trainer::new(config(recipe()), given.clone(), 5).unwrap();
    let checkpoint = trainer.checkpoint().unwrap();
    let message = |change: &dyn Fn(&mut epnas_supernet::TrainingData)| {
        let mut other = (*given).clone();
        change(&mut other);
        Trainer::resume(config(recipe()), Arc::new(other), 5, &checkpoint)
            .unwrap_err()
            .to_string()
    };
    // 81 of the 90 images train.
    let fewer = message(&|data| data.train.truncate(78));
    assert!(
        fewer.ends_with("number of training images (stored 81, given 78)"),
        "{fewer}"
    );
    let pixel = message(&|data| {
        let first = data.train[0] as usize * data.images.image_len();
        Arc::make_mut(&mut data.images).pixels[first] ^= 1;
    });
    assert!(
        pixel.contains("content of the training images (stored CRC-32 "),
        "{pixel}"
    );
    let class = message(&|data| data.classes[0] = "another".into());
    assert!(class.contains("classes (stored "), "{class}");
}

#[test]
fn divergence_names_step_and_rate() {
    let data = data(90, 8);
    let wild = TrainConfig {
        learning_rate: 1e30,
        clip: 0.0,
        warmup_epochs: 0,
        ..recipe()
    };
    let mut trainer = Trainer::new(config(wild), data, 5).unwrap();
    let error = trainer.train_epoch(&mut |_| ()).unwrap_err();
    assert!(
        matches!(error, SupernetError::Diverged { step: 2, .. }),
        "{error}"
    );
}

/// With one batch of all training images the recalibrated statistics are those of these images, in every batch norm.
#[test]
fn recalibrated_statistics_are_those_of_the_images() {
    let data = data(30, 8);
    let train = |bn_eval| {
        let training = TrainConfig {
            batch: 100,
            bn_eval,
            score: Score::Last,
            ..quick()
        };
        let mut trainer = Trainer::new(config(training), data.clone(), 5).unwrap();
        run(&mut trainer);
        trainer
    };
    let mut trainer = train(BnEval::Recalibrated);
    let running = train(BnEval::Running);
    assert_eq!(
        trainer.weights().to_bytes().unwrap(),
        running.weights().to_bytes().unwrap(),
        "the stored statistics stay"
    );
    let model = trainer.model().unwrap();
    let table = data.normalization.table();
    let pixels: Vec<f64> = data
        .train
        .iter()
        .flat_map(|index| data.images.image(*index as usize))
        .enumerate()
        .map(|(place, value)| f64::from(table[place % 3][usize::from(*value)]))
        .collect();
    let weights = reference::values(model.weights());
    let labels = vec![0; data.train.len()];
    let network = trainer.network();
    let outcome = reference::run(network, &weights, &pixels, &labels, Norm::Batch, 0.0);
    assert!(outcome.statistics.len() >= 10);
    for (path, expected) in &outcome.statistics {
        for (found, expected) in weights[path].iter().zip(expected) {
            let error = (found - expected).abs() / expected.abs().max(0.1);
            assert!(error < 1e-4, "{path}: {found}, expected {expected}");
        }
    }
    // The validation that was reported used them.
    let validation: Vec<usize> = data
        .validation
        .iter()
        .map(|index| *index as usize)
        .collect();
    let report = model.evaluate(&data.images.subset(&validation)).unwrap();
    assert_eq!(
        Some(report.accuracy),
        trainer.reports()[0].validation_accuracy
    );
}

#[test]
fn the_model_of_the_best_epoch_has_its_accuracy() {
    let data = data(120, 8);
    let training = TrainConfig {
        epochs: 5,
        learning_rate: 0.4,
        schedule: Schedule::Constant,
        ..quick()
    };
    let mut trainer = Trainer::new(config(training), data.clone(), 2).unwrap();
    let reports = run(&mut trainer);
    let best = reports
        .iter()
        .filter_map(|report| report.validation_accuracy)
        .fold(0.0, f64::max);
    let model = trainer.model().unwrap();
    assert_eq!(model.info().training.validation_accuracy, Some(best));
    let validation: Vec<usize> = data
        .validation
        .iter()
        .map(|index| *index as usize)
        .collect();
    assert_eq!(
        model
            .evaluate(&data.images.subset(&validation))
            .unwrap()
            .accuracy,
        best
    );
}

/// Hand-made networks learn, are resumed and saved as architectures are.
#[test]
fn hand_made_networks_learn_and_go_on() {
    let data = gratings(200, 8);
    for text in ["resnet:8", "densenet:13k6", "densenet-bc:16k6"] {
        let config = |text: &str| TrainerConfig {
            arch: text.parse::<HandMade>().unwrap().into(),
            training: TrainConfig {
                epochs: 3,
                ..quick()
            },
            ..config(quick())
        };
        let mut through = Trainer::new(config(text), data.clone(), 5).unwrap();
        let reports = run(&mut through);
        // Guessing costs ln 10 = 2.30 nats.
        let losses: Vec<f64> = reports.iter().map(|report| report.loss).collect();
        assert!(losses[2] < 0.9 * losses[0], "{text}: {losses:?}");

        let mut first = Trainer::new(config(text), data.clone(), 5).unwrap();
        first.train_epoch(&mut |_| ()).unwrap();
        let checkpoint = first.checkpoint().unwrap();
        let resume = |text| Trainer::resume(config(text), data.clone(), 5, &checkpoint);
        assert_eq!(run(&mut resume(text).unwrap()), reports, "{text}");
        let error = resume("resnet:14").unwrap_err().to_string();
        assert!(
            error.contains(text) && error.contains("resnet:14"),
            "{error}"
        );

        let dir = tempfile::tempdir().unwrap();
        let model = through.model().unwrap();
        assert_eq!(model.info().architecture, text);
        model.save(dir.path()).unwrap();
        let loaded = Model::load(dir.path()).unwrap();
        let evaluate = |model: &Model| model.evaluate(&data.images).unwrap();
        assert_eq!(evaluate(&loaded), evaluate(&model), "{text}");
    }
}

/// The averages that are kept are those of the weights after each step, with the decay that the documentation states; the
/// weights themselves are those of a training without averages.
#[test]
fn kept_weights_are_moving_averages() {
    let data = data(90, 8);
    let averaged = |ema| TrainerConfig {
        refinements: Refinements {
            ema,
            ..Refinements::default()
        },
        ..config(TrainConfig {
            score: Score::Last,
            ..recipe()
        })
    };
    let mut plain = Trainer::new(averaged(0.0), data.clone(), 5).unwrap();
    let mut averages = reference::values(plain.weights());
    let (ema, mut step) = (0.8, 0);
    loop {
        let advance = plain.advance(&mut |_| ControlFlow::Break(())).unwrap();
        if advance == Advance::Finished {
            break;
        }
        let decay = f64::min(ema, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        for (path, values) in reference::values(plain.weights()) {
            let average = averages.get_mut(&path).unwrap().iter_mut();
            for (average, value) in average.zip(values) {
                *average = decay * *average + (1.0 - decay) * value;
            }
        }
        step += 1;
    }
    assert_eq!(step, 20, "5 steps in each of 4 epochs");
    let mut trainer = Trainer::new(averaged(ema), data.clone(), 5).unwrap();
    let reports = run(&mut trainer);
    assert_eq!(
        trainer.weights().to_bytes().unwrap(),
        plain.weights().to_bytes().unwrap()
    );
    let model = trainer.model().unwrap();
    for (path, values) in reference::values(model.weights()) {
        for (found, expected) in values.iter().zip(&averages[&path]) {
            let error = (found - expected).abs();
            assert!(
                error < 1e-5 * expected.abs().max(0.1),
                "{path}: {found}, {expected}"
            );
        }
    }
    // They are what was validated.
    let validation: Vec<usize> = data
        .validation
        .iter()
        .map(|index| *index as usize)
        .collect();
    let evaluated = model.evaluate(&data.images.subset(&validation)).unwrap();
    assert_eq!(reports[3].validation_accuracy, Some(evaluated.accuracy));
    assert!((reports[3].validation_loss.unwrap() - evaluated.loss).abs() < 1e-6);
}

/// Everything that a recipe can have, interrupted after every few steps.
#[test]
fn a_refined_training_is_resumed_at_any_step() {
    let data = gratings(90, 8);
    let refinements = Refinements {
        ema: 0.9,
        mixup: 0.3,
        drop_path: 0.3,
        auxiliary_head: 0.4,
    };
    let config = || TrainerConfig {
        arch: arch("micro:c3.-1+d3.-2/mp.-1+id.0").into(),
        refinements,
        ..config(recipe())
    };
    let mut through = Trainer::new(config(), data.clone(), 5).unwrap();
    let expected = run(&mut through);
    assert!(
        through
            .model()
            .unwrap()
            .network()
            .auxiliary_head()
            .is_none()
    );
    for every in [1, 3] {
        let mut trainer = Trainer::new(config(), data.clone(), 5).unwrap();
        let mut pauses = 0;
        while !trainer.is_finished() {
            let mut steps = 0;
            let advance = trainer.advance(&mut |_| {
                steps += 1;
                match steps == every {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            pauses += usize::from(advance.unwrap() == Advance::Paused);
            let checkpoint = trainer.checkpoint().unwrap();
            trainer = Trainer::resume(config(), data.clone(), 5, &checkpoint).unwrap();
        }
        assert!(pauses >= 4, "{pauses}");
        let reports: Vec<_> = trainer
            .reports()
            .iter()
            .cloned()
            .map(without_time)
            .collect();
        assert_eq!(reports, expected);
        for (found, expected) in [
            (trainer.model(), through.model()),
            (trainer.last_model(), through.last_model()),
        ] {
            let [found, expected] = [found, expected].map(|model| {
                let model = model.unwrap();
                (model.info().clone(), model.weights().to_bytes().unwrap())
            });
            assert!(found == expected);
        }
    }
}

#[test]
fn refinements_that_do_not_fit_are_refused() {
    let data = data(90, 8);
    let message = |text: &str, refinements| {
        let config = TrainerConfig {
            arch: text.parse().unwrap(),
            refinements,
            ..config(recipe())
        };
        Trainer::new(config, data.clone(), 5)
            .unwrap_err()
            .to_string()
    };
    let drop_path = Refinements {
        drop_path: 0.2,
        ..Refinements::default()
    };
    assert!(message("macro:c3.0/d3.1", drop_path).contains("no sums"));
    let auxiliary = Refinements {
        auxiliary_head: 0.4,
        ..Refinements::default()
    };
    assert!(message("resnet:8", auxiliary).contains("auxiliary head"));
    let wrong = Refinements {
        mixup: -1.0,
        ..Refinements::default()
    };
    assert!(message("macro:c3.0", wrong).contains("`mixup` is -1"));
}
