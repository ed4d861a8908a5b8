//! The machine's limit: multiply-adds from register to register.

use crate::simd::{Kernel, LANES, Simd};

/// Independent sums: enough to cover the latency of two multiply-add units, few enough for 16 registers.
const SUMS: usize = 12;

/// Floating-point operations of a round.
pub(crate) const FLOP: usize = 2 * SUMS * LANES;

/// Runs so many rounds; returns a number that depends on all of them.
pub(crate) struct Peak {
    pub(crate) rounds: usize,
}

impl Kernel for Peak {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (a, b) = (std::hint::black_box(0.999), std::hint::black_box(1e-3));
        let (a, b) = (simd.splat(a), simd.splat(b));
        let mut sums = [simd.splat(1.0); SUMS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.fma(*sum, a, b);
            }
        }
        let mut total = [0.0; LANES];
        let sum = sums
            .into_iter()
            .fold(simd.splat(0.0), |x, y| simd.add(x, y));
        simd.store(sum, &mut total);
        total.iter().sum()
    }
}
