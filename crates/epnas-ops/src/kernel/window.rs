//! Inner kernels of the depthwise convolution: a vector of channels at a time.

use super::padded::Extent;
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd};

/// Output pixels whose rows of gradients are summed in registers before they are stored.
const TILE_PIXELS: usize = 64;

/// Offsets of an input pixel and of its weight, in floats, both for channel 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    pub(crate) x: usize,
    pub(crate) w: usize,
}

/// `out[row, column] = sum over taps of x[row, column, tap] w[tap]`, for every channel.
pub(crate) struct Products<'a> {
    x: &'a [f32],
    w: &'a [f32],
    taps: &'a [Tap],
    size: (usize, usize),
    x_step: (usize, usize),
    out: &'a mut [f32],
    out_step: (usize, usize),
    channels: usize,
    acc: Accumulate,
}

impl<'a> Products<'a> {
    /// `size` output rows and columns, with the distances of their pixels in `x` and in `out`. Vectors of `x`
    /// and `w` are whole, those of `out` are not.
    ///
    /// # Panics
    /// When a read or a write would leave its slice.
    pub(crate) fn new(
        (x, w, taps): (&'a [f32], &'a [f32], &'a [Tap]),
        size: (usize, usize),
        x_step: (usize, usize),
        out: &'a mut [f32],
        out_step: (usize, usize),
        channels: usize,
        acc: Accumulate,
    ) -> Self {
        let lanes = channels.next_multiple_of(LANES);
        let last = |step: (usize, usize)| (size.0 - 1) * step.0 + (size.1 - 1) * step.1;
        for tap in taps {
            assert!(
                x.len() >= last(x_step) + tap.x + lanes,
                "a tap leaves its image"
            );
            assert!(w.len() >= tap.w + lanes, "a tap has no weight");
        }
        assert!(
            out.len() >= last(out_step) + channels,
            "a pixel leaves its image"
        );
        Products {
            x,
            w,
            taps,
            size,
            x_step,
            out,
            out_step,
            channels,
            acc,
        }
    }

    /// `P` pixels of one row and vector.
    #[inline(always)]
    fn block<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        channel: usize,
    ) {
        let x = row * self.x_step.0 + column * self.x_step.1 + channel;
        let mut sums = [simd.splat(0.0); P];
        for tap in self.taps {
            let (x, w) = (x + tap.x, tap.w + channel);
            // SAFETY: `new` checked the last pixel of every tap and its weight, whole vectors.
            unsafe {
                let w = simd.load_at(self.w.as_ptr().wrapping_add(w));
                for (p, sum) in sums.iter_mut().enumerate() {
                    let x = self.x.as_ptr().wrapping_add(x + p * self.x_step.1);
                    *sum = simd.fma(simd.load_at(x), w, *sum);
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
    }
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let largest = S::COLUMNS[0];
        for row in 0..self.size.0 {
            for channel in (0..self.channels).step_by(LANES) {
                let mut column = 0;
                while column < self.size.1 {
                    let left = self.size.1 - column;
                    if largest >= 8 && left >= 8 {
                        self.block::<S, 8>(simd, row, column, channel);
                        column += 8;
                    } else if left >= 4 {
                        self.block::<S, 4>(simd, row, column, channel);
                        column += 4;
                    } else {
                        self.block::<S, 1>(simd, row, column, channel);
                        column += 1;
                    }
                }
            }
        }
    }
}

/// `sums[tap] += sum over pixels of x[pixel, tap] dy[pixel]`, for every channel of one image.
pub(crate) struct Sums<'a> {
    x: &'a [f32],
    x_extent: Extent,
    dy: &'a [f32],
    dy_extent: Extent,
    kernel: usize,
    stride: usize,
    sums: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// A bordered image and the gradient of its output, both of whole vectors.
    ///
    /// # Panics
    /// When a read or a write would leave its slice.
    pub(crate) fn new(
        x: &'a [f32],
        x_extent: Extent,
        dy: &'a [f32],
        dy_extent: Extent,
        kernel: usize,
        stride: usize,
        sums: &'a mut [f32],
    ) -> Self {
        assert!(x_extent.c == dy_extent.c && x_extent.c.is_multiple_of(LANES));
        assert!(x.len() >= x_extent.len() && dy.len() >= dy_extent.len());
        assert!(
            (dy_extent.h - 1) * stride + kernel <= x_extent.h,
            "a tap leaves its image"
        );
        assert!(
            (dy_extent.w - 1) * stride + kernel <= x_extent.w,
            "a tap leaves its image"
        );
        assert!(sums.len() >= kernel * kernel * x_extent.c);
        Sums {
            x,
            x_extent,
            dy,
            dy_extent,
            kernel,
            stride,
            sums,
        }
    }

    /// All taps of some output rows, `R` rows and `K` columns of the window in registers at a time.
    #[inline(always)]
    fn window<S: Simd, const R: usize, const K: usize>(
        &mut self,
        simd: S,
        (first, end): (usize, usize),
        channel: usize,
    ) {
        let mut u = 0;
        while u + R <= self.kernel {
            for v in (0..self.kernel).step_by(K) {
                self.taps::<S, R, K>(simd, (first, end), channel, (u, v));
            }
            u += R;
        }
        while u < self.kernel {
            for v in (0..self.kernel).step_by(K) {
                self.taps::<S, 1, K>(simd, (first, end), channel, (u, v));
            }
            u += 1;
        }
    }

    /// `R x K` taps from `(u, v)` on.
    #[inline(always)]
    fn taps<S: Simd, const R: usize, const K: usize>(
        &mut self,
        simd: S,
        (first, end): (usize, usize),
        channel: usize,
        (u, v): (usize, usize),
    ) {
        let c = self.x_extent.c;
        let mut sums = [[simd.splat(0.0); K]; R];
        for row in first..end {
            // SAFETY: `new` checked that the window of the last pixel lies in `x`, that `dy` has all pixels,
            // and that channels are whole vectors; `v + K` and `u + R` are at most the kernel.
            unsafe {
                let x = (row * self.stride + u) * self.x_extent.w + v;
                let mut x = self.x.as_ptr().wrapping_add(x * c + channel);
                let mut dy = self
                    .dy
                    .as_ptr()
                    .wrapping_add(row * self.dy_extent.row() + channel);
                for _ in 0..self.dy_extent.w {
                    let gradient = simd.load_at(dy);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = x.wrapping_add(r * self.x_extent.row());
                        for (k, sum) in sums.iter_mut().enumerate() {
                            let x = simd.load_at(x.wrapping_add(k * c));
                            *sum = simd.fma(x, gradient, *sum);
                        }
                    }
                    x = x.wrapping_add(self.stride * c);
                    dy = dy.wrapping_add(c);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (k, &sum) in sums.iter().enumerate() {
                let at = ((u + r) * self.kernel + v + k) * c + channel;
                if let Ok(total) = <&mut [f32; LANES]>::try_from(&mut self.sums[at..at + LANES]) {
                    simd.store(simd.add(simd.load(total), sum), total);
                }
            }
        }
    }
}

impl Kernel for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let rows = TILE_PIXELS.div_ceil(self.dy_extent.w);
        for first in (0..self.dy_extent.h).step_by(rows) {
            let tile = (first, self.dy_extent.h.min(first + rows));
            for channel in (0..self.x_extent.c).step_by(LANES) {
                match self.kernel {
                    3 => self.window::<S, 3, 3>(simd, tile, channel),
                    5 => self.window::<S, 2, 5>(simd, tile, channel),
                    7 => self.window::<S, 1, 7>(simd, tile, channel),
                    _ => self.window::<S, 1, 1>(simd, tile, channel),
                }
            }
        }
    }
}
