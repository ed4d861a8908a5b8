//! 3x3 pooling. Every pass gathers: a destination pixel looks at the at most nine source pixels it shares a
//! window with, so no two threads write one pixel and sums have a fixed order.

use rayon::prelude::*;

use super::channels::{load, store};
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Extents of one pooling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) stride: usize,
}

impl Geometry {
    fn ho(&self) -> usize {
        self.h.div_ceil(self.stride)
    }

    fn wo(&self) -> usize {
        self.w.div_ceil(self.stride)
    }

    /// Shape of the output.
    pub(crate) fn output(&self) -> [usize; 4] {
        [self.n, self.ho(), self.wo(), self.c]
    }

    fn image_in(&self) -> usize {
        self.h * self.w * self.c
    }

    fn image_out(&self) -> usize {
        self.ho() * self.wo() * self.c
    }
}

/// Positions along one axis: at most three, each with its index in the window.
#[derive(Debug, Clone, Copy, Default)]
struct Axis {
    len: usize,
    at: [usize; 3],
    tap: [usize; 3],
}

impl Axis {
    #[inline(always)]
    fn push(&mut self, at: usize, tap: usize) {
        self.at[self.len] = at;
        self.tap[self.len] = tap;
        self.len += 1;
    }

    /// Inputs under output `o`.
    #[inline(always)]
    fn inputs(o: usize, stride: usize, extent: usize) -> Self {
        let mut axis = Axis::default();
        for tap in 0..3 {
            let at = (o * stride + tap).wrapping_sub(1);
            if at < extent {
                axis.push(at, tap);
            }
        }
        axis
    }

    /// Outputs over input `i`: `o stride + tap - 1 = i`.
    #[inline(always)]
    fn outputs(i: usize, stride: usize, extent: usize) -> Self {
        let mut axis = Axis::default();
        for tap in 0..3 {
            let from = (i + 1).wrapping_sub(tap);
            if from <= i + 1 && from.is_multiple_of(stride) && from / stride < extent {
                axis.push(from / stride, tap);
            }
        }
        axis
    }
}

/// What a destination pixel does with its source pixels.
trait Gather {
    /// Combines the sources of `lanes` channels from `channel` on of pixel `to`. `sources` are pixels with
    /// their position in the window, in ascending row-major order of the position.
    fn pixel<S: Simd>(
        &mut self,
        simd: S,
        to: usize,
        sources: &[(usize, usize)],
        channel: usize,
        lanes: usize,
    );
}

/// One image of a gathering pass.
struct Pass<G> {
    geometry: Geometry,
    gather: G,
    backward: bool,
}

impl<G: Gather> Kernel for Pass<G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let g = self.geometry;
        let (h, w, source_w) = match self.backward {
            true => (g.h, g.w, g.wo()),
            false => (g.ho(), g.wo(), g.w),
        };
        let axis = |at: usize, inputs: usize, outputs: usize| match self.backward {
            true => Axis::outputs(at, g.stride, outputs),
            false => Axis::inputs(at, g.stride, inputs),
        };
        for i in 0..h {
            let rows = axis(i, g.h, g.ho());
            for j in 0..w {
                let columns = axis(j, g.w, g.wo());
                let mut sources = [(0, 0); 9];
                let mut len = 0;
                for r in 0..rows.len {
                    for q in 0..columns.len {
                        let pixel = rows.at[r] * source_w + columns.at[q];
                        sources[len] = (pixel * g.c, 3 * rows.tap[r] + columns.tap[q]);
                        len += 1;
                    }
                }
                let sources = &sources[..len];
                let to = (i * w + j) * g.c;
                let mut channel = 0;
                while channel + LANES <= g.c {
                    self.gather.pixel(simd, to, sources, channel, LANES);
                    channel += LANES;
                }
                if channel < g.c {
                    self.gather.pixel(simd, to, sources, channel, g.c - channel);
                }
            }
        }
    }
}

/// Maximum, and where it came from.
pub(crate) fn max_forward(g: &Geometry, x: &[f32], y: &mut [f32], argmax: Option<&mut [u8]>) {
    let pass = |gather| Pass {
        geometry: *g,
        gather,
        backward: false,
    };
    let pairs = y
        .par_chunks_mut(g.image_out())
        .zip(x.par_chunks(g.image_in()));
    match argmax {
        Some(argmax) => {
            pairs
                .zip(argmax.par_chunks_mut(g.image_out()))
                .for_each(|((y, x), argmax)| {
                    let argmax = Some(argmax);
                    dispatch(pass(Maximum { x, y, argmax }));
                })
        }
        None => pairs.for_each(|(y, x)| {
            let argmax = None;
            dispatch(pass(Maximum { x, y, argmax }));
        }),
    }
}

struct Maximum<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    argmax: Option<&'a mut [u8]>,
}

impl Gather for Maximum<'_> {
    #[inline(always)]
    fn pixel<S: Simd>(
        &mut self,
        simd: S,
        to: usize,
        sources: &[(usize, usize)],
        channel: usize,
        lanes: usize,
    ) {
        let Some((&(from, tap), others)) = sources.split_first() else {
            return;
        };
        let mut best = load(simd, self.x, from + channel, lanes);
        let mut winner = simd.splat(tap as f32);
        for &(from, tap) in others {
            let value = load(simd, self.x, from + channel, lanes);
            let wins = simd.gt_or_nan(value, best);
            best = simd.select(wins, value, best);
            winner = simd.select(wins, simd.splat(tap as f32), winner);
        }
        store(simd, best, self.y, to + channel, lanes);
        if let Some(argmax) = &mut self.argmax {
            let argmax = &mut argmax[to + channel..to + channel + lanes];
            match <&mut [u8; LANES]>::try_from(&mut *argmax) {
                Ok(argmax) => simd.store_bytes(winner, argmax),
                Err(_) => {
                    let mut all = [0; LANES];
                    simd.store_bytes(winner, &mut all);
                    argmax.copy_from_slice(&all[..lanes]);
                }
            }
        }
    }
}

/// Gradient of the maximum.
pub(crate) fn max_backward(
    g: &Geometry,
    dy: &[f32],
    argmax: &[u8],
    dx: &mut [f32],
    acc: Accumulate,
) {
    dx.par_chunks_mut(g.image_in())
        .zip(
            dy.par_chunks(g.image_out())
                .zip(argmax.par_chunks(g.image_out())),
        )
        .for_each(|(dx, (dy, argmax))| {
            dispatch(Pass {
                geometry: *g,
                gather: MaximumGradient {
                    dy,
                    argmax,
                    dx,
                    acc,
                },
                backward: true,
            });
        });
}

struct MaximumGradient<'a> {
    dy: &'a [f32],
    argmax: &'a [u8],
    dx: &'a mut [f32],
    acc: Accumulate,
}

impl Gather for MaximumGradient<'_> {
    #[inline(always)]
    fn pixel<S: Simd>(
        &mut self,
        simd: S,
        to: usize,
        sources: &[(usize, usize)],
        channel: usize,
        lanes: usize,
    ) {
        let mut sum = match self.acc {
            Accumulate::Overwrite => simd.splat(0.0),
            Accumulate::Add => load(simd, self.dx, to + channel, lanes),
        };
        for &(from, tap) in sources {
            let winners = &self.argmax[from + channel..from + channel + lanes];
            let winner = match <&[u8; LANES]>::try_from(winners) {
                Ok(winners) => simd.load_bytes(winners),
                Err(_) => {
                    let mut all = [u8::MAX; LANES];
                    all[..lanes].copy_from_slice(winners);
                    simd.load_bytes(&all)
                }
            };
            let dy = load(simd, self.dy, from + channel, lanes);
            let won = simd.eq(winner, simd.splat(tap as f32));
            sum = simd.add(sum, simd.keep(won, dy));
        }
        store(simd, sum, self.dx, to + channel, lanes);
    }
}

/// Mean, padding counted.
pub(crate) fn avg_forward(g: &Geometry, x: &[f32], y: &mut [f32]) {
    let (from, acc) = (g.image_in(), Accumulate::Overwrite);
    y.par_chunks_mut(g.image_out())
        .zip(x.par_chunks(from))
        .for_each(|(to, from)| {
            dispatch(Pass {
                geometry: *g,
                gather: Ninth { from, to, acc },
                backward: false,
            });
        });
}

/// Gradient of the mean.
pub(crate) fn avg_backward(g: &Geometry, dy: &[f32], dx: &mut [f32], acc: Accumulate) {
    dx.par_chunks_mut(g.image_in())
        .zip(dy.par_chunks(g.image_out()))
        .for_each(|(to, from)| {
            dispatch(Pass {
                geometry: *g,
                gather: Ninth { from, to, acc },
                backward: true,
            });
        });
}

/// A ninth of the sum of the sources.
struct Ninth<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
    acc: Accumulate,
}

impl Gather for Ninth<'_> {
    #[inline(always)]
    fn pixel<S: Simd>(
        &mut self,
        simd: S,
        to: usize,
        sources: &[(usize, usize)],
        channel: usize,
        lanes: usize,
    ) {
        let mut sum = simd.splat(0.0);
        for &(from, _) in sources {
            sum = simd.add(sum, load(simd, self.from, from + channel, lanes));
        }
        let before = match self.acc {
            Accumulate::Overwrite => simd.splat(0.0),
            Accumulate::Add => load(simd, self.to, to + channel, lanes),
        };
        let value = simd.fma(sum, simd.splat(1.0 / 9.0), before);
        store(simd, value, self.to, to + channel, lanes);
    }
}
