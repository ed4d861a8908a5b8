//! Inner kernels of average pooling: one row at a time.

use super::channels::{for_vectors, load, store};
use super::pool::{Run, Taps};
use crate::elementwise::Accumulate;
use crate::simd::{Kernel, Simd};

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
