//! Every operator against independent references in `f64`, finite differences and candle's autograd.
//!
//! Inputs are random and new in every run. A failure prints the seed; `EPNAS_TEST_SEED=<seed>` repeats it.

mod bilinear;
mod harness;
mod linear_operators;
