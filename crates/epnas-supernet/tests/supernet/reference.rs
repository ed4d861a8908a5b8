//! A plain evaluation of a network graph in f64, written from the definitions: no plan, no shared buffers, nothing of
//! the operators under test.

use std::collections::BTreeMap;

use epnas_arch::{Activation, Network, NodeKind, Param, PoolKind};
use epnas_supernet::WeightStore;

/// Values by path.
pub(crate) type Values = BTreeMap<String, Vec<f64>>;

/// `[batch, height, width, channels]`, row-major.
#[derive(Clone)]
struct Map {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    values: Vec<f64>,
}

impl Map {
    fn zeros(n: usize, h: usize, w: usize, c: usize) -> Map {
        Map {
            n,
            h,
            w,
            c,
            values: vec![0.0; n * h * w * c],
        }
    }

    fn place(&self, n: usize, y: usize, x: usize, c: usize) -> usize {
        ((n * self.h + y) * self.w + x) * self.c + c
    }

    /// The value at a pixel that may lie outside, where it is `None`.
    fn at(&self, n: usize, y: isize, x: isize, c: usize) -> Option<f64> {
        let inside = (0..self.h as isize).contains(&y) && (0..self.w as isize).contains(&x);
        inside.then(|| self.values[self.place(n, y as usize, x as usize, c)])
    }

    /// A map of the same batch where every value is computed from its position.
    fn compute(
        &self,
        stride: usize,
        channels: usize,
        f: impl Fn(usize, usize, usize, usize) -> f64,
    ) -> Map {
        let mut out = Map::zeros(
            self.n,
            self.h.div_ceil(stride),
            self.w.div_ceil(stride),
            channels,
        );
        for n in 0..out.n {
            for y in 0..out.h {
                for x in 0..out.w {
                    for c in 0..channels {
                        let place = out.place(n, y, x, c);
                        out.values[place] = f(n, y, x, c);
                    }
                }
            }
        }
        out
    }
}

/// Which statistics batch norm uses.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Norm {
    Batch,
    Running,
}

pub(crate) struct Outcome {
    /// `[batch, classes]`.
    pub(crate) logits: Vec<f64>,
    /// Sum over the batch, an auxiliary head's included.
    pub(crate) loss: f64,
    /// Without it.
    pub(crate) own_loss: f64,
    /// The batch's mean and unbiased variance by the path of the running statistic.
    pub(crate) statistics: Values,
}

/// All weights of a store in f64.
pub(crate) fn values(store: &WeightStore) -> Values {
    store
        .iter()
        .map(|(path, tensor)| {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            (path.to_owned(), values.into_iter().map(f64::from).collect())
        })
        .collect()
}

fn conv(x: &Map, weight: &[f64], kernel: usize, stride: usize, co: usize) -> Map {
    let pad = (kernel / 2) as isize;
    x.compute(stride, co, |n, y, px, o| {
        let mut sum = 0.0;
        for ky in 0..kernel {
            for kx in 0..kernel {
                let sy = (y * stride + ky) as isize - pad;
                let sx = (px * stride + kx) as isize - pad;
                for i in 0..x.c {
                    let value = x.at(n, sy, sx, i).unwrap_or(0.0);
                    sum += value * weight[((ky * kernel + kx) * x.c + i) * co + o];
                }
            }
        }
        sum
    })
}

fn depthwise(x: &Map, weight: &[f64], kernel: usize, stride: usize) -> Map {
    let pad = (kernel / 2) as isize;
    x.compute(stride, x.c, |n, y, px, c| {
        let mut sum = 0.0;
        for ky in 0..kernel {
            for kx in 0..kernel {
                let sy = (y * stride + ky) as isize - pad;
                let sx = (px * stride + kx) as isize - pad;
                sum += x.at(n, sy, sx, c).unwrap_or(0.0) * weight[(ky * kernel + kx) * x.c + c];
            }
        }
        sum
    })
}

fn factorized(x: &Map, weights: [&[f64]; 2], co: usize) -> Map {
    let first = co.div_ceil(2);
    x.compute(2, co, |n, y, px, o| {
        let (weight, offset, o, width) = if o < first {
            (weights[0], 0, o, first)
        } else {
            (weights[1], 1, o - first, co - first)
        };
        (0..x.c)
            .map(|i| {
                let value = x.at(n, (2 * y + offset) as isize, (2 * px + offset) as isize, i);
                value.unwrap_or(0.0) * weight[i * width + o]
            })
            .sum()
    })
}

fn pool(x: &Map, kind: PoolKind, stride: usize) -> Map {
    x.compute(stride, x.c, |n, y, px, c| {
        let window = (0..9).filter_map(|k| {
            let sy = (y * stride + k / 3) as isize - 1;
            let sx = (px * stride + k % 3) as isize - 1;
            x.at(n, sy, sx, c)
        });
        match kind {
            PoolKind::Max => window.fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Avg => window.sum::<f64>() / 9.0,
        }
    })
}

/// What a training step may do beyond images and labels.
#[derive(Clone, Default)]
pub(crate) struct Chances {
    /// The share of each image and target in its mixture with the one as far from the end; none for no mixing.
    pub(crate) share: Option<f64>,
    /// A factor for every image, by sum and place of its input.
    pub(crate) factors: BTreeMap<(usize, usize), Vec<f64>>,
    /// Weight of an auxiliary head's loss.
    pub(crate) auxiliary: f64,
}

/// Evaluates a network on `pixels`, `[batch, height, width, channels]`.
pub(crate) fn run(
    network: &Network,
    weights: &Values,
    pixels: &[f64],
    labels: &[u32],
    norm: Norm,
    smoothing: f64,
) -> Outcome {
    let chances = Chances::default();
    run_by_chance(network, weights, pixels, labels, norm, smoothing, &chances)
}

/// As [`run`], with what chance decided. The loss is that of both heads.
pub(crate) fn run_by_chance(
    network: &Network,
    weights: &Values,
    pixels: &[f64],
    labels: &[u32],
    norm: Norm,
    smoothing: f64,
    chances: &Chances,
) -> Outcome {
    let n = labels.len();
    let share = chances.share.unwrap_or(1.0);
    let size = pixels.len() / n;
    let mixed: Vec<f64> = (0..pixels.len())
        .map(|at| {
            let partner = pixels[(n - 1 - at / size) * size + at % size];
            share * pixels[at] + (1.0 - share) * partner
        })
        .collect();
    let mut auxiliary = Vec::new();
    let weight = |param: &Param| weights[&param.path].as_slice();
    let mut maps: Vec<Map> = Vec::new();
    let mut statistics = Values::new();
    let mut logits = Vec::new();
    for node in &network.nodes {
        let input = |index: usize| &maps[node.inputs[index]];
        let map = match &node.kind {
            NodeKind::Input => Map {
                n,
                h: network.input.height,
                w: network.input.width,
                c: network.input.channels,
                values: mixed.clone(),
            },
            NodeKind::Conv {
                kernel,
                stride,
                weights,
            } => {
                let mut sum: Option<Map> = None;
                for (index, param) in weights.iter().enumerate() {
                    let part = conv(
                        input(index),
                        weight(param),
                        *kernel,
                        *stride,
                        node.shape.channels,
                    );
                    match &mut sum {
                        None => sum = Some(part),
                        Some(sum) => sum
                            .values
                            .iter_mut()
                            .zip(part.values)
                            .for_each(|(a, b)| *a += b),
                    }
                }
                sum.unwrap()
            }
            NodeKind::Depthwise {
                kernel,
                stride,
                weight: param,
            } => depthwise(input(0), weight(param), *kernel, *stride),
            NodeKind::FactorizedConv {
                weights: [first, second],
            } => factorized(
                input(0),
                [weight(first), weight(second)],
                node.shape.channels,
            ),
            NodeKind::BatchNorm {
                scale,
                shift,
                mean,
                variance,
                activation,
            } => {
                let x = input(0);
                let count = (x.n * x.h * x.w) as f64;
                let mut out = x.clone();
                let (mut means, mut variances) = (Vec::new(), Vec::new());
                for c in 0..x.c {
                    let channel = || x.values.iter().skip(c).step_by(x.c);
                    let batch_mean = channel().sum::<f64>() / count;
                    let batch_variance =
                        channel().map(|v| (v - batch_mean).powi(2)).sum::<f64>() / count;
                    means.push(batch_mean);
                    variances.push(batch_variance * count / (count - 1.0));
                    let (mean, variance) = match norm {
                        Norm::Batch => (batch_mean, batch_variance),
                        Norm::Running => (weight(mean)[c], weight(variance)[c]),
                    };
                    let factor = weight(scale)[c] / (variance + 1e-5).sqrt();
                    for value in out.values.iter_mut().skip(c).step_by(x.c) {
                        *value = (*value - mean) * factor + weight(shift)[c];
                        if *activation == Activation::Relu {
                            *value = value.max(0.0);
                        }
                    }
                }
                statistics.insert(mean.path.clone(), means);
                statistics.insert(variance.path.clone(), variances);
                out
            }
            NodeKind::Pool { kind, stride } => pool(input(0), *kind, *stride),
            NodeKind::Add => {
                let mut out = input(0).clone();
                let size = out.values.len() / n;
                let factor = |place: usize, at: usize| {
                    let factors = chances.factors.get(&(maps.len(), place));
                    factors.map_or(1.0, |factors| factors[at / size])
                };
                let pairs = out.values.iter_mut().zip(&input(1).values);
                for (at, (a, b)) in pairs.enumerate() {
                    *a = factor(0, at) * *a + factor(1, at) * b;
                }
                out
            }
            NodeKind::Relu => {
                let mut out = input(0).clone();
                out.values.iter_mut().for_each(|v| *v = v.max(0.0));
                out
            }
            NodeKind::Head {
                weight: param,
                bias,
            } => {
                let classes = network.classes;
                let is_last = maps.len() + 1 == network.nodes.len();
                let logits = if is_last { &mut logits } else { &mut auxiliary };
                for image in 0..n {
                    for class in 0..classes {
                        let mut logit = weight(bias)[class];
                        let mut rows = weight(param).chunks(classes);
                        for x in (0..node.inputs.len()).map(input) {
                            for (c, row) in (0..x.c).zip(&mut rows) {
                                let pooled: f64 = (0..x.h * x.w)
                                    .map(|p| x.values[(image * x.h * x.w + p) * x.c + c])
                                    .sum();
                                logit += pooled / (x.h * x.w) as f64 * row[class];
                            }
                        }
                        logits.push(logit);
                    }
                }
                Map::zeros(n, 1, 1, classes)
            }
        };
        assert_eq!(
            (map.h, map.w, map.c),
            (node.shape.height, node.shape.width, node.shape.channels),
            "{}",
            node.label
        );
        maps.push(map);
    }
    let loss = |logits: &[f64]| -> f64 {
        let rows = logits.chunks(network.classes).enumerate();
        rows.map(|(image, row)| {
            let log_sum = row.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            let mean = row.iter().map(|logit| log_sum - logit).sum::<f64>() / row.len() as f64;
            let of = |image: usize| log_sum - row[labels[image] as usize];
            let own = share * of(image) + (1.0 - share) * of(n - 1 - image);
            (1.0 - smoothing) * own + smoothing * mean
        })
        .sum()
    };
    Outcome {
        own_loss: loss(&logits),
        loss: loss(&logits) + chances.auxiliary * loss(&auxiliary),
        logits,
        statistics,
    }
}
