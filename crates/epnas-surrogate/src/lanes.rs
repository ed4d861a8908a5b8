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

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n)
            .map(|i| ((i as f32 + 0.5) * (1.3 + seed)).sin())
            .collect()
    }

    fn lanes(n: usize, seed: f32) -> Vec<Lane> {
        numbers(n * LANES, seed).as_chunks::<LANES>().0.to_vec()
    }

    /// Against sums in f64, and the vector version bit for bit against the portable one, for row
    /// counts with and without a rest.
    #[test]
    fn products_are_exact_and_the_same_for_every_instruction_set() {
        for (rows, columns) in [(1, 1), (3, 7), (4, 17), (9, 100), (400, 100)] {
            let weights = numbers(rows * columns, 0.1);
            let input = lanes(columns, 0.2);
            let start = lanes(rows, 0.3);
            let (mut vector, mut portable) = (start.clone(), start.clone());
            multiply_add(&weights, &input, &mut vector);
            multiply_add_portable(&weights, &input, &mut portable);
            assert_eq!(vector, portable, "{rows} x {columns}");
            for row in 0..rows {
                for lane in 0..LANES {
                    let terms = (0..columns)
                        .map(|k| f64::from(weights[row * columns + k]) * f64::from(input[k][lane]));
                    let want = f64::from(start[row][lane]) + terms.sum::<f64>();
                    assert!((f64::from(vector[row][lane]) - want).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn transposes() {
        let matrix = numbers(35 * 18, 0.0);
        let mut out = vec![0.0; matrix.len()];
        transpose(&matrix, 18, &mut out);
        for row in 0..35 {
            for column in 0..18 {
                assert_eq!(out[column * 35 + row], matrix[row * 18 + column]);
            }
        }
    }
}
