//! Random inputs, tensors and comparisons with bounds.

use candle_core::{DType, Tensor};
use epnas_ops::{Error, Operand, Precision, Term, sum};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Unit roundoff of `f32`.
pub(crate) const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Random inputs whose seed is part of every failure message.
pub(crate) struct Case {
    pub(crate) seed: u64,
    rng: ChaCha8Rng,
}

impl Case {
    /// A new case: the seed is fresh, or `EPNAS_TEST_SEED`.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("EPNAS_TEST_SEED") {
            Ok(text) => text.parse().expect("EPNAS_TEST_SEED is a whole number"),
            Err(_) => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        };
        Case::of(seed)
    }

    /// The case of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Case {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Numbers from -1 to 1.
    pub(crate) fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| self.rng.random_range(-1.0f32..1.0))
            .collect()
    }

    /// A whole number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    /// One of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A CPU tensor.
pub(crate) fn tensor(data: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape, &crate::device()).unwrap()
}

/// A tensor that is full of a value no test expects, to be overwritten.
pub(crate) fn blank(shape: &[usize]) -> Tensor {
    Tensor::full(f32::NAN, shape, &crate::device()).unwrap()
}

/// The sum of tensors as they are.
pub(crate) fn sum_of(tensors: &[&Tensor], y: &Tensor) -> Result<(), Error> {
    let operands: Vec<Operand> = tensors.iter().map(|&x| x.into()).collect();
    let terms: Vec<Term> = operands.iter().map(Term::from).collect();
    sum(&terms, y)
}

/// All elements of a tensor.
pub(crate) fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// As `f64`.
pub(crate) fn wide(data: &[f32]) -> Vec<f64> {
    data.iter().map(|&v| f64::from(v)).collect()
}

/// Every precision, whether or not this CPU has instructions for it.
pub(crate) const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// As bfloat16 and back, as candle rounds.
pub(crate) fn bf16(data: &[f32]) -> Vec<f32> {
    let rounded = tensor(data, &[data.len()]).to_dtype(DType::BF16).unwrap();
    floats(&rounded.to_dtype(DType::F32).unwrap())
}

/// The factors that a product multiplies, as `f64`.
pub(crate) fn factors(precision: Precision, data: &[f32]) -> Vec<f64> {
    match precision {
        Precision::F32 => wide(data),
        Precision::Bf16 => wide(&bf16(data)),
    }
}

/// A value computed in `f64` with the largest error a computation in `f32` may have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounded {
    pub(crate) value: f64,
    pub(crate) bound: f64,
}

/// Fails unless every number is within its bound.
pub(crate) fn assert_within(what: &str, case: &Case, found: &[f32], expected: &[Bounded]) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected.value).abs();
        assert!(
            error <= expected.bound,
            "{what}: element {i} is {found}, expected {} within {:e}, off by {error:e} (seed {})",
            expected.value,
            expected.bound,
            case.seed
        );
    }
}

/// Fails unless every number is within `bound` of the expected one.
pub(crate) fn assert_near(what: &str, case: &Case, found: &[f32], expected: &[f64], bound: f64) {
    let bounded = |&value: &f64| Bounded { value, bound };
    let expected: Vec<Bounded> = expected.iter().map(bounded).collect();
    assert_within(what, case, found, &expected);
}

/// Central difference of a scalar function along a direction.
pub(crate) fn slope(f: impl Fn(&[f64]) -> f64, at: &[f64], direction: &[f64], step: f64) -> f64 {
    let moved =
        |by: f64| -> Vec<f64> { at.iter().zip(direction).map(|(a, d)| a + by * d).collect() };
    (f(&moved(step)) - f(&moved(-step))) / (2.0 * step)
}

/// Sum of products.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Fails unless a gradient predicts the slope along a random direction, element by element for small
/// inputs.
pub(crate) fn assert_gradient(
    what: &str,
    case: &mut Case,
    f: impl Fn(&[f64]) -> f64,
    at: &[f64],
    gradient: &[f64],
    tolerance: f64,
) {
    let scale = gradient.iter().fold(1e-9f64, |a, b| a.max(b.abs()));
    let check = |direction: &[f64], seed: u64| {
        let (found, expected) = (dot(gradient, direction), slope(&f, at, direction, 1e-4));
        let size = direction.iter().map(|d| d.abs()).sum::<f64>();
        assert!(
            (found - expected).abs() <= tolerance * scale * size,
            "{what}: gradient says {found}, finite difference {expected} (seed {seed})"
        );
    };
    let direction = wide(&case.numbers(at.len()));
    check(&direction, case.seed);
    for _ in 0..at.len().min(24) {
        let mut unit = vec![0.0; at.len()];
        unit[case.below(at.len())] = 1.0;
        check(&unit, case.seed);
    }
}
