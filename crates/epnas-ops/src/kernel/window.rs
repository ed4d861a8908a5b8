//! Inner kernel of the depthwise convolution: a window slides over the pixels of a row, for a vector of
//! channels at a time.

use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd};

/// Most taps of a [`TapRow`].
pub(crate) const WIDEST: usize = 5;

/// Taps on neighboring input pixels of one row, with consecutive weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapRow {
    /// Offset of the first pixel, in floats, for channel 0.
    pub(crate) x: usize,
    /// First weight.
    pub(crate) w: usize,
    /// Number of taps, 1 to [`WIDEST`].
    pub(crate) len: usize,
}

/// `out[row, column] = sum over taps of x[row, column, tap] w[tap]`, for every channel.
pub(crate) struct Products<'a> {
    /// Bordered image, whole vectors of channels.
    pub(crate) x: &'a [f32],
    /// Weights in the order of the taps, whole vectors of channels.
    pub(crate) w: &'a [f32],
    pub(crate) taps: &'a [TapRow],
    /// Output rows and columns.
    pub(crate) size: (usize, usize),
    /// Distance in `x` of output rows, in floats, and of output columns, in pixels: 1 or 2.
    pub(crate) x_step: (usize, usize),
    pub(crate) out: &'a mut [f32],
    /// Distance in `out` of output rows and columns, in floats.
    pub(crate) out_step: (usize, usize),
    pub(crate) channels: usize,
    pub(crate) acc: Accumulate,
}

impl Products<'_> {
    /// Floats of an input pixel.
    #[inline(always)]
    fn lanes(&self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    /// Fails when a read would leave its slice.
    fn check(&self) {
        let lanes = self.lanes();
        let last = (self.size.0 - 1) * self.x_step.0 + (self.size.1 - 1) * self.x_step.1 * lanes;
        for tap in self.taps {
            assert!(
                self.x.len() >= last + tap.x + tap.len * lanes,
                "a tap leaves its image"
            );
            assert!(
                self.w.len() >= (tap.w + tap.len) * lanes,
                "a tap has no weight"
            );
        }
    }

    /// One row of one vector of channels, input columns advancing by `STRIDE`.
    #[inline(always)]
    fn row<S: Simd, const STRIDE: usize>(&mut self, simd: S, row: usize, channel: usize) {
        let mut column = 0;
        while column < self.size.1 {
            column += match self.size.1 - column {
                8.. if S::COLUMNS[0] >= 8 => self.block::<S, 8, STRIDE>(simd, row, column, channel),
                4.. => self.block::<S, 4, STRIDE>(simd, row, column, channel),
                _ => self.block::<S, 1, STRIDE>(simd, row, column, channel),
            };
        }
    }

    /// `P` pixels of a row; returns `P`.
    #[inline(always)]
    fn block<S: Simd, const P: usize, const STRIDE: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        channel: usize,
    ) -> usize {
        let lanes = self.lanes();
        let x = row * self.x_step.0 + column * STRIDE * lanes + channel;
        let mut sums = [simd.splat(0.0); P];
        for tap in self.taps {
            let x = self.x.as_ptr().wrapping_add(x + tap.x);
            let w = self.w.as_ptr().wrapping_add(tap.w * lanes + channel);
            // SAFETY: `check` found the taps of the last pixel and their weights, whole vectors, inside.
            unsafe {
                match tap.len {
                    1 => slide::<S, P, STRIDE, 1>(simd, x, w, lanes, &mut sums),
                    2 => slide::<S, P, STRIDE, 2>(simd, x, w, lanes, &mut sums),
                    3 => slide::<S, P, STRIDE, 3>(simd, x, w, lanes, &mut sums),
                    4 => slide::<S, P, STRIDE, 4>(simd, x, w, lanes, &mut sums),
                    _ => slide::<S, P, STRIDE, WIDEST>(simd, x, w, lanes, &mut sums),
                }
            }
        }
        let lanes = LANES.min(self.channels - channel);
        for (p, &sum) in sums.iter().enumerate() {
            let at = row * self.out_step.0 + (column + p) * self.out_step.1 + channel;
            let out = &mut self.out[at..at + lanes];
            match (<&mut [f32; LANES]>::try_from(&mut *out), self.acc) {
                (Ok(out), Accumulate::Overwrite) => simd.store(sum, out),
                (Ok(out), Accumulate::Add) => simd.store(simd.add(simd.load(out), sum), out),
                (Err(_), Accumulate::Overwrite) => simd.store_head(sum, out),
                (Err(_), Accumulate::Add) => {
                    simd.store_head(simd.add(simd.load_head(out), sum), out)
                }
            }
        }
        P
    }
}

/// Adds `K` neighboring taps to `P` neighboring outputs. Every input vector is loaded once and meets all
/// outputs it belongs to.
///
/// # Safety
/// `(P - 1) STRIDE + K` pixels of `lanes` floats from `x` on and `K` weights from `w` on can be read, except
/// that only a vector of the last is.
#[inline(always)]
unsafe fn slide<S: Simd, const P: usize, const STRIDE: usize, const K: usize>(
    simd: S,
    x: *const f32,
    w: *const f32,
    lanes: usize,
    sums: &mut [S::V; P],
) {
    let mut weights = [simd.splat(0.0); K];
    for (k, weight) in weights.iter_mut().enumerate() {
        // SAFETY: the caller vouches for `K` weights.
        *weight = unsafe { simd.load_at(w.wrapping_add(k * lanes)) };
    }
    // A loop over the pixels, written out: left to itself, the compiler may not unroll it, and `sums` would
    // live in memory.
    macro_rules! pixels {
        ($($pixel:literal)*) => {$(
            if $pixel < (P - 1) * STRIDE + K {
                // SAFETY: the caller vouches for this many pixels.
                let value = unsafe { simd.load_at(x.wrapping_add($pixel * lanes)) };
                for (k, &weight) in weights.iter().enumerate() {
                    if $pixel >= k && ($pixel - k) % STRIDE == 0 && ($pixel - k) / STRIDE < P {
                        let sum = &mut sums[($pixel - k) / STRIDE];
                        *sum = simd.fma(value, weight, *sum);
                    }
                }
            }
        )*};
    }
    pixels!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        self.check();
        for row in 0..self.size.0 {
            for channel in (0..self.channels).step_by(LANES) {
                match self.x_step.1 {
                    1 => self.row::<S, 1>(simd, row, channel),
                    _ => self.row::<S, 2>(simd, row, channel),
                }
            }
        }
    }
}
