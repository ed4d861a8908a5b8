//! The operators as candle custom operations, differentiable by candle's autograd.
