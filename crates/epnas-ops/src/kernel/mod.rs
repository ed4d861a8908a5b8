//! CPU kernels: slices in, slices out. Shapes have been checked by the operators.

pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod factorized;
pub(crate) mod head;
pub(crate) mod loss;
pub(crate) mod optimizer;
pub(crate) mod pool;
