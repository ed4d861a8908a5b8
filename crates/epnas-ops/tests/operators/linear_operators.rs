//! Convolutions and average pooling: values, gradients, accumulation.

use candle_core::Tensor;
use epnas_ops::{Accumulate, AvgPool2d, Conv2d, DepthwiseConv2d, FactorizedConv, Precision};

use crate::bilinear::{self, Bilinear, Images};
use crate::harness::{
    Bounded, Case, PRECISIONS, assert_gradient, assert_within, blank, dot, factors, floats, tensor,
};

/// Heights and widths: single pixels, less than a window, odd, whole blocks.
const SIZES: [(usize, usize); 6] = [(1, 1), (2, 3), (5, 7), (8, 8), (4, 9), (1, 13)];
/// Channels: below, at and above whole vectors and blocks.
const CHANNELS: [usize; 7] = [1, 3, 5, 8, 13, 24, 33];

/// An operator that is linear in its input and its weight, as functions over flat slices.
trait Linear {
    fn name(&self) -> String;
    fn x(&self) -> Images;
    fn y(&self) -> Images;
    fn reference(&self) -> Bilinear;
    fn forward(&self, x: &Tensor, w: &[f32], y: &Tensor);
    fn backward_input(&self, dy: &Tensor, w: &[f32], dx: &Tensor, acc: Accumulate);
    fn backward_weight(&self, x: &Tensor, dy: &Tensor) -> Option<Vec<f32>>;
    fn weight(&self, case: &mut Case, len: usize) -> Vec<f32> {
        case.numbers(len)
    }
    fn precision(&self) -> Precision {
        Precision::F32
    }
}

/// The generic test: every output of the operator within the rounding bound of the reference, the
/// reference's gradients equal to finite differences of its values, and adding equal to overwriting plus
/// what was there.
fn check(op: &impl Linear, case: &mut Case) {
    let reference = op.reference();
    let (xs, ys) = (op.x(), op.y());
    assert_eq!((xs.len(), ys.len()), (reference.x, reference.y));
    let x = case.numbers(reference.x);
    let w = op.weight(case, reference.w);
    let dy = case.numbers(reference.y);
    // Products of two bfloat16 are exact in f32, so only sums are rounded, as in f32.
    let factors = |values: &[f32]| factors(op.precision(), values);
    let (x64, w64, dy64) = (factors(&x), factors(&w), factors(&dy));
    let (x, dy) = (tensor(&x, &xs.shape()), tensor(&dy, &ys.shape()));
    let what = |part: &str| format!("{} {part}", op.name());

    let y = blank(&ys.shape());
    op.forward(&x, &w, &y);
    assert_within(
        &what("forward"),
        case,
        &floats(&y),
        &reference.forward(&x64, &w64),
    );

    let dx = blank(&xs.shape());
    op.backward_input(&dy, &w, &dx, Accumulate::Overwrite);
    let expected = reference.backward_x(&dy64, &w64);
    assert_within(&what("backward_input"), case, &floats(&dx), &expected);

    let before = case.numbers(reference.x);
    let sum = tensor(&before, &xs.shape());
    op.backward_input(&dy, &w, &sum, Accumulate::Add);
    let added: Vec<Bounded> = expected
        .iter()
        .zip(&before)
        .map(|(e, &b)| {
            let b = f64::from(b);
            // The old value is one more term of the sum.
            let bound = e.bound * 2.0 + 8.0 * crate::harness::UNIT * b.abs() + e.bound;
            Bounded {
                value: e.value + b,
                bound: bound
                    + reference.terms.len() as f64 / reference.x as f64
                        * crate::harness::UNIT
                        * b.abs(),
            }
        })
        .collect();
    assert_within(&what("backward_input, adding"), case, &floats(&sum), &added);

    if let Some(dw) = op.backward_weight(&x, &dy) {
        let expected = reference.backward_w(&x64, &dy64);
        assert_within(&what("backward_weight"), case, &dw, &expected);
        let values: Vec<f64> = expected.iter().map(|b| b.value).collect();
        let loss = |w: &[f64]| dot(&values_of(&reference.forward(&x64, w)), &dy64);
        assert_gradient(&what("reference dw"), case, loss, &w64, &values, 1e-7);
    }
    let values = values_of(&expected);
    let loss = |x: &[f64]| dot(&values_of(&reference.forward(x, &w64)), &dy64);
    assert_gradient(&what("reference dx"), case, loss, &x64, &values, 1e-7);
}

fn values_of(bounded: &[Bounded]) -> Vec<f64> {
    bounded.iter().map(|b| b.value).collect()
}

struct Conv {
    op: Conv2d,
    x: Images,
    co: usize,
}

impl Conv {
    fn shape(&self) -> [usize; 4] {
        [self.op.kernel, self.op.kernel, self.x.c, self.co]
    }
}

impl Linear for Conv {
    fn name(&self) -> String {
        format!("{:?} on {:?} to {} channels", self.op, self.x, self.co)
    }
    fn x(&self) -> Images {
        self.x
    }
    fn y(&self) -> Images {
        self.x.strided(self.op.stride, self.co)
    }
    fn reference(&self) -> Bilinear {
        bilinear::conv(self.x, self.co, self.op.kernel, self.op.stride)
    }
    fn forward(&self, x: &Tensor, w: &[f32], y: &Tensor) {
        self.op
            .forward(&[(x, &tensor(w, &self.shape()))], y)
            .unwrap();
    }
    fn backward_input(&self, dy: &Tensor, w: &[f32], dx: &Tensor, acc: Accumulate) {
        self.op
            .backward_input(dy, &tensor(w, &self.shape()), dx, acc)
            .unwrap();
    }
    fn backward_weight(&self, x: &Tensor, dy: &Tensor) -> Option<Vec<f32>> {
        let dw = blank(&self.shape());
        self.op.backward_weight(x, dy, &dw).unwrap();
        Some(floats(&dw))
    }
    fn precision(&self) -> Precision {
        self.op.precision
    }
}

struct Depthwise {
    op: DepthwiseConv2d,
    x: Images,
}

impl Depthwise {
    fn shape(&self) -> [usize; 3] {
        [self.op.kernel, self.op.kernel, self.x.c]
    }
}

impl Linear for Depthwise {
    fn name(&self) -> String {
        format!("{:?} on {:?}", self.op, self.x)
    }
    fn x(&self) -> Images {
        self.x
    }
    fn y(&self) -> Images {
        self.x.strided(self.op.stride, self.x.c)
    }
    fn reference(&self) -> Bilinear {
        bilinear::depthwise(self.x, self.op.kernel, self.op.stride)
    }
    fn forward(&self, x: &Tensor, w: &[f32], y: &Tensor) {
        self.op.forward(x, &tensor(w, &self.shape()), y).unwrap();
    }
    fn backward_input(&self, dy: &Tensor, w: &[f32], dx: &Tensor, acc: Accumulate) {
        self.op
            .backward_input(dy, &tensor(w, &self.shape()), dx, acc)
            .unwrap();
    }
    fn backward_weight(&self, x: &Tensor, dy: &Tensor) -> Option<Vec<f32>> {
        let dw = blank(&self.shape());
        self.op.backward_weight(x, dy, &dw).unwrap();
        Some(floats(&dw))
    }
}

struct Factorized {
    op: FactorizedConv,
    x: Images,
    co: usize,
}

impl Factorized {
    fn halves(&self, w: &[f32]) -> (Tensor, Tensor) {
        let (half, ci) = (self.co.div_ceil(2), self.x.c);
        let (first, second) = w.split_at(ci * half);
        (
            tensor(first, &[1, 1, ci, half]),
            tensor(second, &[1, 1, ci, self.co - half]),
        )
    }
}

impl Linear for Factorized {
    fn name(&self) -> String {
        format!("{:?} on {:?} to {} channels", self.op, self.x, self.co)
    }
    fn x(&self) -> Images {
        self.x
    }
    fn y(&self) -> Images {
        self.x.strided(2, self.co)
    }
    fn reference(&self) -> Bilinear {
        bilinear::factorized(self.x, self.co)
    }
    fn forward(&self, x: &Tensor, w: &[f32], y: &Tensor) {
        let (w0, w1) = self.halves(w);
        self.op.forward(x, &w0, &w1, y).unwrap();
    }
    fn backward_input(&self, dy: &Tensor, w: &[f32], dx: &Tensor, acc: Accumulate) {
        let (w0, w1) = self.halves(w);
        self.op.backward_input(dy, &w0, &w1, dx, acc).unwrap();
    }
    fn backward_weight(&self, x: &Tensor, dy: &Tensor) -> Option<Vec<f32>> {
        let (half, ci) = (self.co.div_ceil(2), self.x.c);
        let (dw0, dw1) = (blank(&[1, 1, ci, half]), blank(&[1, 1, ci, self.co - half]));
        self.op.backward_weight(x, dy, &dw0, &dw1).unwrap();
        Some([floats(&dw0), floats(&dw1)].concat())
    }
    fn precision(&self) -> Precision {
        self.op.precision
    }
}

struct Average {
    op: AvgPool2d,
    x: Images,
}

impl Linear for Average {
    fn name(&self) -> String {
        format!("{:?} on {:?}", self.op, self.x)
    }
    fn x(&self) -> Images {
        self.x
    }
    fn y(&self) -> Images {
        self.x.strided(self.op.stride, self.x.c)
    }
    fn reference(&self) -> Bilinear {
        bilinear::avg_pool(self.x, self.op.stride)
    }
    fn forward(&self, x: &Tensor, _: &[f32], y: &Tensor) {
        self.op.forward(x, y).unwrap();
    }
    fn backward_input(&self, dy: &Tensor, _: &[f32], dx: &Tensor, acc: Accumulate) {
        self.op.backward(dy, dx, acc).unwrap();
    }
    fn backward_weight(&self, _: &Tensor, _: &Tensor) -> Option<Vec<f32>> {
        None
    }
    fn weight(&self, _: &mut Case, _: usize) -> Vec<f32> {
        vec![1.0 / 9.0]
    }
}

/// Calls `test` for every size, kernel and stride, with random channels and batch.
fn shapes(
    kernels: &[usize],
    strides: &[usize],
    mut test: impl FnMut(&mut Case, Images, usize, usize, usize),
) {
    let mut case = Case::new();
    for (h, w) in SIZES {
        for &kernel in kernels {
            for &stride in strides {
                let x = Images {
                    n: 1 + case.below(3),
                    h,
                    w,
                    c: case.pick(&CHANNELS),
                };
                let co = case.pick(&CHANNELS);
                test(&mut case, x, co, kernel, stride);
            }
        }
    }
}

#[test]
fn conv2d() {
    for precision in PRECISIONS {
        shapes(&[1, 3, 5, 7], &[1, 2], |case, x, co, kernel, stride| {
            let op = Conv2d {
                precision,
                ..Conv2d::new(kernel, stride)
            };
            check(&Conv { op, x, co }, case);
        });
    }
}

#[test]
fn conv2d_has_every_channel_count() {
    let mut case = Case::new();
    for ci in CHANNELS {
        for co in CHANNELS {
            let x = Images {
                n: 2,
                h: 3,
                w: 5,
                c: ci,
            };
            for precision in PRECISIONS {
                let op = Conv2d {
                    precision,
                    ..Conv2d::new(3, 1)
                };
                check(&Conv { op, x, co }, &mut case);
            }
        }
    }
}

/// More weights than one group, more pixels than one tile, more images than chunks.
#[test]
fn conv2d_of_more_than_a_tile() {
    let mut case = Case::new();
    for (n, h, w, ci, co, kernel, stride) in [
        (1, 9, 12, 70, 56, 5, 1),
        (1, 13, 70, 9, 24, 3, 1),
        (1, 20, 11, 24, 48, 3, 2),
        (18, 3, 3, 3, 8, 3, 1),
        (33, 2, 2, 8, 3, 1, 1),
        (1, 1, 300, 30, 24, 1, 1),
        (1, 1, 301, 31, 24, 1, 1),
    ] {
        for precision in PRECISIONS {
            let x = Images { n, h, w, c: ci };
            let op = Conv2d {
                precision,
                ..Conv2d::new(kernel, stride)
            };
            check(&Conv { op, x, co }, &mut case);
        }
    }
}

#[test]
fn depthwise_conv2d() {
    for _ in 0..3 {
        shapes(&[1, 3, 5, 7, 9], &[1, 2], |case, x, _, kernel, stride| {
            let op = DepthwiseConv2d { kernel, stride };
            check(&Depthwise { op, x }, case);
        });
    }
}

#[test]
fn depthwise_conv2d_of_more_than_a_tile() {
    let mut case = Case::new();
    for (n, h, w, c, kernel, stride) in [
        (18, 6, 33, 24, 3, 1),
        (17, 9, 8, 40, 5, 2),
        (2, 32, 32, 8, 7, 1),
        (2, 17, 31, 33, 5, 1),
    ] {
        let x = Images { n, h, w, c };
        let op = DepthwiseConv2d { kernel, stride };
        check(&Depthwise { op, x }, &mut case);
    }
}

#[test]
fn factorized_conv() {
    for precision in PRECISIONS.repeat(3) {
        shapes(&[1], &[2], |case, x, co, _, _| {
            let co = co.max(2);
            let op = FactorizedConv { precision };
            check(&Factorized { op, x, co }, case);
        });
    }
}

#[test]
fn avg_pool2d() {
    for _ in 0..3 {
        shapes(&[3], &[1, 2], |case, x, _, _, stride| {
            let op = AvgPool2d { stride };
            check(&Average { op, x }, case);
        });
    }
}

/// A convolution over several sources, of different widths, is the sum of their convolutions.
#[test]
fn conv2d_over_several_sources() {
    let mut case = Case::new();
    let shapes = [(1, 1), (1, 2), (3, 1), (3, 2)];
    for (precision, (kernel, stride)) in PRECISIONS.into_iter().flat_map(|p| shapes.map(|s| (p, s)))
    {
        for sources in 1..=4 {
            let mut expected: Vec<Bounded> = Vec::new();
            let co = case.pick(&CHANNELS);
            let (n, h, w) = (1 + case.below(3), 1 + case.below(9), 1 + case.below(9));
            let mut inputs = Vec::new();
            for _ in 0..sources {
                let c = case.pick(&CHANNELS);
                let images = Images { n, h, w, c };
                let reference = bilinear::conv(images, co, kernel, stride);
                let (x, w) = (case.numbers(reference.x), case.numbers(reference.w));
                let part = reference.forward(&factors(precision, &x), &factors(precision, &w));
                if expected.is_empty() {
                    expected = part;
                } else {
                    for (sum, part) in expected.iter_mut().zip(part) {
                        sum.value += part.value;
                        // Bounds of longer sums: terms of all sources times magnitudes of all.
                        sum.bound = 4.0 * (sum.bound + part.bound);
                    }
                }
                inputs.push((
                    tensor(&x, &images.shape()),
                    tensor(&w, &[kernel, kernel, c, co]),
                ));
            }
            let y = blank(&Images { n, h, w, c: 1 }.strided(stride, co).shape());
            let pairs: Vec<(&Tensor, &Tensor)> = inputs.iter().map(|(x, w)| (x, w)).collect();
            let op = Conv2d {
                precision,
                ..Conv2d::new(kernel, stride)
            };
            op.forward(&pairs, &y).unwrap();
            assert_within(&format!("{sources} sources"), &case, &floats(&y), &expected);
        }
    }
}
