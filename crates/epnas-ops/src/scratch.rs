//! Working memory of the kernels, kept by each thread between calls.
//!
//! Kept memory hides mistakes: what a kernel forgot to write holds plausible numbers of an earlier call, and what it touches
//! beyond its end is memory still. So a build with debug assertions, that of all tests, hands out memory that is full of
//! NaN and ends where its allocation ends: such a kernel's results are NaN, and sanitizers see the rest.

use std::cell::RefCell;

/// Sixteen floats on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as a slice of floats")] [f32; 16]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// NaN, and so are both of its halves as bfloat16.
const POISON: f32 = f32::from_bits(0x7fc1_7fc1);

/// Runs `body` with `len` floats, aligned to 64 bytes (for speed alone, and not with debug assertions), **of unspecified
/// content**.
///
/// The buffer belongs to the call: a nested call, also by a task that rayon runs on this thread meanwhile,
/// gets another one.
pub(crate) fn with<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(|free| {
        // The smallest that is large enough, else the largest, which then grows: few buffers ever get large.
        let fit = (0..free.len()).min_by_key(|&index| match free[index].len() {
            lines if lines * 16 >= len => (0, lines),
            lines => (1, usize::MAX - lines),
        });
        fit.map(|index| free.swap_remove(index)).unwrap_or_default()
    });
    let needed = len.div_ceil(16);
    if lines.len() < needed {
        // Exactly: room for more would not belong to what sanitizers guard.
        lines.reserve_exact(needed - lines.len());
        lines.resize(needed, Line([0.0; 16]));
    }
    let floats = floats(&mut lines);
    let room = match cfg!(debug_assertions) {
        true => {
            let start = floats.len() - len;
            floats[start..].fill(POISON);
            &mut floats[start..]
        }
        false => &mut floats[..len],
    };
    let result = body(room);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}

/// The floats of the lines.
fn floats(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: `Line` is sixteen floats without padding (64 bytes, aligned to 64), so a slice of lines is
    // sixteen times as many floats, initialized, borrowed for as long.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_an_earlier_call_tells_nothing_and_ends_with_its_allocation() {
        with(40, |room| room.fill(1.0));
        for len in [40, 17, 16, 1] {
            with(len, |room| {
                assert_eq!(room.len(), len);
                if cfg!(debug_assertions) {
                    assert!(room.iter().all(|value| value.is_nan()));
                    // Allocations are whole lines.
                    assert_eq!(room.as_ptr_range().end.addr() % 64, 0);
                }
                room.fill(2.0);
            });
        }
    }

    #[test]
    fn both_halves_are_no_numbers() {
        let bits = POISON.to_bits();
        for half in [bits >> 16, bits & 0xffff] {
            assert!(f32::from_bits(half << 16).is_nan());
        }
    }

    #[test]
    fn a_nested_call_has_memory_of_its_own() {
        with(16, |outer| {
            outer.fill(1.0);
            with(16, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|&value| value == 1.0));
        });
    }
}
