//! Sums, copies and mixtures.

use candle_core::Tensor;
use epnas_ops::{Accumulate, Operand, Term, accumulate, accumulate_scaled, mix_with_reverse, sum};

use crate::harness::{
    Bounded, Case, UNIT, assert_gradient, assert_within, blank, dot, floats, sum_of, tensor, wide,
};

#[test]
fn sums_and_copies() {
    let mut case = Case::new();
    for shape in [vec![1, 1, 1, 1], vec![2, 3, 5, 7], vec![3, 32, 32, 24]] {
        let len = shape.iter().product();
        let (a, b) = (case.numbers(len), case.numbers(len));
        let (a_tensor, b_tensor, y) = (tensor(&a, &shape), tensor(&b, &shape), blank(&shape));
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        sum_of(&[&a_tensor, &b_tensor], &y).unwrap();
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
    sum_of(&[&a, &a], &y).unwrap();
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

/// Single numbers, odd sizes, more than a chunk of work an image.
const SHAPES: [[usize; 4]; 4] = [[1, 1, 1, 1], [3, 5, 7, 3], [2, 1, 1, 13], [5, 32, 33, 33]];

/// Every image times its factor.
fn scaled(x: &[f64], factors: &[f64]) -> Vec<f64> {
    let len = x.len() / factors.len();
    let of = |(i, x): (usize, &f64)| factors[i / len] * x;
    x.iter().enumerate().map(of).collect()
}

#[test]
fn sums_with_factors() {
    let mut case = Case::new();
    for shape in SHAPES {
        let (n, len) = (shape[0], shape.iter().product());
        // More than one launch takes as well.
        for count in [1, 2, 5, 31] {
            let count = if len > 10_000 { count.min(5) } else { count };
            let mut expected = vec![Bounded::default(); len];
            let mut operands = Vec::new();
            for index in 0..count {
                let x = case.numbers(len);
                let has_factors = index == 0 || case.below(3) > 0;
                let factors = has_factors.then(|| case.numbers(n));
                let values = wide(factors.as_deref().unwrap_or(&vec![1.0; n]));
                for (sum, term) in expected.iter_mut().zip(scaled(&wide(&x), &values)) {
                    sum.value += term;
                    sum.bound += (count + 1) as f64 * UNIT * term.abs();
                }
                let factors = factors.map(|factors| tensor(&factors, &[n]));
                operands.push((Operand::from(&tensor(&x, &shape)), factors));
            }
            let term = |(x, factors)| Term { x, factors };
            let terms = operands.iter().map(|(x, f)| term((x, f.as_ref())));
            let y = blank(&shape);
            sum(&terms.collect::<Vec<_>>(), &y).unwrap();
            let what = format!("sum of {count} on {shape:?}");
            assert_within(&what, &case, &floats(&y), &expected);
        }
    }
}

#[test]
fn scaled_gradients() {
    let mut case = Case::new();
    for shape in SHAPES {
        let (n, len) = (shape[0], shape.iter().product());
        let [x, dy, before] = [(); 3].map(|()| case.numbers(len));
        let factors = case.numbers(n);
        let expected = scaled(&wide(&dy), &wide(&factors));
        let (dy_tensor, factors_tensor) = (tensor(&dy, &shape), tensor(&factors, &[n]));
        let dx = blank(&shape);
        accumulate_scaled(&dy_tensor, &factors_tensor, &dx, Accumulate::Overwrite).unwrap();
        let loss = |x: &[f64]| dot(&scaled(x, &wide(&factors)), &wide(&dy));
        let what = format!("gradient on {shape:?}");
        if len < 1000 {
            let gradient = wide(&floats(&dx));
            assert_gradient(&what, &mut case, loss, &wide(&x), &gradient, 1e-6);
        }
        let bounded = |(&value, before): (&f64, f64)| Bounded {
            value: value + before,
            bound: 2.0 * UNIT * (value.abs() + before.abs()),
        };
        let zeros = std::iter::repeat(0.0);
        let alone: Vec<Bounded> = expected.iter().zip(zeros).map(bounded).collect();
        assert_within(&what, &case, &floats(&dx), &alone);
        let dx = tensor(&before, &shape);
        accumulate_scaled(&dy_tensor, &factors_tensor, &dx, Accumulate::Add).unwrap();
        let both: Vec<Bounded> = expected.iter().zip(wide(&before)).map(bounded).collect();
        assert_within(&what, &case, &floats(&dx), &both);
    }
}

/// Factors of 1 give the bits of none; a factor of 0 leaves what is no number none.
#[test]
fn a_factor_is_multiplied_whatever_it_is() {
    let mut case = Case::new();
    let shape = [3, 5, 7, 3];
    let [a, b] = [(); 2].map(|()| tensor(&case.numbers(315), &shape));
    let (expected, y, ones) = (blank(&shape), blank(&shape), tensor(&[1.0; 3], &[3]));
    sum_of(&[&a, &b], &expected).unwrap();
    let operands = [Operand::from(&a), Operand::from(&b)];
    let terms = operands.each_ref().map(|x| Term {
        x,
        factors: Some(&ones),
    });
    sum(&terms, &y).unwrap();
    assert_eq!(floats(&y), floats(&expected), "seed {}", case.seed);

    let x = Operand::from(&tensor(&[f32::INFINITY, 2.0], &[2, 1, 1, 1]));
    let (zeros, y) = (tensor(&[0.0; 2], &[2]), blank(&[2, 1, 1, 1]));
    let term = Term {
        x: &x,
        factors: Some(&zeros),
    };
    sum(&[term], &y).unwrap();
    let found = floats(&y);
    assert!(found[0].is_nan() && found[1] == 0.0, "{found:?}");
}

#[test]
fn mixes_with_the_reversed_batch() {
    let mut case = Case::new();
    for n in 1..=6 {
        for [h, w, c] in [[1, 1, 1], [3, 5, 7], [13, 9, 24]] {
            let (shape, len) = ([n, h, w, c], h * w * c);
            let old = case.numbers(n * len);
            let drawn = case.numbers(1)[0].abs();
            let share = case.pick(&[0.0, 0.25, 1.0, drawn]);
            let x = tensor(&old, &shape);
            mix_with_reverse(&x, &tensor(&[share], &[1])).unwrap();
            let share = f64::from(share);
            let expected: Vec<Bounded> = (0..n * len)
                .map(|at| {
                    let partner = (n - 1 - at / len) * len + at % len;
                    let [a, b] = [at, partner].map(|at| f64::from(old[at]));
                    Bounded {
                        value: share * a + (1.0 - share) * b,
                        bound: 3.0 * UNIT * (share * a.abs() + (1.0 - share) * b.abs()),
                    }
                })
                .collect();
            let found = floats(&x);
            assert_within(&format!("mixed {shape:?}"), &case, &found, &expected);
            if n % 2 == 1 {
                let middle = n / 2 * len..(n / 2 + 1) * len;
                assert_eq!(found[middle.clone()], old[middle], "seed {}", case.seed);
            }
        }
    }
}

/// Part of a batch is mixed where it is, and nothing else.
#[test]
fn a_part_of_a_batch_can_be_mixed() {
    let whole = tensor(&[0.0, 1.0, 2.0, 3.0, 4.0], &[5, 1, 1, 1]);
    let shares = tensor(&[7.0, 0.75], &[2]);
    let share = shares.narrow(0, 1, 1).unwrap();
    mix_with_reverse(&whole.narrow(0, 1, 3).unwrap(), &share).unwrap();
    assert_eq!(floats(&whole), [0.0, 1.5, 2.0, 2.5, 4.0]);
}
