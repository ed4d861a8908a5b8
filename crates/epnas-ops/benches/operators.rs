//! Throughput of every operator at the size a search runs at: batch 64, 32x32, 24 channels; of convolutions also at
//! widths of final networks.
//!
//! `cargo bench -p epnas-ops` measures all; `cargo bench -p epnas-ops -- conv3x3` some. Products are reported
//! as elements per second, one element being a floating-point operation (a multiply-add is two); the others
//! as bytes that must move at least (every operand once). `RAYON_NUM_THREADS` and `EPNAS_SIMD` apply.

// The macros of criterion make public functions without documentation.
#![allow(missing_docs)]

use std::hint::black_box;

use candle_core::{DType, Device, Tensor};
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use epnas_ops::{
    Accumulate, Activation, Adam, AvgPool2d, BatchNorm, Conv2d, ConvGradient, DepthwiseConv2d,
    FactorizedConv, Head, MaxPool2d, Operand, Precision, Running, SeparableConv2d, Sgd, Slot,
    SoftmaxCrossEntropy, Target, Term, accumulate, accumulate_scaled, average, mix_with_reverse,
    sum,
};

const BATCH: usize = 64;
const SIZE: usize = 32;
const CHANNELS: usize = 24;

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0.0f32, 1.0, shape, &Device::Cpu).expect("a CPU tensor")
}

fn image(size: usize, channels: usize) -> Tensor {
    random(&[BATCH, size, size, channels])
}

/// Bytes of tensors.
fn bytes(tensors: &[&Tensor]) -> Throughput {
    let size = |t: &&Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
    Throughput::Bytes(tensors.iter().map(size).sum())
}

/// Runs one operator.
fn measure(
    group: &mut BenchmarkGroup<WallTime>,
    name: &str,
    throughput: Throughput,
    mut run: impl FnMut() -> epnas_ops::Result<()>,
) {
    group.throughput(throughput);
    group.bench_function(name, |bencher| {
        bencher.iter(|| black_box(run()).expect("shapes fit"));
    });
}

fn convolutions(c: &mut Criterion) {
    let mut group = c.benchmark_group("conv");
    for (name, size, ci, co, kernel, stride) in [
        ("conv3x3", SIZE, CHANNELS, CHANNELS, 3, 1),
        ("conv3x3_8x8", 8, CHANNELS, CHANNELS, 3, 1),
        ("conv5x5", SIZE, CHANNELS, CHANNELS, 5, 1),
        ("conv1x1", SIZE, CHANNELS, CHANNELS, 1, 1),
        ("conv3x3_stride2", SIZE, CHANNELS, CHANNELS, 3, 2),
        ("conv3x3_stem", SIZE, 3, CHANNELS, 3, 1),
        ("conv3x3_96", 16, 96, 96, 3, 1),
        ("conv1x1_256", 8, 256, 256, 1, 1),
    ] {
        let op = Conv2d::new(kernel, stride);
        let (x, w) = (image(size, ci), random(&[kernel, kernel, ci, co]));
        let (y, dx, dw) = (
            image(size.div_ceil(stride), co),
            image(size, ci),
            random(w.dims()),
        );
        let flop = Throughput::Elements((2 * y.elem_count() * kernel * kernel * ci) as u64);
        measure(&mut group, &format!("{name}/forward"), flop.clone(), || {
            op.forward(&[(&x, &w)], &y)
        });
        measure(
            &mut group,
            &format!("{name}/backward_input"),
            flop.clone(),
            || op.backward_input(&y, &w, &dx, Accumulate::Overwrite),
        );
        measure(&mut group, &format!("{name}/backward_weight"), flop, || {
            op.backward_weight(&x, &y, &dw)
        });
    }
    let op = Conv2d::new(1, 1);
    let sources: Vec<(Tensor, Tensor)> = (0..4)
        .map(|_| (image(SIZE, CHANNELS), random(&[1, 1, CHANNELS, CHANNELS])))
        .collect();
    let pairs: Vec<(&Tensor, &Tensor)> = sources.iter().map(|(x, w)| (x, w)).collect();
    let y = image(SIZE, CHANNELS);
    let flop = Throughput::Elements((2 * y.elem_count() * CHANNELS * 4) as u64);
    measure(&mut group, "conv1x1_4_sources/forward", flop, || {
        op.forward(&pairs, &y)
    });
    let (w0, w1) = (random(&[1, 1, CHANNELS, 12]), random(&[1, 1, CHANNELS, 12]));
    let y = image(SIZE / 2, CHANNELS);
    let (x, flop) = (
        &sources[0].0,
        Throughput::Elements((2 * y.elem_count() * CHANNELS) as u64),
    );
    measure(&mut group, "factorized/forward", flop, || {
        FactorizedConv::default().forward(x, &w0, &w1, &y)
    });
}

fn depthwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("depthwise");
    for (kernel, stride) in [(3, 1), (5, 1), (7, 1), (3, 2)] {
        let op = DepthwiseConv2d { kernel, stride };
        let (x, w) = (image(SIZE, CHANNELS), random(&[kernel, kernel, CHANNELS]));
        let (y, dx, dw) = (
            image(SIZE / stride, CHANNELS),
            image(SIZE, CHANNELS),
            random(w.dims()),
        );
        let name = format!("{kernel}x{kernel}_stride{stride}");
        let moved = bytes(&[&x, &y]);
        measure(
            &mut group,
            &format!("{name}/forward"),
            moved.clone(),
            || op.forward(&x, &w, &y),
        );
        measure(
            &mut group,
            &format!("{name}/backward_input"),
            moved.clone(),
            || op.backward_input(&y, &w, &dx, Accumulate::Overwrite),
        );
        measure(
            &mut group,
            &format!("{name}/backward_weight"),
            moved,
            || op.backward_weight(&x, &y, &dw),
        );
    }
}

/// Depthwise and pointwise as one step, and as the two that it stands for.
fn separable(c: &mut Criterion) {
    let mut group = c.benchmark_group("separable");
    for kernel in [3, 5] {
        let op = SeparableConv2d {
            kernel,
            stride: 1,
            precision: Precision::F32,
        };
        let (first, second) = (DepthwiseConv2d { kernel, stride: 1 }, Conv2d::new(1, 1));
        let [x, y, dx, between, dbetween] = [(); 5].map(|()| image(SIZE, CHANNELS));
        let weights = [
            &random(&[kernel, kernel, CHANNELS]),
            &random(&[1, 1, CHANNELS, CHANNELS]),
        ];
        let [depthwise, pointwise] = weights.map(|w| random(w.dims()));
        let (source, dy) = ((&x).into(), (&y).into());
        let target = Target::new(&dx, Accumulate::Overwrite);
        let moved = bytes(&[&x, &y]);
        measure(
            &mut group,
            &format!("{kernel}x{kernel}/one/forward"),
            moved.clone(),
            || op.forward_fused(&source, weights, (&y).into()),
        );
        measure(
            &mut group,
            &format!("{kernel}x{kernel}/two/forward"),
            moved.clone(),
            || {
                first.forward(&x, weights[0], &between)?;
                second.forward(&[(&between, weights[1])], &y)
            },
        );
        measure(
            &mut group,
            &format!("{kernel}x{kernel}/one/backward"),
            moved.clone(),
            || op.backward_fused(&dy, &source, weights, [&depthwise, &pointwise], &target),
        );
        let inner = Target::new(&dbetween, Accumulate::Overwrite);
        let dense = ConvGradient {
            x: (&between).into(),
            w: weights[1].clone(),
            dw: Some(pointwise.clone()),
            dx: Some(inner),
        };
        measure(
            &mut group,
            &format!("{kernel}x{kernel}/two/backward"),
            moved,
            || {
                second.backward_fused(&dy, std::slice::from_ref(&dense))?;
                first.backward_fused(
                    &(&dbetween).into(),
                    &source,
                    weights[0],
                    &depthwise,
                    Some(&target),
                )
            },
        );
    }
}

fn batch_norm(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch_norm_relu");
    let op = BatchNorm {
        activation: Activation::Relu,
        ..BatchNorm::default()
    };
    let (x, y, dx) = (
        image(SIZE, CHANNELS),
        image(SIZE, CHANNELS),
        image(SIZE, CHANNELS),
    );
    let vectors: Vec<Tensor> = (0..6)
        .map(|_| random(&[CHANNELS]).abs().expect("a CPU tensor"))
        .collect();
    let [scale, shift, mean, variance, dscale, dshift] = &vectors[..] else {
        return;
    };
    let saved = random(&[2, CHANNELS]);
    measure(&mut group, "forward_train", bytes(&[&x, &x, &y]), || {
        let momentum = 0.1;
        op.forward_train(
            &x,
            scale,
            shift,
            Running {
                mean,
                variance,
                momentum,
            },
            &saved,
            &y,
        )
    });
    measure(&mut group, "forward_eval", bytes(&[&x, &y]), || {
        op.forward_eval(&x, scale, shift, mean, variance, &y)
    });
    measure(
        &mut group,
        "backward",
        bytes(&[&x, &y, &x, &y, &dx]),
        || {
            op.backward(
                &x,
                scale,
                shift,
                &saved,
                &y,
                &dx,
                Accumulate::Overwrite,
                dscale,
                dshift,
            )
        },
    );
}

fn pools(c: &mut Criterion) {
    let mut group = c.benchmark_group("pool");
    for stride in [1, 2] {
        let (x, dx, y) = (
            image(SIZE, CHANNELS),
            image(SIZE, CHANNELS),
            image(SIZE / stride, CHANNELS),
        );
        let argmax = Tensor::zeros(y.dims(), DType::U8, &Device::Cpu).expect("a CPU tensor");
        let (max, avg) = (MaxPool2d { stride }, AvgPool2d { stride });
        let name = |part: &str| format!("{part}_stride{stride}");
        measure(
            &mut group,
            &name("max_forward"),
            bytes(&[&x, &y, &argmax]),
            || max.forward(&x, &y, &argmax),
        );
        measure(
            &mut group,
            &name("max_backward"),
            bytes(&[&dx, &y, &argmax]),
            || max.backward(&y, &argmax, &dx, Accumulate::Overwrite),
        );
        measure(&mut group, &name("avg_forward"), bytes(&[&x, &y]), || {
            avg.forward(&x, &y)
        });
        measure(&mut group, &name("avg_backward"), bytes(&[&dx, &y]), || {
            avg.backward(&y, &dx, Accumulate::Overwrite)
        });
    }
}

fn others(c: &mut Criterion) {
    let mut group = c.benchmark_group("other");
    let (a, b, y) = (
        image(SIZE, CHANNELS),
        image(SIZE, CHANNELS),
        image(SIZE, CHANNELS),
    );
    let (first, second) = (Operand::from(&a), Operand::from(&b));
    measure(&mut group, "add", bytes(&[&a, &b, &y]), || {
        sum(&[(&first).into(), (&second).into()], &y)
    });
    measure(&mut group, "accumulate", bytes(&[&a, &y, &y]), || {
        accumulate(&a, &y, Accumulate::Add)
    });
    let factors = random(&[BATCH]);
    let terms = [&first, &second].map(|x| Term {
        x,
        factors: Some(&factors),
    });
    measure(&mut group, "add_scaled", bytes(&[&a, &b, &y]), || {
        sum(&terms, &y)
    });
    measure(
        &mut group,
        "accumulate_scaled",
        bytes(&[&a, &y, &y]),
        || accumulate_scaled(&a, &factors, &y, Accumulate::Add),
    );
    let share = Tensor::full(0.5f32, 1, &Device::Cpu).expect("a CPU tensor");
    measure(&mut group, "mix_with_reverse", bytes(&[&y, &y]), || {
        mix_with_reverse(&y, &share)
    });
    let x = image(8, CHANNELS);
    let (weight, bias, pooled) = (
        random(&[CHANNELS, 10]),
        random(&[10]),
        random(&[BATCH, CHANNELS]),
    );
    let (logits, dweight, dbias) = (random(&[BATCH, 10]), random(&[CHANNELS, 10]), random(&[10]));
    measure(&mut group, "head_forward_8x8", bytes(&[&x]), || {
        Head.forward(&x, &weight, &bias, &pooled, &logits)
    });
    measure(&mut group, "head_backward_8x8", bytes(&[&x]), || {
        Head.backward(
            &pooled,
            &weight,
            &logits,
            &x,
            Accumulate::Overwrite,
            &dweight,
            &dbias,
        )
    });
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu).expect("a CPU tensor");
    let dlogits = random(&[BATCH, 10]);
    measure(
        &mut group,
        "softmax_cross_entropy",
        bytes(&[&logits]),
        || {
            let loss = SoftmaxCrossEntropy::default();
            loss.forward_backward(&logits, &labels, &dlogits).map(drop)
        },
    );
    let slots = |states| {
        let slot = |_| Slot::new(random(&[3, 3, 24, 24]), random(&[3, 3, 24, 24]), states);
        (0..48)
            .map(slot)
            .collect::<epnas_ops::Result<Vec<_>>>()
            .expect("a CPU tensor")
    };
    let moved = Throughput::Bytes(48 * 5184 * 4 * 5);
    let sgd = slots(Sgd::STATES);
    measure(&mut group, "sgd_48_weights", moved.clone(), || {
        Sgd::default().step(&sgd, 1e-6, Some(5.0)).map(drop)
    });
    let adam = slots(Adam::STATES);
    measure(&mut group, "adam_48_weights", moved, || {
        Adam::default().step(&adam, 1, 1e-6, Some(5.0)).map(drop)
    });
    let pairs: Vec<(Tensor, Tensor)> = sgd
        .into_iter()
        .map(|slot| (slot.value, slot.grad))
        .collect();
    let moved = Throughput::Bytes(48 * 5184 * 4 * 3);
    measure(&mut group, "average_48_weights", moved, || {
        average(&pairs, 0.999)
    });
}

criterion::criterion_group!(
    benches,
    convolutions,
    depthwise,
    separable,
    batch_norm,
    pools,
    others
);
criterion::criterion_main!(benches);
