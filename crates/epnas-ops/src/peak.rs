//! How fast this machine can multiply and add, as a yardstick.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::kernel::peak::{FLOP, Peak};
use crate::simd::dispatch;

/// Rounds between two looks at the clock.
const ROUNDS: usize = 100_000;

/// Measures the machine's single-precision limit in floating-point operations a second: multiply-adds (two operations
/// each) from register to register on all threads of the current pool, at the SIMD level in use. No operator can be
/// faster.
pub fn peak_flops(duration: Duration) -> f64 {
    let rates = rayon::broadcast(|_| {
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < duration {
            black_box(dispatch(Peak { rounds: ROUNDS }));
            rounds += ROUNDS;
        }
        (rounds * FLOP) as f64 / start.elapsed().as_secs_f64()
    });
    rates.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_a_computer_of_this_century() {
        let flops = peak_flops(Duration::from_millis(20));
        assert!((1e8..1e14).contains(&flops), "{flops:e}");
    }
}
