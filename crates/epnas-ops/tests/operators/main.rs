//! Every operator against independent references in `f64`, finite differences and candle's autograd.
//!
//! Inputs are random and new in every run. A failure prints the seed; `EPNAS_TEST_SEED=<seed>` repeats it.

mod autograd;
mod batch_norm;
mod bfloat16;
mod bilinear;
mod candle_oracle;
mod elementwise;
mod errors;
mod fused;
mod harness;
mod head_and_loss;
mod linear_operators;
mod max_pool;
mod optimizers;
mod reproducible;
mod separable;
mod step_rows;

/// Here operators run on the CPU; `tests/cuda` runs the same tests through the CUDA kernels.
fn device() -> candle_core::Device {
    candle_core::Device::Cpu
}
