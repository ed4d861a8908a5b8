//! Working memory of the kernels, kept by each thread between calls.

use std::cell::RefCell;

/// Sixteen floats on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as a slice of floats")] [f32; 16]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` with `len` floats, aligned to 64 bytes, **of unspecified content**.
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
        lines.resize(needed, Line([0.0; 16]));
    }
    let result = body(&mut floats(&mut lines)[..len]);
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}

/// The floats of the lines.
fn floats(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: `Line` is sixteen floats without padding (64 bytes, aligned to 64), so a slice of lines is
    // sixteen times as many floats, initialized, borrowed for as long.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
}
