//! Plans against the plain evaluation of their graph, and against themselves.

use candle_core::Tensor;
use epnas_arch::{Network, NetworkConfig, Shape};
use epnas_supernet::{
    Arena, BufferReuse, Mode, Phase, Plan, PlanOptions, SupernetError, WeightStore,
};

use crate::{
    reference::{self, Chances, Norm, Values},
    samples::{self, build, noise, random_arch, tiny},
};

const BATCH: usize = 3;
const LABELS: [u32; BATCH] = [2, 0, 1];

fn pixels(network: &Network) -> Vec<f64> {
    let Shape {
        height,
        width,
        channels,
    } = network.input;
    // Through f32, so that both sides see the same numbers.
    noise(7, BATCH * height * width * channels)
        .iter()
        .map(|v| f64::from(*v as f32))
        .collect()
}

fn fill(plan: &mut Plan, pixels: &[f64]) {
    plan.fill(|out, labels| {
        out.iter_mut()
            .zip(pixels)
            .for_each(|(out, v)| *out = *v as f32);
        labels.copy_from_slice(&LABELS);
    })
    .unwrap();
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected
        .iter()
        .fold(1e-3, |scale: f64, v| scale.max(v.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (f64::from(*found) - expected).abs() / scale;
        assert!(error < 2e-4, "{what}: {found} instead of {expected}");
    }
}

/// A store whose batch norms are not the identity, so that every parameter matters.
fn stirred(network: &Network) -> WeightStore {
    let mut store = WeightStore::new(11);
    Plan::compile(network, &mut store, 1, Mode::Infer).unwrap();
    for (seed, (path, tensor)) in store.clone().iter().enumerate() {
        let noise = noise(seed as u64, tensor.elem_count());
        let values: Option<Vec<f32>> = if path.ends_with("bn.scale") || path.ends_with("variance") {
            Some(noise.iter().map(|v| 1.0 + 0.4 * *v as f32).collect())
        } else if path.ends_with("bn.shift") || path.ends_with("mean") || path.ends_with("bias") {
            Some(noise.iter().map(|v| 0.3 * *v as f32).collect())
        } else {
            None
        };
        if let Some(values) = values {
            let tensor = Tensor::from_vec(values, tensor.shape(), tensor.device()).unwrap();
            store.insert(path, tensor).unwrap();
        }
    }
    store
}

#[test]
fn forward_passes_equal_the_plain_evaluation_in_every_mode() {
    for (name, network) in samples::networks() {
        let mut store = stirred(&network);
        let pixels = pixels(&network);
        let weights = reference::values(&store);
        for (mode, norm, smoothing) in [
            (Mode::Infer, Norm::Running, 0.0),
            (Mode::InferBatchStatistics, Norm::Batch, 0.0),
            (Mode::Train, Norm::Batch, 0.1),
        ] {
            let expected = reference::run(&network, &weights, &pixels, &LABELS, norm, smoothing);
            let options = PlanOptions {
                mode,
                label_smoothing: 0.1,
                ..PlanOptions::default()
            };
            let mut arena = Arena::new();
            let mut plan =
                Plan::compile_with(&network, &mut store, BATCH, options, &mut arena).unwrap();
            fill(&mut plan, &pixels);
            plan.forward().unwrap();
            close(&numbers(plan.logits()), &expected.logits, name);
            let report = plan.loss().unwrap();
            close(&[report.loss_sum as f32], &[expected.loss], name);
            let correct = expected
                .logits
                .chunks(network.classes)
                .zip(LABELS)
                .filter(|(row, label)| {
                    let best = row.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
                    row[*label as usize] == best
                })
                .count();
            assert_eq!(report.correct, correct, "{name}");
            // Training alone moves the running statistics, by a tenth.
            for (path, batch) in &expected.statistics {
                let moved = batch.iter().zip(&weights[path]).map(|(batch, old)| {
                    if mode == Mode::Train {
                        0.9 * old + 0.1 * batch
                    } else {
                        *old
                    }
                });
                close(
                    &numbers(store.tensor(path).unwrap()),
                    &moved.collect::<Vec<f64>>(),
                    path,
                );
            }
        }
    }
}

/// The derivative of the mean loss along `direction` of one parameter, by central differences in f64.
fn slope(
    network: &Network,
    weights: &Values,
    pixels: &[f64],
    path: &str,
    direction: &[f64],
    chances: &Chances,
) -> f64 {
    // Small, so that hardly any rectifier or maximum changes its mind within the step; rounding costs about 1e-9.
    let h = 1e-7;
    let loss = |step: f64| {
        let mut moved = weights.clone();
        let values = moved.get_mut(path).unwrap();
        values
            .iter_mut()
            .zip(direction)
            .for_each(|(v, d)| *v += step * d);
        let norm = Norm::Batch;
        reference::run_by_chance(network, &moved, pixels, &LABELS, norm, 0.05, chances).loss
    };
    (loss(h) - loss(-h)) / (2.0 * h) / BATCH as f64
}

#[test]
fn gradients_of_every_parameter_equal_differences_of_the_plain_evaluation() {
    for (name, network) in samples::networks() {
        let mut store = stirred(&network);
        let pixels = pixels(&network);
        let weights = reference::values(&store);
        let options = PlanOptions {
            label_smoothing: 0.05,
            ..PlanOptions::default()
        };
        let mut plan =
            Plan::compile_with(&network, &mut store, BATCH, options, &mut Arena::new()).unwrap();
        // Twice: the second step must not add to what the first left.
        for _ in 0..2 {
            fill(&mut plan, &pixels);
            plan.forward().unwrap();
            plan.loss().unwrap();
            plan.backward().unwrap();
        }
        check_gradients(
            name,
            &network,
            &plan,
            &weights,
            &pixels,
            &Chances::default(),
        );
    }
}

/// Compares every gradient of a plan with differences of the plain evaluation.
fn check_gradients(
    name: &str,
    network: &Network,
    plan: &Plan,
    weights: &Values,
    pixels: &[f64],
    chances: &Chances,
) {
    let trained = network.nodes.len();
    assert!(plan.parameters().len() >= 5, "{name}: {trained} nodes");
    let largest = plan
        .parameters()
        .iter()
        .flat_map(|parameter| numbers(&parameter.gradient))
        .fold(0.0, |largest: f32, v| largest.max(v.abs()));
    for (seed, parameter) in plan.parameters().iter().enumerate() {
        let direction = noise(1000 + seed as u64, parameter.value.elem_count());
        let path = &parameter.path;
        let expected = slope(network, weights, pixels, path, &direction, chances);
        let found: f64 = numbers(&parameter.gradient)
            .iter()
            .zip(&direction)
            .map(|(gradient, d)| f64::from(*gradient) * d)
            .sum();
        let tolerance = 1e-3 * expected.abs() + 1e-4 * f64::from(largest);
        assert!(
            (found - expected).abs() < tolerance,
            "{name}, {path}: slope {found}, expected {expected}"
        );
    }
}

/// Mixed images and targets, dropped branches and an auxiliary head, each alone and all together.
#[test]
fn refined_steps_equal_the_plain_evaluation() {
    let networks = [
        (
            "cells",
            build("micro:c3.-1+id.-2/d3.0+mp.-1", 0, &tiny(), 8),
        ),
        (
            "identities",
            build("micro:id.-1+id.-1/ap.0+d5.0", 0, &tiny(), 7),
        ),
        ("residual", samples::hand_made("resnet:8", 8)),
        ("layers", build("macro:c3.0/d3.0+1/mp.2", 3, &tiny(), 8)),
    ];
    for (name, plain) in networks {
        for (mixup, drop_path, auxiliary) in [
            (true, false, 0.0),
            (false, true, 0.0),
            (false, false, 0.4),
            (true, true, 0.7),
        ] {
            let network = match auxiliary > 0.0 {
                true => plain.with_auxiliary_head(),
                false => Ok(plain.clone()),
            };
            let Ok(network) = network else {
                assert_eq!(name, "residual", "has no place for an auxiliary head");
                continue;
            };
            let options = PlanOptions {
                label_smoothing: 0.05,
                mixup,
                drop_path,
                auxiliary_weight: auxiliary,
                ..PlanOptions::default()
            };
            let mut store = stirred(&network);
            let plan = Plan::compile_with(&network, &mut store, BATCH, options, &mut Arena::new());
            if drop_path && network.branches().is_empty() {
                let error = plan.unwrap_err();
                assert!(
                    matches!(error, SupernetError::NoBranches),
                    "{name}: {error}"
                );
                continue;
            }
            let mut plan = plan.unwrap();
            let branches = if drop_path {
                network.branches()
            } else {
                Vec::new()
            };
            assert_eq!(plan.branches(), branches.len(), "{name}");
            // A third of the factors is 0.
            let factors: Vec<f64> = noise(3, branches.len() * BATCH)
                .iter()
                .map(|v| if v.abs() < 0.3 { 0.0 } else { 1.25 })
                .collect();
            assert!(factors.is_empty() || factors.contains(&0.0), "{name}");
            let chances = Chances {
                share: mixup.then_some(0.75),
                factors: branches
                    .iter()
                    .copied()
                    .zip(factors.chunks(BATCH).map(<[f64]>::to_vec))
                    .collect(),
                auxiliary,
            };
            let pixels = pixels(&network);
            let weights = reference::values(&store);
            for _ in 0..2 {
                fill(&mut plan, &pixels);
                plan.set_chances(|row| {
                    row[0] = 0.75;
                    row[1..]
                        .iter_mut()
                        .zip(&factors)
                        .for_each(|(to, factor)| *to = *factor as f32);
                })
                .unwrap();
                plan.mix().unwrap();
                plan.forward().unwrap();
                let loss = plan.loss().unwrap().loss_sum;
                let norm = Norm::Batch;
                let expected = reference::run_by_chance(
                    &network, &weights, &pixels, &LABELS, norm, 0.05, &chances,
                );
                close(&numbers(plan.logits()), &expected.logits, name);
                close(&[loss as f32], &[expected.own_loss], name);
                plan.backward().unwrap();
            }
            check_gradients(name, &network, &plan, &weights, &pixels, &chances);
        }
    }
}

/// Loss, logits, gradients and running statistics of two training steps, as bits.
fn trace(network: &Network, reuse: BufferReuse, arena: &mut Arena) -> Vec<u64> {
    let mut store = WeightStore::new(5);
    let options = PlanOptions {
        reuse,
        ..PlanOptions::default()
    };
    let mut plan = Plan::compile_with(network, &mut store, BATCH, options, arena).unwrap();
    let pixels = pixels(network);
    let mut bits = Vec::new();
    for step in 0..2 {
        let shifted: Vec<f64> = pixels.iter().map(|v| v + f64::from(step)).collect();
        fill(&mut plan, &shifted);
        plan.forward().unwrap();
        bits.push(plan.loss().unwrap().loss_sum.to_bits());
        plan.backward().unwrap();
        for tensor in plan
            .parameters()
            .iter()
            .map(|p| &p.gradient)
            .chain([plan.logits()])
        {
            bits.extend(numbers(tensor).iter().map(|v| u64::from(v.to_bits())));
        }
    }
    for (_, tensor) in store.iter() {
        bits.extend(numbers(tensor).iter().map(|v| u64::from(v.to_bits())));
    }
    bits
}

fn random_networks(count: u64) -> Vec<Network> {
    let shape = Shape::new(8, 8, 3);
    let mut networks = Vec::new();
    for seed in 0..count {
        let arch = random_arch(&samples::macro_space(6), 6, seed);
        networks.push(Network::build(&arch, 6, &tiny(), shape, 3).unwrap());
        let arch = random_arch(&samples::micro_space(4), 4, seed);
        networks.push(Network::build(&arch, 4, &tiny(), shape, 3).unwrap());
    }
    networks
}

#[test]
fn sharing_buffers_changes_no_bit() {
    let named = samples::networks().into_iter().map(|(_, network)| network);
    for network in named.chain(random_networks(8)) {
        let apart = trace(&network, BufferReuse::Never, &mut Arena::new());
        let shared = trace(&network, BufferReuse::ByLiveness, &mut Arena::new());
        assert_eq!(apart, shared, "{:?}", network.nodes.last());
    }
}

#[test]
fn plans_of_one_arena_can_take_turns() {
    for network in random_networks(3) {
        let mut store = WeightStore::new(5);
        let mut arena = Arena::new();
        let compile = |store: &mut WeightStore, arena: &mut Arena, mode, batch| {
            let options = PlanOptions {
                mode,
                ..PlanOptions::default()
            };
            Plan::compile_with(&network, store, batch, options, arena).unwrap()
        };
        let mut train = compile(&mut store, &mut arena, Mode::Train, BATCH);
        let bytes = arena.bytes();
        let mut infer = compile(&mut store, &mut arena, Mode::Infer, BATCH);
        assert_eq!(
            arena.bytes(),
            bytes,
            "the training plan's buffers are enough"
        );
        let pixels = pixels(&network);
        let run = |plan: &mut Plan| {
            fill(plan, &pixels);
            plan.forward().unwrap();
            numbers(plan.logits())
        };
        let mut alone = Plan::compile(&network, &mut store, BATCH, Mode::Infer).unwrap();
        let expected = run(&mut alone);
        let first = run(&mut infer);
        let trained = run(&mut train);
        train.loss().unwrap();
        train.backward().unwrap();
        let second = run(&mut infer);
        assert_eq!(first, expected);
        assert_ne!(second, first, "the running statistics moved");
        assert_eq!(second, run(&mut alone));
        assert_eq!(trained, run(&mut train));
    }
}

#[test]
fn a_batch_norm_result_does_not_depend_on_the_batch_in_inference() {
    let network = build("macro:c3.0/mp.0+1/d5.2", 3, &tiny(), 8);
    let mut store = stirred(&network);
    let pixels = pixels(&network);
    let mut all = Plan::compile(&network, &mut store, BATCH, Mode::Infer).unwrap();
    fill(&mut all, &pixels);
    all.forward().unwrap();
    let mut one = Plan::compile(&network, &mut store, 1, Mode::Infer).unwrap();
    let size = pixels.len() / BATCH;
    for (index, row) in numbers(all.logits()).chunks(3).enumerate() {
        one.fill(|out, _| {
            let image = &pixels[index * size..(index + 1) * size];
            out.iter_mut()
                .zip(image)
                .for_each(|(out, v)| *out = *v as f32);
        })
        .unwrap();
        one.forward().unwrap();
        assert_eq!(numbers(one.logits()), row);
    }
}

#[test]
fn descriptions_count_what_the_network_counts() {
    for (name, network) in samples::networks() {
        let mut store = WeightStore::new(1);
        let plan = Plan::compile(&network, &mut store, 2, Mode::Train).unwrap();
        let description = plan.describe();
        let forward: u64 = description
            .steps
            .iter()
            .filter(|step| step.phase == Phase::Forward)
            .map(|step| step.macs)
            .sum();
        assert_eq!(forward, 2 * network.macs(), "{name}");
        assert!(description.buffer_bytes <= description.unshared_bytes);
        let trained: usize = plan.parameters().iter().map(|p| p.value.elem_count()).sum();
        assert_eq!(trained as u64, network.params(), "{name}");
        assert_eq!(description.weight_bytes, store.bytes(), "{name}");
        let labels: Vec<&str> = description
            .steps
            .iter()
            .map(|step| step.label.as_str())
            .collect();
        assert!(
            labels.contains(&"stem.conv") && labels.contains(&"loss"),
            "{labels:?}"
        );

        let infer = Plan::compile(&network, &mut store, 2, Mode::Infer).unwrap();
        assert!(
            infer.describe().buffer_bytes < description.buffer_bytes,
            "{name}"
        );
        assert!(infer.parameters().is_empty());
    }
}

#[test]
fn depthwise_and_pointwise_are_one_step_with_nothing_between() {
    let network = build("macro:d3.0", 1, &tiny(), 8);
    let plan = Plan::compile(&network, &mut WeightStore::new(1), BATCH, Mode::Train).unwrap();
    let steps = &plan.describe().steps;
    let of = |phase: Phase| {
        let mut found = steps
            .iter()
            .filter(|step| step.phase == phase && step.operator.starts_with("depthwise"));
        (found.next().unwrap(), found.count())
    };
    let ((forward, others), (backward, more)) = (of(Phase::Forward), of(Phase::Backward));
    assert_eq!((others, more), (0, 0));
    assert!(
        forward.operator.contains("conv 1x1"),
        "{}",
        forward.operator
    );
    // Both gradients of both: twice the work.
    assert_eq!(backward.macs, 2 * forward.macs);
    // Input and output of the forward step and two small weights; the image between them is not there.
    let c = tiny().channels;
    let images = 2 * BATCH * 8 * 8 * c;
    assert_eq!(forward.bytes, 4 * (images + 9 * c + c * c) as u64);
}

/// 12 layers on 32x32: without sharing, an inference plan would hold every activation at once.
#[test]
fn inference_of_a_deep_chain_needs_few_buffers() {
    let config = NetworkConfig {
        channels: 8,
        ..tiny()
    };
    let layers: Vec<String> = (0..12).map(|l| format!("c3.{l}")).collect();
    let network = build(&format!("macro:{}", layers.join("/")), 12, &config, 32);
    let plan = Plan::compile(&network, &mut WeightStore::new(1), 4, Mode::Infer).unwrap();
    // Two activations of the largest size at a time: 4 * 32 * 32 * 8 values of 4 bytes each.
    assert_eq!(plan.describe().buffer_bytes, 2 * 4 * 32 * 32 * 8 * 4);
}

#[test]
fn profiles_time_every_step() {
    let network = build("macro:c3.0/mp.1", 2, &tiny(), 8);
    let mut plan = Plan::compile(&network, &mut WeightStore::new(1), BATCH, Mode::Train).unwrap();
    assert!(plan.profile().is_empty());
    plan.start_profile();
    for _ in 0..2 {
        plan.forward().unwrap();
        plan.loss().unwrap();
        plan.backward().unwrap();
    }
    assert_eq!(plan.profile().len(), plan.describe().steps.len());
    assert!(
        plan.profile()
            .iter()
            .all(|step| step.calls == 2 && step.seconds > 0.0)
    );
}

#[test]
fn misuse_is_an_error() {
    let network = build("macro:c3.0", 1, &tiny(), 8);
    let mut store = WeightStore::new(1);
    let empty = Plan::compile(&network, &mut store, 0, Mode::Train).unwrap_err();
    assert!(matches!(empty, SupernetError::EmptyBatch));
    let mut plan = Plan::compile(&network, &mut store, 1, Mode::Infer).unwrap();
    assert!(matches!(
        plan.backward().unwrap_err(),
        SupernetError::NotForTraining { .. }
    ));

    let mut dead = network.clone();
    let stem = dead.nodes[1].clone();
    let twice = {
        let mut network = network.clone();
        network.nodes.insert(2, stem);
        network
            .nodes
            .iter_mut()
            .skip(3)
            .for_each(|node| node.inputs.iter_mut().for_each(|i| *i += 1));
        network
    };
    let error = Plan::compile(&twice, &mut store, 1, Mode::Infer)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "weight `stem.conv.weight` is used by two nodes of one network"
    );
    let error = Plan::compile(&twice, &mut store, 1, Mode::Train)
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not lead to the head"), "{error}");
    dead.nodes.pop();
    let error = Plan::compile(&dead, &mut store, 1, Mode::Infer)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "the network has no head node");

    let wide = build(
        "macro:c3.0",
        1,
        &NetworkConfig {
            channels: 6,
            ..tiny()
        },
        8,
    );
    let error = Plan::compile(&wide, &mut store, 1, Mode::Infer)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "weight `stem.conv.weight` has shape [3, 3, 3, 4], the network needs [3, 3, 3, 6]"
    );
}
