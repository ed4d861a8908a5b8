//! The register-blocked inner kernel of every dense product.
//!
//! A [`Grid`] is a matrix of outputs, `rows x columns` of them, each a few vectors of channels wide. Output
//! `(r, q)` is the sum over all segments and steps `t` of the *number* `a[r a_row + q a_column + t a_step]`
//! times the *vectors* at `b[t b_step]`. The forward convolution, both its gradients and the 1x1 over several
//! sources differ only in these strides:
//!
//! | product | columns | steps | vectors |
//! |---|---|---|---|
//! | forward | output pixels | taps and input channels | weights |
//! | input gradient | input pixels | taps and output channels | transposed weights |
//! | weight gradient | taps and input channels | pixels | output gradients |
//!
//! For [`Precision::Bf16`] a number is two factors, and so is a lane of a vector: a step adds two products, and there
//! are half as many. The pairs are neighboring channels of a pixel, or neighboring pixels for the weight gradient.
//!
//! A block of outputs (4 columns x 3 vectors with 16 registers, 8 x 3 with 32) stays in registers over all
//! steps: 3 vector loads and 4 broadcasts feed 12 multiply-adds.

use crate::precision::Precision;
use crate::simd::{Kernel, LANES, Simd, dispatch, dispatch_pairs};

/// One contiguous run of steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    /// Number of row 0, column 0, step 0.
    pub(crate) a: *const f32,
    /// Distance between rows.
    pub(crate) a_row: usize,
    /// Distance between columns.
    pub(crate) a_column: usize,
    /// Distance between steps.
    pub(crate) a_step: usize,
    /// Vectors of step 0.
    pub(crate) b: *const f32,
    /// Distance between the vectors of two steps.
    pub(crate) b_step: usize,
    /// Number of steps.
    pub(crate) steps: usize,
}

/// Where sums begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At zero.
    Zero,
    /// At what the output holds.
    Output,
}

/// A matrix of outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid<'a> {
    /// What numbers and vectors are.
    pub(crate) precision: Precision,
    /// What is summed.
    pub(crate) segments: &'a [Segment],
    /// Rows of outputs.
    pub(crate) rows: usize,
    /// Columns of outputs.
    pub(crate) columns: usize,
    /// Channels of an output: at most three vectors, the last perhaps partial.
    pub(crate) channels: usize,
    /// Output of row 0, column 0.
    pub(crate) out: *mut f32,
    /// Distance between rows.
    pub(crate) out_row: usize,
    /// Distance between columns.
    pub(crate) out_column: usize,
    /// Where sums begin.
    pub(crate) start: Start,
}

impl Grid<'_> {
    /// Computes all outputs at the SIMD level in use.
    ///
    /// # Safety
    /// For every row, column and step the number at `a` and the vectors at `b` (whole vectors, also the last)
    /// can be read, the channels at `out` can be read and written, and nothing else touches them meanwhile.
    pub(crate) unsafe fn compute(self) {
        match self.precision {
            Precision::F32 => dispatch(Sound(self, Single)),
            Precision::Bf16 => dispatch_pairs(Sound(self, Pairs)),
        }
    }
}

/// The step of the kernel.
trait Product {
    /// `sum` with the product of a number and a vector.
    fn add<S: Simd>(simd: S, number: S::V, vector: S::V, sum: S::V) -> S::V;
}

/// Lanes are floats.
struct Single;

impl Product for Single {
    #[inline(always)]
    fn add<S: Simd>(simd: S, number: S::V, vector: S::V, sum: S::V) -> S::V {
        simd.fma(number, vector, sum)
    }
}

/// Lanes are pairs of bfloat16.
struct Pairs;

impl Product for Pairs {
    #[inline(always)]
    fn add<S: Simd>(simd: S, number: S::V, vector: S::V, sum: S::V) -> S::V {
        simd.dot_pairs(number, vector, sum)
    }
}

/// A grid whose pointers the caller of [`Grid::compute`] vouched for.
struct Sound<'a, P>(Grid<'a>, P);

impl<P: Product> Kernel for Sound<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.0.channels.div_ceil(LANES) {
            1 => self.columns::<S, 1>(simd, S::COLUMNS[0]),
            2 => self.columns::<S, 2>(simd, S::COLUMNS[1]),
            _ => self.columns::<S, 3>(simd, S::COLUMNS[2]),
        }
    }
}

impl<P: Product> Sound<'_, P> {
    /// Cuts the columns into blocks of at most `largest`.
    #[inline(always)]
    fn columns<S: Simd, const V: usize>(&self, simd: S, largest: usize) {
        for row in 0..self.0.rows {
            let mut column = 0;
            while column < self.0.columns {
                column += match self.0.columns - column {
                    8.. if largest >= 8 => self.block::<S, 8, V>(simd, row, column),
                    // Two and two, not three and one.
                    4 if largest == 3 => self.block::<S, 2, V>(simd, row, column),
                    4.. if largest >= 4 => self.block::<S, 4, V>(simd, row, column),
                    3.. if largest >= 3 => self.block::<S, 3, V>(simd, row, column),
                    2.. if largest >= 2 => self.block::<S, 2, V>(simd, row, column),
                    _ => self.block::<S, 1, V>(simd, row, column),
                };
            }
        }
    }

    /// `Q` columns of one row, `V` vectors each; returns `Q`.
    #[inline(always)]
    fn block<S: Simd, const Q: usize, const V: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
    ) -> usize {
        let tail = self.0.channels - (V - 1) * LANES;
        let mut sums = [[simd.splat(0.0); V]; Q];
        if self.0.start == Start::Output {
            for (p, sums) in sums.iter_mut().enumerate() {
                let out = self.at(row, column + p);
                for (v, sum) in sums.iter_mut().enumerate() {
                    let lanes = if v + 1 == V { tail } else { LANES };
                    // SAFETY: see `compute`: the channels of this output can be read.
                    let from =
                        unsafe { std::slice::from_raw_parts(out.wrapping_add(v * LANES), lanes) };
                    *sum = read(simd, from);
                }
            }
        }
        for segment in self.0.segments {
            // SAFETY: see `compute`: every number and every vector of this block can be read. Pointers advance at
            // most one step beyond the last read, by wrapping arithmetic.
            unsafe {
                let mut a = segment
                    .a
                    .add(row * segment.a_row + column * segment.a_column);
                let mut b = segment.b;
                for _ in 0..segment.steps {
                    let mut vectors = [simd.splat(0.0); V];
                    for (v, vector) in vectors.iter_mut().enumerate() {
                        *vector = simd.load_at(b.wrapping_add(v * LANES));
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let number = simd.splat_at(a.wrapping_add(p * segment.a_column));
                        for (sum, vector) in sums.iter_mut().zip(vectors) {
                            *sum = P::add(simd, number, vector, *sum);
                        }
                    }
                    a = a.wrapping_add(segment.a_step);
                    b = b.wrapping_add(segment.b_step);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            let out = self.at(row, column + p);
            for (v, sum) in sums.iter().enumerate() {
                let lanes = if v + 1 == V { tail } else { LANES };
                // SAFETY: see `compute`: the channels of this output can be written, by this thread alone.
                let to =
                    unsafe { std::slice::from_raw_parts_mut(out.wrapping_add(v * LANES), lanes) };
                match <&mut [f32; LANES]>::try_from(&mut *to) {
                    Ok(to) => simd.store(*sum, to),
                    Err(_) => simd.store_head(*sum, to),
                }
            }
        }
        Q
    }

    /// The first channel of an output.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.0
            .out
            .wrapping_add(row * self.0.out_row + column * self.0.out_column)
    }
}

/// Up to eight numbers.
#[inline(always)]
fn read<S: Simd>(simd: S, from: &[f32]) -> S::V {
    match <&[f32; LANES]>::try_from(from) {
        Ok(from) => simd.load(from),
        Err(_) => simd.load_head(from),
    }
}
