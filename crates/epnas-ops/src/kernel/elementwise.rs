//! Element by element.

use rayon::prelude::*;

use super::images::{Form, Images};
use super::padded::{Border, Extent};
use crate::elementwise::Accumulate;
use crate::scratch;

/// Elements per parallel task.
const CHUNK: usize = 1 << 15;

/// `y = sum of inputs`, image by image.
pub(crate) fn sum(inputs: &[Images], extent: Extent, y: &mut [f32]) {
    let border = Border::default();
    let room = inputs
        .iter()
        .map(|x| x.room(extent, border, Form::Floats(extent.c)));
    let room = room.max().unwrap_or(0);
    y.par_chunks_mut(extent.len())
        .enumerate()
        .for_each(|(n, y)| {
            scratch::with(room, |room| {
                for (index, x) in inputs.iter().enumerate() {
                    let x = x.read(n, extent, border, Form::Floats(extent.c), room);
                    add_to(
                        x,
                        y,
                        if index == 0 {
                            Accumulate::Overwrite
                        } else {
                            Accumulate::Add
                        },
                    );
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
