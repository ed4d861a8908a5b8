//! Descriptions and drawings of architectures: pure functions from the values of `epnas-arch` to text.
//!
//! - [`text`]: a table of a network, part by part, for reading.
//! - [`dot`]: Graphviz graphs of an architecture or of a whole network.
//! - [`parts`](mod@parts): the parts themselves, for other forms.

pub mod dot;
pub mod parts;
pub mod text;

pub use parts::{Part, parts};
