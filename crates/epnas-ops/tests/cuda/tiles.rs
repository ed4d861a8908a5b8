//! Dense convolutions by tiles: several tiles of an image and several images of a tile, edges, every way to read and write
//! memory. Results are those of a reference in `f64`, whatever block or thread runs first.

use candle_core::{DType, Tensor};
use epnas_ops::cuda_emulation::{Order, set_order};
use epnas_ops::{
    Accumulate, BatchStatistics, Conv2d, ConvGradient, Cotangent, Operand, Output, Precision,
    Running, Target,
};

use crate::bilinear::{self, Images};
use crate::harness::{Bounded, Case, UNIT, assert_within, bf16, blank, factors, floats, tensor};

/// Type of the images, and of the factors.
const TYPES: [(DType, Precision); 3] = [
    (DType::F32, Precision::F32),
    (DType::F32, Precision::Bf16),
    (DType::BF16, Precision::Bf16),
];

/// Batch, height, width, channels before and after, kernel.
const SHAPES: [[usize; 6]; 9] = [
    // Several tiles of an image, the last ones cut.
    [1, 33, 17, 24, 24, 3],
    [2, 9, 20, 5, 8, 3],
    // Several images of a tile, the last tile with fewer.
    [7, 4, 4, 16, 33, 3],
    [5, 3, 5, 8, 3, 5],
    [131, 1, 1, 3, 1, 3],
    // Taps in several groups, channels in several chunks with odd and even rests.
    [1, 8, 9, 33, 24, 5],
    [3, 7, 7, 1, 40, 7],
    // Pixels in a row.
    [3, 9, 7, 40, 72, 1],
    [1, 1, 257, 24, 5, 1],
];

const EPS: f64 = 1e-5;

/// What a convolution and its gradients wrote.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    saved: Vec<f32>,
    variance: Vec<f32>,
}

fn zeros(len: usize) -> Tensor {
    tensor(&vec![0.0; len], &[len])
}

/// A view that begins so many elements after a tensor does.
fn view(numbers: &[f32], shape: &[usize], dtype: DType, from: usize) -> Tensor {
    let before = vec![f32::NAN; from];
    let len = numbers.len();
    let all = tensor(&[&before, numbers].concat(), &[from + len]);
    let all = all.to_dtype(dtype).unwrap();
    all.narrow(0, from, len).unwrap().reshape(shape).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    floats(&tensor.to_dtype(DType::F32).unwrap())
}

/// Random numbers that are bfloat16 already.
fn random(case: &mut Case, shape: &[usize]) -> Vec<f32> {
    bf16(&case.numbers(shape.iter().product()))
}

struct Problem {
    op: Conv2d,
    dtype: DType,
    x: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    before: Vec<f32>,
    sizes: [Images; 2],
}

impl Problem {
    fn new(
        case: &mut Case,
        [n, h, w, ci, co, kernel]: [usize; 6],
        (dtype, precision): (DType, Precision),
    ) -> Self {
        let sizes = [ci, co].map(|c| Images { n, h, w, c });
        let shapes = sizes.map(Images::shape);
        Problem {
            op: Conv2d {
                precision,
                ..Conv2d::new(kernel, 1)
            },
            dtype,
            x: random(case, &shapes[0]),
            w: case.numbers(kernel * kernel * ci * co),
            dy: random(case, &shapes[1]),
            before: random(case, &shapes[0]),
            sizes,
        }
    }

    /// All tensors begin `from` elements after their memory does.
    fn run(&self, from: usize) -> Outcome {
        let [x_shape, y_shape] = self.sizes.map(Images::shape);
        let (kernel, co) = (self.op.kernel, y_shape[3]);
        let w_shape = [kernel, kernel, x_shape[3], co];
        let images = |numbers: &[f32], shape: &[usize]| view(numbers, shape, self.dtype, from);
        let sums = |numbers: &[f32], shape: &[usize]| view(numbers, shape, DType::F32, from);
        let (x, dy) = (images(&self.x, &x_shape), images(&self.dy, &y_shape));
        let w = sums(&self.w, &w_shape);
        let y = images(&vec![f32::NAN; self.dy.len()], &y_shape);
        let dx = images(&self.before, &x_shape);
        let dw = sums(&vec![f32::NAN; self.w.len()], &w_shape);
        let (saved, mean, variance) = (blank(&[2, co]), zeros(co), zeros(co));
        let running = Running {
            mean: &mean,
            variance: &variance,
            momentum: 1.0,
        };
        let statistics = Some(BatchStatistics {
            eps: EPS,
            saved: &saved,
            running,
        });
        let output = Output { y: &y, statistics };
        let x = Operand::from(&x);
        self.op.forward_fused(&[(&x, &w)], output).unwrap();
        let gradient = ConvGradient {
            x,
            w,
            dw: Some(dw.clone()),
            dx: Some(Target::new(&dx, Accumulate::Add)),
        };
        let dy = Cotangent::from(&dy);
        self.op.backward_fused(&dy, &[gradient]).unwrap();
        Outcome {
            y: numbers(&y),
            dx: numbers(&dx),
            dw: numbers(&dw),
            saved: numbers(&saved),
            variance: numbers(&variance),
        }
    }

    /// Fails where a result is further from the reference than sums in `f32`, in any order, may be.
    fn check(&self, case: &Case, found: &Outcome) {
        let what = |part: &str| format!("{:?} {:?} {:?}: {part}", self.op, self.dtype, self.sizes);
        let [x, y] = self.sizes;
        let reference = bilinear::conv(x, y.c, self.op.kernel, 1);
        let [x64, w64, dy64] = [&self.x, &self.w, &self.dy].map(|v| factors(self.op.precision, v));
        let stored = |bounds: Vec<Bounded>| -> Vec<Bounded> {
            let rounding = match self.dtype {
                DType::BF16 => 1.0 / 256.0,
                _ => 0.0,
            };
            let round = |b: Bounded| Bounded {
                bound: b.bound + rounding * b.value.abs(),
                ..b
            };
            bounds.into_iter().map(round).collect()
        };
        let expected = stored(reference.forward(&x64, &w64));
        assert_within(&what("y"), case, &found.y, &expected);
        let mut sums = reference.backward_x(&dy64, &w64);
        for (sum, before) in sums.iter_mut().zip(&self.before) {
            sum.value += f64::from(*before);
            sum.bound += UNIT * sum.value.abs();
        }
        assert_within(&what("dx"), case, &found.dx, &stored(sums));
        let expected = reference.backward_w(&x64, &dy64);
        assert_within(&what("dw"), case, &found.dw, &expected);
        check_statistics(&what("statistics"), case, found, y.c);
    }
}

/// Fails unless the statistics are those of what was stored.
fn check_statistics(what: &str, case: &Case, found: &Outcome, channels: usize) {
    let rows = found.y.len() / channels;
    for c in 0..channels {
        let column = found.y.iter().skip(c).step_by(channels);
        let column: Vec<f64> = column.map(|&v| f64::from(v)).collect();
        let mean = column.iter().sum::<f64>() / rows as f64;
        let squares: f64 = column.iter().map(|v| (v - mean).powi(2)).sum();
        let variance = squares / (rows.max(2) - 1) as f64;
        let inverse = 1.0 / (squares / rows as f64 + EPS).sqrt();
        let largest = column.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        // Means of parts are rounded, and differ from each other by no more than the values do.
        let off = 1e-5 + 2.0 * UNIT * largest / (variance + EPS).sqrt();
        for (part, found, expected, bound) in [
            ("mean", found.saved[c], mean, 4.0 * UNIT * largest),
            (
                "inverse deviation",
                found.saved[channels + c],
                inverse,
                off * inverse,
            ),
            (
                "variance",
                found.variance[c],
                variance,
                off * (variance + EPS),
            ),
        ] {
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= bound,
                "{what}: {part} of channel {c} is {found}, expected {expected} (seed {})",
                case.seed
            );
        }
    }
}

#[test]
fn results_are_within_their_bounds_whatever_runs_first() {
    let mut case = Case::new();
    for shape in SHAPES {
        for types in TYPES {
            let problem = Problem::new(&mut case, shape, types);
            set_order(Order::LastToFirst);
            let backwards = problem.run(0);
            set_order(Order::FirstToLast);
            let found = problem.run(0);
            assert_eq!(found, backwards, "{shape:?} {types:?} (seed {})", case.seed);
            problem.check(&case, &found);
        }
    }
}

/// Memory that is read in words of 16 bytes where it can be.
#[test]
fn views_that_begin_anywhere_have_the_same_results() {
    let mut case = Case::new();
    for shape in [
        [1, 9, 11, 24, 40, 3],
        [2, 5, 5, 8, 16, 1],
        [1, 6, 9, 12, 20, 5],
    ] {
        for types in TYPES {
            let problem = Problem::new(&mut case, shape, types);
            let expected = problem.run(0);
            for from in [1, 4] {
                let found = problem.run(from);
                assert_eq!(
                    found, expected,
                    "{shape:?} {types:?} from {from} (seed {})",
                    case.seed
                );
            }
        }
    }
}

/// Deviations far smaller than the values, in tiles of different sizes.
#[test]
fn statistics_of_a_large_mean() {
    let mut case = Case::new();
    for [h, w] in [[17, 9], [3, 43]] {
        let mut problem = Problem::new(&mut case, [3, h, w, 4, 9, 1], TYPES[0]);
        problem.x.iter_mut().for_each(|x| *x += 1000.0);
        problem.w.iter_mut().for_each(|w| *w = 1.0 + 0.001 * *w);
        let found = problem.run(0);
        check_statistics("large mean", &case, &found, 9);
    }
}

/// More sources than one launch takes: statistics are those of the whole sum.
#[test]
fn statistics_of_more_sources_than_a_launch_takes() {
    let mut case = Case::new();
    let (shape, count) = ([2, 5, 7, 3], 30);
    for types in TYPES {
        let (dtype, precision) = types;
        let op = Conv2d {
            precision,
            ..Conv2d::new(3, 1)
        };
        let mut source = || {
            let x = view(&random(&mut case, &shape), &shape, dtype, 0);
            let w = tensor(&case.numbers(9 * 3 * 5), &[3, 3, 3, 5]);
            (Operand::from(&x), w)
        };
        let sources: Vec<(Operand, Tensor)> = (0..count).map(|_| source()).collect();
        let inputs: Vec<(&Operand, &Tensor)> = sources.iter().map(|(x, w)| (x, w)).collect();
        let y = view(&[0.0; 2 * 5 * 7 * 5], &[2, 5, 7, 5], dtype, 0);
        let (saved, mean, variance) = (blank(&[2, 5]), zeros(5), zeros(5));
        let running = Running {
            mean: &mean,
            variance: &variance,
            momentum: 1.0,
        };
        let statistics = Some(BatchStatistics {
            eps: EPS,
            saved: &saved,
            running,
        });
        op.forward_fused(&inputs, Output { y: &y, statistics })
            .unwrap();
        let found = Outcome {
            y: numbers(&y),
            saved: numbers(&saved),
            variance: numbers(&variance),
            ..Outcome::default()
        };
        check_statistics("30 sources", &case, &found, 5);
    }
}
