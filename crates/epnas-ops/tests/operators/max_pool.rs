//! Max pooling: values, ties, gradients.

use candle_core::{DType, Tensor};
use epnas_ops::{Accumulate, MaxPool2d};

use crate::bilinear::{Images, windows};
use crate::harness::{Bounded, Case, UNIT, assert_within, blank, floats, tensor};

fn bytes(shape: &[usize]) -> Tensor {
    (Tensor::ones(shape, DType::U8, &crate::device()).unwrap() * 77.0).unwrap()
}

/// Value and position in `x` of every output, found by looking at all taps in row-major order.
fn reference(x: &[f32], images: Images, stride: usize) -> Vec<(f32, usize, u8)> {
    let y = images.strided(stride, images.c);
    let mut best = vec![(f32::NEG_INFINITY, usize::MAX, 0u8); y.len()];
    windows(y, 3, stride, |n, i, j, u, v, row, column| {
        for c in 0..images.c {
            let Some(from) = images.inside(n, row, column, c) else {
                return;
            };
            let best = &mut best[y.at(n, i, j, c)];
            if best.1 == usize::MAX || x[from] > best.0 {
                *best = (x[from], from, (3 * u + v) as u8);
            }
        }
    });
    best
}

#[test]
fn forward_and_backward() {
    let mut case = Case::new();
    for (h, w) in [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 3),
        (5, 7),
        (8, 8),
        (9, 4),
        (32, 32),
    ] {
        for c in [1, 3, 5, 8, 13, 24, 33] {
            for stride in [1, 2] {
                let images = Images {
                    n: 1 + case.below(3),
                    h,
                    w,
                    c,
                };
                let output = images.strided(stride, c);
                // Few distinct values: many ties.
                let x: Vec<f32> = (0..images.len())
                    .map(|_| case.below(4) as f32 - 2.0)
                    .collect();
                let best = reference(&x, images, stride);
                let op = MaxPool2d { stride };
                let what = format!("{op:?} on {images:?} (seed {})", case.seed);
                let x = tensor(&x, &images.shape());
                let (y, argmax) = (blank(&output.shape()), bytes(&output.shape()));
                op.forward(&x, &y, &argmax).unwrap();
                let values: Vec<f32> = best.iter().map(|b| b.0).collect();
                assert_eq!(floats(&y), values, "{what}");
                let taps: Vec<u8> = best.iter().map(|b| b.2).collect();
                assert_eq!(
                    argmax.flatten_all().unwrap().to_vec1::<u8>().unwrap(),
                    taps,
                    "{what}"
                );
                let eval = blank(&output.shape());
                op.forward_eval(&x, &eval).unwrap();
                assert_eq!(floats(&eval), values, "{what}");

                let dy = case.numbers(output.len());
                let before = case.numbers(images.len());
                let mut expected = vec![Bounded::default(); images.len()];
                for (&(_, from, _), &dy) in best.iter().zip(&dy) {
                    expected[from].value += f64::from(dy);
                    expected[from].bound += 9.0 * UNIT * f64::from(dy.abs());
                }
                let dy = tensor(&dy, &output.shape());
                let dx = blank(&images.shape());
                op.backward(&dy, &argmax, &dx, Accumulate::Overwrite)
                    .unwrap();
                assert_within(&what, &case, &floats(&dx), &expected);
                let sum = tensor(&before, &images.shape());
                op.backward(&dy, &argmax, &sum, Accumulate::Add).unwrap();
                for (expected, &before) in expected.iter_mut().zip(&before) {
                    expected.value += f64::from(before);
                    expected.bound = 2.0 * expected.bound + 10.0 * UNIT * f64::from(before.abs());
                }
                assert_within(&what, &case, &floats(&sum), &expected);
            }
        }
    }
}

/// Away from ties the gradient is the slope: moving the largest value moves its outputs by as much. (Values
/// are multiples of 1/16 and the step is 1/64, so that every number here is exact.)
#[test]
fn gradient_is_the_finite_difference() {
    let mut case = Case::new();
    for stride in [1, 2] {
        let images = Images {
            n: 1,
            h: 5,
            w: 6,
            c: 3,
        };
        let output = images.strided(stride, 3);
        let op = MaxPool2d { stride };
        let mut order: Vec<usize> = (0..images.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, case.below(i + 1));
        }
        let x: Vec<f32> = order.iter().map(|&rank| rank as f32 / 16.0).collect();
        let pooled = |x: &[f32]| {
            let y = blank(&output.shape());
            op.forward_eval(&tensor(x, &images.shape()), &y).unwrap();
            floats(&y).iter().sum::<f32>()
        };
        let (y, argmax) = (blank(&output.shape()), bytes(&output.shape()));
        op.forward(&tensor(&x, &images.shape()), &y, &argmax)
            .unwrap();
        let dx = blank(&images.shape());
        let ones = tensor(&vec![1.0; output.len()], &output.shape());
        op.backward(&ones, &argmax, &dx, Accumulate::Overwrite)
            .unwrap();
        for (i, dx) in floats(&dx).into_iter().enumerate() {
            let moved = |by: f32| {
                let mut x = x.clone();
                x[i] += by;
                pooled(&x)
            };
            let slope = (moved(1.0 / 64.0) - moved(-1.0 / 64.0)) * 32.0;
            assert_eq!(dx, slope, "element {i}, {op:?} (seed {})", case.seed);
        }
    }
}

#[test]
fn not_a_number_wins() {
    let x = tensor(&[1.0, f32::NAN, 3.0, 9.0], &[1, 2, 2, 1]);
    let (y, argmax) = (blank(&[1, 2, 2, 1]), bytes(&[1, 2, 2, 1]));
    MaxPool2d { stride: 1 }.forward(&x, &y, &argmax).unwrap();
    assert!(floats(&y).iter().all(|v| v.is_nan()));
    // The NaN is at row 0, column 1: from each pixel's window at a position of its own.
    assert_eq!(
        argmax.flatten_all().unwrap().to_vec1::<u8>().unwrap(),
        [5, 4, 2, 1]
    );
}

/// Padding does not win even against minus infinity, so the gradient goes to a pixel.
#[test]
fn padding_never_wins() {
    let x = tensor(&[f32::NEG_INFINITY; 4], &[1, 2, 2, 1]);
    let (y, argmax, dx) = (
        blank(&[1, 2, 2, 1]),
        bytes(&[1, 2, 2, 1]),
        blank(&[1, 2, 2, 1]),
    );
    let op = MaxPool2d { stride: 1 };
    op.forward(&x, &y, &argmax).unwrap();
    let dy = tensor(&[1.0; 4], &[1, 2, 2, 1]);
    op.backward(&dy, &argmax, &dx, Accumulate::Overwrite)
        .unwrap();
    assert_eq!(floats(&dx).iter().sum::<f32>(), 4.0);
}
