//! Operators with batch norms where they read and sums where they write, against the same operators one by one, each of
//! which is tested by itself. The arithmetic is the same, so values are equal bit for bit; only the sums over a batch
//! are grouped in another way.

use candle_core::{DType, Tensor};
use epnas_ops::{
    Accumulate, Activation, AvgPool2d, BatchNorm, BatchStatistics, Conv2d, ConvGradient, Cotangent,
    DepthwiseConv2d, FactorizedConv, Head, MaxPool2d, Norm, NormGradient, Operand, Output, Running,
    SeparableConv2d, Target, Term, sum,
};

use crate::harness::{Case, PRECISIONS, blank, floats, sum_of, tensor};

/// Batch, height, width: single pixels, odd sizes, several images of several tiles.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [3, 5, 7], [2, 8, 8], [17, 4, 3], [2, 13, 11]];
const CHANNELS: [usize; 5] = [1, 5, 8, 24, 33];

/// A batch norm with random parameters, its input and the result.
struct Normed {
    operand: Operand,
    /// What the operand stands for, computed by itself.
    plain: Tensor,
    op: BatchNorm,
}

fn normed(case: &mut Case, shape: &[usize]) -> Normed {
    let len = shape.iter().product();
    let x = tensor(&case.numbers(len), shape);
    norm_of(case, &x)
}

fn norm_of(case: &mut Case, x: &Tensor) -> Normed {
    let c = x.dims()[3];
    let op = BatchNorm {
        activation: case.pick(&[Activation::None, Activation::Relu]),
        ..BatchNorm::default()
    };
    let (scale, shift) = (vector(case, c), vector(case, c));
    let (saved, plain) = (blank(&[2, c]), blank(x.dims()));
    let (mean, variance) = (vector(case, c), vector(case, c));
    let running = Running {
        mean: &mean,
        variance: &variance,
        momentum: 0.1,
    };
    op.forward_train(x, &scale, &shift, running, &saved, &plain)
        .unwrap();
    let norm = Norm {
        activation: op.activation,
        scale,
        shift,
        saved,
    };
    Normed {
        operand: Operand {
            x: x.clone(),
            norm: Some(norm),
        },
        plain,
        op,
    }
}

fn vector(case: &mut Case, c: usize) -> Tensor {
    tensor(&case.numbers(c), &[c])
}

impl Normed {
    fn gradient(&self) -> NormGradient {
        let c = self.operand.x.dims()[3];
        NormGradient {
            norm: self.operand.norm.clone().unwrap(),
            x: self.operand.x.clone(),
            dscale: blank(&[c]),
            dshift: blank(&[c]),
        }
    }

    /// `dy` gone back through the batch norm, by itself.
    fn back(&self, dy: &Tensor) -> Tensor {
        let NormGradient {
            norm,
            x,
            dscale,
            dshift,
        } = self.gradient();
        let dx = blank(x.dims());
        let (scale, shift, saved) = (&norm.scale, &norm.shift, &norm.saved);
        let acc = Accumulate::Overwrite;
        self.op
            .backward(&x, scale, shift, saved, dy, &dx, acc, &dscale, &dshift)
            .unwrap();
        dx
    }

    /// Fails unless the sums are those of a result with gradient `dy`.
    fn assert_sums(&self, what: &str, case: &Case, found: &NormGradient, dy: &Tensor) {
        let expected = self.gradient();
        BatchNorm::backward_parameters(dy, &expected).unwrap();
        let rows = dy.elem_count() / self.operand.x.dims()[3];
        let largest = floats(dy).iter().fold(0.0f32, |a, b| a.max(b.abs()));
        // Normalized values are at most sqrt(rows).
        let bound = 1e-6 * largest * rows as f32 * (rows as f32).sqrt();
        close(what, case, &found.dscale, &expected.dscale, bound);
        close(what, case, &found.dshift, &expected.dshift, bound);
    }
}

fn close(what: &str, case: &Case, found: &Tensor, expected: &Tensor, bound: f32) {
    for (i, (a, b)) in floats(found).iter().zip(&floats(expected)).enumerate() {
        let bound = bound + 1e-5 * b.abs();
        assert!(
            (a - b).abs() <= bound,
            "{what}: {i}: {a} instead of {b} (bound {bound}, seed {})",
            case.seed
        );
    }
}

fn same(what: &str, case: &Case, found: &Tensor, expected: &Tensor) {
    let bits = |t: &Tensor| -> Vec<u32> { floats(t).iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(found), bits(expected), "{what} (seed {})", case.seed);
}

/// An operator with weights.
#[derive(Debug, Clone, Copy)]
enum Op {
    Conv(Conv2d),
    Depthwise(usize, usize),
    Separable(SeparableConv2d),
    Factorized(FactorizedConv),
}

impl Op {
    fn stride(self) -> usize {
        match self {
            Op::Conv(Conv2d { stride, .. })
            | Op::Depthwise(_, stride)
            | Op::Separable(SeparableConv2d { stride, .. }) => stride,
            Op::Factorized(_) => 2,
        }
    }

    fn weights(self, case: &mut Case, ci: usize, co: usize) -> Vec<Tensor> {
        let shapes = match self {
            Op::Conv(Conv2d { kernel: k, .. }) => vec![vec![k, k, ci, co]],
            Op::Depthwise(k, _) => vec![vec![k, k, ci]],
            Op::Separable(SeparableConv2d { kernel: k, .. }) => {
                vec![vec![k, k, ci], vec![1, 1, ci, co]]
            }
            Op::Factorized(_) => vec![vec![1, 1, ci, co.div_ceil(2)], vec![1, 1, ci, co / 2]],
        };
        let random = |shape: &Vec<usize>| tensor(&case.numbers(shape.iter().product()), shape);
        shapes.iter().map(random).collect()
    }

    fn forward(self, x: &Operand, w: &[Tensor], output: Output) {
        match self {
            Op::Conv(op) => op.forward_fused(&[(x, &w[0])], output),
            Op::Depthwise(kernel, stride) => {
                DepthwiseConv2d { kernel, stride }.forward_fused(x, &w[0], output)
            }
            Op::Separable(op) => op.forward_fused(x, [&w[0], &w[1]], output),
            Op::Factorized(op) => op.forward_fused(x, [&w[0], &w[1]], output),
        }
        .unwrap();
    }

    fn backward(self, dy: &Cotangent, x: &Operand, w: &[Tensor], dw: &[Tensor], dx: &Target) {
        match self {
            Op::Conv(op) => op.backward_fused(
                dy,
                &[ConvGradient {
                    x: x.clone(),
                    w: w[0].clone(),
                    dw: Some(dw[0].clone()),
                    dx: Some(dx.clone()),
                }],
            ),
            Op::Depthwise(kernel, stride) => {
                DepthwiseConv2d { kernel, stride }.backward_fused(dy, x, &w[0], &dw[0], Some(dx))
            }
            Op::Separable(op) => op.backward_fused(dy, x, [&w[0], &w[1]], [&dw[0], &dw[1]], dx),
            Op::Factorized(op) => {
                op.backward_fused(dy, x, [&w[0], &w[1]], [&dw[0], &dw[1]], Some(dx))
            }
        }
        .unwrap();
    }
}

#[test]
fn products_between_batch_norms() {
    let mut case = Case::new();
    let mut ops = vec![
        Op::Depthwise(3, 1),
        Op::Depthwise(5, 2),
        Op::Depthwise(7, 1),
    ];
    for precision in PRECISIONS {
        for (kernel, stride) in [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)] {
            ops.push(Op::Conv(Conv2d {
                kernel,
                stride,
                precision,
            }));
        }
        for (kernel, stride) in [(3, 1), (5, 2), (7, 1)] {
            ops.push(Op::Separable(SeparableConv2d {
                kernel,
                stride,
                precision,
            }));
        }
        ops.push(Op::Factorized(FactorizedConv { precision }));
    }
    for op in ops {
        for [n, h, w] in SIZES {
            let ci = case.pick(&CHANNELS);
            let co = match op {
                Op::Depthwise(..) => ci,
                Op::Conv(..) | Op::Separable(..) => case.pick(&CHANNELS),
                Op::Factorized(_) => case.pick(&[2, 5, 8, 24]),
            };
            check(op, [n, h, w, ci], co, &mut case);
        }
    }
}

fn check(op: Op, shape: [usize; 4], co: usize, case: &mut Case) {
    let what = |part: &str| format!("{op:?} {shape:?} to {co}: {part}");
    let [n, h, w, _] = shape;
    let out = [n, h.div_ceil(op.stride()), w.div_ceil(op.stride()), co];
    let input = normed(case, &shape);
    let weights = op.weights(case, shape[3], co);

    let (y, plain_y, saved) = (blank(&out), blank(&out), blank(&[2, co]));
    let (mean, variance) = (vector(case, co), vector(case, co));
    let (before_mean, before_variance) = (floats(&mean), floats(&variance));
    let statistics = BatchStatistics {
        eps: 1e-5,
        saved: &saved,
        running: Running {
            mean: &mean,
            variance: &variance,
            momentum: 0.3,
        },
    };
    let output = Output {
        y: &y,
        statistics: Some(statistics),
    };
    op.forward(&input.operand, &weights, output);
    op.forward(&(&input.plain).into(), &weights, (&plain_y).into());
    same(&what("y"), case, &y, &plain_y);

    // Statistics: those that a batch norm takes by itself.
    let (again_mean, again_variance) =
        (tensor(&before_mean, &[co]), tensor(&before_variance, &[co]));
    let (again_saved, ones) = (blank(&[2, co]), tensor(&vec![1.0; co], &[co]));
    let running = Running {
        mean: &again_mean,
        variance: &again_variance,
        momentum: 0.3,
    };
    BatchNorm::default()
        .forward_train(&y, &ones, &ones, running, &again_saved, &blank(&out))
        .unwrap();
    // With a single row the deviation is that of rounding errors, and its inverse large.
    let largest = floats(&again_saved)
        .iter()
        .fold(0.0f32, |a, b| a.max(b.abs()));
    close(&what("saved"), case, &saved, &again_saved, 1e-4 * largest);
    close(&what("mean"), case, &mean, &again_mean, 1e-5);
    close(&what("variance"), case, &variance, &again_variance, 1e-4);

    // Backward: the batch norm that follows is passed on the way in.
    let follows = norm_of(case, &y);
    let dz = tensor(&case.numbers(y.elem_count()), &out);
    let dy = follows.back(&dz);
    let through = follows.gradient();
    BatchNorm::backward_parameters(&dz, &through).unwrap();
    let cotangent = Cotangent {
        dy: dz,
        norm: Some(through),
    };
    let blanks = || -> Vec<Tensor> { weights.iter().map(|w| blank(w.dims())).collect() };
    let (dw, plain_dw) = (blanks(), blanks());
    let before = case.numbers(shape.iter().product());
    let (dx, plain_dx) = (tensor(&before, &shape), tensor(&before, &shape));
    let acc = case.pick(&[Accumulate::Overwrite, Accumulate::Add]);
    // Two batch norms wait for this gradient, as when a sum passes it on to both.
    let other = norm_of(case, &tensor(&before, &shape));
    let target = Target {
        dx: dx.clone(),
        acc,
        norms: vec![input.gradient(), other.gradient()],
    };
    op.backward(&cotangent, &input.operand, &weights, &dw, &target);
    let plain_target = Target::new(&plain_dx, acc);
    op.backward(
        &(&dy).into(),
        &(&input.plain).into(),
        &weights,
        &plain_dw,
        &plain_target,
    );
    same(&what("dx"), case, &dx, &plain_dx);
    for (dw, plain) in dw.iter().zip(&plain_dw) {
        same(&what("dw"), case, dw, plain);
    }
    input.assert_sums(&what("sums"), case, &target.norms[0], &plain_dx);
    other.assert_sums(&what("other sums"), case, &target.norms[1], &plain_dx);
}

#[test]
fn a_convolution_of_several_normed_sources() {
    let mut case = Case::new();
    for (precision, [n, h, w]) in PRECISIONS.into_iter().flat_map(|p| SIZES.map(|s| (p, s))) {
        let op = Conv2d {
            precision,
            ..Conv2d::new(1, 1)
        };
        let co = case.pick(&CHANNELS);
        let out = [n, h, w, co];
        let sources: Vec<(Normed, Tensor)> = (0..3)
            .map(|_| {
                let ci = case.pick(&CHANNELS);
                let weight = tensor(&case.numbers(ci * co), &[1, 1, ci, co]);
                (normed(&mut case, &[n, h, w, ci]), weight)
            })
            .collect();
        let (y, plain_y) = (blank(&out), blank(&out));
        let operands: Vec<(&Operand, &Tensor)> =
            sources.iter().map(|(x, w)| (&x.operand, w)).collect();
        op.forward_fused(&operands, (&y).into()).unwrap();
        let plain: Vec<(&Tensor, &Tensor)> = sources.iter().map(|(x, w)| (&x.plain, w)).collect();
        op.forward(&plain, &plain_y).unwrap();
        same("y of three", &case, &y, &plain_y);

        let dy = tensor(&case.numbers(y.elem_count()), &out);
        let gradients: Vec<ConvGradient> = sources
            .iter()
            .enumerate()
            .map(|(i, (x, w))| ConvGradient {
                x: x.operand.clone(),
                w: w.clone(),
                dw: Some(blank(w.dims())),
                // The second source needs no gradient.
                dx: (i != 1).then(|| Target {
                    dx: blank(x.plain.dims()),
                    acc: Accumulate::Overwrite,
                    norms: vec![x.gradient()],
                }),
            })
            .collect();
        op.backward_fused(&(&dy).into(), &gradients).unwrap();
        for ((x, weight), gradient) in sources.iter().zip(&gradients) {
            let (dw, dx) = (blank(weight.dims()), blank(x.plain.dims()));
            op.backward_weight(&x.plain, &dy, &dw).unwrap();
            same("dw of three", &case, gradient.dw.as_ref().unwrap(), &dw);
            if let Some(target) = &gradient.dx {
                op.backward_input(&dy, weight, &dx, Accumulate::Overwrite)
                    .unwrap();
                same("dx of three", &case, &target.dx, &dx);
                x.assert_sums("sums of three", &case, &target.norms[0], &dx);
            }
        }
    }
}

#[test]
fn pools_sums_and_heads_of_normed_operands() {
    let mut case = Case::new();
    for [n, h, w] in SIZES {
        for stride in [1, 2] {
            let c = case.pick(&CHANNELS);
            let input = normed(&mut case, &[n, h, w, c]);
            let out = [n, h.div_ceil(stride), w.div_ceil(stride), c];
            let dy = tensor(&case.numbers(out.iter().product()), &out);
            let argmax = || Tensor::zeros(&out, DType::U8, &crate::device()).unwrap();
            let target = || Target {
                dx: blank(&[n, h, w, c]),
                acc: Accumulate::Overwrite,
                norms: vec![input.gradient()],
            };
            let plain_dx = blank(&[n, h, w, c]);

            let op = MaxPool2d { stride };
            let (y, plain_y, won, plain_won) = (blank(&out), blank(&out), argmax(), argmax());
            op.forward_fused(&input.operand, &y, Some(&won)).unwrap();
            op.forward(&input.plain, &plain_y, &plain_won).unwrap();
            same("max", &case, &y, &plain_y);
            let fused = target();
            op.backward_fused(&dy, &won, &fused).unwrap();
            op.backward(&dy, &plain_won, &plain_dx, Accumulate::Overwrite)
                .unwrap();
            same("max dx", &case, &fused.dx, &plain_dx);
            input.assert_sums("max sums", &case, &fused.norms[0], &plain_dx);

            let op = AvgPool2d { stride };
            op.forward_fused(&input.operand, &y).unwrap();
            op.forward(&input.plain, &plain_y).unwrap();
            same("average", &case, &y, &plain_y);
            let fused = target();
            op.backward_fused(&dy, &fused).unwrap();
            op.backward(&dy, &plain_dx, Accumulate::Overwrite).unwrap();
            same("average dx", &case, &fused.dx, &plain_dx);
            input.assert_sums("average sums", &case, &fused.norms[0], &plain_dx);
        }

        let c = case.pick(&CHANNELS);
        let (a, b) = (
            normed(&mut case, &[n, h, w, c]),
            normed(&mut case, &[n, h, w, c]),
        );
        let (y, plain_y) = (blank(&[n, h, w, c]), blank(&[n, h, w, c]));
        sum(&[(&a.operand).into(), (&b.operand).into()], &y).unwrap();
        sum_of(&[&a.plain, &b.plain], &plain_y).unwrap();
        same("sum", &case, &y, &plain_y);
        let factors = [(); 2].map(|()| vector(&mut case, n));
        let scaled = |operands: [&Operand; 2], y: &Tensor| {
            let [first, second] = operands;
            let term = |x, factors| Term {
                x,
                factors: Some(factors),
            };
            sum(&[term(first, &factors[0]), term(second, &factors[1])], y).unwrap();
        };
        scaled([&a.operand, &b.operand], &y);
        scaled([&(&a.plain).into(), &(&b.plain).into()], &plain_y);
        same("sum with factors", &case, &y, &plain_y);

        let (weight, bias) = (tensor(&case.numbers(3 * c), &[c, 3]), vector(&mut case, 3));
        let (pooled, logits) = (blank(&[n, c]), blank(&[n, 3]));
        let (plain_pooled, plain_logits) = (blank(&[n, c]), blank(&[n, 3]));
        let acc = Accumulate::Overwrite;
        Head.forward_fused(&a.operand, &weight, &bias, &pooled, &logits, acc)
            .unwrap();
        Head.forward(&a.plain, &weight, &bias, &plain_pooled, &plain_logits)
            .unwrap();
        same("logits", &case, &logits, &plain_logits);
    }
}

/// A batch norm of another width is refused before anything is written.
#[test]
fn a_batch_norm_that_does_not_fit_is_named() {
    let mut case = Case::new();
    let input = normed(&mut case, &[1, 4, 4, 3]);
    let mut operand = input.operand.clone();
    if let Some(norm) = &mut operand.norm {
        norm.scale = vector(&mut case, 5);
    }
    let y = tensor(&[7.0; 48], &[1, 4, 4, 3]);
    let error = AvgPool2d { stride: 1 }
        .forward_fused(&operand, &y)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "avg_pool2d.forward: `norm.scale` has shape [5], expected [3]"
    );
    assert_eq!(floats(&y), [7.0; 48]);
}
