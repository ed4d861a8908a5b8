//! Tests of the public interface, in one binary.

mod counts;
mod forms;
mod hand_made;
mod networks;
mod properties;
mod spaces;
mod strategies;
