//! Sixteen architectures side by side, and the one matrix product everything is made of.
//!
//! Activations are kept as one [`Lane`] per feature: feature `j` of 16 architectures is one
//! contiguous block, so that any layer width runs in whole vectors, without padding. A sum always
//! runs over its terms one by one, in order, each lane for itself: an architecture's result does
//! not depend on its neighbors, on the number of threads or on the width of the CPU's vectors
//! (multiplications and additions are never contracted).

/// How many architectures are computed side by side.
pub(crate) const LANES: usize = 16;

/// One number for each of [`LANES`] architectures (or one row of 16 columns of a matrix).
pub(crate) type Lane = [f32; LANES];

/// All zero.
pub(crate) const ZERO: Lane = [0.0; LANES];

/// Runs a kernel compiled for the vector instructions of this CPU.
///
/// The kernel must be `#[inline(always)]` throughout.
#[inline(always)]
pub(crate) fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// `out[m] += sum_k weights[m][k] * input[k]` for every lane: `weights` is `[out.len()][input.len()]`,
/// row by row.
pub(crate) fn multiply_add(weights: &[f32], input: &[Lane], out: &mut [Lane]) {
    vectorized(
        #[inline(always)]
        || multiply_add_portable(weights, input, out),
    );
}

/// [`multiply_add`] for the instructions it is compiled with.
#[inline(always)]
pub(crate) fn multiply_add_portable(weights: &[f32], input: &[Lane], out: &mut [Lane]) {
    debug_assert_eq!(weights.len(), input.len() * out.len());
    let columns = input.len();
    // Four rows at a time: their 8 sums (of 8 numbers) and the input fit the 16 vector registers.
    let (blocks, rest) = out.as_chunks_mut::<4>();
    for (block, rows) in blocks.iter_mut().zip(weights.chunks_exact(4 * columns)) {
        let (ab, cd) = rows.split_at(2 * columns);
        let ((a, b), (c, d)) = (ab.split_at(columns), cd.split_at(columns));
        let [mut sa, mut sb, mut sc, mut sd] = *block;
        for ((((x, a), b), c), d) in input.iter().zip(a).zip(b).zip(c).zip(d) {
            for lane in 0..LANES {
                sa[lane] += a * x[lane];
                sb[lane] += b * x[lane];
                sc[lane] += c * x[lane];
                sd[lane] += d * x[lane];
            }
        }
        *block = [sa, sb, sc, sd];
    }
    let done = weights.len() - rest.len() * columns;
    for (row, weights) in rest.iter_mut().zip(weights[done..].chunks_exact(columns)) {
        for (x, w) in input.iter().zip(weights) {
            for lane in 0..LANES {
                row[lane] += w * x[lane];
            }
        }
    }
}

/// Sets `out[m]` to `bias[m] + sum_k weights[m][k] * input[k]` for every lane.
pub(crate) fn affine(bias: &[f32], weights: &[f32], input: &[Lane], out: &mut [Lane]) {
    for (out, &bias) in out.iter_mut().zip(bias) {
        *out = [bias; LANES];
    }
    multiply_add(weights, input, out);
}

/// The transpose of `matrix`, `[rows][columns]`, into `out`, `[columns][rows]`.
pub(crate) fn transpose(matrix: &[f32], columns: usize, out: &mut [f32]) {
    const TILE: usize = 16;
    let rows = matrix.len() / columns;
    for row0 in (0..rows).step_by(TILE) {
        for column0 in (0..columns).step_by(TILE) {
            for column in column0..(column0 + TILE).min(columns) {
                for row in row0..(row0 + TILE).min(rows) {
                    out[column * rows + row] = matrix[row * columns + column];
                }
            }
        }
    }
}
