//! What operators refuse, and what they say.

use candle_core::{DType, Tensor};
use epnas_ops::{
    Accumulate, Adam, AvgPool2d, BatchNorm, Conv2d, DepthwiseConv2d, Error, FactorizedConv, Head,
    MaxPool2d, Operand, Running, Sgd, Slot, SoftmaxCrossEntropy, StepRows, Targets, Term,
    accumulate, accumulate_scaled, average, mix_with_reverse, sum,
};

use crate::harness::sum_of;

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &crate::device()).unwrap()
}

fn text<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

const CONV: Conv2d = Conv2d::new(3, 1);

#[test]
fn shapes_are_named() {
    let (x, w, y) = (
        zeros(&[2, 4, 4, 3]),
        zeros(&[3, 3, 3, 8]),
        zeros(&[2, 4, 4, 8]),
    );
    let bad = zeros(&[2, 2, 2, 8]);
    assert_eq!(
        text(CONV.forward(&[(&x, &w)], &bad)),
        "conv2d.forward: `y` has shape [2, 2, 2, 8], expected [2, 4, 4, 8]"
    );
    assert_eq!(
        text(CONV.forward(&[(&y, &w)], &y)),
        "conv2d.forward: `w` has shape [3, 3, 3, 8], expected [3, 3, 8, output channels]"
    );
    assert_eq!(
        text(CONV.forward(&[(&zeros(&[4, 4, 3]), &w)], &y)),
        "conv2d.forward: `x` has shape [4, 4, 3], expected [batch, height, width, channels], none of them 0"
    );
    let second = zeros(&[2, 4, 5, 3]);
    assert_eq!(
        text(CONV.forward(&[(&x, &w), (&second, &w)], &y)),
        "conv2d.forward: `x` has shape [2, 4, 5, 3], expected [2, 4, 4, 3]"
    );
    assert_eq!(
        text(CONV.backward_input(&bad, &w, &x, Accumulate::Add)),
        "conv2d.backward_input: `dy` has shape [2, 2, 2, 8], expected [2, 4, 4, 8]"
    );
    assert_eq!(
        text(CONV.backward_weight(&x, &y, &zeros(&[3, 3, 8, 3]))),
        "conv2d.backward_weight: `dw` has shape [3, 3, 8, 3], expected [3, 3, 3, output channels]"
    );
    let depthwise = DepthwiseConv2d {
        kernel: 3,
        stride: 2,
    };
    assert_eq!(
        text(depthwise.forward(&x, &zeros(&[3, 3, 8]), &y)),
        "depthwise_conv2d.forward: `w` has shape [3, 3, 8], expected [3, 3, 3]"
    );
    assert_eq!(
        text(AvgPool2d { stride: 2 }.forward(&x, &y)),
        "avg_pool2d.forward: `y` has shape [2, 4, 4, 8], expected [2, 2, 2, 3]"
    );
    assert_eq!(
        text(FactorizedConv::default().forward(
            &x,
            &zeros(&[1, 1, 3, 4]),
            &zeros(&[1, 1, 3, 3]),
            &zeros(&[2, 2, 2, 8])
        )),
        "factorized_conv.forward: `w1` has shape [1, 1, 3, 3], expected [1, 1, 3, 4]"
    );
    assert_eq!(
        text(Head.forward(
            &x,
            &zeros(&[3, 10]),
            &zeros(&[9]),
            &zeros(&[2, 3]),
            &zeros(&[2, 10])
        )),
        "head.forward: `bias` has shape [9], expected [10]"
    );
    assert_eq!(
        text(sum_of(&[&x, &x], &y)),
        "sum: `x` has shape [2, 4, 4, 3], expected [2, 4, 4, 8]"
    );
    assert_eq!(
        text(accumulate(&x, &y, Accumulate::Add)),
        "accumulate: `dst` has shape [2, 4, 4, 8], expected [2, 4, 4, 3]"
    );
    let acc = Accumulate::Add;
    let operand = Operand::from(&x);
    let scaled = |factors: &Tensor| {
        let factors = Some(factors);
        sum(
            &[Term {
                x: &operand,
                factors,
            }],
            &zeros(x.dims()),
        )
    };
    assert_eq!(
        text(scaled(&zeros(&[3]))),
        "sum: `factors` has shape [3], expected [2]"
    );
    assert_eq!(
        text(accumulate_scaled(&x, &zeros(&[1]), &x, acc)),
        "accumulate_scaled: `factors` has shape [1], expected [2]"
    );
    assert_eq!(
        text(accumulate_scaled(&x, &zeros(&[2]), &y, acc)),
        "accumulate_scaled: `dst` has shape [2, 4, 4, 8], expected [2, 4, 4, 3]"
    );
    assert_eq!(
        text(mix_with_reverse(&zeros(&[2, 3]), &zeros(&[1]))),
        "mix_with_reverse: `x` has shape [2, 3], expected [batch, height, width, channels], none of them 0"
    );
    assert_eq!(
        text(mix_with_reverse(&x, &zeros(&[2]))),
        "mix_with_reverse: `share` has shape [2], expected [1]"
    );
    let labels = Tensor::zeros(2, DType::U32, &crate::device()).unwrap();
    let targets = Targets {
        labels: &labels,
        share: Some(&zeros(&[2])),
    };
    assert_eq!(
        text(SoftmaxCrossEntropy::default().forward(&zeros(&[2, 3]), targets)),
        "softmax_cross_entropy.forward: `share` has shape [2], expected [1]"
    );
    assert_eq!(
        text(average(&[(zeros(&[2]), zeros(&[3]))], 0.5)),
        "average: `average` has shape [3], expected [2]"
    );
    let rows = StepRows::new(2, 3, &crate::device()).unwrap();
    assert_eq!(
        text(rows.next(&zeros(&[2]))),
        "step_rows.next: `current` has shape [2], expected [3]"
    );
}

#[test]
fn settings_are_named() {
    let (x, y) = (zeros(&[1, 4, 4, 3]), zeros(&[1, 4, 4, 3]));
    let conv = |kernel, stride| {
        text(Conv2d::new(kernel, stride).forward(&[(&x, &zeros(&[kernel, kernel, 3, 3]))], &y))
    };
    assert_eq!(
        conv(2, 1),
        "conv2d.forward: kernel is 2, expected an odd number"
    );
    assert_eq!(conv(3, 3), "conv2d.forward: stride is 3, expected 1 or 2");
    assert_eq!(conv(3, 0), "conv2d.forward: stride is 0, expected 1 or 2");
    assert_eq!(
        text(CONV.forward(&[], &y)),
        "conv2d.forward: number of inputs is 0, expected at least 1"
    );
    assert_eq!(
        text(MaxPool2d { stride: 4 }.forward_eval(&x, &y)),
        "max_pool2d.forward_eval: stride is 4, expected 1 or 2"
    );
    let vectors: Vec<Tensor> = (0..4).map(|_| zeros(&[3])).collect();
    let running = |momentum| Running {
        mean: &vectors[2],
        variance: &vectors[3],
        momentum,
    };
    let train = |op: BatchNorm, momentum| {
        text(op.forward_train(
            &x,
            &vectors[0],
            &vectors[1],
            running(momentum),
            &zeros(&[2, 3]),
            &y,
        ))
    };
    assert_eq!(
        train(BatchNorm::default(), 1.5),
        "batch_norm.forward_train: momentum is 1.5, expected a number from 0 to 1"
    );
    let op = BatchNorm {
        eps: 0.0,
        ..BatchNorm::default()
    };
    assert_eq!(
        train(op, 0.1),
        "batch_norm.forward_train: eps is 0, expected a number above 0"
    );
    let sgd = |momentum, lr, clip| {
        let op = Sgd {
            momentum,
            ..Sgd::default()
        };
        text(op.step(&[], lr, clip))
    };
    assert_eq!(
        sgd(1.0, 0.1, None),
        "sgd.step: momentum is 1, expected a number from 0 to below 1"
    );
    assert_eq!(
        sgd(0.9, f64::NAN, None),
        "sgd.step: lr is NaN, expected a finite number, 0 or more"
    );
    assert_eq!(
        sgd(0.9, 0.1, Some(0.0)),
        "sgd.step: clip is 0, expected a number above 0"
    );
    assert_eq!(
        text(Adam::default().step(&[], 0, 0.1, None)),
        "adam.step: step is 0, expected 1 for the first step"
    );
    let slot = Slot::new(zeros(&[2]), zeros(&[2]), 1).unwrap();
    assert_eq!(
        text(Adam::default().step(&[slot], 1, 0.1, None)),
        "adam.step: number of states of a slot is 1, expected 2"
    );
    let loss = SoftmaxCrossEntropy {
        label_smoothing: 1.0,
        ..SoftmaxCrossEntropy::default()
    };
    let labels = Tensor::zeros(1, DType::U32, &crate::device()).unwrap();
    assert_eq!(
        text(loss.forward(&zeros(&[1, 2]), &labels)),
        "softmax_cross_entropy.forward: label_smoothing is 1, expected a number from 0 to below 1"
    );
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let loss = SoftmaxCrossEntropy {
            weight,
            ..SoftmaxCrossEntropy::default()
        };
        assert_eq!(
            text(loss.forward(&zeros(&[1, 2]), &labels)),
            format!(
                "softmax_cross_entropy.forward: weight is {weight}, expected a finite number above 0"
            )
        );
    }
    assert_eq!(
        text(average(&[], 1.0)),
        "average: decay is 1, expected a number from 0 to below 1"
    );
    assert_eq!(
        text(average(&[], f64::NAN)),
        "average: decay is NaN, expected a number from 0 to below 1"
    );
    let steps = |steps, width| StepRows::new(steps, width, &crate::device());
    assert_eq!(
        text(steps(1, 0)),
        "step_rows.new: width is 0, expected at least 1"
    );
    let rows = steps(2, 3).unwrap();
    assert_eq!(
        text(rows.start(&[0.0; 4])),
        "step_rows.start: count of numbers is 4, expected a multiple of the width"
    );
    assert_eq!(
        text(rows.start(&[0.0; 9])),
        "step_rows.start: number of rows is 3, expected no more than there is room for"
    );
}

#[test]
fn types_are_named() {
    let (x, w) = (zeros(&[1, 4, 4, 3]), zeros(&[3, 3, 3, 3]));
    let double = Tensor::zeros((1, 4, 4, 3), DType::F64, &crate::device()).unwrap();
    assert_eq!(
        text(CONV.forward(&[(&double, &w)], &x)),
        "conv2d.forward: `x` holds F64, expected F32"
    );
    assert_eq!(
        text(CONV.forward(&[(&x, &w)], &double)),
        "conv2d.forward: `y` holds F64, expected F32"
    );
    let max = MaxPool2d { stride: 1 };
    assert_eq!(
        text(max.forward(&x, &zeros(&[1, 4, 4, 3]), &zeros(&[1, 4, 4, 3]))),
        "max_pool2d.forward: `argmax` holds F32, expected U8"
    );
    let labels = Tensor::zeros(1, DType::I64, &crate::device()).unwrap();
    assert_eq!(
        text(SoftmaxCrossEntropy::default().forward(&zeros(&[1, 2]), &labels)),
        "softmax_cross_entropy.forward: `labels` holds I64, expected U32"
    );
    let doubles = |len: usize| Tensor::zeros(len, DType::F64, &crate::device()).unwrap();
    let operand = Operand::from(&x);
    let factors = doubles(1);
    let term = Term {
        x: &operand,
        factors: Some(&factors),
    };
    let y = zeros(x.dims());
    assert_eq!(
        text(sum(&[term], &y)),
        "sum: `factors` holds F64, expected F32"
    );
    assert_eq!(
        text(accumulate_scaled(&x, &factors, &y, Accumulate::Add)),
        "accumulate_scaled: `factors` holds F64, expected F32"
    );
    assert_eq!(
        text(mix_with_reverse(&x, &doubles(1))),
        "mix_with_reverse: `share` holds F64, expected F32"
    );
    assert_eq!(
        text(mix_with_reverse(&double, &zeros(&[1]))),
        "mix_with_reverse: `x` holds F64, expected F32"
    );
    let labels = Tensor::zeros(1, DType::U32, &crate::device()).unwrap();
    let targets = Targets {
        labels: &labels,
        share: Some(&factors),
    };
    assert_eq!(
        text(SoftmaxCrossEntropy::default().forward(&zeros(&[1, 2]), targets)),
        "softmax_cross_entropy.forward: `share` holds F64, expected F32"
    );
    assert_eq!(
        text(average(&[(doubles(2), zeros(&[2]))], 0.5)),
        "average: `value` holds F64, expected F32"
    );
    assert_eq!(
        text(average(&[(zeros(&[2]), doubles(2))], 0.5)),
        "average: `average` holds F64, expected F32"
    );
    let rows = StepRows::new(2, 3, &crate::device()).unwrap();
    assert_eq!(
        text(rows.next(&doubles(3))),
        "step_rows.next: `current` holds F64, expected F32"
    );
}

#[test]
fn labels_are_checked() {
    let labels = Tensor::new(&[0u32, 7], &crate::device()).unwrap();
    let (logits, dlogits) = (zeros(&[2, 3]), zeros(&[2, 3]));
    assert_eq!(
        text(SoftmaxCrossEntropy::default().forward_backward(&logits, &labels, &dlogits)),
        "softmax_cross_entropy.forward_backward: label 7 at position 1, expected a value below 3"
    );
}

/// A view that is not contiguous is refused; in particular a broadcast, where one number would be written
/// many times.
#[test]
fn views_must_be_contiguous() {
    let x = zeros(&[1, 4, 4, 3]);
    let turned = x.transpose(1, 2).unwrap();
    assert_eq!(
        text(sum_of(&[&turned, &x], &zeros(&[1, 4, 4, 3]))),
        "sum: `x` of shape [1, 4, 4, 3] is not contiguous (strides [48, 3, 12, 1]); call `contiguous()` first"
    );
    let spread = zeros(&[1, 1, 1, 3]).broadcast_as((1, 4, 4, 3)).unwrap();
    assert!(matches!(
        sum_of(&[&x, &x], &spread),
        Err(Error::NotContiguous { tensor: "y", .. })
    ));
}

/// Reading and writing one storage is an error, not a deadlock: the same tensor, a view of it, two outputs.
#[test]
fn aliasing_is_an_error() {
    let x = zeros(&[2, 4, 4, 3]);
    assert_eq!(
        text(sum_of(&[&x, &x], &x)),
        "sum: `y` is written but shares its storage with `x`; give it a tensor of its own"
    );
    let halves = zeros(&[4, 4, 4, 3]);
    let (first, second) = (
        halves.narrow(0, 0, 2).unwrap(),
        halves.narrow(0, 2, 2).unwrap(),
    );
    let aliased = |result: Result<(), Error>| assert!(matches!(result, Err(Error::Aliased { .. })));
    aliased(accumulate(&first, &second, Accumulate::Add));
    aliased(CONV.forward(&[(&first, &zeros(&[3, 3, 3, 3]))], &second));
    aliased(AvgPool2d { stride: 1 }.backward(&first, &second, Accumulate::Add));
    let vectors = zeros(&[2, 3]);
    let (dscale, dshift) = (vectors.get(0).unwrap(), vectors.get(1).unwrap());
    let (scale, shift, saved) = (zeros(&[3]), zeros(&[3]), zeros(&[2, 3]));
    let (dy, dx) = (zeros(&[2, 4, 4, 3]), zeros(&[2, 4, 4, 3]));
    let acc = Accumulate::Overwrite;
    aliased(
        BatchNorm::default().backward(&x, &scale, &shift, &saved, &dy, &dx, acc, &dscale, &dshift),
    );
    aliased(accumulate_scaled(
        &first,
        &zeros(&[2]),
        &second,
        Accumulate::Add,
    ));
    let flat = zeros(&[4]);
    let [numbers, one] = [2, 1].map(|len| flat.narrow(0, 0, len).unwrap());
    let batch = flat.reshape((4, 1, 1, 1)).unwrap();
    aliased(mix_with_reverse(&batch, &one));
    aliased(accumulate_scaled(
        &zeros(&[2, 1, 1, 1]),
        &numbers,
        &batch.narrow(0, 2, 2).unwrap(),
        Accumulate::Add,
    ));
    let operand = Operand::from(&zeros(&[2, 1, 1, 1]));
    let term = Term {
        x: &operand,
        factors: Some(&numbers),
    };
    aliased(sum(&[term], &batch.narrow(0, 2, 2).unwrap()));
    let logits = zeros(&[1, 2]);
    let labels = Tensor::zeros(1, DType::U32, &crate::device()).unwrap();
    let share = logits.flatten_all().unwrap().narrow(0, 0, 1).unwrap();
    let targets = Targets {
        labels: &labels,
        share: Some(&share),
    };
    let loss = SoftmaxCrossEntropy::default();
    aliased(
        loss.forward_backward(&zeros(&[1, 2]), targets, &logits)
            .map(drop),
    );
    let (value, other) = (zeros(&[2]), zeros(&[2]));
    aliased(average(&[(value.clone(), value.clone())], 0.5));
    aliased(average(
        &[(value.clone(), zeros(&[2])), (other, value)],
        0.5,
    ));
    let slot = Slot::new(zeros(&[2]), zeros(&[2]), 1).unwrap();
    let same = [slot.clone(), slot];
    assert!(matches!(
        Sgd::default().step(&same, 0.1, None),
        Err(Error::Aliased { .. })
    ));
}

/// Nothing is written when an argument is refused.
#[test]
fn refusal_leaves_outputs_alone() {
    let x = zeros(&[1, 4, 4, 3]);
    let y = (zeros(&[1, 4, 4, 3]) + 5.0).unwrap();
    let argmax = zeros(&[1, 4, 4, 3]);
    assert!(MaxPool2d { stride: 1 }.forward(&x, &y, &argmax).is_err());
    assert_eq!(
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        [5.0; 48]
    );
}
