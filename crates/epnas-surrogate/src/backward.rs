//! Loss and gradient of up to 16 architectures of one length: backpropagation through time.
//!
//! Written out by hand because the LSTM is the search's inner loop and its matrices are small:
//! the tests hold it to candle's autograd and to finite differences.

use crate::cell::{embed, logit, project_hidden, project_input, step};
use crate::config::Loss;
use crate::lanes::{LANES, Lane, ZERO, multiply_add, transpose, vectorized};
use crate::layout::{Part, Sizes, Weights};
use crate::nonlinear::sigmoid;
use crate::outer::Outer;

/// The LSTM's weight matrices the other way round, as the backward pass reads them.
#[derive(Debug, Clone)]
pub(crate) struct Transposed {
    /// `[E, 4 H]`.
    input: Vec<f32>,
    /// `[H, 4 H]`.
    hidden: Vec<f32>,
}

impl Transposed {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Transposed {
            input: vec![0.0; sizes.embedding * sizes.gates()],
            hidden: vec![0.0; sizes.hidden * sizes.gates()],
        }
    }

    pub(crate) fn update(&mut self, sizes: Sizes, weights: &Weights) {
        rayon::join(
            || transpose(weights.input_weight, sizes.embedding, &mut self.input),
            || transpose(weights.hidden_weight, sizes.hidden, &mut self.hidden),
        );
    }
}

/// Up to 16 architectures of one length, everything their forward pass computed, and their
/// gradient. Rows are `[time step][feature]`; lanes beyond the architectures are zero.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    sizes: Sizes,
    length: usize,
    features: Vec<Lane>,
    targets: Vec<f32>,
    embedded: Vec<Lane>,
    projected: Vec<Lane>,
    /// The gates after their nonlinearities.
    gates: Vec<Lane>,
    /// Cell states; the first row is the zero state before the first step.
    c: Vec<Lane>,
    h: Vec<Lane>,
    squashed: Vec<Lane>,
    d_gates: Vec<Lane>,
    d_embedded: Vec<Lane>,
    outer: Outer,
    /// Sum of the losses of the architectures.
    pub(crate) loss: f64,
    /// Gradient of all weights, in their order.
    pub(crate) gradient: Vec<f32>,
}

impl Chunk {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Chunk {
            sizes,
            length: 0,
            features: Vec::new(),
            targets: Vec::new(),
            embedded: Vec::new(),
            projected: vec![ZERO; sizes.gates()],
            gates: Vec::new(),
            c: Vec::new(),
            h: Vec::new(),
            squashed: Vec::new(),
            d_gates: Vec::new(),
            d_embedded: Vec::new(),
            outer: Outer::default(),
            loss: 0.0,
            gradient: vec![0.0; sizes.total()],
        }
    }

    /// Takes at most 16 architectures of `length` steps: features `[time step][feature]` and target.
    pub(crate) fn load<'a>(
        &mut self,
        length: usize,
        examples: impl Iterator<Item = (&'a [f32], f32)>,
    ) {
        let Sizes {
            features,
            embedding,
            hidden,
        } = self.sizes;
        self.length = length;
        self.features.clear();
        self.features.resize(length * features, ZERO);
        self.targets.clear();
        for (lane, (row, target)) in examples.enumerate() {
            for (to, &from) in self.features.iter_mut().zip(row) {
                to[lane] = from;
            }
            self.targets.push(target);
        }
        self.embedded.resize(length * embedding, ZERO);
        self.gates.resize(length * 4 * hidden, ZERO);
        self.c.resize((length + 1) * hidden, ZERO);
        self.h.resize((length + 1) * hidden, ZERO);
        self.squashed.resize(length * hidden, ZERO);
        self.d_gates.resize(length * 4 * hidden, ZERO);
        self.d_embedded.resize(length * embedding, ZERO);
    }

    /// The predictions of the architectures that were loaded.
    pub(crate) fn forward(&mut self, weights: &Weights) -> Vec<f32> {
        let Sizes {
            features,
            embedding,
            hidden,
        } = self.sizes;
        for t in 0..self.length {
            let embedded = &mut self.embedded[t * embedding..][..embedding];
            embed(
                weights,
                &self.features[t * features..][..features],
                embedded,
            );
            project_input(weights, embedded, &mut self.projected);
            let (before, after) = self.h.split_at_mut((t + 1) * hidden);
            let z = &mut self.gates[t * 4 * hidden..][..4 * hidden];
            project_hidden(weights, &before[t * hidden..], z);
            let (before, c) = self.c.split_at_mut((t + 1) * hidden);
            let c = &mut c[..hidden];
            c.copy_from_slice(&before[t * hidden..]);
            let squashed = &mut self.squashed[t * hidden..][..hidden];
            vectorized(
                #[inline(always)]
                || {
                    crate::cell::add(z, &self.projected);
                    step(z, c, squashed, &mut after[..hidden]);
                },
            );
        }
        let last = &self.h[self.length * hidden..][..hidden];
        let logits = logit(weights, last);
        let count = self.targets.len();
        logits[..count].iter().map(|&z| sigmoid(z)).collect()
    }

    /// Sets `loss` to the sum over the architectures, and `gradient` to that of the sum divided by
    /// `count`, the size of the batch that this is a part of.
    pub(crate) fn backward(
        &mut self,
        weights: &Weights,
        transposed: &Transposed,
        loss: Loss,
        count: usize,
    ) {
        let Sizes {
            features,
            embedding,
            hidden,
        } = self.sizes;
        let (sizes, length) = (self.sizes, self.length);
        let predictions = self.forward(weights);
        self.gradient.fill(0.0);
        self.loss = 0.0;

        let mut d_logit = ZERO;
        for ((d, &p), &y) in d_logit.iter_mut().zip(&predictions).zip(&self.targets) {
            let error = p - y;
            let (value, slope) = match loss {
                Loss::L1 if error == 0.0 => (0.0, 0.0),
                Loss::L1 => (error.abs(), error.signum()),
                Loss::Mse => (error * error, 2.0 * error),
            };
            self.loss += f64::from(value);
            *d = slope * p * (1.0 - p) / count as f32;
        }

        let last = &self.h[length * hidden..][..hidden];
        let d_output = &mut self.gradient[sizes.range(Part::OutputWeight)];
        for (d, h) in d_output.iter_mut().zip(last) {
            *d = h.iter().zip(&d_logit).map(|(h, d)| h * d).sum();
        }
        self.gradient[sizes.range(Part::OutputBias)][0] = d_logit.iter().sum();

        let mut d_h = vec![ZERO; hidden];
        let mut d_c = vec![ZERO; hidden];
        for (d, &w) in d_h.iter_mut().zip(weights.output_weight) {
            *d = d_logit.map(|d| d * w);
        }
        for t in (0..length).rev() {
            let d_z = &mut self.d_gates[t * 4 * hidden..][..4 * hidden];
            vectorized(
                #[inline(always)]
                || {
                    let z = &self.gates[t * 4 * hidden..][..4 * hidden];
                    let before = &self.c[t * hidden..][..hidden];
                    let squashed = &self.squashed[t * hidden..][..hidden];
                    step_backward(z, before, squashed, &d_h, &mut d_c, d_z);
                },
            );
            if t > 0 {
                d_h.fill(ZERO);
                multiply_add(&transposed.hidden, d_z, &mut d_h);
            }
            let d_embedded = &mut self.d_embedded[t * embedding..][..embedding];
            d_embedded.fill(ZERO);
            multiply_add(&transposed.input, d_z, d_embedded);
        }

        // Through the sigmoid of the embedding, to the sums before it.
        for (d, e) in self.d_embedded.iter_mut().zip(&self.embedded) {
            for lane in 0..LANES {
                d[lane] *= e[lane] * (1.0 - e[lane]);
            }
        }
        let gradient = &mut self.gradient;
        let outer = &mut self.outer;
        outer.take(&self.d_gates, length);
        outer.bias(&mut gradient[sizes.range(Part::InputBias)]);
        gradient.copy_within(
            sizes.range(Part::InputBias),
            sizes.range(Part::HiddenBias).start,
        );
        outer.product(
            &self.embedded,
            embedding,
            &mut gradient[sizes.range(Part::InputWeight)],
        );
        if length > 1 {
            let before = &self.h[..length * hidden];
            outer.product(
                before,
                hidden,
                &mut gradient[sizes.range(Part::HiddenWeight)],
            );
        }
        outer.take(&self.d_embedded, length);
        outer.bias(&mut gradient[sizes.range(Part::EmbeddingBias)]);
        outer.product(
            &self.features,
            features,
            &mut gradient[sizes.range(Part::EmbeddingWeight)],
        );
    }
}

/// One time step of the cell backward: from the gradients of `h'` and `c'` to that of the sums `z`
/// and, in `d_c`, of `c`.
#[inline(always)]
fn step_backward(
    gates: &[Lane],
    before: &[Lane],
    squashed: &[Lane],
    d_h: &[Lane],
    d_c: &mut [Lane],
    d_z: &mut [Lane],
) {
    let hidden = d_h.len();
    for j in 0..hidden {
        let (i, f) = (&gates[j], &gates[hidden + j]);
        let (g, o) = (&gates[2 * hidden + j], &gates[3 * hidden + j]);
        let (before, s, d_h, d_c) = (&before[j], &squashed[j], &d_h[j], &mut d_c[j]);
        let (mut di, mut df, mut dg, mut d_o) = (ZERO, ZERO, ZERO, ZERO);
        for l in 0..LANES {
            let d = d_c[l] + d_h[l] * o[l] * (1.0 - s[l] * s[l]);
            di[l] = d * g[l] * i[l] * (1.0 - i[l]);
            df[l] = d * before[l] * f[l] * (1.0 - f[l]);
            dg[l] = d * i[l] * (1.0 - g[l] * g[l]);
            d_o[l] = d_h[l] * s[l] * o[l] * (1.0 - o[l]);
            d_c[l] = d * f[l];
        }
        d_z[j] = di;
        d_z[hidden + j] = df;
        d_z[2 * hidden + j] = dg;
        d_z[3 * hidden + j] = d_o;
    }
}
