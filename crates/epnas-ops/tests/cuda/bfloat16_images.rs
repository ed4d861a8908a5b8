//! Images in bfloat16 against the same images in `f32`.
//!
//! Both run the same arithmetic when the numbers that go in are bfloat16 already and products round their factors; so
//! what is written in bfloat16 is the rounded `f32` result, and what is written in `f32` is equal, bit for bit.

use candle_core::{DType, Tensor};
use epnas_ops::{
    Accumulate, Activation, AvgPool2d, BatchNorm, Conv2d, ConvGradient, Cotangent, DepthwiseConv2d,
    FactorizedConv, Head, MaxPool2d, Norm, NormGradient, Operand, Precision, Running, Target, Term,
    accumulate, accumulate_scaled, mix_with_reverse, sum,
};

use crate::harness::{Case, bf16, blank, floats, tensor};

/// Batch, height, width.
const SIZES: [[usize; 3]; 4] = [[1, 1, 1], [3, 5, 7], [2, 8, 8], [5, 13, 11]];
const CHANNELS: [usize; 4] = [1, 5, 24, 40];

/// Images of a type: random ones, and some to write to.
struct Maker<'a> {
    case: &'a mut Case,
    dtype: DType,
}

impl Maker<'_> {
    fn images(&mut self, shape: &[usize]) -> Tensor {
        let numbers = bf16(&self.case.numbers(shape.iter().product()));
        tensor(&numbers, shape).to_dtype(self.dtype).unwrap()
    }

    fn floats(&mut self, shape: &[usize]) -> Tensor {
        tensor(&self.case.numbers(shape.iter().product()), shape)
    }

    /// Images with a batch norm before them.
    fn operand(&mut self, shape: &[usize]) -> Operand {
        let x = self.images(shape);
        let norm = Some(self.norm(shape[3]));
        Operand { x, norm }
    }

    fn norm(&mut self, c: usize) -> Norm {
        Norm {
            activation: self.case.pick(&[Activation::None, Activation::Relu]),
            scale: self.floats(&[c]),
            shift: self.floats(&[c]),
            saved: self.floats(&[2, c]),
        }
    }

    /// A gradient that passes a batch norm.
    fn cotangent(&mut self, shape: &[usize]) -> Cotangent {
        let norm = NormGradient {
            norm: self.norm(shape[3]),
            x: self.images(shape),
            dscale: self.floats(&[shape[3]]),
            dshift: self.floats(&[shape[3]]),
        };
        Cotangent {
            dy: self.images(shape),
            norm: Some(norm),
        }
    }

    /// Something to write to, or to add to.
    fn target(&mut self, shape: &[usize]) -> Target {
        let acc = self.case.pick(&[Accumulate::Overwrite, Accumulate::Add]);
        Target::new(&self.images(shape), acc)
    }
}

/// Runs `body`, which returns what it wrote, for both types of images and compares.
fn compare(what: &str, body: impl Fn(&mut Maker, [usize; 3], usize, usize) -> Vec<Tensor>) {
    for size in SIZES {
        for ci in CHANNELS {
            let seed = Case::new().seed;
            let co = Case::of(seed).pick(&[2, 7, 24, 33]);
            let [wide, narrow] = [DType::F32, DType::BF16].map(|dtype| {
                let case = &mut Case::of(seed);
                body(&mut Maker { case, dtype }, size, ci, co)
            });
            assert_eq!(wide.len(), narrow.len());
            for (index, (wide, narrow)) in wide.iter().zip(&narrow).enumerate() {
                let expected = match narrow.dtype() {
                    DType::BF16 => bf16(&floats(wide)),
                    _ => floats(&wide.to_dtype(DType::F32).unwrap()),
                };
                let found = floats(&narrow.to_dtype(DType::F32).unwrap());
                let bits = |all: &[f32]| -> Vec<u32> { all.iter().map(|v| v.to_bits()).collect() };
                assert_eq!(
                    bits(&found),
                    bits(&expected),
                    "{what}: result {index} of {size:?}, {ci} to {co} channels (seed {seed})"
                );
            }
        }
    }
}

fn halved([n, h, w]: [usize; 3], stride: usize, c: usize) -> [usize; 4] {
    [n, h.div_ceil(stride), w.div_ceil(stride), c]
}

#[test]
fn dense_convolutions() {
    for (kernel, stride) in [(1, 1), (3, 1), (5, 2), (3, 2)] {
        let conv = Conv2d {
            precision: Precision::Bf16,
            ..Conv2d::new(kernel, stride)
        };
        compare("conv", |make, size, ci, co| {
            let [n, h, w] = size;
            let (first, second) = (make.operand(&[n, h, w, ci]), make.operand(&[n, h, w, 3]));
            let weights = [ci, 3].map(|ci| make.floats(&[kernel, kernel, ci, co]));
            let y = make.images(&halved(size, stride, co));
            let inputs = [(&first, &weights[0]), (&second, &weights[1])];
            conv.forward_fused(&inputs, (&y).into()).unwrap();
            let dy = make.cotangent(y.dims());
            let target = make.target(first.x.dims());
            let gradient = ConvGradient {
                x: first,
                w: weights[0].clone(),
                dw: Some(blank(weights[0].dims())),
                dx: Some(target.clone()),
            };
            let dw = gradient.dw.clone().unwrap();
            conv.backward_fused(&dy, &[gradient]).unwrap();
            vec![y, dw, target.dx]
        });
    }
}

#[test]
fn factorized_reductions() {
    let conv = FactorizedConv {
        precision: Precision::Bf16,
    };
    compare("factorized", |make, size, ci, co| {
        let [n, h, w] = size;
        let x = make.operand(&[n, h, w, ci]);
        let weights = [co.div_ceil(2), co / 2].map(|half| make.floats(&[1, 1, ci, half]));
        let y = make.images(&halved(size, 2, co));
        let [w0, w1] = [&weights[0], &weights[1]];
        conv.forward_fused(&x, [w0, w1], (&y).into()).unwrap();
        let dy = make.cotangent(y.dims());
        let (dw0, dw1) = (blank(w0.dims()), blank(w1.dims()));
        let target = make.target(x.x.dims());
        conv.backward_fused(&dy, &x, [w0, w1], [&dw0, &dw1], Some(&target))
            .unwrap();
        vec![y, dw0, dw1, target.dx]
    });
}

#[test]
fn depthwise_convolutions() {
    for (kernel, stride) in [(3, 1), (5, 2), (7, 1)] {
        let conv = DepthwiseConv2d { kernel, stride };
        compare("depthwise", |make, size, c, _| {
            let [n, h, w] = size;
            let x = make.operand(&[n, h, w, c]);
            let weight = make.floats(&[kernel, kernel, c]);
            let y = make.images(&halved(size, stride, c));
            conv.forward_fused(&x, &weight, (&y).into()).unwrap();
            let (dy, dw) = (make.cotangent(y.dims()), blank(weight.dims()));
            let target = make.target(x.x.dims());
            conv.backward_fused(&dy, &x, &weight, &dw, Some(&target))
                .unwrap();
            vec![y, dw, target.dx]
        });
    }
}

#[test]
fn pools() {
    for stride in [1, 2] {
        compare("pools", |make, size, c, _| {
            let [n, h, w] = size;
            let x = make.operand(&[n, h, w, c]);
            let out = halved(size, stride, c);
            let (most, mean) = (make.images(&out), make.images(&out));
            let argmax = tensor(&vec![0.0; out.iter().product()], &out);
            let argmax = argmax.to_dtype(DType::U8).unwrap();
            let (max, avg) = (MaxPool2d { stride }, AvgPool2d { stride });
            max.forward_fused(&x, &most, Some(&argmax)).unwrap();
            avg.forward_fused(&x, &mean).unwrap();
            let dy = make.images(&out);
            let targets = [make.target(x.x.dims()), make.target(x.x.dims())];
            max.backward_fused(&dy, &argmax, &targets[0]).unwrap();
            avg.backward_fused(&dy, &targets[1]).unwrap();
            let [first, second] = targets.map(|target| target.dx);
            vec![most, mean, argmax, first, second]
        });
    }
}

#[test]
fn sums_and_heads() {
    compare("sums", |make, [n, h, w], c, classes| {
        let shape = [n, h, w, c];
        let (a, b) = (make.operand(&shape), make.images(&shape));
        let (y, more) = (make.images(&shape), make.images(&shape));
        sum(&[(&a).into(), (&Operand::from(&b)).into()], &y).unwrap();
        accumulate(&b, &more, Accumulate::Add).unwrap();
        let (scaled, dscaled) = (make.images(&shape), make.images(&shape));
        let factors = [(); 2].map(|()| make.floats(&[n]));
        let plain = Operand::from(&b);
        let term = |x, factors| Term {
            x,
            factors: Some(factors),
        };
        let terms = [term(&a, &factors[0]), term(&plain, &factors[1])];
        sum(&terms, &scaled).unwrap();
        accumulate_scaled(&b, &factors[0], &dscaled, Accumulate::Add).unwrap();
        let mixed = make.images(&shape);
        mix_with_reverse(&mixed, &make.floats(&[1])).unwrap();
        let (weight, bias) = (make.floats(&[c, classes]), make.floats(&[classes]));
        let (pooled, logits) = (blank(&[n, c]), blank(&[n, classes]));
        let acc = Accumulate::Overwrite;
        Head.forward_fused(&a, &weight, &bias, &pooled, &logits, acc)
            .unwrap();
        let (dweight, dbias) = (blank(&[c, classes]), blank(&[classes]));
        let (dlogits, dx) = (make.floats(&[n, classes]), make.images(&shape));
        let acc = Accumulate::Add;
        Head.backward(&pooled, &weight, &dlogits, &dx, acc, &dweight, &dbias)
            .unwrap();
        vec![
            y, more, scaled, dscaled, mixed, pooled, logits, dweight, dbias, dx,
        ]
    });
}

#[test]
fn batch_norms() {
    compare("batch norm", |make, [n, h, w], c, _| {
        let shape = [n, h, w, c];
        let (x, y, dy, dx) = (
            make.images(&shape),
            make.images(&shape),
            make.images(&shape),
            make.images(&shape),
        );
        let (scale, shift) = (make.floats(&[c]), make.floats(&[c]));
        let (mean, variance) = (make.floats(&[c]), make.floats(&[c]));
        let (saved, dscale, dshift) = (blank(&[2, c]), blank(&[c]), blank(&[c]));
        let op = BatchNorm {
            activation: Activation::Relu,
            ..BatchNorm::default()
        };
        let running = Running {
            mean: &mean,
            variance: &variance,
            momentum: 0.1,
        };
        op.forward_train(&x, &scale, &shift, running, &saved, &y)
            .unwrap();
        let acc = Accumulate::Add;
        op.backward(&x, &scale, &shift, &saved, &dy, &dx, acc, &dscale, &dshift)
            .unwrap();
        vec![y, saved, mean, variance, dx, dscale, dshift]
    });
}
