//! SGD, Adam and averages against their definitions in `f64`, over several steps.

use candle_core::Tensor;
use epnas_ops::{Adam, Nesterov, Sgd, Slot, average};

use crate::harness::{Bounded, Case, UNIT, assert_near, assert_within, floats, tensor, wide};

/// Slots of odd sizes, and their values in `f64`.
fn slots(case: &mut Case, states: usize) -> (Vec<Slot>, Vec<Vec<f64>>) {
    [1, 7, 24, 1000, 5184]
        .into_iter()
        .map(|len| {
            let value = case.numbers(len);
            let grad = tensor(&vec![0.0; len], &[len]);
            (
                Slot::new(tensor(&value, &[len]), grad, states).unwrap(),
                wide(&value),
            )
        })
        .unzip()
}

/// Puts fresh gradients into the slots and returns them, clipped as `torch.nn.utils.clip_grad_norm_` does,
/// with their norm.
fn gradients(case: &mut Case, slots: &mut [Slot], clip: Option<f64>) -> (Vec<Vec<f64>>, f64) {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for slot in slots {
        let grad = case.numbers(slot.grad.elem_count());
        all.push(wide(&grad));
        slot.grad = tensor(&grad, slot.grad.dims());
    }
    let norm = all.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
    if let Some(clip) = clip {
        let factor = (clip / (norm + 1e-6)).min(1.0);
        all.iter_mut().flatten().for_each(|g| *g *= factor);
    }
    (all, norm)
}

#[test]
fn sgd() {
    let mut case = Case::new();
    for nesterov in [Nesterov::Off, Nesterov::On] {
        for (momentum, weight_decay) in [(0.0, 0.0), (0.9, 0.0), (0.9, 5e-2)] {
            for clip in [None, Some(5.0), Some(1e6)] {
                let op = Sgd {
                    momentum,
                    weight_decay,
                    nesterov,
                };
                let (mut slots, mut values) = slots(&mut case, Sgd::STATES);
                let mut buffers: Vec<Vec<f64>> =
                    values.iter().map(|v| vec![0.0; v.len()]).collect();
                for step in 0..4 {
                    let lr = 0.1 / f64::from(step + 1);
                    let (grads, norm) = gradients(&mut case, &mut slots, clip);
                    let found = op.step(&slots, lr, clip).unwrap();
                    assert!(
                        (found - norm).abs() < 1e-9 * norm,
                        "norm {found}, expected {norm}"
                    );
                    for ((value, buffer), grad) in values.iter_mut().zip(&mut buffers).zip(&grads) {
                        for ((value, b), grad) in value.iter_mut().zip(buffer).zip(grad) {
                            let g = grad + weight_decay * *value;
                            *b = momentum * *b + g;
                            *value -= lr
                                * if nesterov == Nesterov::On {
                                    g + momentum * *b
                                } else {
                                    *b
                                };
                        }
                    }
                    for (slot, expected) in slots.iter().zip(&values) {
                        // Values stay below 2; each step rounds a few times.
                        assert_near(
                            &format!("{op:?}"),
                            &case,
                            &floats(&slot.value),
                            expected,
                            4e-6,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn adam() {
    let mut case = Case::new();
    for weight_decay in [0.0, 5e-2] {
        for clip in [None, Some(5.0)] {
            let op = Adam {
                weight_decay,
                ..Adam::default()
            };
            let (mut slots, mut values) = slots(&mut case, Adam::STATES);
            let mut first: Vec<Vec<f64>> = values.iter().map(|v| vec![0.0; v.len()]).collect();
            let mut second = first.clone();
            for step in 1..=4 {
                let lr = 0.01;
                let (grads, _) = gradients(&mut case, &mut slots, clip);
                op.step(&slots, step, lr, clip).unwrap();
                for (index, grad) in grads.iter().enumerate() {
                    for (i, grad) in grad.iter().enumerate() {
                        let value = &mut values[index][i];
                        let (m, v) = (&mut first[index][i], &mut second[index][i]);
                        let g = grad + weight_decay * *value;
                        *m = 0.9 * *m + 0.1 * g;
                        *v = 0.999 * *v + 0.001 * g * g;
                        let power = i32::try_from(step).unwrap();
                        let (m, v) = (
                            *m / (1.0 - 0.9f64.powi(power)),
                            *v / (1.0 - 0.999f64.powi(power)),
                        );
                        *value -= lr * m / (v.sqrt() + 1e-8);
                    }
                }
                for (slot, expected) in slots.iter().zip(&values) {
                    // An update is at most about lr; its relative error grows where moments nearly cancel.
                    assert_near(
                        &format!("{op:?}"),
                        &case,
                        &floats(&slot.value),
                        expected,
                        1e-5,
                    );
                }
            }
        }
    }
}

/// A diverged gradient updates nothing: neither values nor state.
#[test]
fn a_norm_that_is_not_finite_updates_nothing() {
    for poison in [f32::NAN, f32::INFINITY] {
        let value = tensor(&[1.0, 2.0], &[2]);
        let good = Slot::new(value.copy().unwrap(), tensor(&[1.0, 1.0], &[2]), 1).unwrap();
        let bad = Slot::new(value.copy().unwrap(), tensor(&[1.0, poison], &[2]), 1).unwrap();
        let norm = Sgd::default()
            .step(&[good.clone(), bad.clone()], 0.1, Some(5.0))
            .unwrap();
        assert!(!norm.is_finite());
        for slot in [good, bad] {
            assert_eq!(floats(&slot.value), [1.0, 2.0]);
            assert_eq!(floats(&slot.state[0]), [0.0, 0.0]);
        }
    }
}

/// Also of more tensors than one launch takes, some of several chunks.
#[test]
fn averages() {
    let mut case = Case::new();
    for count in [0, 1, 5, 131] {
        for decay in [0.0, 0.5, 0.9998] {
            let lens: Vec<usize> = (0..count)
                .map(|i| case.pick(&[1, 7, 24, [1000, 9001][i % 2]]))
                .collect();
            let mut make = |len: &usize| tensor(&case.numbers(*len), &[*len]);
            let pairs: Vec<(Tensor, Tensor)> =
                lens.iter().map(|len| (make(len), make(len))).collect();
            let mut expected: Vec<Vec<f64>> = pairs.iter().map(|(_, a)| wide(&floats(a))).collect();
            for step in 1..=3 {
                average(&pairs, decay).unwrap();
                for ((value, average), expected) in pairs.iter().zip(&mut expected) {
                    for (a, v) in expected.iter_mut().zip(wide(&floats(value))) {
                        *a = decay * *a + (1.0 - decay) * v;
                    }
                    // Rounded once a step.
                    let bounded = |&value: &f64| Bounded {
                        value,
                        bound: f64::from(step) * UNIT,
                    };
                    let bounds: Vec<Bounded> = expected.iter().map(bounded).collect();
                    let what = format!("average of {count}, decay {decay}");
                    assert_within(&what, &case, &floats(average), &bounds);
                }
            }
        }
    }
}

/// However slow the average is, it stays where its value is.
#[test]
fn an_average_of_what_stays_stays() {
    let mut case = Case::new();
    let value = tensor(&case.numbers(100), &[100]);
    let pairs = [(value.clone(), value.copy().unwrap())];
    for decay in [0.1, 0.9, 0.9999] {
        average(&pairs, decay).unwrap();
        assert_eq!(floats(&pairs[0].1), floats(&value), "seed {}", case.seed);
    }
}
