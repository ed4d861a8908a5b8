//! Element by element.

use rayon::prelude::*;

use crate::elementwise::Accumulate;

/// Elements per parallel task.
const CHUNK: usize = 1 << 15;

/// `y = a + b`.
pub(crate) fn add(a: &[f32], b: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK))
        .for_each(|((y, a), b)| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        });
}

/// `dst = src` or `dst += src`.
pub(crate) fn accumulate(src: &[f32], dst: &mut [f32], acc: Accumulate) {
    dst.par_chunks_mut(CHUNK)
        .zip(src.par_chunks(CHUNK))
        .for_each(|(dst, src)| match acc {
            Accumulate::Overwrite => dst.copy_from_slice(src),
            Accumulate::Add => {
                for (dst, src) in dst.iter_mut().zip(src) {
                    *dst += src;
                }
            }
        });
}
