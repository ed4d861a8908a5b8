//! candle's autograd as a second opinion, where it is right (convolution, compositions of simple
//! operations; not its 3x3 pooling).

use candle_core::{DType, Tensor, Var};
use epnas_ops::{Accumulate, Activation, BatchNorm, Conv2d, Head, Running, SoftmaxCrossEntropy};

use crate::bilinear::Images;
use crate::harness::{Case, assert_near, blank, floats, tensor, wide};

fn var(case: &mut Case, shape: &[usize]) -> Var {
    Var::from_tensor(&tensor(&case.numbers(shape.iter().product()), shape)).unwrap()
}

/// Compares relative to the largest value.
fn assert_same(what: &str, case: &Case, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let expected = wide(&floats(&expected.contiguous().unwrap()));
    let scale = expected.iter().fold(1.0f64, |a, b| a.max(b.abs()));
    assert_near(what, case, &floats(found), &expected, 2e-5 * scale);
}

#[test]
fn convolution() {
    let mut case = Case::new();
    for (h, w) in [(1, 1), (5, 7), (8, 8)] {
        for kernel in [1, 3, 5] {
            for stride in [1, 2] {
                let images = Images { n: 2, h, w, c: 5 };
                let op = Conv2d::new(kernel, stride);
                let what = format!("{op:?} on {images:?}");
                let (x, weight) = (
                    var(&mut case, &images.shape()),
                    var(&mut case, &[kernel, kernel, 5, 13]),
                );
                let shape = images.strided(stride, 13).shape();
                let dy = tensor(&case.numbers(shape.iter().product()), &shape);
                let nchw = x.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
                let oihw = weight.permute((3, 2, 0, 1)).unwrap().contiguous().unwrap();
                let expected = nchw.conv2d(&oihw, kernel / 2, stride, 1, 1).unwrap();
                let expected = expected
                    .permute((0, 2, 3, 1))
                    .unwrap()
                    .contiguous()
                    .unwrap();
                let gradients = (&expected * &dy)
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .backward()
                    .unwrap();

                let (y, dx, dw) = (blank(&shape), blank(x.dims()), blank(weight.dims()));
                op.forward(&[(&x, &weight)], &y).unwrap();
                op.backward_input(&dy, &weight, &dx, Accumulate::Overwrite)
                    .unwrap();
                op.backward_weight(&x, &dy, &dw).unwrap();
                assert_same(&what, &case, &y, &expected);
                assert_same(&what, &case, &dx, gradients.get(&x).unwrap());
                assert_same(&what, &case, &dw, gradients.get(&weight).unwrap());
            }
        }
    }
}

#[test]
fn batch_norm() {
    let mut case = Case::new();
    let shape = [3, 4, 5, 8];
    let (x, scale, shift) = (
        var(&mut case, &shape),
        var(&mut case, &[8]),
        var(&mut case, &[8]),
    );
    let dy = tensor(&case.numbers(3 * 4 * 5 * 8), &shape);
    let rows = x.reshape((60, 8)).unwrap();
    let mean = rows.mean_keepdim(0).unwrap();
    let centered = rows.broadcast_sub(&mean).unwrap();
    let variance = centered.sqr().unwrap().mean_keepdim(0).unwrap();
    let deviation = (variance + 1e-5).unwrap().sqrt().unwrap();
    let normalized = centered.broadcast_div(&deviation).unwrap();
    let expected = normalized
        .broadcast_mul(&scale)
        .unwrap()
        .broadcast_add(&shift)
        .unwrap();
    let expected = expected.reshape(&shape).unwrap();
    let gradients = (&expected * &dy)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();

    let op = BatchNorm {
        activation: Activation::None,
        ..BatchNorm::default()
    };
    let zeros = || Tensor::zeros(8, DType::F32, &crate::device()).unwrap();
    let (mean, variance, saved, y) = (zeros(), zeros(), blank(&[2, 8]), blank(&shape));
    let running = Running {
        mean: &mean,
        variance: &variance,
        momentum: 0.1,
    };
    op.forward_train(&x, &scale, &shift, running, &saved, &y)
        .unwrap();
    let (dx, dscale, dshift) = (blank(&shape), blank(&[8]), blank(&[8]));
    op.backward(
        &x,
        &scale,
        &shift,
        &saved,
        &dy,
        &dx,
        Accumulate::Overwrite,
        &dscale,
        &dshift,
    )
    .unwrap();
    assert_same("y", &case, &y, &expected);
    assert_same("dx", &case, &dx, gradients.get(&x).unwrap());
    assert_same("dscale", &case, &dscale, gradients.get(&scale).unwrap());
    assert_same("dshift", &case, &dshift, gradients.get(&shift).unwrap());
}

#[test]
fn head_and_cross_entropy() {
    let mut case = Case::new();
    let (n, c, k) = (6, 13, 10);
    let x = var(&mut case, &[n, 4, 4, c]);
    let (weight, bias) = (var(&mut case, &[c, k]), var(&mut case, &[k]));
    let labels: Vec<u32> = (0..n).map(|_| case.below(k) as u32).collect();
    let labels = Tensor::from_slice(&labels, n, &crate::device()).unwrap();
    let expected = x
        .mean((1, 2))
        .unwrap()
        .matmul(&weight)
        .unwrap()
        .broadcast_add(&bias)
        .unwrap();
    let loss = candle_nn::loss::cross_entropy(&expected, &labels).unwrap();
    let gradients = loss.backward().unwrap();

    let (pooled, logits, dlogits) = (blank(&[n, c]), blank(&[n, k]), blank(&[n, k]));
    Head.forward(&x, &weight, &bias, &pooled, &logits).unwrap();
    let report = SoftmaxCrossEntropy::default()
        .forward_backward(&logits, &labels, &dlogits)
        .unwrap();
    let (dx, dweight, dbias) = (blank(x.dims()), blank(&[c, k]), blank(&[k]));
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
    assert_same("logits", &case, &logits, &expected);
    let mean = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!((report.loss_sum / n as f64 - mean).abs() < 1e-5);
    assert_same("dx", &case, &dx, gradients.get(&x).unwrap());
    assert_same("dweight", &case, &dweight, gradients.get(&weight).unwrap());
    assert_same("dbias", &case, &dbias, gradients.get(&bias).unwrap());
}
