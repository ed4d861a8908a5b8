//! The tests of every operator once more, through the CUDA kernels as they run on the CPU. Without a C++ compiler there are
//! none, and a warning of the build says so.
#![cfg(host_kernels)]

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
#[path = "../operators/linear_operators.rs"]
mod linear_operators;
#[path = "../operators/max_pool.rs"]
mod max_pool;
#[path = "../operators/optimizers.rs"]
mod optimizers;
#[path = "../operators/separable.rs"]
mod separable;

/// The kernels, in place of the CPU's.
fn choose_device() {
    epnas_ops::cuda_emulation::enter();
}
