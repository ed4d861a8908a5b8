//! Steps, epochs in parts, and what they report.

use std::sync::Arc;

use epnas_arch::{Arch, NetworkConfig};
use epnas_data::{DataConfig, Split};
use epnas_ops::cuda_emulation;

use super::*;
use crate::{
    compute::Compute,
    config::{OptimizerKind, PrecisionKind},
    data::TrainingData,
    host,
};

fn recipe() -> TrainConfig {
    TrainConfig {
        batch: 20,
        ..TrainConfig::fast()
    }
}

/// A session on the CPU, or inside of [`cuda_emulation::run`] on a GPU, and its weights.
fn session(recipe: &TrainConfig) -> (Session, WeightStore) {
    refined_session(recipe, Refinements::default())
}

fn refined_session(recipe: &TrainConfig, refinements: Refinements) -> (Session, WeightStore) {
    session_of("macro:c3.0", recipe, refinements)
}

fn session_of(
    arch: &str,
    recipe: &TrainConfig,
    refinements: Refinements,
) -> (Session, WeightStore) {
    let mut images = DataConfig {
        image_size: 8,
        ..DataConfig::default()
    };
    (images.synthetic.train, images.synthetic.test) = (60, 10);
    let dataset = epnas_data::load(&images).expect("images");
    let split = Split {
        train: (0..40).collect(),
        validation: (40..60).collect(),
    };
    let data = Arc::new(TrainingData::from_dataset(&dataset, &split).expect("a division"));
    let arch: Arch = arch.parse().expect("an architecture");
    let config = NetworkConfig {
        channels: 5,
        cells_per_stage: 1,
        ..NetworkConfig::default()
    };
    let (shape, classes) = (data.image_shape(), data.classes.len());
    let network = Network::build(&arch, 2, &config, shape, classes).expect("a network");
    let (mut weights, train) = (WeightStore::new(1), data.train.clone());
    let source = Source::new(data, Compute::cpu()).expect("a source");
    let how = (recipe, refinements);
    let session = Session::refined(&network, &mut weights, how, &source, train, 2);
    (session.expect("a session"), weights)
}

/// What `body` gives on the CPU and on a GPU, if there is a C++ compiler.
fn on_both<R>(body: impl Fn() -> R) -> Option<[R; 2]> {
    match cuda_emulation::AVAILABLE {
        true => Some([body(), cuda_emulation::run(&body)]),
        false => {
            println!("skipped: no C++ compiler");
            None
        }
    }
}

#[test]
fn training_takes_the_precision_of_the_recipe_and_evaluation_takes_single() {
    // Emulated where this CPU has no instructions: a session does as it is told.
    let [single, bf16] = [PrecisionKind::F32, PrecisionKind::Bf16].map(|precision| {
        let recipe = TrainConfig {
            precision,
            ..recipe()
        };
        let (mut session, mut weights) = session(&recipe);
        let evaluated = session.validate(&mut weights, 0).expect("an evaluation");
        let trained = session.train_steps(0, Trained::default(), 1, &mut |_, _| {
            ControlFlow::Continue(())
        });
        (evaluated.loss(), trained.expect("a step").totals.loss())
    });
    assert_eq!(single.0.to_bits(), bf16.0.to_bits());
    assert_ne!(single.1.to_bits(), bf16.1.to_bits());
}

#[test]
fn progress_tells_the_loss_of_each_step() {
    let told = on_both(|| {
        let (mut session, _weights) = session(&recipe());
        let mut told = Vec::new();
        let totals = session.train_epoch(0, &mut |images, loss| told.push((images, loss)));
        (told, totals.expect("an epoch").loss())
    });
    for (told, mean) in told.into_iter().flatten() {
        let images: Vec<u64> = told.iter().map(|(images, _)| *images).collect();
        assert_eq!(images, [20, 40]);
        assert!(
            (told[0].1 + told[1].1 - 2.0 * mean).abs() < 1e-9,
            "{told:?}, {mean}"
        );
    }
}

#[test]
fn an_epoch_in_parts_is_the_epoch() {
    let refinements = Refinements {
        ema: 0.9,
        mixup: 0.4,
        ..Refinements::default()
    };
    let recipe = TrainConfig {
        batch: 10,
        ..recipe()
    };
    let ends = on_both(|| {
        [&[0, 4][..], &[0, 1, 3, 4]].map(|ends| {
            let (mut session, weights) = refined_session(&recipe, refinements);
            let mut trained = Trained::default();
            for end in &ends[1..] {
                let go_on = &mut |_: u64, _: f64| ControlFlow::Continue(());
                let part = session.train_steps(1, trained, *end, go_on);
                trained = part.expect("steps");
            }
            let averages = session.averages().expect("averages").to_bytes();
            let weights = weights.to_bytes().expect("bytes");
            (weights, averages.expect("bytes"), trained)
        })
    });
    for [whole, parts] in ends.into_iter().flatten() {
        assert!(whole == parts, "{:?}, {:?}", whole.2, parts.2);
    }
}

/// The third step of the second epoch, taken by hand with what the documentation says of it.
#[test]
fn a_refined_step_is_what_it_says() {
    let refinements = Refinements {
        mixup: 0.4,
        drop_path: 0.3,
        auxiliary_head: 0.7,
        ..Refinements::default()
    };
    let recipe = TrainConfig {
        batch: 10,
        clip: 0.0,
        ..recipe()
    };
    let arch = "micro:c3.-1+d3.-2/id.0+mp.-1";
    let (mut session, weights) = session_of(arch, &recipe, refinements);
    let (step, batch, seed) = (6, 10, 2);
    let before = Trained {
        step: 2,
        totals: Totals::default(),
    };
    let go_on = &mut |_: u64, _: f64| ControlFlow::Continue(());
    let trained = session.train_steps(1, before, 3, go_on).expect("a step");

    // 40 images: 4 steps in each of 3 epochs.
    let network = session.inference_network().with_auxiliary_head();
    let network = network.expect("an auxiliary head");
    let mut by_hand = WeightStore::new(1);
    let options = PlanOptions {
        mixup: true,
        drop_path: true,
        auxiliary_weight: 0.7,
        ..PlanOptions::default()
    };
    let mut plan = Plan::compile_with(&network, &mut by_hand, batch, options, &mut Arena::new())
        .expect("a plan");
    let order = epoch_order(&session.train, split(split(seed, "order"), "1"));
    let data = session.source.data.clone();
    let stream = split(split(seed, "augment"), "1");
    plan.fill(|pixels, labels| {
        fill_batch(
            &data.images,
            &order[20..30],
            &data.normalization,
            Some(&recipe.augment),
            stream,
            20,
            pixels,
            labels,
        );
    })
    .expect("images");
    let chances = Chances::new(refinements, seed, network.branches().len(), batch, 12);
    let mut dropped = 0;
    plan.set_chances(|row| {
        chances.fill(step, row);
        assert!(row[0] < 1.0);
        // 1 / (1 - 0.3 * 6 / 11).
        let kept = (11.0 / 9.2) as f32;
        dropped = row[1..].iter().filter(|factor| **factor == 0.0).count();
        assert!(
            row[1..]
                .iter()
                .all(|f| *f == 0.0 || (*f - kept).abs() < 1e-6)
        );
    })
    .expect("chances");
    assert!(dropped > 0);
    plan.mix().expect("mixed");
    plan.forward().expect("forward");
    let loss = plan.loss().expect("loss");
    plan.backward().expect("backward");
    let mut optimizer = Optimizer::new(&recipe, plan.parameters()).expect("an optimizer");
    let rate = LearningRate::new(&recipe, 4).at(step);
    optimizer.step(rate).expect("an update");
    assert_eq!(trained.totals.loss_sum.to_bits(), loss.loss_sum.to_bits());
    let bytes = [&weights, &by_hand].map(|weights| weights.to_bytes().expect("bytes"));
    assert!(bytes[0] == bytes[1]);
}

#[test]
fn breaking_off_leaves_the_rest_of_the_epoch() {
    let steps = on_both(|| {
        let (mut session, _weights) = session(&recipe());
        let stop = &mut |_: u64, _: f64| ControlFlow::Break(());
        let trained = session.train_steps(0, Trained::default(), 2, stop);
        let trained = trained.expect("a step");
        (trained.step, trained.totals.images)
    });
    assert!(steps.is_none_or(|steps| steps == [(1, 20); 2]));
}

#[test]
fn updates_are_counted_from_epoch_to_epoch() {
    let recipe = TrainConfig {
        optimizer: OptimizerKind::Adam,
        ..recipe()
    };
    let updates = on_both(|| {
        let (mut session, _weights) = session(&recipe);
        for epoch in 0..3 {
            session
                .train_epoch(epoch, &mut |_, _| ())
                .expect("an epoch");
        }
        session.optimizer.updates()
    });
    assert!(updates.is_none_or(|updates| updates == [6, 6]));
}

#[test]
fn a_step_that_diverges_is_counted_over_all_epochs() {
    let recipe = TrainConfig {
        learning_rate: 1e30,
        clip: 0.0,
        ..recipe()
    };
    let told = on_both(|| {
        let (mut session, _weights) = session(&recipe);
        let outcome = session.train_epoch(2, &mut |_, _| ());
        outcome
            .expect_err("a number that is not finite")
            .to_string()
    });
    if let Some([expected, found]) = told {
        assert!(expected.contains("at step 6"), "{expected}");
        assert_eq!(found, expected);
    }
}

#[test]
fn recalibration_sees_images_as_they_are() {
    let recipe = TrainConfig {
        bn_eval: BnEval::Recalibrated,
        ..recipe()
    };
    let means = on_both(|| {
        let (mut session, _weights) = session(&recipe);
        let statistics = session.recalibrated().expect("statistics");
        let read = |entry: &Statistics| host::read::<f32>(&entry.mean).expect("numbers");
        statistics.iter().flat_map(read).collect::<Vec<f32>>()
    });
    if let Some([expected, found]) = means {
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() < 1e-5,
                "{found}, expected {expected}"
            );
        }
    }
}
