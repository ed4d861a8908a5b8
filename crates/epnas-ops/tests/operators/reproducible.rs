//! Results are the same bits for any number of threads, and agree between SIMD levels.

use std::collections::BTreeMap;
use std::process::Command;

use candle_core::{DType, Tensor};
use epnas_ops::{
    Accumulate, Activation, Adam, AvgPool2d, BatchNorm, Conv2d, DepthwiseConv2d, FactorizedConv,
    Head, MaxPool2d, Operand, Running, SeparableConv2d, Sgd, SimdLevel, Slot, SoftmaxCrossEntropy,
    StepRows, Target, Targets, Term, accumulate, accumulate_scaled, average, mix_with_reverse,
    simd_level, sum,
};

use crate::bilinear::Images;
use crate::harness::{Case, PRECISIONS, blank, floats, sum_of, tensor};

/// Every output of every operator, by name.
type Results = BTreeMap<String, Vec<f32>>;

/// Runs all operators on inputs that `case` draws. 19 images: more than chunks of a weight gradient.
fn everything(case: &mut Case, channels: usize) -> Results {
    let images = Images {
        n: 19,
        h: 9,
        w: 11,
        c: channels,
    };
    let c = channels;
    let mut results = Results::new();
    let mut keep = |name: &str, t: &Tensor| {
        results.insert(format!("{name}/{c}"), floats(t));
    };
    let mut random = |shape: &[usize]| tensor(&case.numbers(shape.iter().product()), shape);
    let shape = images.shape();
    let x = random(&shape);
    let again = random(&shape);
    let acc = Accumulate::Add;

    for (kernel, stride) in [(1, 1), (3, 1), (5, 1), (3, 2)] {
        let w = random(&[kernel, kernel, c, 24]);
        for precision in PRECISIONS {
            let name = |part: &str| format!("conv{kernel}s{stride}{precision:?}.{part}");
            let op = Conv2d {
                kernel,
                stride,
                precision,
            };
            let y = blank(&images.strided(stride, 24).shape());
            op.forward(&[(&x, &w), (&again, &w)], &y).unwrap();
            keep(&name("y"), &y);
            let (dx, dw) = (random(&shape), blank(w.dims()));
            op.backward_input(&y, &w, &dx, acc).unwrap();
            op.backward_weight(&x, &y, &dw).unwrap();
            keep(&name("dx"), &dx);
            keep(&name("dw"), &dw);
        }
        let name = |part: &str| format!("depthwise{kernel}s{stride}.{part}");
        let op = DepthwiseConv2d { kernel, stride };
        let w = random(&[kernel, kernel, c]);
        let y = blank(&images.strided(stride, c).shape());
        op.forward(&x, &w, &y).unwrap();
        keep(&name("y"), &y);
        let (dx, dw) = (random(&shape), blank(w.dims()));
        op.backward_input(&y, &w, &dx, acc).unwrap();
        op.backward_weight(&x, &y, &dw).unwrap();
        keep(&name("dx"), &dx);
        keep(&name("dw"), &dw);
        for precision in PRECISIONS {
            let name = |part: &str| format!("separable{kernel}s{stride}.{precision:?}.{part}");
            let op = SeparableConv2d {
                kernel,
                stride,
                precision,
            };
            let weights = [&w, &random(&[1, 1, c, 24])];
            let y = blank(&images.strided(stride, 24).shape());
            op.forward_fused(&(&x).into(), weights, (&y).into())
                .unwrap();
            keep(&name("y"), &y);
            let (dx, dweights) = (random(&shape), weights.map(|w| blank(w.dims())));
            let [depthwise, pointwise] = &dweights;
            let target = Target::new(&dx, acc);
            op.backward_fused(
                &(&y).into(),
                &(&x).into(),
                weights,
                [depthwise, pointwise],
                &target,
            )
            .unwrap();
            keep(&name("dx"), &dx);
            keep(&name("depthwise"), depthwise);
            keep(&name("pointwise"), pointwise);
        }
    }

    let (w0, w1) = (random(&[1, 1, c, 7]), random(&[1, 1, c, 6]));
    for precision in PRECISIONS {
        let op = FactorizedConv { precision };
        let y = blank(&images.strided(2, 13).shape());
        op.forward(&x, &w0, &w1, &y).unwrap();
        let (dx, dw0, dw1) = (random(&shape), blank(w0.dims()), blank(w1.dims()));
        op.backward_input(&y, &w0, &w1, &dx, acc).unwrap();
        op.backward_weight(&x, &y, &dw0, &dw1).unwrap();
        for (name, t) in [("y", &y), ("dx", &dx), ("dw0", &dw0), ("dw1", &dw1)] {
            keep(&format!("factorized{precision:?}.{name}"), t);
        }
    }

    let op = BatchNorm {
        eps: 1e-5,
        activation: Activation::Relu,
    };
    let (scale, shift) = (random(&[c]), random(&[c]));
    let (mean, variance, saved, y) = (random(&[c]), random(&[c]), blank(&[2, c]), blank(&shape));
    let running = Running {
        mean: &mean,
        variance: &variance,
        momentum: 0.1,
    };
    op.forward_train(&x, &scale, &shift, running, &saved, &y)
        .unwrap();
    let (dx, dscale, dshift) = (random(&shape), blank(&[c]), blank(&[c]));
    op.backward(
        &x, &scale, &shift, &saved, &again, &dx, acc, &dscale, &dshift,
    )
    .unwrap();
    for (name, t) in [
        ("y", &y),
        ("mean", &mean),
        ("variance", &variance),
        ("saved", &saved),
    ] {
        keep(&format!("norm.{name}"), t);
    }
    for (name, t) in [("dx", &dx), ("dscale", &dscale), ("dshift", &dshift)] {
        keep(&format!("norm.{name}"), t);
    }

    for stride in [1, 2] {
        let y = blank(&images.strided(stride, c).shape());
        let argmax = Tensor::zeros(y.dims(), DType::U8, &crate::device()).unwrap();
        let op = MaxPool2d { stride };
        op.forward(&x, &y, &argmax).unwrap();
        keep(&format!("max{stride}.y"), &y);
        keep(
            &format!("max{stride}.argmax"),
            &argmax.to_dtype(DType::F32).unwrap(),
        );
        let dx = random(&shape);
        op.backward(&y, &argmax, &dx, acc).unwrap();
        keep(&format!("max{stride}.dx"), &dx);
        let op = AvgPool2d { stride };
        op.forward(&x, &y).unwrap();
        keep(&format!("avg{stride}.y"), &y);
        op.backward(&y, &dx, acc).unwrap();
        keep(&format!("avg{stride}.dx"), &dx);
    }

    let (weight, bias) = (random(&[c, 10]), random(&[10]));
    let (pooled, logits) = (blank(&[19, c]), blank(&[19, 10]));
    Head.forward(&x, &weight, &bias, &pooled, &logits).unwrap();
    let labels = Tensor::from_slice(&[3u32; 19], 19, &crate::device()).unwrap();
    let dlogits = blank(&[19, 10]);
    let loss = SoftmaxCrossEntropy::default();
    let report = loss.forward_backward(&logits, &labels, &dlogits).unwrap();
    keep("loss", &tensor(&[report.loss_sum as f32], &[1]));
    let (dx, dweight, dbias) = (random(&shape), blank(&[c, 10]), blank(&[10]));
    Head.backward(&pooled, &weight, &dlogits, &dx, acc, &dweight, &dbias)
        .unwrap();
    for (name, t) in [
        ("logits", &logits),
        ("dlogits", &dlogits),
        ("dx", &dx),
        ("dweight", &dweight),
    ] {
        keep(&format!("head.{name}"), t);
    }
    keep("head.dbias", &dbias);

    let share = tensor(&[0.3], &[1]);
    let targets = Targets {
        labels: &labels,
        share: Some(&share),
    };
    let loss = SoftmaxCrossEntropy {
        weight: 0.4,
        ..loss
    };
    let report = loss.forward_backward(&logits, targets, &dlogits).unwrap();
    keep("loss.mixed", &tensor(&[report.loss_sum as f32], &[1]));
    keep("loss.dmixed", &dlogits);

    let total = blank(&shape);
    sum_of(&[&x, &again], &total).unwrap();
    accumulate(&x, &total, acc).unwrap();
    keep("sum", &total);
    let factors = random(&[19]);
    let operands = [&x, &again].map(Operand::from);
    let terms = operands.each_ref().map(|x| Term {
        x,
        factors: Some(&factors),
    });
    sum(&terms, &total).unwrap();
    accumulate_scaled(&x, &factors, &total, acc).unwrap();
    keep("sum.scaled", &total);
    mix_with_reverse(&total, &share).unwrap();
    keep("mixed", &total);
    let lens = [1usize, 30, 5000, 70_000];
    let pairs = lens.map(|len| (random(&[len]), random(&[len])));
    average(&pairs, 0.99).unwrap();
    for (i, (_, average)) in pairs.iter().enumerate() {
        keep(&format!("average.{i}"), average);
    }
    let rows = StepRows::new(3, 7, &crate::device()).unwrap();
    rows.start(&floats(&random(&[21]))).unwrap();
    let row = blank(&[7]);
    (0..2).for_each(|_| rows.next(&row).unwrap());
    keep("step_rows", &row);

    let mut slots = |states| -> Vec<Slot> {
        let slot = |len: usize| Slot::new(random(&[len]), random(&[len]), states).unwrap();
        [1, 30, 5000, 70_000].map(slot).to_vec()
    };
    for (name, slots, norm) in [
        {
            let slots = slots(1);
            let norm = Sgd::default().step(&slots, 0.1, Some(1.0)).unwrap();
            ("sgd", slots, norm)
        },
        {
            let slots = slots(2);
            let norm = Adam::default().step(&slots, 1, 0.1, Some(1.0)).unwrap();
            ("adam", slots, norm)
        },
    ] {
        keep(&format!("{name}.norm"), &tensor(&[norm as f32], &[1]));
        for (i, slot) in slots.iter().enumerate() {
            keep(&format!("{name}.{i}"), &slot.value);
        }
    }
    results
}

#[test]
fn threads_do_not_matter() {
    let seed = Case::new().seed;
    for channels in [5, 24] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| everything(&mut Case::of(seed), channels))
        };
        let one = run(1);
        for threads in [2, 3] {
            for (name, values) in run(threads) {
                let same = values
                    .iter()
                    .zip(&one[&name])
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} differs with {threads} threads (seed {seed})");
            }
        }
    }
}

/// Where the child process of [`levels_agree`] writes its results.
const OUTPUT: &str = "EPNAS_TEST_OUTPUT";

/// Runs one test of this program in a process of its own.
fn child(test: &str, level: &str, output: Option<&std::path::Path>, seed: u64) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", &format!("reproducible::{test}")])
        .env("EPNAS_SIMD", level)
        .env("EPNAS_TEST_SEED", seed.to_string());
    if let Some(output) = output {
        command.env(OUTPUT, output);
    }
    let result = command.output().unwrap();
    assert!(
        result.status.success() && String::from_utf8_lossy(&result.stdout).contains("1 passed"),
        "{level}: {}{} (seed {seed})",
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(&result.stderr)
    );
}

#[test]
#[ignore = "run by levels_agree in a process of its own"]
fn write_results() {
    let mut case = Case::new();
    let level = std::env::var("EPNAS_SIMD").unwrap();
    assert_eq!(simd_level().unwrap().name(), level);
    let mut bytes = Vec::new();
    for channels in [5, 24] {
        for (_, values) in everything(&mut case, channels) {
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        }
    }
    std::fs::write(std::env::var_os(OUTPUT).unwrap(), bytes).unwrap();
}

/// The level is a property of the process, so each runs in one of its own.
#[test]
fn levels_agree() {
    let mut case = Case::new();
    let seed = case.seed;
    let mut own = everything(&mut case, 5);
    own.append(&mut everything(&mut case, 24));
    // In the order in which the child writes: by channels, then by name.
    let order = |c: &str| {
        own.iter()
            .filter(|(name, _)| name.ends_with(c))
            .collect::<Vec<_>>()
    };
    let expected = [order("/5"), order("/24")].concat();
    for level in SimdLevel::ALL
        .into_iter()
        .filter(|level| level.is_available())
    {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{}-{seed}", level.name()));
        child("write_results", level.name(), Some(&path), seed);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (words, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        let mut found = words.iter().map(|&word| f32::from_le_bytes(word));
        for &(name, values) in &expected {
            let scale = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            // What lies between depthwise and pointwise differs in its last place, and a factor between two bfloat16
            // then rounds to either.
            let bound = match name.starts_with("separable") && name.contains("Bf16") {
                true => 4e-3 * scale,
                false => 2e-5 * scale,
            };
            for (i, value) in values.iter().enumerate() {
                let found = found.next().unwrap();
                // Sums of up to 2,000 terms, rounded once or twice per term, in one order: far below 1e-5 of
                // the largest. Gradients of the norm divide by small deviations.
                assert!(
                    (found - value).abs() <= bound,
                    "{name}[{i}] is {found} with {}, {value} with {} (seed {seed})",
                    level.name(),
                    simd_level().unwrap().name()
                );
            }
        }
        assert!(found.next().is_none());
    }
}

#[test]
#[ignore = "run by an_unusable_level_is_an_error in a process of its own"]
fn report_level() {
    let x = tensor(&[1.0], &[1, 1, 1, 1]);
    let error = sum_of(&[&x, &x], &blank(&[1, 1, 1, 1]))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("EPNAS_SIMD is `sse9`, expected one of portable, avx2, avx512"),
        "{error}"
    );
}

#[test]
fn an_unusable_level_is_an_error() {
    child("report_level", "sse9", None, 1);
}
