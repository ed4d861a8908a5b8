//! One LSTM layer without biases, as in ENAS's code, forward and backward (Hochreiter and Schmidhuber, 1997).
//!
//! With z = x W_x + h W_h cut into four parts of H: i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o), g = tanh(z_g),
//! c' = f c + i g, h' = o tanh(c'). The weights are `[2 H][4 H]`: a row per entry of x, then one per entry of h.

/// What a step leaves for the next one, and for the way back; `[H]` or, gates, `[4 H]` each.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    /// Input and state before the step, `[2 H]`.
    inputs: Vec<f64>,
    /// Memory before the step.
    before: Vec<f64>,
    gates: Vec<f64>,
    memory: Vec<f64>,
    /// The output.
    pub(super) hidden: Vec<f64>,
}

impl Cell {
    /// The state before the first step.
    pub(super) fn zero(hidden: usize) -> Self {
        let zero = || vec![0.0; hidden];
        Self {
            inputs: Vec::new(),
            before: Vec::new(),
            gates: Vec::new(),
            memory: zero(),
            hidden: zero(),
        }
    }

    /// The next step, on `input` `[H]`.
    pub(super) fn next(&self, weights: &[f64], input: &[f64]) -> Self {
        let size = self.hidden.len();
        let inputs = [input, &self.hidden].concat();
        let mut gates = vec![0.0; 4 * size];
        for (x, row) in inputs.iter().zip(weights.chunks_exact(4 * size)) {
            add_scaled(&mut gates, *x, row);
        }
        let (sigmoids, tanhs) = gates.split_at_mut(3 * size);
        sigmoids.iter_mut().for_each(|z| *z = sigmoid(*z));
        tanhs.iter_mut().for_each(|z| *z = z.tanh());
        let [i, f, o, g] = parts(&gates);
        let memory: Vec<f64> = (0..size)
            .map(|k| f[k] * self.memory[k] + i[k] * g[k])
            .collect();
        let hidden = (0..size).map(|k| o[k] * memory[k].tanh()).collect();
        Self {
            inputs,
            before: self.memory.clone(),
            gates,
            memory,
            hidden,
        }
    }

    /// From the gradients of a loss by hidden state and memory after the step, `back`, to those before it; adds that by
    /// the weights to `grads` and returns that by the input.
    pub(super) fn backward(
        &self,
        weights: &[f64],
        back: &mut Gradient,
        grads: &mut [f64],
    ) -> Vec<f64> {
        let size = self.hidden.len();
        let [i, f, o, g] = parts(&self.gates);
        let mut by_z = vec![0.0; 4 * size];
        for k in 0..size {
            let tanh = self.memory[k].tanh();
            let by_memory = back.memory[k] + back.hidden[k] * o[k] * (1.0 - tanh * tanh);
            by_z[k] = by_memory * g[k] * i[k] * (1.0 - i[k]);
            by_z[size + k] = by_memory * self.before[k] * f[k] * (1.0 - f[k]);
            by_z[2 * size + k] = back.hidden[k] * tanh * o[k] * (1.0 - o[k]);
            by_z[3 * size + k] = by_memory * i[k] * (1.0 - g[k] * g[k]);
            back.memory[k] = by_memory * f[k];
        }
        let rows = weights.chunks_exact(4 * size);
        let grad_rows = grads.chunks_exact_mut(4 * size);
        let mut by_inputs: Vec<f64> = (self.inputs.iter().zip(rows).zip(grad_rows))
            .map(|((x, row), grad)| {
                add_scaled(grad, *x, &by_z);
                dot(row, &by_z)
            })
            .collect();
        back.hidden = by_inputs.split_off(size);
        by_inputs
    }
}

/// Gradients of a loss by the state between two steps.
#[derive(Debug)]
pub(super) struct Gradient {
    pub(super) hidden: Vec<f64>,
    memory: Vec<f64>,
}

impl Gradient {
    /// None, as after the last step.
    pub(super) fn zero(hidden: usize) -> Self {
        Self {
            hidden: vec![0.0; hidden],
            memory: vec![0.0; hidden],
        }
    }
}

fn parts(gates: &[f64]) -> [&[f64]; 4] {
    let size = gates.len() / 4;
    [0, 1, 2, 3].map(|part| &gates[part * size..(part + 1) * size])
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `to += factor * row`.
pub(super) fn add_scaled(to: &mut [f64], factor: f64, row: &[f64]) {
    for (to, x) in to.iter_mut().zip(row) {
        *to += factor * x;
    }
}

/// The scalar product, in eight sums so that it can be vectorized.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}
