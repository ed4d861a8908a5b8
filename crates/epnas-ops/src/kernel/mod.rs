//! CPU kernels: slices in, slices out. Shapes have been checked by the operators.

mod avg_rows;
pub(crate) mod backward;
pub(crate) mod batch_norm;
mod block;
mod channels;
pub(crate) mod conv;
mod correlate;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod epilogue;
pub(crate) mod factorized;
pub(crate) mod head;
pub(crate) mod images;
pub(crate) mod loss;
mod max_rows;
pub(crate) mod norm_gradient;
pub(crate) mod optimizer;
mod packed;
pub(crate) mod padded;
mod pairs;
pub(crate) mod peak;
pub(crate) mod pool;
pub(crate) mod separable;
pub(crate) mod statistics;
mod weight_gradient;
mod window;
mod window_gradient;
