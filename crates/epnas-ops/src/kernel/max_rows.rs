//! Inner kernels of max pooling: one row at a time.

use super::channels::{for_vectors, load, load_within, store};
use super::pool::{Run, Taps};
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, LANES, Simd};

/// An input row, pooled along its columns: best values and the columns of the window they came from.
pub(crate) struct MaxRow<'a> {
    pub(crate) best: &'a mut [f32],
    pub(crate) tap: &'a mut [f32],
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
