//! Children and trainings from scratch on a GPU: recorded steps, failures, checkpoints.

use std::ops::ControlFlow;
use std::sync::Arc;

use epnas_arch::{EvaluateError, Evaluator, Job, Measurement, Progress};
use epnas_data::{AugmentConfig, Flip};
use epnas_ops::cuda_emulation::{Order, set_largest_allocation, set_order};
use epnas_supernet::{
    Advance, BnEval, Compute, DeviceKind, OptimizerKind, PrecisionKind, Refinements, Score, Steps,
    Supernet, SupernetConfig, TrainConfig, Trainer, TrainerConfig, TrainingData, TrainingPart,
    latency,
};

use crate::on_gpu;
use crate::samples::{arch, gratings, macro_space, tiny};

/// Every operation, with as many images to validate on as two batches and a rest.
const ARCH: &str = "macro:c3.0/d5.0+1/mp.0+1+2";

fn recipe() -> TrainConfig {
    TrainConfig {
        epochs: 2,
        batch: 16,
        eval_batch: 8,
        recalibration_batches: 3,
        ..TrainConfig::fast()
    }
}

fn config(training: TrainConfig) -> SupernetConfig {
    SupernetConfig {
        space: macro_space(3),
        network: tiny(),
        training,
    }
}

fn images() -> Arc<TrainingData> {
    gratings(200, 8)
}

fn supernet(compute: &Compute, training: TrainConfig, data: &Arc<TrainingData>) -> Supernet {
    Supernet::on(compute.clone(), config(training), data.clone(), 1).unwrap()
}

fn train(supernet: &mut Supernet, text: &str, seed: u64) -> Result<Measurement, EvaluateError> {
    let arch = arch(text);
    supernet.evaluate(Job {
        arch: &arch,
        seed,
        progress: &mut |_| (),
    })
}

/// What a child leaves: its measurement without times, and all weights.
fn outcome(compute: &Compute, training: TrainConfig) -> (Vec<(f64, f64)>, Vec<u8>) {
    let precision = training.precision;
    let mut supernet = supernet(compute, training, &images());
    // A GPU has both.
    assert_eq!(supernet.config().training.precision, precision);
    // The second child begins with the weights of the first.
    train(&mut supernet, "macro:c3.0", 3).unwrap();
    let child = train(&mut supernet, ARCH, 4).unwrap();
    let epochs = child.epochs.iter();
    let epochs = epochs.map(|epoch| (epoch.loss, epoch.accuracy)).collect();
    (epochs, supernet.snapshot().unwrap())
}

fn recipes() -> [TrainConfig; 4] {
    [
        recipe(),
        TrainConfig {
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            precision: PrecisionKind::Bf16,
            ..recipe()
        },
        TrainConfig {
            bn_eval: BnEval::Recalibrated,
            label_smoothing: 0.1,
            augment: AugmentConfig {
                pad: 2,
                flip: Flip::None,
                cutout: 3,
            },
            ..recipe()
        },
        TrainConfig {
            bn_eval: BnEval::Batch,
            clip: 0.0,
            ..recipe()
        },
    ]
}

#[test]
fn recorded_steps_are_the_steps_called_one_by_one() {
    for recipe in recipes() {
        on_gpu(|gpu| {
            set_order(Order::FirstToLast);
            let recorded = outcome(gpu, recipe.clone());
            set_order(Order::LastToFirst);
            let called = outcome(&gpu.clone().with_steps(Steps::Called), recipe.clone());
            assert!(recorded == called, "{:?}, {:?}", recorded.0, called.0);
        });
    }
}

#[test]
fn children_learn_what_they_learn_on_the_cpu() {
    for recipe in recipes() {
        let single = TrainConfig {
            precision: PrecisionKind::F32,
            ..recipe.clone()
        };
        let (expected, _) = outcome(&Compute::cpu(), single);
        on_gpu(|gpu| {
            let (found, _) = outcome(gpu, recipe.clone());
            for (epoch, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // bfloat16 has 8 bits; single precision parts only where a ReLU flips.
                let bound = match (recipe.precision, epoch) {
                    (PrecisionKind::F32, 0) => 1e-3,
                    _ => 0.1,
                };
                let error = (found.0 - expected.0).abs();
                assert!(error < bound * expected.0, "{found:?}, {expected:?}");
                assert!(
                    (found.1 - expected.1).abs() <= 0.25,
                    "{found:?}, {expected:?}"
                );
            }
        });
    }
}

/// At so small a rate nothing parts by rounding, and every epoch shows the images as they are distorted in it.
#[test]
fn every_epoch_has_distortions_of_its_own() {
    let recipe = TrainConfig {
        learning_rate: 1e-6,
        epochs: 3,
        ..recipe()
    };
    let (expected, _) = outcome(&Compute::cpu(), recipe.clone());
    on_gpu(|gpu| {
        let (found, _) = outcome(gpu, recipe);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found.0 - expected.0).abs() < 1e-4,
                "{found:?}, {expected:?}"
            );
        }
    });
}

#[test]
fn progress_ends_at_the_total_and_a_measurement_counts_all_images() {
    on_gpu(|gpu| {
        let mut supernet = supernet(gpu, recipe(), &images());
        let mut seen: Vec<Progress> = Vec::new();
        let arch = arch(ARCH);
        let job = Job {
            arch: &arch,
            seed: 1,
            progress: &mut |progress| seen.push(progress),
        };
        let measurement = supernet.evaluate(job).unwrap();
        // 180 images to train on: 11 batches of 16 an epoch.
        assert_eq!(measurement.images, 2 * 176);
        let last = seen.last().unwrap();
        assert_eq!((last.images, last.total_images), (352, 352));
        assert!(seen.is_sorted_by_key(|progress| progress.images));
        // Of the steps since the call before: what an epoch's report says, where there was one call an epoch.
        if seen.len() == 2 {
            let losses: Vec<f64> = seen.iter().map(|progress| progress.loss).collect();
            let reported: Vec<f64> = measurement.epochs.iter().map(|epoch| epoch.loss).collect();
            assert_eq!(losses, reported);
        }
    });
}

#[test]
fn a_child_that_diverges_fails_where_it_does_on_the_cpu() {
    let data = images();
    let wild = TrainConfig {
        learning_rate: 1e30,
        clip: 0.0,
        ..recipe()
    };
    let reason = |compute: &Compute| {
        let mut supernet = supernet(compute, wild.clone(), &data);
        let before = supernet.snapshot().unwrap();
        let error = train(&mut supernet, ARCH, 2).unwrap_err();
        assert_eq!(supernet.snapshot().unwrap(), before);
        match error {
            EvaluateError::Child { reason } => reason,
            other => panic!("{other}"),
        }
    };
    let expected = reason(&Compute::cpu());
    assert!(expected.contains("diverged at step 2"), "{expected}");
    if let Some(found) = on_gpu(reason) {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_child_that_does_not_fit_fails_alone_and_the_next_goes_on() {
    on_gpu(|gpu| {
        let data = images();
        let batch = |batch| TrainConfig {
            batch,
            eval_batch: 20,
            ..recipe()
        };
        let mut small = supernet(gpu, batch(16), &data);
        train(&mut small, "macro:c3.0", 1).unwrap();
        let before = small.snapshot().unwrap();
        // On a real GPU nothing of this size is refused; there the whole of its memory is asked for below.
        if gpu.device().is_cpu() {
            // The largest buffers are 16,384 bytes for training and, after an epoch of it, 20,480 for evaluation.
            for largest in [16_000, 20_000] {
                set_largest_allocation(largest);
                let error = train(&mut small, ARCH, 2).unwrap_err();
                set_largest_allocation(u64::MAX);
                let EvaluateError::Child { reason } = error else {
                    panic!("{error}");
                };
                for part in ["not enough memory", "batches of 16 images of 8 x 8 x 3"] {
                    assert!(reason.contains(part), "{reason}");
                }
                assert_eq!(small.snapshot().unwrap(), before);
            }
        } else {
            let wide = SupernetConfig {
                network: epnas_arch::NetworkConfig {
                    channels: 1 << 20,
                    ..tiny()
                },
                ..config(batch(180))
            };
            let mut wide = Supernet::on(gpu.clone(), wide, data, 1).unwrap();
            let error = train(&mut wide, "macro:mp.0", 2).unwrap_err();
            assert!(matches!(error, EvaluateError::Child { .. }), "{error}");
        }
        assert_eq!(small.snapshot().unwrap(), before);
        train(&mut small, ARCH, 2).unwrap();
    });
}

fn from_scratch(training: TrainConfig) -> TrainerConfig {
    TrainerConfig {
        arch: arch(ARCH).into(),
        space_len: 3,
        network: tiny(),
        training,
        refinements: Refinements::default(),
        part: TrainingPart::Train,
    }
}

/// Half the memory for activations, and for nothing else.
#[test]
fn activations_are_stored_in_the_precision() {
    on_gpu(|gpu| {
        let bytes = |precision| {
            let training = TrainConfig {
                precision,
                ..recipe()
            };
            let config = from_scratch(training);
            let trainer = Trainer::on(gpu.clone(), config, images(), 7).unwrap();
            (trainer.bytes(), trainer.weights().bytes())
        };
        let [(single, weights), (half, same)] =
            [PrecisionKind::F32, PrecisionKind::Bf16].map(bytes);
        assert_eq!(weights, same);
        let buffers = (single - half) * 2;
        assert!(
            half < single && buffers < single && buffers > single / 2,
            "{single}, {half}"
        );
    });
}

fn epochs(trainer: &mut Trainer) {
    while trainer.train_epoch(&mut |_| ()).unwrap().is_some() {}
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one() {
    for recipe in recipes() {
        let config = from_scratch(TrainConfig {
            epochs: 3,
            ..recipe
        });
        on_gpu(|gpu| {
            let data = images();
            let mut whole = Trainer::on(gpu.clone(), config.clone(), data.clone(), 7).unwrap();
            epochs(&mut whole);
            let mut first = Trainer::on(gpu.clone(), config.clone(), data.clone(), 7).unwrap();
            first.train_epoch(&mut |_| ()).unwrap();
            let bytes = first.checkpoint().unwrap();
            drop(first);
            let (config, data) = (config.clone(), data.clone());
            let resumed = Trainer::resume_on(gpu.clone(), config, data, 7, &bytes);
            let mut resumed = resumed.unwrap();
            epochs(&mut resumed);
            let weights = |trainer: &mut Trainer| {
                let model = trainer.model().unwrap();
                model.weights().to_bytes().unwrap()
            };
            assert!(weights(&mut resumed) == weights(&mut whole));
        });
    }
}

/// Averages, mixtures, dropped branches and an auxiliary head: near the CPU's result, resumed within an epoch, and with
/// recorded steps as with steps that are called one by one.
#[test]
fn a_refined_training_is_that_of_the_cpu() {
    let refinements = Refinements {
        ema: 0.9,
        mixup: 0.3,
        drop_path: 0.3,
        auxiliary_head: 0.4,
    };
    let config = TrainerConfig {
        arch: arch("micro:c3.-1+d3.-2/mp.-1+id.0").into(),
        refinements,
        ..from_scratch(TrainConfig {
            epochs: 2,
            score: Score::Last,
            ..recipe()
        })
    };
    let data = images();
    let mut cpu = Trainer::new(config.clone(), data.clone(), 7).unwrap();
    epochs(&mut cpu);
    on_gpu(|gpu| {
        let finish = |mut trainer: Trainer| {
            epochs(&mut trainer);
            let weights = trainer.model().unwrap().weights().to_bytes().unwrap();
            (weights, trainer.reports().last().cloned().unwrap())
        };
        let begin =
            |gpu: &Compute| Trainer::on(gpu.clone(), config.clone(), data.clone(), 7).unwrap();
        let (whole, report) = finish(begin(gpu));
        let expected = cpu.reports().last().unwrap();
        assert!(
            (report.loss - expected.loss).abs() < 2e-2 * expected.loss,
            "{report:?}, {expected:?}"
        );
        let called = begin(&gpu.clone().with_steps(Steps::Called));
        assert!(finish(called).0 == whole, "recorded steps");

        let mut first = begin(gpu);
        let advance = first.advance(&mut |_| ControlFlow::Break(()));
        // Progress is told when the sums are read: on a real GPU perhaps only at the end of an epoch.
        assert_ne!(advance.unwrap(), Advance::Finished);
        let bytes = first.checkpoint().unwrap();
        let resumed = Trainer::resume_on(gpu.clone(), config.clone(), data.clone(), 7, &bytes);
        assert!(finish(resumed.unwrap()).0 == whole, "resumed");
    });
}

#[test]
fn a_training_goes_on_only_on_a_device_of_its_kind() {
    let data = images();
    let config = from_scratch(recipe());
    let begun = on_gpu(|gpu| {
        let mut trainer = Trainer::on(gpu.clone(), config.clone(), data.clone(), 7).unwrap();
        trainer.train_epoch(&mut |_| ()).unwrap();
        assert_eq!(gpu.kind(), DeviceKind::Cuda);
        trainer.checkpoint().unwrap()
    });
    let Some(checkpoint) = begun else { return };
    let error = Trainer::resume(config, data, 7, &checkpoint).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("device") && message.contains("cuda"),
        "{message}"
    );
}

#[test]
fn a_model_trained_on_a_gpu_works_on_the_cpu() {
    on_gpu(|gpu| {
        let data = images();
        let config = from_scratch(TrainConfig {
            epochs: 4,
            ..recipe()
        });
        let mut trainer = Trainer::on(gpu.clone(), config, data.clone(), 7).unwrap();
        epochs(&mut trainer);
        let reports = trainer.reports().iter();
        let best = reports.filter_map(|report| report.validation_accuracy);
        let expected = best.fold(0.0, f64::max);
        let model = trainer.model().unwrap();
        assert!(model.weights().device().is_cpu());
        let validation = epnas_data::Images {
            pixels: (data.validation.iter())
                .flat_map(|&index| data.images.image(index as usize))
                .copied()
                .collect(),
            labels: (data.validation.iter())
                .map(|&index| data.images.labels[index as usize])
                .collect(),
            ..(*data.images).clone()
        };
        let found = model.evaluate(&validation).unwrap().accuracy;
        assert!(
            (found - expected).abs() <= 0.05 + 1e-9,
            "{found}, {expected}"
        );
    });
}

#[test]
fn latency_is_measured_in_both_precisions() {
    on_gpu(|compute| {
        let supernet = supernet(compute, recipe(), &images());
        let network = supernet.network(&arch(ARCH)).unwrap();
        for precision in [PrecisionKind::F32, PrecisionKind::Bf16] {
            let seconds = latency(&network, compute, precision).unwrap();
            assert!(seconds > 0.0 && seconds.is_finite(), "{seconds}");
        }
    });
}
