//! Element by element.

use rayon::prelude::*;

use super::images::{Form, Images};
use super::padded::{Border, Extent};
use crate::elementwise::Accumulate;
use crate::scratch;

/// Elements per parallel task.
const CHUNK: usize = 1 << 15;

/// What is added: images, and a factor of each.
pub(crate) type Summand<'a> = (Images<'a>, Option<&'a [f32]>);

/// `y = sum of terms`, image by image.
pub(crate) fn sum(terms: &[Summand], extent: Extent, y: &mut [f32]) {
    let border = Border::default();
    let room = terms
        .iter()
        .map(|(x, _)| x.room(extent, border, Form::Floats(extent.c)));
    let room = room.max().unwrap_or(0);
    y.par_chunks_mut(extent.len())
        .enumerate()
        .for_each(|(n, y)| {
            scratch::with(room, |room| {
                for (index, (x, factors)) in terms.iter().enumerate() {
                    let x = x.read(n, extent, border, Form::Floats(extent.c), room);
                    let acc = if index == 0 {
                        Accumulate::Overwrite
                    } else {
                        Accumulate::Add
                    };
                    match factors {
                        Some(factors) => add_scaled_to(x, factors[n], y, acc),
                        None => add_to(x, y, acc),
                    }
                }
            });
        });
}

/// `dst = src` or `dst += src`.
pub(crate) fn accumulate(src: &[f32], dst: &mut [f32], acc: Accumulate) {
    dst.par_chunks_mut(CHUNK)
        .zip(src.par_chunks(CHUNK))
        .for_each(|(dst, src)| add_to(src, dst, acc));
}

/// `dst = factors src` or `dst += factors src`, a factor per image.
pub(crate) fn accumulate_scaled(src: &[f32], factors: &[f32], dst: &mut [f32], acc: Accumulate) {
    let len = src.len() / factors.len();
    dst.par_chunks_mut(len)
        .zip(src.par_chunks(len))
        .zip(factors)
        .for_each(|((dst, src), &factor)| add_scaled_to(src, factor, dst, acc));
}

/// Mixes every image with the one as far from the end.
pub(crate) fn mix_with_reverse(x: &mut [f32], n: usize, share: f32) {
    let len = x.len() / n;
    let (front, back) = x.split_at_mut(n / 2 * len);
    front
        .par_chunks_mut(len)
        .zip(back.par_rchunks_mut(len))
        .for_each(|(first, second)| {
            for (a, b) in first.iter_mut().zip(second) {
                (*a, *b) = (
                    share * *a + (1.0 - share) * *b,
                    share * *b + (1.0 - share) * *a,
                );
            }
        });
}

fn add_to(src: &[f32], dst: &mut [f32], acc: Accumulate) {
    match acc {
        Accumulate::Overwrite => dst.copy_from_slice(src),
        Accumulate::Add => {
            for (dst, src) in dst.iter_mut().zip(src) {
                *dst += src;
            }
        }
    }
}

fn add_scaled_to(src: &[f32], factor: f32, dst: &mut [f32], acc: Accumulate) {
    let pairs = dst.iter_mut().zip(src);
    match acc {
        Accumulate::Overwrite => pairs.for_each(|(dst, src)| *dst = factor * src),
        Accumulate::Add => pairs.for_each(|(dst, src)| *dst += factor * src),
    }
}
