//! Reference for operators that are sums of products `x w`: a list of all terms, in no clever order.

use crate::harness::{Bounded, UNIT};

/// `y[t.y] += x[t.x] w[t.w]` over all terms.
pub(crate) struct Bilinear {
    pub(crate) x: usize,
    pub(crate) w: usize,
    pub(crate) y: usize,
    pub(crate) terms: Vec<Term>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Term {
    pub(crate) x: usize,
    pub(crate) w: usize,
    pub(crate) y: usize,
}

impl Bilinear {
    /// Output.
    pub(crate) fn forward(&self, x: &[f64], w: &[f64]) -> Vec<Bounded> {
        self.sum(self.y, |t| (t.y, x[t.x] * w[t.w]))
    }

    /// Gradient with respect to `x`.
    pub(crate) fn backward_x(&self, dy: &[f64], w: &[f64]) -> Vec<Bounded> {
        self.sum(self.x, |t| (t.x, dy[t.y] * w[t.w]))
    }

    /// Gradient with respect to `w`.
    pub(crate) fn backward_w(&self, x: &[f64], dy: &[f64]) -> Vec<Bounded> {
        self.sum(self.w, |t| (t.w, x[t.x] * dy[t.y]))
    }

    /// Sums in `f64`; the bound is that of a sum of `m` products in `f32` in any order, `(m + 2) u` times the
    /// sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    fn sum(&self, len: usize, term: impl Fn(&Term) -> (usize, f64)) -> Vec<Bounded> {
        let mut sums = vec![(0.0, 0.0, 0.0); len];
        for t in &self.terms {
            let (to, product) = term(t);
            sums[to].0 += product;
            sums[to].1 += product.abs();
            sums[to].2 += 1.0;
        }
        sums.into_iter()
            .map(|(value, magnitude, count)| Bounded {
                value,
                bound: (count + 2.0) * UNIT * magnitude + 1e-37,
            })
            .collect()
    }
}

/// Positions of an image tensor `[n, h, w, c]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
}

impl Images {
    pub(crate) fn len(self) -> usize {
        self.n * self.h * self.w * self.c
    }

    pub(crate) fn shape(self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// After a window of some stride.
    pub(crate) fn strided(self, stride: usize, c: usize) -> Images {
        Images {
            h: self.h.div_ceil(stride),
            w: self.w.div_ceil(stride),
            c,
            ..self
        }
    }

    pub(crate) fn at(self, n: usize, i: usize, j: usize, c: usize) -> usize {
        ((n * self.h + i) * self.w + j) * self.c + c
    }

    /// Position of a signed row and column, if inside.
    pub(crate) fn inside(self, n: usize, i: isize, j: isize, c: usize) -> Option<usize> {
        let i = usize::try_from(i).ok().filter(|&i| i < self.h)?;
        let j = usize::try_from(j).ok().filter(|&j| j < self.w)?;
        Some(self.at(n, i, j, c))
    }
}

/// Calls `visit(n, i, j, u, v, row, column)` for every output pixel and tap of a window with padding
/// `kernel / 2`.
pub(crate) fn windows(
    output: Images,
    kernel: usize,
    stride: usize,
    mut visit: impl FnMut(usize, usize, usize, usize, usize, isize, isize),
) {
    for n in 0..output.n {
        for i in 0..output.h {
            for j in 0..output.w {
                for u in 0..kernel {
                    for v in 0..kernel {
                        let row = (i * stride + u) as isize - (kernel / 2) as isize;
                        let column = (j * stride + v) as isize - (kernel / 2) as isize;
                        visit(n, i, j, u, v, row, column);
                    }
                }
            }
        }
    }
}

/// Dense convolution.
pub(crate) fn conv(x: Images, co: usize, kernel: usize, stride: usize) -> Bilinear {
    let y = x.strided(stride, co);
    let mut terms = Vec::new();
    windows(y, kernel, stride, |n, i, j, u, v, row, column| {
        for c in 0..x.c {
            let Some(from) = x.inside(n, row, column, c) else {
                return;
            };
            for o in 0..co {
                terms.push(Term {
                    x: from,
                    w: ((u * kernel + v) * x.c + c) * co + o,
                    y: y.at(n, i, j, o),
                });
            }
        }
    });
    Bilinear {
        x: x.len(),
        w: kernel * kernel * x.c * co,
        y: y.len(),
        terms,
    }
}

/// Depthwise convolution.
pub(crate) fn depthwise(x: Images, kernel: usize, stride: usize) -> Bilinear {
    let y = x.strided(stride, x.c);
    let mut terms = Vec::new();
    windows(y, kernel, stride, |n, i, j, u, v, row, column| {
        for c in 0..x.c {
            let Some(from) = x.inside(n, row, column, c) else {
                return;
            };
            terms.push(Term {
                x: from,
                w: (u * kernel + v) * x.c + c,
                y: y.at(n, i, j, c),
            });
        }
    });
    Bilinear {
        x: x.len(),
        w: kernel * kernel * x.c,
        y: y.len(),
        terms,
    }
}

/// Average pooling: the one weight is 1/9.
pub(crate) fn avg_pool(x: Images, stride: usize) -> Bilinear {
    let y = x.strided(stride, x.c);
    let mut terms = Vec::new();
    windows(y, 3, stride, |n, i, j, _, _, row, column| {
        for c in 0..x.c {
            let Some(from) = x.inside(n, row, column, c) else {
                return;
            };
            terms.push(Term {
                x: from,
                w: 0,
                y: y.at(n, i, j, c),
            });
        }
    });
    Bilinear {
        x: x.len(),
        w: 1,
        y: y.len(),
        terms,
    }
}

/// Factorized reduction; `w` is the first half's weight followed by the second's.
pub(crate) fn factorized(x: Images, co: usize) -> Bilinear {
    let y = x.strided(2, co);
    let half = co.div_ceil(2);
    let mut terms = Vec::new();
    for n in 0..y.n {
        for i in 0..y.h {
            for j in 0..y.w {
                for o in 0..co {
                    let odd = usize::from(o >= half);
                    let (row, column) = (2 * i + odd, 2 * j + odd);
                    if row >= x.h || column >= x.w {
                        continue;
                    }
                    for c in 0..x.c {
                        let w = match odd {
                            0 => c * half + o,
                            _ => x.c * half + c * (co - half) + o - half,
                        };
                        terms.push(Term {
                            x: x.at(n, row, column, c),
                            w,
                            y: y.at(n, i, j, o),
                        });
                    }
                }
            }
        }
    }
    Bilinear {
        x: x.len(),
        w: x.c * co,
        y: y.len(),
        terms,
    }
}
