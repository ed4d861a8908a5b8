//! Two shifted 1x1 convolutions of stride 2.

use crate::elementwise::Accumulate;

/// Extents of one factorized reduction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) ci: usize,
    pub(crate) co: usize,
}

impl Geometry {
    fn taps(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let (ho, wo) = (self.h.div_ceil(2), self.w.div_ceil(2));
        (0..self.n * ho * wo).flat_map(move |o| {
            let (n, i, j) = (o / (ho * wo), o / wo % ho, o % wo);
            (0..2).filter_map(move |half| {
                let (i, j) = (2 * i + half, 2 * j + half);
                (i < self.h && j < self.w).then_some((o, half, (n * self.h + i) * self.w + j))
            })
        })
    }
}

/// Forward.
pub(crate) fn forward(g: &Geometry, x: &[f32], w0: &[f32], w1: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    let c0 = g.co.div_ceil(2);
    for (o, half, p) in g.taps() {
        let (w, y) = if half == 0 {
            (w0, &mut y[o * g.co..o * g.co + c0])
        } else {
            (w1, &mut y[o * g.co + c0..(o + 1) * g.co])
        };
        for (x, w) in x[p * g.ci..][..g.ci].iter().zip(w.chunks_exact(y.len())) {
            for (y, w) in y.iter_mut().zip(w) {
                *y += x * w;
            }
        }
    }
}

/// Gradient with respect to the input.
pub(crate) fn backward_input(
    g: &Geometry,
    dy: &[f32],
    w0: &[f32],
    w1: &[f32],
    dx: &mut [f32],
    acc: Accumulate,
) {
    if acc == Accumulate::Overwrite {
        dx.fill(0.0);
    }
    let c0 = g.co.div_ceil(2);
    for (o, half, p) in g.taps() {
        let (w, dy) = if half == 0 {
            (w0, &dy[o * g.co..o * g.co + c0])
        } else {
            (w1, &dy[o * g.co + c0..(o + 1) * g.co])
        };
        for (dx, w) in dx[p * g.ci..][..g.ci]
            .iter_mut()
            .zip(w.chunks_exact(dy.len()))
        {
            *dx += dy.iter().zip(w).map(|(a, b)| a * b).sum::<f32>();
        }
    }
}

/// Gradients with respect to the weights.
pub(crate) fn backward_weight(
    g: &Geometry,
    x: &[f32],
    dy: &[f32],
    dw0: &mut [f32],
    dw1: &mut [f32],
) {
    dw0.fill(0.0);
    dw1.fill(0.0);
    let c0 = g.co.div_ceil(2);
    for (o, half, p) in g.taps() {
        let (dw, dy) = if half == 0 {
            (&mut *dw0, &dy[o * g.co..o * g.co + c0])
        } else {
            (&mut *dw1, &dy[o * g.co + c0..(o + 1) * g.co])
        };
        for (x, dw) in x[p * g.ci..][..g.ci]
            .iter()
            .zip(dw.chunks_exact_mut(dy.len()))
        {
            for (dw, dy) in dw.iter_mut().zip(dy) {
                *dw += x * dy;
            }
        }
    }
}
