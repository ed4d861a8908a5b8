//! Loops over rows of channels that keep per-channel constants in registers.

use std::ops::Range;

use crate::simd::{LANES, Simd};

/// Floats of a row block: both operands of it stay in the first-level cache while all channels pass.
const TILE_FLOATS: usize = 2048;

/// Floats per parallel task.
const TASK_FLOATS: usize = 1 << 14;

/// Rows of `channels` floats per parallel task: a property of the shape alone.
pub(crate) fn rows_per_task(channels: usize) -> usize {
    (TASK_FLOATS / channels).max(16)
}

/// Work on `V` vectors of channels of some rows.
pub(crate) trait RowLoop {
    /// Channels from `first` on, `V` vectors of `lanes` each; `lanes` is less than eight only with `V = 1`.
    /// Must be `#[inline(always)]`.
    fn vectors<S: Simd, const V: usize>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        first: usize,
        lanes: usize,
    );
}

/// Runs a loop over all channels of `rows` rows, block by block.
#[inline(always)]
pub(crate) fn drive<S: Simd>(simd: S, rows: usize, channels: usize, body: &mut impl RowLoop) {
    let tile = (TILE_FLOATS / channels).max(8);
    for start in (0..rows).step_by(tile) {
        let range = start..rows.min(start + tile);
        let mut first = 0;
        while first + 3 * LANES <= channels {
            body.vectors::<S, 3>(simd, range.clone(), first, LANES);
            first += 3 * LANES;
        }
        while first + LANES <= channels {
            body.vectors::<S, 1>(simd, range.clone(), first, LANES);
            first += LANES;
        }
        if first < channels {
            body.vectors::<S, 1>(simd, range, first, channels - first);
        }
    }
}

/// `lanes` numbers at `at`, the other lanes 0.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, from: &[f32], at: usize, lanes: usize) -> S::V {
    let from = &from[at..at + lanes];
    match <&[f32; LANES]>::try_from(from) {
        Ok(from) => simd.load(from),
        Err(_) => simd.load_head(from),
    }
}

/// The first `lanes` numbers to `at`.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, value: S::V, to: &mut [f32], at: usize, lanes: usize) {
    let to = &mut to[at..at + lanes];
    match <&mut [f32; LANES]>::try_from(&mut *to) {
        Ok(to) => simd.store(value, to),
        Err(_) => simd.store_head(value, to),
    }
}

/// `V` vectors of consecutive channels.
#[inline(always)]
pub(crate) fn load_all<S: Simd, const V: usize>(
    simd: S,
    from: &[f32],
    at: usize,
    lanes: usize,
) -> [S::V; V] {
    let mut all = [simd.splat(0.0); V];
    for (v, vector) in all.iter_mut().enumerate() {
        *vector = load(simd, from, at + v * LANES, lanes);
    }
    all
}

/// `lanes` numbers at `at`, the other lanes 0, without a check.
///
/// # Safety
/// `at + lanes` is at most the length.
#[inline(always)]
pub(crate) unsafe fn load_within<S: Simd>(simd: S, from: &[f32], at: usize, lanes: usize) -> S::V {
    if lanes == LANES {
        // SAFETY: the caller vouches for eight numbers at `at`.
        unsafe { simd.load_at(from.as_ptr().wrapping_add(at)) }
    } else {
        load(simd, from, at, lanes)
    }
}

/// Runs the body for every vector of `len` floats: `lanes` of them from `at` on. A macro, because a closure
/// would be compiled without the instructions of the kernel around it.
macro_rules! for_vectors {
    ($len:expr, |$at:ident, $lanes:ident| $body:block) => {{
        let len = $len;
        let mut $at = 0;
        while $at + $crate::simd::LANES <= len {
            let $lanes = $crate::simd::LANES;
            $body
            $at += $crate::simd::LANES;
        }
        if $at < len {
            let $lanes = len - $at;
            $body
        }
    }};
}
pub(crate) use for_vectors;
