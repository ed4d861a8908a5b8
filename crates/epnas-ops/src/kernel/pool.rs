//! 3x3 pooling.

use rayon::prelude::*;

use crate::elementwise::Accumulate;

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

    /// Input pixels under output pixel `o`: (position in window, pixel).
    fn window(self, o: usize) -> impl Iterator<Item = (u8, usize)> {
        let (i, j) = (o / self.wo() * self.stride, o % self.wo() * self.stride);
        (0..9u8).filter_map(move |t| {
            let i = (i + usize::from(t / 3))
                .checked_sub(1)
                .filter(|&i| i < self.h)?;
            let j = (j + usize::from(t % 3))
                .checked_sub(1)
                .filter(|&j| j < self.w)?;
            Some((t, i * self.w + j))
        })
    }
}

/// Maximum, and where it came from.
pub(crate) fn max_forward(g: &Geometry, x: &[f32], y: &mut [f32], argmax: Option<&mut [u8]>) {
    let image = |x: &[f32], y: &mut [f32], mut argmax: Option<&mut [u8]>| {
        for o in 0..g.ho() * g.wo() {
            for c in 0..g.c {
                let mut best = None;
                for (t, p) in g.window(o) {
                    let value = x[p * g.c + c];
                    if best.is_none_or(|(b, _)| value > b || value.is_nan()) {
                        best = Some((value, t));
                    }
                }
                if let Some((value, t)) = best {
                    y[o * g.c + c] = value;
                    if let Some(argmax) = &mut argmax {
                        argmax[o * g.c + c] = t;
                    }
                }
            }
        }
    };
    let pairs = y
        .par_chunks_mut(g.image_out())
        .zip(x.par_chunks(g.image_in()));
    match argmax {
        Some(argmax) => pairs
            .zip(argmax.par_chunks_mut(g.image_out()))
            .for_each(|((y, x), argmax)| image(x, y, Some(argmax))),
        None => pairs.for_each(|(y, x)| image(x, y, None)),
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
        .zip(dy.par_chunks(g.image_out()))
        .zip(argmax.par_chunks(g.image_out()))
        .for_each(|((dx, dy), argmax)| {
            if acc == Accumulate::Overwrite {
                dx.fill(0.0);
            }
            for o in 0..g.ho() * g.wo() {
                for (t, p) in g.window(o) {
                    for c in 0..g.c {
                        if argmax[o * g.c + c] == t {
                            dx[p * g.c + c] += dy[o * g.c + c];
                        }
                    }
                }
            }
        });
}

/// Mean, padding counted.
pub(crate) fn avg_forward(g: &Geometry, x: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(g.image_out())
        .zip(x.par_chunks(g.image_in()))
        .for_each(|(y, x)| {
            y.fill(0.0);
            for o in 0..g.ho() * g.wo() {
                for (_, p) in g.window(o) {
                    for c in 0..g.c {
                        y[o * g.c + c] += x[p * g.c + c] / 9.0;
                    }
                }
            }
        });
}

/// Gradient of the mean.
pub(crate) fn avg_backward(g: &Geometry, dy: &[f32], dx: &mut [f32], acc: Accumulate) {
    dx.par_chunks_mut(g.image_in())
        .zip(dy.par_chunks(g.image_out()))
        .for_each(|(dx, dy)| {
            if acc == Accumulate::Overwrite {
                dx.fill(0.0);
            }
            for o in 0..g.ho() * g.wo() {
                for (_, p) in g.window(o) {
                    for c in 0..g.c {
                        dx[p * g.c + c] += dy[o * g.c + c] / 9.0;
                    }
                }
            }
        });
}
