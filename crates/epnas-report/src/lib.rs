//! Descriptions and drawings of architectures and of measurements: pure functions from values to text.
//!
//! - [`card`](mod@card): a model card as Markdown.
//! - [`curves`]: lines with confidence bands, and points, as SVG.
//! - [`diagram`]: architectures drawn as SVG.
//! - [`raster`]: drawings as PNG, with a font of its own.
//! - [`tensorboard`]: event files of searches and trainings.
//! - [`text`]: a table of a network, part by part, for reading.
//! - [`dot`]: Graphviz graphs of an architecture or of a whole network.
//! - [`page`](mod@page): runs as a page of HTML that stands alone.
//! - [`parts`](mod@parts): the parts themselves, for other forms.

pub mod card;
pub mod curves;
pub mod diagram;
pub mod dot;
pub mod page;
pub mod parts;
pub mod raster;
pub mod tensorboard;
pub mod text;

pub use parts::{Part, parts};
