//! The custom operations: their values equal the operators', and `Tensor::backward` finds gradients that
//! predict finite differences.

use candle_core::{Result, Tensor, Var};
use epnas_ops::{
    Activation, AvgPool2d, BatchNorm, Conv2d, DepthwiseConv2d, MaxPool2d, Running, autograd,
};

use crate::harness::{Case, blank, dot, floats, tensor, wide};

/// Checks the gradient of `sum(f(inputs) * cotangent)` along one random direction of every input, by central
/// differences computed with the operation itself. Its rounding, less than 1e-6 of the sum of magnitudes, is
/// divided by the step.
fn check(what: &str, case: &mut Case, inputs: &[Var], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let cotangent = tensor(&case.numbers(y.elem_count()), y.dims());
    let gradients = (&y * &cotangent)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let weights = wide(&floats(&cotangent));
    let value = |tensors: &[Tensor]| dot(&wide(&floats(&f(tensors).unwrap())), &weights);
    let step = 1.0 / 64.0;
    for (i, input) in inputs.iter().enumerate() {
        let direction = case.numbers(input.elem_count());
        let gradient = wide(&floats(gradients.get(input).unwrap()));
        let predicted = dot(&gradient, &wide(&direction));
        let moved = |by: f64| {
            let mut tensors = tensors.clone();
            let by = (tensor(&direction, input.dims()) * by).unwrap();
            tensors[i] = (&tensors[i] + by).unwrap();
            value(&tensors)
        };
        let found = (moved(step) - moved(-step)) / (2.0 * step);
        let magnitude = dot(
            &wide(&floats(&y))
                .iter()
                .map(|v| v.abs())
                .collect::<Vec<_>>(),
            &vec![1.0; y.elem_count()],
        );
        let tolerance = 0.02 * predicted.abs() + 1e-6 * magnitude / step + 1e-3;
        assert!(
            (found - predicted).abs() < tolerance,
            "{what}, input {i}: gradient says {predicted}, finite difference {found} (seed {})",
            case.seed
        );
    }
}

fn vars(case: &mut Case, shapes: &[&[usize]]) -> Vec<Var> {
    let var = |shape: &&[usize]| {
        Var::from_tensor(&tensor(&case.numbers(shape.iter().product()), shape)).unwrap()
    };
    shapes.iter().map(var).collect()
}

#[test]
fn conv2d() {
    let mut case = Case::new();
    for (kernel, stride) in [(1, 1), (3, 1), (3, 2), (5, 2)] {
        let inputs = vars(&mut case, &[&[2, 5, 7, 3], &[kernel, kernel, 3, 8]]);
        check("conv2d", &mut case, &inputs, |t| {
            autograd::conv2d(&t[0], &t[1], stride)
        });
        let y = blank(&[2, 5usize.div_ceil(stride), 7usize.div_ceil(stride), 8]);
        Conv2d::new(kernel, stride)
            .forward(&[(&inputs[0], &inputs[1])], &y)
            .unwrap();
        let again = autograd::conv2d(&inputs[0], &inputs[1], stride).unwrap();
        assert_eq!(floats(&again), floats(&y));
    }
}

#[test]
fn depthwise_conv2d() {
    let mut case = Case::new();
    for (kernel, stride) in [(3, 1), (5, 2)] {
        let inputs = vars(&mut case, &[&[2, 5, 7, 5], &[kernel, kernel, 5]]);
        check("depthwise", &mut case, &inputs, |t| {
            autograd::depthwise_conv2d(&t[0], &t[1], stride)
        });
        let y = blank(&[2, 5usize.div_ceil(stride), 7usize.div_ceil(stride), 5]);
        DepthwiseConv2d { kernel, stride }
            .forward(&inputs[0], &inputs[1], &y)
            .unwrap();
        let again = autograd::depthwise_conv2d(&inputs[0], &inputs[1], stride).unwrap();
        assert_eq!(floats(&again), floats(&y));
    }
}

#[test]
fn pools() {
    let mut case = Case::new();
    for stride in [1, 2] {
        // Values a tenth apart, in random order: the step of the finite difference changes no winner.
        let mut order: Vec<usize> = (0..2 * 5 * 6 * 3).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, case.below(i + 1));
        }
        let x: Vec<f32> = order.iter().map(|&rank| rank as f32 / 10.0).collect();
        let inputs = [Var::from_tensor(&tensor(&x, &[2, 5, 6, 3])).unwrap()];
        check("max_pool2d", &mut case, &inputs, |t| {
            autograd::max_pool2d(&t[0], stride)
        });
        check("avg_pool2d", &mut case, &inputs, |t| {
            autograd::avg_pool2d(&t[0], stride)
        });
        let y = blank(&[2, 5usize.div_ceil(stride), 6usize.div_ceil(stride), 3]);
        MaxPool2d { stride }.forward_eval(&inputs[0], &y).unwrap();
        assert_eq!(
            floats(&autograd::max_pool2d(&inputs[0], stride).unwrap()),
            floats(&y)
        );
        AvgPool2d { stride }.forward(&inputs[0], &y).unwrap();
        assert_eq!(
            floats(&autograd::avg_pool2d(&inputs[0], stride).unwrap()),
            floats(&y)
        );
    }
}

#[test]
fn batch_norm_train() {
    let mut case = Case::new();
    let inputs = vars(&mut case, &[&[3, 4, 5, 5], &[5], &[5]]);
    let op = BatchNorm::default();
    check("batch_norm", &mut case, &inputs, |t| {
        autograd::batch_norm_train(op, &t[0], &t[1], &t[2], None)
    });
    // With the activation on, where nothing is near its kink: normalized values stay within 3, shifts do not.
    let relu = BatchNorm {
        activation: Activation::Relu,
        ..op
    };
    let shift = Var::from_tensor(&tensor(&[9.0, -9.0, 9.0, -9.0, 9.0], &[5])).unwrap();
    let inputs = [inputs[0].clone(), inputs[1].clone(), shift];
    check("batch_norm_relu", &mut case, &inputs, |t| {
        autograd::batch_norm_train(relu, &t[0], &t[1], &t[2], None)
    });

    let (mean, variance) = (tensor(&[0.0; 5], &[5]), tensor(&[0.0; 5], &[5]));
    let (other_mean, other_variance) = (tensor(&[0.0; 5], &[5]), tensor(&[0.0; 5], &[5]));
    let running = |mean, variance| Running {
        mean,
        variance,
        momentum: 0.3,
    };
    let again = autograd::batch_norm_train(
        relu,
        &inputs[0],
        &inputs[1],
        &inputs[2],
        Some(running(&mean, &variance)),
    );
    let (saved, y) = (blank(&[2, 5]), blank(&[3, 4, 5, 5]));
    let running = running(&other_mean, &other_variance);
    relu.forward_train(&inputs[0], &inputs[1], &inputs[2], running, &saved, &y)
        .unwrap();
    assert_eq!(floats(&again.unwrap()), floats(&y));
    assert_eq!(floats(&mean), floats(&other_mean));
    assert_eq!(floats(&variance), floats(&other_variance));
}

/// Views and chains: arguments need not be contiguous, and gradients flow through several operations.
#[test]
fn operations_chain() {
    let mut case = Case::new();
    let inputs = vars(&mut case, &[&[2, 3, 6, 6], &[3, 3, 3, 8], &[3, 3, 8]]);
    check("chain", &mut case, &inputs, |t| {
        let x = t[0].permute((0, 2, 3, 1))?;
        let y = autograd::conv2d(&x, &t[1], 1)?;
        let y = autograd::depthwise_conv2d(&y, &t[2], 2)?;
        autograd::avg_pool2d(&y, 1)
    });
}

#[test]
fn wrong_shapes_are_errors() {
    let x = tensor(&[0.0; 12], &[1, 2, 2, 3]);
    let w = tensor(&[0.0; 9], &[3, 3, 1]);
    let error = autograd::depthwise_conv2d(&x, &w, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("autograd.depthwise_conv2d: `w` has shape [3, 3, 1], expected [3, 3, 3]"),
        "{error}"
    );
}
