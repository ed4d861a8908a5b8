//! Tests of the public interface, in one binary.

mod counts;
mod forms;
mod networks;
mod properties;
mod spaces;
mod strategies;
