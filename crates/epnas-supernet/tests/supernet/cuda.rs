//! Whole training steps through the CUDA kernels, as they run on the CPU, against the CPU's own.

use epnas_arch::{Downsample, Network, NetworkConfig};
use epnas_data::fill_batch;
use epnas_ops::cuda_emulation;
use epnas_supernet::{
    Activations, Arena, Mode, Optimizer, Plan, PlanOptions, TrainConfig, WeightStore,
};

use crate::samples::{arch, gratings, tiny};

const BATCH: usize = 20;
const EPOCHS: usize = 3;

/// Trains a network; the mean loss of every epoch, and the share of right answers in evaluation at the end.
fn train(text: &str, activations: Activations) -> (Vec<f64>, f64) {
    let data = gratings(200, 8);
    let config = NetworkConfig {
        downsample: Downsample::FactorizedReduction,
        channels: 9,
        ..tiny()
    };
    let (arch, classes) = (arch(text), data.classes.len());
    let network = Network::build(&arch, 4, &config, data.image_shape(), classes).unwrap();
    let (mut weights, mut arena) = (WeightStore::new(5), Arena::new());
    let mut compile = |mode| {
        let options = PlanOptions {
            mode,
            activations,
            ..PlanOptions::default()
        };
        Plan::compile_with(&network, &mut weights, BATCH, options, &mut arena).unwrap()
    };
    let (mut plan, mut evaluation) = (compile(Mode::Train), compile(Mode::Infer));
    let fill = |plan: &mut Plan, indices: &[u32]| {
        let filled = plan.fill(|pixels, labels| {
            let normalization = &data.normalization;
            fill_batch(
                &data.images,
                indices,
                normalization,
                None,
                0,
                0,
                pixels,
                labels,
            );
        });
        filled.unwrap();
    };
    let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..EPOCHS {
        let (mut loss, mut images) = (0.0, 0);
        for indices in data.train.chunks_exact(BATCH) {
            fill(&mut plan, indices);
            plan.forward().unwrap();
            loss += plan.loss().unwrap().loss_sum;
            images += BATCH;
            plan.backward().unwrap();
            optimizer.step(0.05).unwrap();
        }
        losses.push(loss / images as f64);
    }
    let (mut right, mut images) = (0, 0);
    for indices in data.train.chunks_exact(BATCH) {
        fill(&mut evaluation, indices);
        evaluation.forward().unwrap();
        right += evaluation.loss().unwrap().correct;
        images += BATCH;
    }
    (losses, right as f64 / images as f64)
}

/// Every operation, several sources, both kinds of reduction.
const NETWORKS: [&str; 2] = [
    "macro:c3.0/d5.0+1/mp.0+1+2/c5.1+3",
    "micro:d3.-2+c3.-1/ap.-1+id.0/mp.1+d5.-2",
];

#[test]
fn children_learn_what_they_learn_on_the_cpu() {
    if !cuda_emulation::AVAILABLE {
        println!("skipped: no C++ compiler");
        return;
    }
    for text in NETWORKS {
        let (expected, accuracy) = train(text, Activations::F32);
        assert!(expected[EPOCHS - 1] < 0.8 * expected[0], "{expected:?}");
        let (losses, found) = cuda_emulation::run(|| train(text, Activations::F32));
        // The same sums in another order: they drift apart as training goes on.
        for (epoch, (a, b)) in losses.iter().zip(&expected).enumerate() {
            let bound = 1e-4 * 10f64.powi(epoch as i32);
            assert!((a - b).abs() < bound, "{text}: {losses:?}, {expected:?}");
        }
        assert!((found - accuracy).abs() <= 0.1, "{found}, {accuracy}");
        let (losses, found) = cuda_emulation::run(|| train(text, Activations::Bf16));
        for (a, b) in losses.iter().zip(&expected) {
            assert!((a - b).abs() < 0.2 * b, "bf16: {losses:?}, {expected:?}");
        }
        assert!((found - accuracy).abs() <= 0.15, "{found}, {accuracy}");
    }
}

#[test]
fn a_training_repeats_bit_for_bit() {
    if !cuda_emulation::AVAILABLE {
        println!("skipped: no C++ compiler");
        return;
    }
    let run = || cuda_emulation::run(|| train(NETWORKS[0], Activations::Bf16));
    assert_eq!(run(), run());
}
