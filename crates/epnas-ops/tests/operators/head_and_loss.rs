//! Classifier head and loss.

use candle_core::Tensor;
use epnas_ops::{Accumulate, Head, SoftmaxCrossEntropy, Targets};

use crate::bilinear::Images;
use crate::harness::{Case, assert_gradient, assert_near, blank, dot, floats, tensor, wide};

fn averages(x: &[f64], images: Images) -> Vec<f64> {
    let pixels = images.h * images.w;
    let mut sums = vec![0.0; images.n * images.c];
    for (i, x) in x.iter().enumerate() {
        sums[i / (pixels * images.c) * images.c + i % images.c] += x / pixels as f64;
    }
    sums
}

fn logits(x: &[f64], weight: &[f64], bias: &[f64], images: Images) -> Vec<f64> {
    let k = bias.len();
    let pooled = averages(x, images);
    (0..images.n * k)
        .map(|i| {
            let pooled = &pooled[i / k * images.c..][..images.c];
            bias[i % k]
                + pooled
                    .iter()
                    .enumerate()
                    .map(|(c, p)| p * weight[c * k + i % k])
                    .sum::<f64>()
        })
        .collect()
}

#[test]
fn head() {
    let mut case = Case::new();
    for (n, h, w, c, k) in [
        (1, 1, 1, 1, 1),
        (2, 2, 3, 5, 3),
        (3, 5, 7, 13, 10),
        (2, 8, 8, 24, 10),
        (1, 4, 4, 33, 100),
    ] {
        let images = Images { n, h, w, c };
        let (x, weight, bias, dlogits) = (
            case.numbers(images.len()),
            case.numbers(c * k),
            case.numbers(k),
            case.numbers(n * k),
        );
        let (x64, weight64, bias64, d64) = (wide(&x), wide(&weight), wide(&bias), wide(&dlogits));
        let (pooled, out) = (blank(&[n, c]), blank(&[n, k]));
        let (weight, bias) = (tensor(&weight, &[c, k]), tensor(&bias, &[k]));
        Head.forward(&tensor(&x, &images.shape()), &weight, &bias, &pooled, &out)
            .unwrap();
        let what = format!("head on {images:?}");
        // Sums of at most 35 + 33 terms below 1: within 1e-5.
        assert_near(
            &what,
            &case,
            &floats(&pooled),
            &averages(&x64, images),
            1e-5,
        );
        assert_near(
            &what,
            &case,
            &floats(&out),
            &logits(&x64, &weight64, &bias64, images),
            1e-5,
        );

        // Once more as two sources, each with its rows of the weight.
        let (first, again) = (c / 2, blank(&[n, k]));
        for (from, to, acc) in [
            (0, first, Accumulate::Overwrite),
            (first, c, Accumulate::Add),
        ] {
            let len = to - from;
            let part: Vec<f32> = x
                .chunks(c)
                .flat_map(|pixel| pixel[from..to].to_vec())
                .collect();
            if len == 0 {
                again
                    .slice_set(&bias.reshape((1, k)).unwrap().repeat((n, 1)).unwrap(), 0, 0)
                    .unwrap();
                continue;
            }
            let part = tensor(&part, &[n, h, w, len]);
            let weight = weight.narrow(0, from, len).unwrap();
            Head.forward_fused(
                &(&part).into(),
                &weight,
                &bias,
                &blank(&[n, len]),
                &again,
                acc,
            )
            .unwrap();
        }
        assert_near(&what, &case, &floats(&again), &wide(&floats(&out)), 1e-5);

        let (dx, dweight, dbias) = (blank(&images.shape()), blank(&[c, k]), blank(&[k]));
        let dlogits = tensor(&dlogits, &[n, k]);
        Head.backward(
            &pooled,
            &weight,
            &dlogits,
            &dx,
            Accumulate::Overwrite,
            &dweight,
            &dbias,
        )
        .unwrap();
        let check = |what: &str,
                     case: &mut Case,
                     gradient: &[f32],
                     at: &[f64],
                     f: &dyn Fn(&[f64]) -> f64| {
            assert_gradient(what, case, f, at, &wide(gradient), 1e-5);
        };
        let loss = |x: &[f64], w: &[f64], b: &[f64]| dot(&logits(x, w, b, images), &d64);
        check("dx", &mut case, &floats(&dx), &x64, &|x| {
            loss(x, &weight64, &bias64)
        });
        check("dweight", &mut case, &floats(&dweight), &weight64, &|w| {
            loss(&x64, w, &bias64)
        });
        check("dbias", &mut case, &floats(&dbias), &bias64, &|b| {
            loss(&x64, &weight64, b)
        });

        let before = case.numbers(images.len());
        let sum = tensor(&before, &images.shape());
        Head.backward(
            &pooled,
            &weight,
            &dlogits,
            &sum,
            Accumulate::Add,
            &dweight,
            &dbias,
        )
        .unwrap();
        let expected: Vec<f64> = floats(&dx)
            .iter()
            .zip(&before)
            .map(|(&d, &b)| f64::from(d) + f64::from(b))
            .collect();
        assert_near(&what, &case, &floats(&sum), &expected, 1e-5);
    }
}

fn loss_of(logits: &[f64], labels: &[u32], k: usize, smoothing: f64) -> f64 {
    mixed_loss_of(logits, labels, k, smoothing, 1.0)
}

fn mixed_loss_of(logits: &[f64], labels: &[u32], k: usize, smoothing: f64, share: f64) -> f64 {
    let mut total = 0.0;
    let partners = labels.iter().rev();
    let pairs = labels.iter().zip(partners);
    for (row, (&label, &partner)) in logits.chunks_exact(k).zip(pairs) {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        for (i, v) in row.iter().enumerate() {
            let is = |label: u32| f64::from(u8::from(i == label as usize));
            let hit = share * is(label) + (1.0 - share) * is(partner);
            total -= ((1.0 - smoothing) * hit + smoothing / k as f64) * (v - sum.ln());
        }
    }
    total
}

#[test]
fn softmax_cross_entropy() {
    let mut case = Case::new();
    for (n, k) in [(1, 1), (1, 2), (5, 3), (64, 10), (7, 100)] {
        for label_smoothing in [0.0, 0.1] {
            let op = SoftmaxCrossEntropy {
                label_smoothing,
                ..SoftmaxCrossEntropy::default()
            };
            let logits: Vec<f32> = case.numbers(n * k).iter().map(|v| 4.0 * v).collect();
            let labels: Vec<u32> = (0..n).map(|_| case.below(k) as u32).collect();
            let logits64 = wide(&logits);
            let logits = tensor(&logits, &[n, k]);
            let label_tensor = Tensor::from_slice(&labels, n, &crate::device()).unwrap();
            let dlogits = blank(&[n, k]);
            let report = op
                .forward_backward(&logits, &label_tensor, &dlogits)
                .unwrap();
            let expected = loss_of(&logits64, &labels, k, label_smoothing);
            assert!(
                (report.loss_sum - expected).abs() < 1e-9 * expected.max(1.0),
                "seed {}",
                case.seed
            );
            assert_eq!(op.forward(&logits, &label_tensor).unwrap(), report);
            // The gradient is that of the mean.
            let mean = |logits: &[f64]| loss_of(logits, &labels, k, label_smoothing) / n as f64;
            let gradient = wide(&floats(&dlogits));
            if k > 1 {
                assert_gradient("dlogits", &mut case, mean, &logits64, &gradient, 1e-6);
            }
            // A row of the gradient sums to 0, as adding a constant changes nothing.
            for row in gradient.chunks_exact(k) {
                assert!(row.iter().sum::<f64>().abs() < 1e-6);
            }
        }
    }
}

#[test]
fn mixed_labels_and_weights() {
    let mut case = Case::new();
    for (n, k) in [(1, 1), (1, 2), (5, 3), (64, 10), (7, 100)] {
        for label_smoothing in [0.0, 0.1] {
            let drawn = case.numbers(1)[0].abs();
            let share = case.pick(&[0.0, 0.5, drawn]);
            let weight = case.pick(&[1.0, 0.4, 3.0]);
            let plain = SoftmaxCrossEntropy {
                label_smoothing,
                ..SoftmaxCrossEntropy::default()
            };
            let op = SoftmaxCrossEntropy { weight, ..plain };
            let logits: Vec<f32> = case.numbers(n * k).iter().map(|v| 4.0 * v).collect();
            let labels: Vec<u32> = (0..n).map(|_| case.below(k) as u32).collect();
            let logits64 = wide(&logits);
            let logits = tensor(&logits, &[n, k]);
            let label_tensor = Tensor::from_slice(&labels, n, &crate::device()).unwrap();
            let share_tensor = tensor(&[share], &[1]);
            let targets = Targets {
                labels: &label_tensor,
                share: Some(&share_tensor),
            };
            let (dlogits, share) = (blank(&[n, k]), f64::from(share));
            let report = op.forward_backward(&logits, targets, &dlogits).unwrap();
            let loss =
                |logits: &[f64]| weight * mixed_loss_of(logits, &labels, k, label_smoothing, share);
            let expected = loss(&logits64);
            assert!(
                (report.loss_sum - expected).abs() < 1e-9 * expected.max(1.0),
                "{op:?}, share {share}: {}, expected {expected} (seed {})",
                report.loss_sum,
                case.seed
            );
            assert_eq!(op.forward(&logits, targets).unwrap(), report);
            let mean = |logits: &[f64]| loss(logits) / n as f64;
            let gradient = wide(&floats(&dlogits));
            if k > 1 {
                assert_gradient("dlogits", &mut case, mean, &logits64, &gradient, 1e-6);
            }
            // Hits are those of rows that are not mixed.
            let dplain = blank(&[n, k]);
            let unmixed = plain
                .forward_backward(&logits, &label_tensor, &dplain)
                .unwrap();
            assert_eq!(report.correct, unmixed.correct, "seed {}", case.seed);
            // All of it for the own label: the same bits.
            let one = tensor(&[1.0], &[1]);
            let targets = Targets {
                labels: &label_tensor,
                share: Some(&one),
            };
            let found = plain.forward_backward(&logits, targets, &dlogits).unwrap();
            assert_eq!(found, unmixed);
            assert_eq!(floats(&dlogits), floats(&dplain), "seed {}", case.seed);
        }
    }
}

/// A share that is no number, as any number that lies on the device, shows in the loss.
#[test]
fn a_share_that_is_no_number_gives_no_loss() {
    let logits = tensor(&[1.0, 2.0], &[1, 2]);
    let labels = Tensor::new(&[0u32], &crate::device()).unwrap();
    let share = blank(&[1]);
    let targets = Targets {
        labels: &labels,
        share: Some(&share),
    };
    let report = SoftmaxCrossEntropy::default().forward(&logits, targets);
    assert!(report.unwrap().loss_sum.is_nan());
}

#[test]
fn correct_rows_are_counted_and_the_first_wins_a_tie() {
    let logits = tensor(&[1.0, 2.0, 2.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[3, 3]);
    let labels = Tensor::new(&[1u32, 0, 2], &crate::device()).unwrap();
    let report = SoftmaxCrossEntropy::default()
        .forward(&logits, &labels)
        .unwrap();
    assert_eq!(report.correct, 2);
}

#[test]
fn large_logits_do_not_overflow() {
    let logits = tensor(&[1e30, -1e30, 0.0, 88.0, 200.0, 1000.0], &[2, 3]);
    let labels = Tensor::new(&[0u32, 2], &crate::device()).unwrap();
    let dlogits = blank(&[2, 3]);
    let report = SoftmaxCrossEntropy::default()
        .forward_backward(&logits, &labels, &dlogits)
        .unwrap();
    assert_eq!(report.loss_sum, 0.0);
    assert_eq!(floats(&dlogits), [0.0; 6]);
}

#[test]
fn a_diverged_network_has_no_loss_and_nothing_right() {
    let logits = tensor(&[f32::NAN, f32::NAN], &[1, 2]);
    let labels = Tensor::new(&[0u32], &crate::device()).unwrap();
    let report = SoftmaxCrossEntropy::default()
        .forward(&logits, &labels)
        .unwrap();
    assert!(report.loss_sum.is_nan());
    assert_eq!(report.correct, 0);
}
