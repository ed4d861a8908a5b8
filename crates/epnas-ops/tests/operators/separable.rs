//! Depthwise and pointwise in one step, against the two operators one after the other, each of which is tested by
//! itself: the same arithmetic in the same order, so equal bit for bit.

use candle_core::Tensor;
use epnas_ops::{Accumulate, Conv2d, DepthwiseConv2d, Error, Precision, SeparableConv2d, Target};

use crate::harness::{Case, PRECISIONS, blank, floats, tensor};

const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 7], [2, 8, 8], [17, 4, 3], [2, 13, 11]];
const CHANNELS: [usize; 5] = [1, 5, 8, 24, 33];

fn bits(t: &Tensor) -> Vec<u32> {
    floats(t).iter().map(|v| v.to_bits()).collect()
}

#[test]
fn one_step_equals_two() {
    let mut case = Case::new();
    let windows = [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)];
    let all = windows.iter().flat_map(|w| PRECISIONS.map(|p| (*w, p)));
    for ((kernel, stride), precision) in all {
        for [n, h, w] in SIZES {
            let (c, co) = (case.pick(&CHANNELS), case.pick(&CHANNELS));
            let seed = case.seed;
            let what = |part: &str| {
                format!(
                    "{kernel}/{stride} {precision:?} {n}x{h}x{w}x{c} to {co}: {part} (seed {seed})"
                )
            };
            let (ho, wo) = (h.div_ceil(stride), w.div_ceil(stride));
            let mut random = |shape: &[usize]| tensor(&case.numbers(shape.iter().product()), shape);
            let x = random(&[n, h, w, c]);
            let (depthwise, pointwise) = (random(&[kernel, kernel, c]), random(&[1, 1, c, co]));
            let dy = random(&[n, ho, wo, co]);
            let before = random(&[n, h, w, c]);
            let first = DepthwiseConv2d { kernel, stride };
            let second = Conv2d {
                kernel: 1,
                stride: 1,
                precision,
            };
            let both = SeparableConv2d {
                kernel,
                stride,
                precision,
            };

            let (between, y, expected) = (
                blank(&[n, ho, wo, c]),
                blank(&[n, ho, wo, co]),
                blank(&[n, ho, wo, co]),
            );
            first.forward(&x, &depthwise, &between).unwrap();
            second
                .forward(&[(&between, &pointwise)], &expected)
                .unwrap();
            both.forward_fused(&(&x).into(), [&depthwise, &pointwise], (&y).into())
                .unwrap();
            assert_eq!(bits(&y), bits(&expected), "{}", what("y"));

            for acc in [Accumulate::Overwrite, Accumulate::Add] {
                let (ddepthwise, dpointwise) = (blank(depthwise.dims()), blank(pointwise.dims()));
                let dx = before.copy().unwrap();
                both.backward_fused(
                    &(&dy).into(),
                    &(&x).into(),
                    [&depthwise, &pointwise],
                    [&ddepthwise, &dpointwise],
                    &Target::new(&dx, acc),
                )
                .unwrap();
                let (dw, dbetween) = (blank(pointwise.dims()), blank(between.dims()));
                second.backward_weight(&between, &dy, &dw).unwrap();
                assert_eq!(bits(&dpointwise), bits(&dw), "{}", what("dpointwise"));
                second
                    .backward_input(&dy, &pointwise, &dbetween, Accumulate::Overwrite)
                    .unwrap();
                let dw = blank(depthwise.dims());
                first.backward_weight(&x, &dbetween, &dw).unwrap();
                assert_eq!(bits(&ddepthwise), bits(&dw), "{}", what("ddepthwise"));
                let expected = before.copy().unwrap();
                first
                    .backward_input(&dbetween, &depthwise, &expected, acc)
                    .unwrap();
                assert_eq!(bits(&dx), bits(&expected), "{}", what("dx"));
            }
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let op = SeparableConv2d {
        kernel: 3,
        stride: 1,
        precision: Precision::F32,
    };
    let (x, y) = (blank(&[1, 4, 4, 3]), blank(&[1, 4, 4, 5]));
    let (depthwise, pointwise) = (blank(&[3, 3, 3]), blank(&[1, 1, 3, 5]));
    let found = |depthwise: &Tensor, pointwise: &Tensor| {
        op.forward_fused(&(&x).into(), [depthwise, pointwise], (&y).into())
    };
    found(&depthwise, &pointwise).unwrap();
    for (error, name) in [
        (found(&blank(&[5, 5, 3]), &pointwise), "depthwise"),
        (found(&depthwise, &blank(&[1, 1, 5, 3])), "pointwise"),
    ] {
        let error: Error = error.unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
