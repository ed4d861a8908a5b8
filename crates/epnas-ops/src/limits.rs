//! How fast this machine can multiply, add and move numbers, as a yardstick.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::kernel::peak::{FLOP, Peak};
use crate::simd::dispatch;

/// Rounds between two looks at the clock.
const ROUNDS: usize = 100_000;

/// Bytes that all threads together copy from, and to: more than caches hold.
const COPIED: usize = 128 << 20;

/// Measures the machine's single-precision limit in floating-point operations a second: multiply-adds (two operations
/// each) from register to register on all threads of the current pool, at the SIMD level in use and with its vectors of
/// eight numbers. No operator here can be faster in [`Precision::F32`](crate::Precision::F32).
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

/// Measures how many bytes a second all threads of the current pool together move when they copy memory that no cache
/// holds; a byte that is read and written counts twice. Operators whose tensors stay in a cache can be faster.
pub fn copy_rate(duration: Duration) -> f64 {
    let rates = rayon::broadcast(|_| {
        let share = (COPIED / rayon::current_num_threads()).max(1 << 20);
        // Not zeros: those would be pages that the first copy has to fetch.
        let (from, mut to) = (vec![1_u8; share], vec![2_u8; share]);
        let (start, mut rounds) = (Instant::now(), 0);
        while rounds == 0 || start.elapsed() < duration {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
            rounds += 1;
        }
        (rounds * 2 * share) as f64 / start.elapsed().as_secs_f64()
    });
    rates.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_a_computer_of_this_century() {
        let flops = peak_flops(Duration::from_millis(20));
        assert!((1e8..1e14).contains(&flops), "{flops:e}");
        let bytes = copy_rate(Duration::from_millis(20));
        assert!((1e8..1e13).contains(&bytes), "{bytes:e}");
    }
}
