//! Dense convolutions that go to the vendor's library (cuDNN on a GPU, its stand-in here) against the CPU's operator.

use candle_core::{DType, Device, Tensor};
use epnas_ops::cuda_emulation::set_library_channels;
use epnas_ops::{
    Accumulate, Activation, BatchStatistics, Conv2d, ConvGradient, Cotangent, Norm, NormGradient,
    Operand, Output, Precision, Recording, Running, Target,
};

use crate::harness::{Case, bf16, floats};

#[derive(Debug, Clone, Copy)]
struct Sizes {
    x: [usize; 4],
    co: usize,
    kernel: usize,
    stride: usize,
}

/// All numbers that go in, and where they are put.
struct Arguments<'a> {
    numbers: Vec<f32>,
    taken: std::cell::Cell<usize>,
    device: &'a Device,
    dtype: DType,
}

impl Arguments<'_> {
    fn floats(&self, shape: &[usize]) -> Tensor {
        let first = self.taken.get();
        let len: usize = shape.iter().product();
        self.taken.set(first + len);
        Tensor::from_slice(&self.numbers[first..first + len], shape, self.device).unwrap()
    }

    fn images(&self, shape: &[usize]) -> Tensor {
        self.floats(shape).to_dtype(self.dtype).unwrap()
    }

    fn norm(&self, c: usize) -> Norm {
        Norm {
            activation: Activation::Relu,
            scale: self.floats(&[c]),
            shift: self.floats(&[c]),
            saved: self.floats(&[2, c]),
        }
    }

    fn norm_gradient(&self, x: Tensor) -> NormGradient {
        let c = x.dims()[3];
        NormGradient {
            norm: self.norm(c),
            x,
            dscale: self.floats(&[c]),
            dshift: self.floats(&[c]),
        }
    }
}

/// Everything that a convolution writes: output and statistics, gradients of weight and input and of the batch norm
/// before it.
fn convolve(sizes: Sizes, precision: Precision, from: &Arguments, recorded: bool) -> Vec<Vec<f32>> {
    let Sizes {
        x: [n, h, w, ci],
        co,
        kernel,
        stride,
    } = sizes;
    let op = Conv2d {
        precision,
        ..Conv2d::new(kernel, stride)
    };
    let out = [n, h.div_ceil(stride), w.div_ceil(stride), co];
    let x = Operand {
        x: from.images(&sizes.x),
        norm: Some(from.norm(ci)),
    };
    let weight = from.floats(&[kernel, kernel, ci, co]);
    let (y, saved) = (from.images(&out), from.floats(&[2, co]));
    let [mean, variance] = [(); 2].map(|()| from.floats(&[co]));
    let dy = Cotangent {
        dy: from.images(&out),
        norm: Some(from.norm_gradient(from.images(&out))),
    };
    let target = Target {
        dx: from.images(&sizes.x),
        acc: Accumulate::Add,
        norms: vec![from.norm_gradient(x.x.clone())],
    };
    let before = target.dx.copy().unwrap();
    let (dx, sums) = (target.dx.clone(), target.norms[0].clone());
    let dw = weight.zeros_like().unwrap();
    let gradient = ConvGradient {
        x: x.clone(),
        w: weight.clone(),
        dw: Some(dw.clone()),
        dx: Some(target),
    };
    let step = || {
        let running = Running {
            mean: &mean,
            variance: &variance,
            momentum: 0.0,
        };
        let statistics = Some(BatchStatistics {
            eps: 1e-5,
            saved: &saved,
            running,
        });
        op.forward_fused(&[(&x, &weight)], Output { y: &y, statistics })?;
        op.backward_fused(&dy, std::slice::from_ref(&gradient))
    };
    step().unwrap();
    if recorded {
        dx.slice_set(&before, 0, 0).unwrap();
        let recording = Recording::of(from.device, step).unwrap();
        recording.replay().unwrap();
    }
    let wide = |tensor: &Tensor| floats(&tensor.to_dtype(DType::F32).unwrap());
    [&y, &saved, &dw, &dx, &sums.dscale, &sums.dshift]
        .map(wide)
        .to_vec()
}

#[test]
fn the_library_computes_what_the_cpu_does() {
    let device = crate::device();
    // On a GPU these are channels that go to cuDNN.
    let channels = match device.is_cpu() {
        true => [(5, 7), (24, 3)],
        false => [(64, 72), (96, 64)],
    };
    set_library_channels(1);
    let mut case = Case::new();
    for (ci, co) in channels {
        for (kernel, stride) in [(1, 1), (3, 1), (5, 1), (3, 2)] {
            for dtype in [DType::F32, DType::BF16] {
                let sizes = Sizes {
                    x: [3, 5, 6, ci],
                    co,
                    kernel,
                    stride,
                };
                let precision = match dtype {
                    DType::BF16 => Precision::Bf16,
                    _ => Precision::F32,
                };
                let numbers = bf16(&case.numbers(1 << 16));
                let arguments = |device, dtype| Arguments {
                    numbers: numbers.clone(),
                    taken: std::cell::Cell::new(0),
                    device,
                    dtype,
                };
                let found = convolve(sizes, precision, &arguments(&device, dtype), false);
                let again = convolve(sizes, precision, &arguments(&device, dtype), true);
                assert_eq!(found, again, "recorded: {sizes:?}, {dtype:?}");
                // Another thread knows nothing of the emulation.
                let expected = std::thread::scope(|scope| {
                    let on_cpu = || {
                        let arguments = arguments(&Device::Cpu, DType::F32);
                        convolve(sizes, precision, &arguments, false)
                    };
                    scope.spawn(on_cpu).join().unwrap()
                });
                let bound = match dtype {
                    DType::BF16 => 0.03,
                    _ => 1e-4,
                };
                for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let scale = expected.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
                    for (a, b) in found.iter().zip(expected) {
                        assert!(
                            (a - b).abs() <= bound * scale,
                            "{sizes:?}, {dtype:?}, result {place}: {a}, expected {b} of {scale} (seed {})",
                            case.seed
                        );
                    }
                }
            }
        }
    }
    set_library_channels(usize::MAX);
}

#[test]
fn several_sources_and_few_channels_stay_with_the_kernels() {
    if !crate::device().is_cpu() {
        return;
    }
    let mut case = Case::new();
    let shape = [1, 4, 4, 3];
    let x = crate::harness::tensor(&case.numbers(48), &shape);
    let weight = crate::harness::tensor(&case.numbers(9 * 9), &[3, 3, 3, 3]);
    let forward = |inputs: &[(&Tensor, &Tensor)]| {
        let y = crate::harness::blank(&shape);
        Conv2d::new(3, 1).forward(inputs, &y).unwrap();
        floats(&y)
    };
    let kernels = forward(&[(&x, &weight)]);
    set_library_channels(4);
    assert_eq!(forward(&[(&x, &weight)]), kernels);
    // Nor do few channels of one side alone, or factors of another precision than the images'.
    for (ci, co, precision) in [
        (5, 3, Precision::F32),
        (3, 5, Precision::F32),
        (5, 5, Precision::Bf16),
    ] {
        let x = crate::harness::tensor(&case.numbers(16 * ci), &[1, 4, 4, ci]);
        let weight = crate::harness::tensor(&case.numbers(9 * ci * co), &[3, 3, ci, co]);
        let [found, expected] = [4, usize::MAX].map(|least| {
            set_library_channels(least);
            let y = crate::harness::blank(&[1, 4, 4, co]);
            let op = Conv2d {
                precision,
                ..Conv2d::new(3, 1)
            };
            op.forward(&[(&x, &weight)], &y).unwrap();
            floats(&y)
        });
        assert_eq!(found, expected, "{ci} to {co}, {precision:?}");
    }
    set_library_channels(3);
    let both = forward(&[(&x, &weight), (&x, &weight)]);
    let library = forward(&[(&x, &weight)]);
    set_library_channels(usize::MAX);
    // Sums in double precision are not those of the kernels, to the bit; they are near.
    assert_eq!(both, forward(&[(&x, &weight), (&x, &weight)]));
    assert_ne!(library, kernels);
    assert!(
        library
            .iter()
            .zip(&kernels)
            .all(|(a, b)| (a - b).abs() < 1e-5)
    );
}
