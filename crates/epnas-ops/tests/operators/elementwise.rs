//! Sums and copies.

use candle_core::Tensor;
use epnas_ops::{Accumulate, accumulate, sum};

use crate::harness::{Case, blank, floats, tensor};

#[test]
fn sums_and_copies() {
    let mut case = Case::new();
    for shape in [vec![1, 1, 1, 1], vec![2, 3, 5, 7], vec![3, 32, 32, 24]] {
        let len = shape.iter().product();
        let (a, b) = (case.numbers(len), case.numbers(len));
        let (a_tensor, b_tensor, y) = (tensor(&a, &shape), tensor(&b, &shape), blank(&shape));
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        sum(&[&(&a_tensor).into(), &(&b_tensor).into()], &y).unwrap();
        assert_eq!(floats(&y), expected);
        accumulate(&a_tensor, &y, Accumulate::Overwrite).unwrap();
        assert_eq!(floats(&y), a);
        accumulate(&b_tensor, &y, Accumulate::Add).unwrap();
        assert_eq!(floats(&y), expected);
    }
}

/// The same tensor may be read twice.
#[test]
fn a_tensor_can_be_added_to_itself() {
    let a = tensor(&[1.0, 2.0, 3.0], &[1, 1, 1, 3]);
    let y = blank(&[1, 1, 1, 3]);
    sum(&[&(&a).into(), &(&a).into()], &y).unwrap();
    assert_eq!(floats(&y), [2.0, 4.0, 6.0]);
}

/// Part of a batch is a view at an offset: it is read and written where it is, and nowhere else.
#[test]
fn batches_can_be_narrowed() {
    let whole = tensor(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[4, 2]);
    let target = tensor(&[-1.0; 8], &[4, 2]);
    let (from, to): (Tensor, Tensor) = (
        whole.narrow(0, 1, 2).unwrap(),
        target.narrow(0, 2, 2).unwrap(),
    );
    accumulate(&from, &to, Accumulate::Overwrite).unwrap();
    assert_eq!(
        floats(&target),
        [-1.0, -1.0, -1.0, -1.0, 2.0, 3.0, 4.0, 5.0]
    );
}
