//! Whole training steps through the CUDA kernels against the CPU's own.

use candle_core::{DType, Device, Tensor};
use epnas_arch::{Design, Downsample, Network, NetworkConfig};
use epnas_data::{AugmentConfig, Flip, Images, Normalization, fill_batch};
use epnas_ops::cuda_emulation::{Order, set_order};
use epnas_ops::{DeviceImages, Distortion, Mirror};
use epnas_supernet::{
    Activations, Arena, Compute, Mode, Optimizer, Plan, PlanOptions, TrainConfig, TrainingData,
    WeightStore,
};

use crate::on_gpu;
use crate::samples::{fill, gratings, tiny};

const BATCH: usize = 20;
const EPOCHS: usize = 4;

fn network(text: &str, data: &TrainingData) -> Network {
    let config = NetworkConfig {
        downsample: Downsample::FactorizedReduction,
        channels: 9,
        ..tiny()
    };
    let (design, classes) = (text.parse::<Design>().unwrap(), data.classes.len());
    (design.network(4, &config, data.image_shape(), classes)).unwrap()
}

/// Trains a network; the mean loss of every epoch, and the share of right answers in evaluation at the end.
fn train(compute: &Compute, text: &str, activations: Activations) -> (Vec<f64>, f64) {
    let data = gratings(200, 8);
    let network = network(text, &data);
    let mut weights = WeightStore::on(5, compute.device().clone());
    let mut arena = Arena::new();
    let mut compile = |mode| {
        let options = PlanOptions {
            mode,
            activations,
            ..PlanOptions::default()
        };
        Plan::compile_with(&network, &mut weights, BATCH, options, &mut arena).unwrap()
    };
    let (mut plan, mut evaluation) = (compile(Mode::Train), compile(Mode::Infer));
    let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters()).unwrap();
    let mut losses = Vec::new();
    for _ in 0..EPOCHS {
        let (mut loss, mut images) = (0.0, 0);
        for indices in data.train.chunks_exact(BATCH) {
            fill(&mut plan, &data, indices);
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
        fill(&mut evaluation, &data, indices);
        evaluation.forward().unwrap();
        right += evaluation.loss().unwrap().correct;
        images += BATCH;
    }
    (losses, right as f64 / images as f64)
}

/// Every operation, several sources, both kinds of reduction, batch norms and ReLUs that no convolution takes along.
const NETWORKS: [&str; 4] = [
    "macro:c3.0/d5.0+1/mp.0+1+2/c5.1+3",
    "micro:d3.-2+c3.-1/ap.-1+id.0/mp.1+d5.-2",
    "densenet-bc:16k6",
    "resnet:8",
];

/// Every step of a training on the CPU once more through the kernels, from the same weights: the same loss, gradients and
/// running statistics. (Two trainings side by side would not do: one ReLU that rounding opens or closes, one maximum that
/// it moves, and they part.)
#[test]
fn steps_are_those_of_the_cpu() {
    for text in NETWORKS {
        let data = gratings(200, 8);
        let network = network(text, &data);
        let mut weights = WeightStore::new(5);
        let mut plan = Plan::compile(&network, &mut weights, BATCH, Mode::Train).unwrap();
        let mut optimizer = Optimizer::new(&TrainConfig::fast(), plan.parameters()).unwrap();
        let step = |plan: &mut Plan, indices: &[u32]| {
            fill(plan, &data, indices);
            plan.forward().unwrap();
            let loss = plan.loss().unwrap().loss_sum;
            plan.backward().unwrap();
            loss
        };
        let mut errors = Vec::new();
        let batches = data.train.chunks_exact(BATCH);
        for indices in batches.clone().chain(batches) {
            let bytes = weights.to_bytes().unwrap();
            let expected = step(&mut plan, indices);
            let there = on_gpu(|gpu| {
                let mut copy = WeightStore::from_bytes_on(&bytes, gpu.device()).unwrap();
                let mut other = Plan::compile(&network, &mut copy, BATCH, Mode::Train).unwrap();
                (step(&mut other, indices), other, copy.on_cpu().unwrap())
            });
            let Some((loss, other, copy)) = there else {
                return;
            };
            assert!(
                (loss - expected).abs() < 1e-5 * expected,
                "{text}: {loss}, {expected}"
            );
            for (path, tensor) in weights.iter() {
                if path.ends_with("mean") || path.ends_with("variance") {
                    let difference = (tensor - copy.tensor(path).unwrap()).unwrap();
                    let error = difference.sqr().unwrap().sum_all().unwrap();
                    assert!(error.to_scalar::<f32>().unwrap() < 1e-8, "{text}: {path}");
                }
            }
            let (mut error, mut all) = (0.0, 0.0);
            for (expected, found) in plan.parameters().iter().zip(other.parameters()) {
                let sum = |t: Tensor| {
                    f64::from(
                        t.sqr()
                            .unwrap()
                            .sum_all()
                            .unwrap()
                            .to_scalar::<f32>()
                            .unwrap(),
                    )
                };
                error += sum((&expected.gradient
                    - found.gradient.to_device(&Device::Cpu).unwrap())
                .unwrap());
                all += sum(expected.gradient.clone());
            }
            errors.push((error / all).sqrt());
            optimizer.step(0.05).unwrap();
        }
        errors.sort_by(f64::total_cmp);
        assert!(errors[errors.len() / 2] < 1e-5, "{text}: {errors:?}");
        assert!(errors[errors.len() - 1] < 0.02, "{text}: {errors:?}");
    }
}

#[test]
fn networks_learn_what_they_learn_on_the_cpu() {
    // The last is large for an emulation.
    for text in &NETWORKS[..3] {
        let (expected, accuracy) = train(&Compute::cpu(), text, Activations::F32);
        assert!(expected[EPOCHS - 1] < 0.8 * expected[0], "{expected:?}");
        let trained = on_gpu(|gpu| {
            [Activations::F32, Activations::Bf16].map(|activations| train(gpu, text, activations))
        });
        let Some([(losses, found), narrow]) = trained else {
            return;
        };
        // The same sums in another order: the same first epoch, then they part (see `steps_are_those_of_the_cpu`).
        for (epoch, (a, b)) in losses.iter().zip(&expected).enumerate() {
            let bound = if epoch == 0 { 1e-4 } else { 0.1 * b };
            assert!((a - b).abs() < bound, "{text}: {losses:?}, {expected:?}");
        }
        assert!((found - accuracy).abs() <= 0.1, "{found}, {accuracy}");
        let (losses, found) = narrow;
        for (a, b) in losses.iter().zip(&expected) {
            assert!((a - b).abs() < 0.2 * b, "bf16: {losses:?}, {expected:?}");
        }
        // A third of the answers would be right by chance; a few dozen steps are few for running statistics.
        assert!(found > 0.6, "{found}, {accuracy}");
    }
}

#[test]
fn a_training_repeats_bit_for_bit() {
    // Whichever blocks and threads come first, as on a GPU, where this order has no say.
    let [first, second] = [Order::FirstToLast, Order::LastToFirst].map(|order| {
        set_order(order);
        on_gpu(|gpu| train(gpu, NETWORKS[0], Activations::Bf16))
    });
    assert_eq!(first, second);
}

/// The stream of the CPU, batch after batch, for odd sizes, gray and colored images.
#[test]
fn batches_drawn_on_the_device_are_those_of_the_cpu() {
    on_gpu(|gpu| compare_batches(gpu.device()));
}

fn compare_batches(device: &Device) {
    const COUNT: usize = 11;
    const SEED: u64 = 0xfedc_ba98_7654_3210;
    let order: Vec<u32> = (0..COUNT as u32)
        .rev()
        .chain([3, 3, COUNT as u32])
        .collect();
    for (height, width, channels) in [(8, 8, 3), (7, 5, 1), (1, 9, 3)] {
        let pixel = |i: usize| (i * 89 + i / 7 * 13) as u8;
        let images = Images {
            pixels: (0..COUNT * height * width * channels).map(pixel).collect(),
            labels: (0..COUNT as u32).map(|i| i % 4).collect(),
            height,
            width,
            channels,
        };
        let all: Vec<u32> = (0..COUNT as u32).collect();
        let normalization = Normalization::from_images(&images, &all);
        let table = normalization.table().concat();
        let shape = (COUNT, height, width, channels);
        let from = DeviceImages {
            pixels: Tensor::from_slice(&images.pixels, shape, device).unwrap(),
            labels: Tensor::from_slice(&images.labels, COUNT, device).unwrap(),
            table: Tensor::from_vec(table, (channels, 256), device).unwrap(),
        };
        for (pad, flip, cutout, augmented) in [
            (0, Flip::None, 0, false),
            (4, Flip::Horizontal, 0, true),
            (2, Flip::None, 3, true),
            (0, Flip::Horizontal, 16, true),
        ] {
            let config = AugmentConfig { pad, flip, cutout };
            let distortion = Distortion {
                pad,
                mirror: match flip {
                    Flip::None => Mirror::Off,
                    Flip::Horizontal => Mirror::Half,
                },
                cutout,
            };
            let batch = 5;
            let order_there = Tensor::from_slice(&order, order.len(), device).unwrap();
            let cursor = Tensor::new(&[SEED as i64, 0], device).unwrap();
            for step in 0..2 {
                let x = Tensor::zeros((batch, height, width, channels), DType::F32, device);
                let (x, labels) = (
                    x.unwrap(),
                    Tensor::zeros(batch, DType::U32, device).unwrap(),
                );
                let distortion = augmented.then_some(&distortion);
                let drawn = from.draw(&order_there, &cursor, distortion, &x, &labels);
                drawn.unwrap();
                let mut pixels = vec![0.0; x.elem_count()];
                let mut expected_labels = vec![0; batch];
                fill_batch(
                    &images,
                    &order[step * batch..][..batch],
                    &normalization,
                    augmented.then_some(&config),
                    SEED,
                    (step * batch) as u64,
                    &mut pixels,
                    &mut expected_labels,
                );
                let found: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
                let what = format!("{height}x{width}x{channels}, {config:?}, step {step}");
                assert_eq!(found, pixels, "{what}");
                assert_eq!(labels.to_vec1::<u32>().unwrap(), expected_labels, "{what}");
            }
            assert_eq!(cursor.to_vec1::<i64>().unwrap()[1], 2 * batch as i64);
            // Positions 10 to 14: the last entry names no image, and behind it there is none.
            let x = Tensor::zeros((batch, height, width, channels), DType::BF16, device).unwrap();
            let labels = Tensor::zeros(batch, DType::U32, device).unwrap();
            from.draw(&order_there, &cursor, None, &x, &labels).unwrap();
            let known = [images.labels[0], images.labels[3], images.labels[3]];
            let labels: Vec<u32> = labels.to_vec1().unwrap();
            assert_eq!(labels, [&known[..], &[u32::MAX; 2]].concat());
            let x = x.to_dtype(DType::F32).unwrap().flatten_from(1).unwrap();
            for (row, known) in x
                .to_vec2::<f32>()
                .unwrap()
                .iter()
                .zip([true, true, true, false, false])
            {
                assert!(row.iter().all(|value| value.is_nan() != known), "{row:?}");
            }
        }
    }
}
