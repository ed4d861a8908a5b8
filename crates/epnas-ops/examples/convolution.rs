//! A 3x3 convolution over preallocated tensors: forward, then the gradients of its weight and input.
//!
//! `cargo run -p epnas-ops --example convolution`

use candle_core::{DType, Device, Tensor};
use epnas_ops::{Accumulate, Conv2d};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    let x = Tensor::ones((2, 8, 8, 3), DType::F32, &device)?;
    let weight = Tensor::full(0.5f32, (3, 3, 3, 4), &device)?;
    let y = Tensor::zeros((2, 8, 8, 4), DType::F32, &device)?;

    let conv = Conv2d::new(3, 1);
    conv.forward(&[(&x, &weight)], &y)?;
    println!(
        "an inner output sums 27 products: {}",
        y.get(0)?.get(4)?.get(4)?.get(0)?
    );

    let dy = y.ones_like()?;
    let dweight = weight.zeros_like()?;
    conv.backward_weight(&x, &dy, &dweight)?;
    println!(
        "the middle tap saw every pixel of both images: {}",
        dweight.get(1)?.get(1)?.get(0)?.get(0)?
    );

    let dx = x.zeros_like()?;
    conv.backward_input(&dy, &weight, &dx, Accumulate::Overwrite)?;
    println!(
        "an inner input reached 36 outputs: {}",
        dx.get(0)?.get(4)?.get(4)?.get(0)?
    );
    Ok(())
}
