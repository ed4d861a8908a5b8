//! The hand-written backward pass against candle's autograd and finite differences.
//!
//! After one update from fresh moments Adam's first moment is a tenth of the gradient, so the
//! snapshot tells the gradient of the whole public path: encoding, batching, chunks, backward.

use candle_core::{DType, Device, IndexOp, Tensor, Var};
use candle_nn::rnn::{LSTMConfig, RNN, lstm};
use candle_nn::{Linear, Module, VarBuilder, VarMap};
use epnas_arch::{Arch, Encoding, MacroSpace, MicroSpace, Space, Surrogate};
use epnas_surrogate::{Loss, Lstm, LstmConfig};

const NAMES: [&str; 8] = [
    "embedding.weight",
    "embedding.bias",
    "lstm.weight_ih_l0",
    "lstm.weight_hh_l0",
    "lstm.bias_ih_l0",
    "lstm.bias_hh_l0",
    "output.weight",
    "output.bias",
];

/// The same network in candle, its weights variables of type `dtype`, from a snapshot.
struct Reference {
    vars: Vec<Var>,
    map: VarMap,
    dtype: DType,
}

impl Reference {
    fn new(snapshot: &[u8], dtype: DType) -> Self {
        let tensors = candle_core::safetensors::load_buffer(snapshot, &Device::Cpu).unwrap();
        let map = VarMap::new();
        let vars: Vec<Var> = NAMES
            .iter()
            .map(|name| {
                let var = Var::from_tensor(&tensors[*name].to_dtype(dtype).unwrap()).unwrap();
                map.data()
                    .lock()
                    .unwrap()
                    .insert((*name).to_owned(), var.clone());
                var
            })
            .collect();
        Reference { vars, map, dtype }
    }

    /// Mean loss over a batch of features `[batch, step, feature]`.
    fn loss(&self, loss: Loss, features: &Tensor, targets: &Tensor) -> Tensor {
        let (vars, dtype) = (&self.vars, self.dtype);
        let features = features.to_dtype(dtype).unwrap();
        let targets = targets.to_dtype(dtype).unwrap();
        let linear = |w: usize| {
            Linear::new(
                vars[w].as_tensor().clone(),
                Some(vars[w + 1].as_tensor().clone()),
            )
        };
        let hidden = vars[6].dim(1).unwrap();
        let embedding = vars[0].dim(0).unwrap();
        let vb = VarBuilder::from_varmap(&self.map, dtype, &Device::Cpu);
        let cell = lstm(embedding, hidden, LSTMConfig::default(), vb.pp("lstm")).unwrap();
        let embedded = candle_nn::ops::sigmoid(&linear(0).forward(&features).unwrap()).unwrap();
        let states = cell.seq(&embedded).unwrap();
        let last = states.last().unwrap().h();
        let out = candle_nn::ops::sigmoid(&linear(6).forward(last).unwrap()).unwrap();
        let error = (out.i((.., 0)).unwrap() - targets).unwrap();
        match loss {
            Loss::L1 => error.abs().unwrap().mean_all().unwrap(),
            Loss::Mse => error.sqr().unwrap().mean_all().unwrap(),
        }
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

fn archs(space: &Space, n: u64, length: usize) -> Vec<Arch> {
    (0..n)
        .filter_map(|i| {
            (1..=length).fold(None, |parent: Option<Arch>, level| {
                let element = ((i + 1) * (7 * level as u64 + 3)) % space.level_len(level);
                Some(space.extend(parent.as_ref(), element))
            })
        })
        .collect()
}

/// Gradients of a case by all three methods. 37 architectures are three chunks, one not full.
fn check(space: &Space, config: &LstmConfig, length: usize, n: u64) {
    let config = LstmConfig {
        epochs: 1,
        batch: n as usize,
        ..config.clone()
    };
    let mut surrogate = Lstm::new(&config, space, 5).unwrap();
    let before = surrogate.snapshot().unwrap();
    let records: Vec<(Arch, f64)> = archs(space, n, length)
        .into_iter()
        .enumerate()
        .map(|(i, arch)| (arch, 0.3 + 0.5 * (i as f64 * 0.7).sin().abs()))
        .collect();
    let report = surrogate.fit(&records, 3).unwrap();
    let after = surrogate.snapshot().unwrap();
    let after = candle_core::safetensors::load_buffer(&after, &Device::Cpu).unwrap();

    let features: Vec<f32> = records
        .iter()
        .flat_map(|(arch, _)| space.encode(arch, config.encoding).concat())
        .collect();
    let shape = (records.len(), length, space.features(config.encoding));
    let features = Tensor::from_vec(features, shape, &Device::Cpu).unwrap();
    let targets: Vec<f32> = records.iter().map(|(_, y)| *y as f32).collect();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();

    let reference = Reference::new(&before, DType::F32);
    let loss = reference.loss(config.loss, &features, &targets);
    let expected = f64::from(loss.to_scalar::<f32>().unwrap());
    assert!(
        (report.loss - expected).abs() < 1e-6,
        "{} for {expected}",
        report.loss
    );
    let gradients = loss.backward().unwrap();
    for (name, var) in NAMES.iter().zip(&reference.vars) {
        let got = numbers(&after[&format!("adam.mean.{name}")]);
        // The LSTM at one step never sees its hidden weights.
        let want = gradients.get(var).map_or(vec![0.0; got.len()], numbers);
        let scale = want.iter().fold(1e-6, |a: f64, b| a.max(b.abs()));
        for (got, want) in got.iter().zip(&want) {
            let difference = (got * 10.0 - want).abs();
            assert!(
                difference < 2e-5 * scale,
                "{name}: {} for {want}",
                got * 10.0
            );
        }
    }

    // Central differences in f64 at a few weights of every part.
    let reference = Reference::new(&before, DType::F64);
    for (name, var) in NAMES.iter().zip(&reference.vars) {
        let got = numbers(&after[&format!("adam.mean.{name}")]);
        let shape = var.shape().clone();
        let values = numbers(var.as_tensor());
        let largest = got.iter().fold(1e-6, |a: f64, b| a.max(10.0 * b.abs()));
        for index in [0, values.len() / 3, values.len() - 1] {
            let at = |shift: f64| {
                let mut values = values.clone();
                values[index] += shift;
                var.set(&Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap())
                    .unwrap();
                let loss = reference.loss(config.loss, &features, &targets);
                loss.to_scalar::<f64>().unwrap()
            };
            let step = 1e-4;
            let want = (at(step) - at(-step)) / (2.0 * step);
            at(0.0);
            let difference = (got[index] * 10.0 - want).abs();
            assert!(
                difference < 1e-4 * largest,
                "{name}[{index}]: {} for {want}",
                got[index] * 10.0
            );
        }
    }
}

fn small() -> LstmConfig {
    LstmConfig {
        embedding: 19,
        hidden: 21,
        ..LstmConfig::default()
    }
}

#[test]
fn macro_gradient_of_l1() {
    check(&Space::default(), &small(), 5, 37);
}

#[test]
fn macro_gradient_at_full_size() {
    check(&Space::default(), &LstmConfig::default(), 12, 37);
}

#[test]
fn gradient_of_a_single_step() {
    check(&Space::Macro(MacroSpace::default()), &small(), 1, 6);
}

#[test]
fn micro_gradient_of_the_squared_error() {
    let config = LstmConfig {
        loss: Loss::Mse,
        encoding: Encoding::Integer,
        init: 0.1,
        ..small()
    };
    check(&Space::Micro(MicroSpace::default()), &config, 4, 17);
}
