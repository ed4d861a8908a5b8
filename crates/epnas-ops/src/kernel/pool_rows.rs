//! Inner kernels of pooling: one row at a time.

use super::channels::{load, store};
use super::pool::{Run, Taps};
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd};

/// An input row, pooled along its columns: best values and the columns of the window they came from.
pub(crate) struct MaxRow<'a> {
    pub(crate) best: &'a mut [f32],
    pub(crate) tap: &'a mut [f32],
}

/// Runs the body for every vector of `len` floats: `lanes` of them from `at` on. A macro, because a closure
/// would be compiled without the instructions of the kernel around it.
macro_rules! for_vectors {
    ($len:expr, |$at:ident, $lanes:ident| $body:block) => {{
        let len = $len;
        let mut $at = 0;
        while $at + LANES <= len {
            let $lanes = LANES;
            $body
            $at += LANES;
        }
        if $at < len {
            let $lanes = len - $at;
            $body
        }
    }};
}

/// Pools a row along its columns.
pub(crate) struct MaxColumns<'a, 'b> {
    x: &'a [f32],
    runs: &'a [Run],
    row: &'a mut MaxRow<'b>,
    len: usize,
}

impl<'a, 'b> MaxColumns<'a, 'b> {
    pub(crate) fn new(x: &'a [f32], runs: &'a [Run], row: &'a mut MaxRow<'b>, len: usize) -> Self {
        MaxColumns { x, runs, row, len }
    }
}

impl Kernel for MaxColumns<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (best_row, tap_row) = (
            &mut self.row.best[..self.len],
            &mut self.row.tap[..self.len],
        );
        for run in self.runs {
            let mut sources = [(&self.x[..0], 0); 3];
            for (source, (at, tap)) in sources.iter_mut().zip(run.taps.iter()) {
                *source = (&self.x[at..at + run.len], tap);
            }
            let (first, others) = (sources[0], &sources[1..run.taps.len]);
            let best_run = &mut best_row[run.to..run.to + run.len];
            let tap_run = &mut tap_row[run.to..run.to + run.len];
            for_vectors!(run.len, |at, lanes| {
                let mut best = load(simd, first.0, at, lanes);
                let mut winner = simd.splat(first.1 as f32);
                for &(source, tap) in others {
                    let value = load(simd, source, at, lanes);
                    let wins = simd.gt_or_nan(value, best);
                    best = simd.select(wins, value, best);
                    winner = simd.select(wins, simd.splat(tap as f32), winner);
                }
                store(simd, best, best_run, at, lanes);
                store(simd, winner, tap_run, at, lanes);
            });
        }
    }
}

/// Pools up to three pooled rows into a row of the output.
pub(crate) struct MaxRows<'a, 'b> {
    slots: &'a [MaxRow<'b>],
    taps: Taps,
    y: &'a mut [f32],
    argmax: Option<&'a mut [u8]>,
}

impl<'a, 'b> MaxRows<'a, 'b> {
    pub(crate) fn new(
        slots: &'a [MaxRow<'b>],
        taps: Taps,
        y: &'a mut [f32],
        argmax: Option<&'a mut [u8]>,
    ) -> Self {
        MaxRows {
            slots,
            taps,
            y,
            argmax,
        }
    }
}

impl Kernel for MaxRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let len = self.y.len();
        let rows = self.taps.at.map(|i| {
            (
                &self.slots[i % 3].best[..len],
                &self.slots[i % 3].tap[..len],
            )
        });
        let base = self.taps.tap.map(|tap| (3 * tap) as f32);
        for_vectors!(len, |at, lanes| {
            let mut best = load(simd, rows[0].0, at, lanes);
            let mut winner = simd.add(load(simd, rows[0].1, at, lanes), simd.splat(base[0]));
            for r in 1..self.taps.len {
                let value = load(simd, rows[r].0, at, lanes);
                let tap = simd.add(load(simd, rows[r].1, at, lanes), simd.splat(base[r]));
                let wins = simd.gt_or_nan(value, best);
                best = simd.select(wins, value, best);
                winner = simd.select(wins, tap, winner);
            }
            store(simd, best, self.y, at, lanes);
            if let Some(argmax) = &mut self.argmax {
                let argmax = &mut argmax[at..at + lanes];
                match <&mut [u8; LANES]>::try_from(&mut *argmax) {
                    Ok(argmax) => simd.store_bytes(winner, argmax),
                    Err(_) => {
                        let mut all = [0; LANES];
                        simd.store_bytes(winner, &mut all);
                        argmax.copy_from_slice(&all[..lanes]);
                    }
                }
            }
        });
    }
}

/// `lanes` numbers at `at`, the other lanes 0, without a check: nine pairs of them make a vector of the
/// gradient.
///
/// # Safety
/// `at + lanes` is at most the length.
#[inline(always)]
unsafe fn load_within<S: Simd>(simd: S, from: &[f32], at: usize, lanes: usize) -> S::V {
    if lanes == LANES {
        // SAFETY: the caller vouches for eight numbers at `at`.
        unsafe { simd.load_at(from.as_ptr().wrapping_add(at)) }
    } else {
        load(simd, from, at, lanes)
    }
}

/// Turns bytes into numbers.
pub(crate) struct Numbers<'a> {
    bytes: &'a [u8],
    numbers: &'a mut [f32],
}

impl<'a> Numbers<'a> {
    /// `numbers` may be longer.
    pub(crate) fn new(bytes: &'a [u8], numbers: &'a mut [f32]) -> Self {
        Numbers { bytes, numbers }
    }
}

impl Kernel for Numbers<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (whole, rest) = self.bytes.as_chunks::<LANES>();
        let (numbers, tail) = self.numbers[..self.bytes.len()].as_chunks_mut::<LANES>();
        for (number, bytes) in numbers.iter_mut().zip(whole) {
            simd.store(simd.load_bytes(bytes), number);
        }
        for (number, &byte) in tail.iter_mut().zip(rest) {
            *number = f32::from(byte);
        }
    }
}

/// A row of the maximum's input gradient.
pub(crate) struct MaxGradient<'a> {
    dy: &'a [f32],
    winners: &'a [&'a mut [f32]],
    row: usize,
    taps: Taps,
    runs: &'a [Run],
    dx: &'a mut [f32],
    acc: Accumulate,
}

impl<'a> MaxGradient<'a> {
    pub(crate) fn new(
        dy: &'a [f32],
        winners: &'a [&'a mut [f32]],
        row: usize,
        taps: Taps,
        runs: &'a [Run],
        dx: &'a mut [f32],
        acc: Accumulate,
    ) -> Self {
        MaxGradient {
            dy,
            winners,
            row,
            taps,
            runs,
            dx,
            acc,
        }
    }

    /// One run, all of whose pixels have `N` windows; the sources are as long as the run.
    #[inline(always)]
    fn windows<S: Simd, const N: usize>(&mut self, simd: S, run: &Run, sources: &[Window<'_>; 9]) {
        let dx = &mut self.dx[run.to..run.to + run.len];
        let taps: [f32; N] = std::array::from_fn(|i| sources[i].tap);
        for_vectors!(run.len, |at, lanes| {
            let mut sum = match self.acc {
                Accumulate::Overwrite => simd.splat(0.0),
                Accumulate::Add => load(simd, dx, at, lanes),
            };
            for i in 0..N {
                // SAFETY: both slices are as long as the run, which `at + lanes` does not exceed.
                let (winner, dy) = unsafe {
                    (
                        load_within(simd, sources[i].winners, at, lanes),
                        load_within(simd, sources[i].dy, at, lanes),
                    )
                };
                sum = simd.add(sum, simd.keep(simd.eq(winner, simd.splat(taps[i])), dy));
            }
            store(simd, sum, dx, at, lanes);
        });
    }
}

/// The output pixels that see a run of input pixels at one position of their window.
#[derive(Clone, Copy, Default)]
struct Window<'a> {
    dy: &'a [f32],
    winners: &'a [f32],
    tap: f32,
}

impl Kernel for MaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for run in self.runs {
            let (dy, winners) = (self.dy, self.winners);
            let mut sources = [Window::default(); 9];
            let mut len = 0;
            for (o, u) in self.taps.iter() {
                for (at, v) in run.taps.iter() {
                    sources[len] = Window {
                        dy: &dy[o * self.row + at..][..run.len],
                        winners: &winners[o % 3][at..at + run.len],
                        tap: (3 * u + v) as f32,
                    };
                    len += 1;
                }
            }
            match len {
                9 => self.windows::<S, 9>(simd, run, &sources),
                6 => self.windows::<S, 6>(simd, run, &sources),
                4 => self.windows::<S, 4>(simd, run, &sources),
                3 => self.windows::<S, 3>(simd, run, &sources),
                2 => self.windows::<S, 2>(simd, run, &sources),
                1 => self.windows::<S, 1>(simd, run, &sources),
                _ => self.windows::<S, 0>(simd, run, &sources),
            }
        }
    }
}

/// Sums a row along its columns.
pub(crate) struct AvgRow<'a> {
    x: &'a [f32],
    runs: &'a [Run],
    sums: &'a mut [f32],
}

impl<'a> AvgRow<'a> {
    pub(crate) fn new(x: &'a [f32], runs: &'a [Run], sums: &'a mut [f32]) -> Self {
        AvgRow { x, runs, sums }
    }
}

impl Kernel for AvgRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for run in self.runs {
            let sums = &mut self.sums[run.to..run.to + run.len];
            let source = |i: usize| &self.x[run.taps.at[i]..][..run.len];
            match run.taps.len {
                3 => {
                    let (a, b, c) = (source(0), source(1), source(2));
                    for_vectors!(run.len, |at, lanes| {
                        let ab = simd.add(load(simd, a, at, lanes), load(simd, b, at, lanes));
                        store(
                            simd,
                            simd.add(ab, load(simd, c, at, lanes)),
                            sums,
                            at,
                            lanes,
                        );
                    });
                }
                2 => {
                    let (a, b) = (source(0), source(1));
                    for_vectors!(run.len, |at, lanes| {
                        let ab = simd.add(load(simd, a, at, lanes), load(simd, b, at, lanes));
                        store(simd, ab, sums, at, lanes);
                    });
                }
                1 => sums.copy_from_slice(source(0)),
                _ => sums.fill(0.0),
            }
        }
    }
}

/// A ninth of the sum of up to three rows.
pub(crate) struct Ninth<'a> {
    slots: &'a [&'a mut [f32]],
    taps: Taps,
    to: &'a mut [f32],
    acc: Accumulate,
}

impl<'a> Ninth<'a> {
    pub(crate) fn new(
        slots: &'a [&'a mut [f32]],
        taps: Taps,
        to: &'a mut [f32],
        acc: Accumulate,
    ) -> Self {
        Ninth {
            slots,
            taps,
            to,
            acc,
        }
    }
}

impl Kernel for Ninth<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let len = self.to.len();
        let rows = self.taps.at.map(|i| &self.slots[i % 3][..len]);
        let ninth = simd.splat(1.0 / 9.0);
        for_vectors!(len, |at, lanes| {
            let mut sum = simd.splat(0.0);
            for row in &rows[..self.taps.len] {
                sum = simd.add(sum, load(simd, row, at, lanes));
            }
            let before = match self.acc {
                Accumulate::Overwrite => simd.splat(0.0),
                Accumulate::Add => load(simd, self.to, at, lanes),
            };
            store(simd, simd.fma(sum, ninth, before), self.to, at, lanes);
        });
    }
}
