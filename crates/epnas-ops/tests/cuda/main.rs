//! The tests of every operator once more, through the CUDA kernels: on a GPU with `EPNAS_TEST_DEVICE=cuda`, else as they
//! run on the CPU. Without a C++ compiler there are none, and a warning of the build says so.
#![cfg(host_kernels)]

use std::cell::OnceCell;

use candle_core::Device;

#[path = "../operators/autograd.rs"]
mod autograd;
#[path = "../operators/batch_norm.rs"]
mod batch_norm;
mod bfloat16_images;
#[path = "../operators/bilinear.rs"]
mod bilinear;
#[path = "../operators/candle_oracle.rs"]
mod candle_oracle;
#[path = "../operators/elementwise.rs"]
mod elementwise;
#[path = "../operators/errors.rs"]
mod errors;
#[path = "../operators/fused.rs"]
mod fused;
#[path = "../operators/harness.rs"]
mod harness;
#[path = "../operators/head_and_loss.rs"]
mod head_and_loss;
mod library;
#[path = "../operators/linear_operators.rs"]
mod linear_operators;
#[path = "../operators/max_pool.rs"]
mod max_pool;
#[path = "../operators/optimizers.rs"]
mod optimizers;
mod recording;
#[path = "../operators/separable.rs"]
mod separable;
#[path = "../operators/step_rows.rs"]
mod step_rows;
mod tiles;

/// A GPU where `EPNAS_TEST_DEVICE` says `cuda`; else the CPU, from here on with the kernels in place of its own.
fn device() -> Device {
    thread_local! {
        static GPU: OnceCell<Device> = const { OnceCell::new() };
    }
    match std::env::var("EPNAS_TEST_DEVICE").as_deref() {
        Ok("cuda") => GPU.with(|gpu| {
            gpu.get_or_init(|| epnas_ops::gpu(0).expect("a GPU"))
                .clone()
        }),
        Ok(other) => panic!("EPNAS_TEST_DEVICE is `{other}`, expected cuda or nothing"),
        Err(_) => {
            epnas_ops::cuda_emulation::enter();
            Device::Cpu
        }
    }
}
