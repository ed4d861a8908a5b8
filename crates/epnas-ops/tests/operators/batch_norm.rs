//! Batch normalization: values, statistics, gradients.

use epnas_ops::{Accumulate, Activation, BatchNorm, Norm, NormGradient, Running};

use crate::bilinear::Images;
use crate::harness::{
    Bounded, Case, UNIT, assert_gradient, assert_near, assert_within, blank, dot, floats, tensor,
    wide,
};

/// Everything in `f64`, straight from the definition.
struct Reference {
    mean: Vec<f64>,
    variance: Vec<f64>,
    normalized: Vec<f64>,
    before: Vec<f64>,
    y: Vec<f64>,
}

fn reference(
    x: &[f64],
    scale: &[f64],
    shift: &[f64],
    eps: f64,
    activation: Activation,
) -> Reference {
    let c = scale.len();
    let rows = (x.len() / c) as f64;
    let over = |f: &dyn Fn(usize, f64) -> f64| {
        let mut sums = vec![0.0; c];
        for (i, &x) in x.iter().enumerate() {
            sums[i % c] += f(i % c, x) / rows;
        }
        sums
    };
    let mean = over(&|_, x| x);
    let variance = over(&|c, x| (x - mean[c]).powi(2));
    let normalized: Vec<f64> = x
        .iter()
        .enumerate()
        .map(|(i, x)| (x - mean[i % c]) / (variance[i % c] + eps).sqrt())
        .collect();
    let before: Vec<f64> = normalized
        .iter()
        .enumerate()
        .map(|(i, v)| v * scale[i % c] + shift[i % c])
        .collect();
    let y = before
        .iter()
        .map(|&v| match activation {
            Activation::None => v,
            Activation::Relu => v.max(0.0),
        })
        .collect();
    Reference {
        mean,
        variance,
        normalized,
        before,
        y,
    }
}

/// Gradients from the definition; `dz` is `dy` behind the activation.
fn gradients(r: &Reference, scale: &[f64], eps: f64, dz: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let c = scale.len();
    let rows = (dz.len() / c) as f64;
    let (mut dscale, mut dshift) = (vec![0.0; c], vec![0.0; c]);
    for (i, dz) in dz.iter().enumerate() {
        dscale[i % c] += dz * r.normalized[i];
        dshift[i % c] += dz;
    }
    let dx = dz
        .iter()
        .enumerate()
        .map(|(i, dz)| {
            let c = i % c;
            scale[c] / (r.variance[c] + eps).sqrt()
                * (dz - dshift[c] / rows - r.normalized[i] * dscale[c] / rows)
        })
        .collect();
    (dx, dscale, dshift)
}

fn masked(r: &Reference, dy: &[f64], activation: Activation) -> Vec<f64> {
    let pass = |v: f64| activation == Activation::None || v > 0.0;
    r.before
        .iter()
        .zip(dy)
        .map(|(&v, &d)| if pass(v) { d } else { 0.0 })
        .collect()
}

/// How far gradients computed in `f32` may be off.
struct Bounds {
    dx: Vec<f64>,
    dscale: Vec<f64>,
    dshift: Vec<f64>,
}

impl Bounds {
    /// A sum of `m` terms may be off by `m u` times the sum of magnitudes. Normalized values are off by some
    /// ten roundings of numbers up to 10, as the inverse deviation is at most `1 / sqrt(1e-2)`.
    fn new(r: &Reference, scale: &[f64], eps: f64, dz: &[f64], sums: (&[f64], &[f64])) -> Self {
        let c = scale.len();
        let rows = (dz.len() / c) as f64;
        let (mut dscale, mut dshift) = (vec![1e-30; c], vec![1e-30; c]);
        for (i, dz) in dz.iter().enumerate() {
            dshift[i % c] += (rows + 8.0) * UNIT * dz.abs();
            dscale[i % c] += (rows + 64.0) * UNIT * dz.abs() * (r.normalized[i].abs() + 10.0);
        }
        let dx = dz
            .iter()
            .enumerate()
            .map(|(i, dz)| {
                let (c, normalized) = (i % c, r.normalized[i].abs());
                let slope = scale[c].abs() / (r.variance[c] + eps).sqrt();
                let terms =
                    dz.abs() + (sums.1[c].abs() + (normalized + 10.0) * sums.0[c].abs()) / rows;
                slope * (64.0 * UNIT * terms + (dshift[c] + (normalized + 10.0) * dscale[c]) / rows)
                    + 1e-30
            })
            .collect();
        Bounds { dx, dscale, dshift }
    }

    fn dx(&self, dx: &[f64]) -> Vec<Bounded> {
        zip(dx, &self.dx)
    }
}

fn zip(values: &[f64], bounds: &[f64]) -> Vec<Bounded> {
    values
        .iter()
        .zip(bounds)
        .map(|(&value, &bound)| Bounded { value, bound })
        .collect()
}

#[test]
fn forward_and_backward() {
    let mut case = Case::new();
    // A large epsilon, so that one value per channel has tame gradients.
    let eps = 1e-2;
    for (n, h, w) in [
        (1, 1, 1),
        (2, 1, 1),
        (3, 2, 3),
        (2, 5, 7),
        (1, 8, 8),
        (2, 31, 29),
    ] {
        for c in [1, 3, 5, 8, 13, 24, 33, 60] {
            for activation in [Activation::None, Activation::Relu] {
                let images = Images { n, h, w, c };
                let op = BatchNorm { eps, activation };
                let x = case.numbers(images.len());
                let (scale, shift) = (case.numbers(c), case.numbers(c));
                let mut dy = case.numbers(images.len());
                let (x64, scale64, shift64) = (wide(&x), wide(&scale), wide(&shift));
                let r = reference(&x64, &scale64, &shift64, eps, activation);
                if activation == Activation::Relu {
                    // Rounding, or the step of a finite difference, decides about values close to the kink.
                    for (dy, v) in dy.iter_mut().zip(&r.before) {
                        if v.abs() < 5e-3 {
                            *dy = 0.0;
                        }
                    }
                }
                let dy64 = wide(&dy);
                let what = format!("{op:?} on {images:?}");

                let shape = images.shape();
                let (x, scale, shift) = (
                    tensor(&x, &shape),
                    tensor(&scale, &[c]),
                    tensor(&shift, &[c]),
                );
                let (mean, variance) = (tensor(&vec![2.0; c], &[c]), tensor(&vec![3.0; c], &[c]));
                let (saved, y) = (blank(&[2, c]), blank(&shape));
                let running = Running {
                    mean: &mean,
                    variance: &variance,
                    momentum: 0.1,
                };
                op.forward_train(&x, &scale, &shift, running, &saved, &y)
                    .unwrap();
                assert_near(&format!("{what}: y"), &case, &floats(&y), &r.y, 2e-5);
                let inverse = r.variance.iter().map(|v| 1.0 / (v + eps).sqrt());
                let expected: Vec<f64> = r.mean.iter().copied().chain(inverse).collect();
                assert_near(
                    &format!("{what}: saved"),
                    &case,
                    &floats(&saved),
                    &expected,
                    1e-5,
                );
                let expected: Vec<f64> = r.mean.iter().map(|m| 0.9 * 2.0 + 0.1 * m).collect();
                assert_near(
                    &format!("{what}: mean"),
                    &case,
                    &floats(&mean),
                    &expected,
                    1e-5,
                );
                // The running variance is the unbiased one.
                let rows = (n * h * w) as f64;
                let unbiased = |v: &f64| 0.9 * 3.0 + 0.1 * v * rows / (rows - 1.0).max(1.0);
                let expected: Vec<f64> = r.variance.iter().map(unbiased).collect();
                assert_near(
                    &format!("{what}: variance"),
                    &case,
                    &floats(&variance),
                    &expected,
                    1e-5,
                );

                // The statistics alone are the same ones.
                let (mean2, variance2) = (tensor(&vec![2.0; c], &[c]), tensor(&vec![3.0; c], &[c]));
                let (saved2, running) = (
                    blank(&[2, c]),
                    Running {
                        mean: &mean2,
                        variance: &variance2,
                        momentum: 0.1,
                    },
                );
                op.save_batch(&x, running, &saved2).unwrap();
                for (found, expected) in
                    [(&saved2, &saved), (&mean2, &mean), (&variance2, &variance)]
                {
                    assert_eq!(floats(found), floats(expected), "{what}");
                }

                let dz = masked(&r, &dy64, activation);
                let (dx64, dscale64, dshift64) = gradients(&r, &scale64, eps, &dz);
                let (dx, dscale, dshift) = (blank(&shape), blank(&[c]), blank(&[c]));
                let dy = tensor(&dy, &shape);
                let backward = |dx, acc| {
                    op.backward(&x, &scale, &shift, &saved, &dy, dx, acc, &dscale, &dshift)
                        .unwrap();
                };
                backward(&dx, Accumulate::Overwrite);
                let bounds = Bounds::new(&r, &scale64, eps, &dz, (&dscale64, &dshift64));
                assert_within(
                    &format!("{what}: dx"),
                    &case,
                    &floats(&dx),
                    &bounds.dx(&dx64),
                );
                let expected = zip(&dscale64, &bounds.dscale);
                assert_within(
                    &format!("{what}: dscale"),
                    &case,
                    &floats(&dscale),
                    &expected,
                );
                let expected = zip(&dshift64, &bounds.dshift);
                assert_within(
                    &format!("{what}: dshift"),
                    &case,
                    &floats(&dshift),
                    &expected,
                );

                // The gradient of the input alone is the same one, written or added.
                let norm = NormGradient {
                    norm: Norm {
                        activation,
                        scale: scale.clone(),
                        shift: shift.clone(),
                        saved: saved.clone(),
                    },
                    x: x.clone(),
                    dscale: dscale.clone(),
                    dshift: dshift.clone(),
                };
                let alone = blank(&shape);
                BatchNorm::backward_input(&dy, &norm, &alone, Accumulate::Overwrite).unwrap();
                assert_eq!(floats(&alone), floats(&dx), "{what}");

                let before = case.numbers(images.len());
                let sum = tensor(&before, &shape);
                backward(&sum, Accumulate::Add);
                let alone = tensor(&before, &shape);
                BatchNorm::backward_input(&dy, &norm, &alone, Accumulate::Add).unwrap();
                assert_eq!(floats(&alone), floats(&sum), "{what}");
                let expected: Vec<f64> = floats(&dx)
                    .iter()
                    .zip(&before)
                    .map(|(&d, &b)| f64::from(d) + f64::from(b))
                    .collect();
                assert_near(
                    &format!("{what}: dx added"),
                    &case,
                    &floats(&sum),
                    &expected,
                    2e-6,
                );

                if n * h * w > 1 && n * h * w < 100 {
                    let loss = |x: &[f64]| {
                        dot(&reference(x, &scale64, &shift64, eps, activation).y, &dy64)
                    };
                    assert_gradient(&format!("{what}: dx"), &mut case, loss, &x64, &dx64, 2e-4);
                    let loss =
                        |s: &[f64]| dot(&reference(&x64, s, &shift64, eps, activation).y, &dy64);
                    assert_gradient(
                        &format!("{what}: dscale"),
                        &mut case,
                        loss,
                        &scale64,
                        &dscale64,
                        1e-4,
                    );
                    let loss =
                        |s: &[f64]| dot(&reference(&x64, &scale64, s, eps, activation).y, &dy64);
                    assert_gradient(
                        &format!("{what}: dshift"),
                        &mut case,
                        loss,
                        &shift64,
                        &dshift64,
                        1e-4,
                    );
                }
            }
        }
    }
}

#[test]
fn evaluation_uses_the_given_statistics() {
    let mut case = Case::new();
    for c in [1, 5, 24, 33] {
        let images = Images {
            n: 2,
            h: 3,
            w: 5,
            c,
        };
        let (x, scale, shift, mean) = (
            case.numbers(images.len()),
            case.numbers(c),
            case.numbers(c),
            case.numbers(c),
        );
        let variance: Vec<f32> = case.numbers(c).iter().map(|v| v.abs() + 0.1).collect();
        let op = BatchNorm {
            activation: Activation::Relu,
            ..BatchNorm::default()
        };
        let y = blank(&images.shape());
        let vector = |v: &[f32]| tensor(v, &[c]);
        op.forward_eval(
            &tensor(&x, &images.shape()),
            &vector(&scale),
            &vector(&shift),
            &vector(&mean),
            &vector(&variance),
            &y,
        )
        .unwrap();
        let expected: Vec<f64> = wide(&x)
            .iter()
            .enumerate()
            .map(|(i, x)| {
                let at = |v: &[f32]| f64::from(v[i % c]);
                ((x - at(&mean)) / (at(&variance) + 1e-5).sqrt() * at(&scale) + at(&shift)).max(0.0)
            })
            .collect();
        assert_near("forward_eval", &case, &floats(&y), &expected, 1e-5);
    }
}

/// A mean a thousand times the deviation: sums of squares without a pivot would lose every digit of the
/// variance (`1e6 * 2^-24` is a tenth, as large as the variance here).
#[test]
fn variance_survives_a_large_mean() {
    let mut case = Case::new();
    let images = Images {
        n: 4,
        h: 32,
        w: 32,
        c: 5,
    };
    let x: Vec<f32> = case
        .numbers(images.len())
        .iter()
        .map(|v| 1000.0 + v)
        .collect();
    let c = images.c;
    let (ones, zeros) = (tensor(&vec![1.0; c], &[c]), tensor(&vec![0.0; c], &[c]));
    let (mean, variance) = (zeros.copy().unwrap(), zeros.copy().unwrap());
    let (saved, y) = (blank(&[2, c]), blank(&images.shape()));
    let op = BatchNorm::default();
    let running = Running {
        mean: &mean,
        variance: &variance,
        momentum: 1.0,
    };
    let x64 = wide(&x);
    op.forward_train(
        &tensor(&x, &images.shape()),
        &ones,
        &zeros,
        running,
        &saved,
        &y,
    )
    .unwrap();
    let r = reference(&x64, &vec![1.0; c], &vec![0.0; c], 1e-5, Activation::None);
    let rows = (images.len() / c) as f64;
    let expected: Vec<f64> = r.variance.iter().map(|v| v * rows / (rows - 1.0)).collect();
    assert_near("variance", &case, &floats(&variance), &expected, 1e-4);
}

/// Momentum 1/t in the t-th batch averages the batches' statistics.
#[test]
fn momentum_one_over_t_recalibrates() {
    let mut case = Case::new();
    let images = Images {
        n: 2,
        h: 3,
        w: 3,
        c: 5,
    };
    let c = images.c;
    let (ones, zeros) = (tensor(&vec![1.0; c], &[c]), tensor(&vec![0.0; c], &[c]));
    // Whatever they held before is forgotten.
    let (mean, variance) = (tensor(&vec![7.0; c], &[c]), tensor(&vec![7.0; c], &[c]));
    let (saved, y) = (blank(&[2, c]), blank(&images.shape()));
    let mut expected = vec![0.0; c];
    let batches = 4;
    for t in 1..=batches {
        let x = case.numbers(images.len());
        let momentum = 1.0 / f64::from(t);
        let running = Running {
            mean: &mean,
            variance: &variance,
            momentum,
        };
        let x_tensor = tensor(&x, &images.shape());
        BatchNorm::default()
            .forward_train(&x_tensor, &ones, &zeros, running, &saved, &y)
            .unwrap();
        let r = reference(
            &wide(&x),
            &vec![1.0; c],
            &vec![0.0; c],
            1e-5,
            Activation::None,
        );
        for (sum, mean) in expected.iter_mut().zip(&r.mean) {
            *sum += mean / f64::from(batches);
        }
    }
    assert_near("mean of means", &case, &floats(&mean), &expected, 1e-5);
}

#[test]
fn relu_has_no_gradient_at_zero() {
    // Scale 0 and shift 0: every value before the activation is exactly 0.
    let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[1, 2, 2, 1]);
    let (scale, shift) = (tensor(&[0.0], &[1]), tensor(&[0.0], &[1]));
    let saved = tensor(&[2.5, 0.9], &[2, 1]);
    let dy = tensor(&[1.0; 4], &[1, 2, 2, 1]);
    let (dx, dscale, dshift) = (blank(&[1, 2, 2, 1]), blank(&[1]), blank(&[1]));
    let op = BatchNorm {
        activation: Activation::Relu,
        ..BatchNorm::default()
    };
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
    assert_eq!(floats(&dshift), [0.0]);
    assert_eq!(floats(&dscale), [0.0]);
}

/// A diverged network stays visible behind the activation.
#[test]
fn relu_keeps_nan() {
    let one = tensor(&[1.0], &[1]);
    let y = blank(&[1, 1, 2, 1]);
    let op = BatchNorm {
        activation: Activation::Relu,
        ..BatchNorm::default()
    };
    let x = tensor(&[f32::NAN, -5.0], &[1, 1, 2, 1]);
    op.forward_eval(&x, &one, &one.copy().unwrap(), &one, &one, &y)
        .unwrap();
    let y = floats(&y);
    assert!(y[0].is_nan());
    assert_eq!(y[1], 0.0);
}
