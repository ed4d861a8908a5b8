//! Inner kernel of the depthwise weight gradient: a vector of channels at a time.

use super::packed::padded;
use super::padded::{Extent, Frame};
use crate::simd::{Kernel, LANES, Simd};

/// Output pixels whose rows of gradients are summed in registers before they are stored.
const TILE_PIXELS: usize = 64;

/// `sums[tap] += sum over pixels of x[pixel, tap] dy[pixel]`, for every channel of one image.
pub(crate) struct Sums<'a> {
    x: &'a [f32],
    x_extent: Extent,
    /// From the first pixel inside of the border on.
    dy: &'a [f32],
    /// Floats from row to row.
    dy_row: usize,
    /// Rows and columns.
    size: (usize, usize),
    kernel: usize,
    stride: usize,
    sums: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// A bordered image and the (bordered) gradient of its output, both of whole vectors.
    ///
    /// # Panics
    /// When a read or a write would leave its slice.
    pub(crate) fn new(
        (x, x_extent): (&'a [f32], Extent),
        (dy, frame): (&'a [f32], Frame),
        (kernel, stride): (usize, usize),
        sums: &'a mut [f32],
    ) -> Self {
        let outer = frame.outer().widened(padded(frame.extent.c));
        let size = (frame.extent.h, frame.extent.w);
        let first = (frame.border.top * outer.w + frame.border.left) * outer.c;
        assert!(x_extent.c == outer.c && outer.c.is_multiple_of(LANES));
        assert!(x.len() >= x_extent.len() && dy.len() >= outer.len());
        assert!(
            (size.0 - 1) * stride + kernel <= x_extent.h,
            "a tap leaves its image"
        );
        assert!(
            (size.1 - 1) * stride + kernel <= x_extent.w,
            "a tap leaves its image"
        );
        assert!(sums.len() >= kernel * kernel * x_extent.c);
        Sums {
            x,
            x_extent,
            dy: &dy[first..],
            dy_row: outer.row(),
            size,
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
                let mut dy = self.dy.as_ptr().wrapping_add(row * self.dy_row + channel);
                for _ in 0..self.size.1 {
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
        let rows = TILE_PIXELS.div_ceil(self.size.1);
        for first in (0..self.size.0).step_by(rows) {
            let tile = (first, self.size.0.min(first + rows));
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
