//! What cannot be exported.

/// Why a network cannot be exported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExportError {
    /// A weight is missing.
    #[error("the weight {path} is missing")]
    Missing {
        /// Its path.
        path: String,
    },
    /// A weight has another number of values.
    #[error("the weight {path} has {found} values, expected {expected}")]
    Length {
        /// Its path.
        path: String,
        /// Its values.
        found: usize,
        /// Those that the network asks for.
        expected: usize,
    },
    /// A weight is not a finite number.
    #[error("the weight {path} holds {value}, expected finite numbers")]
    NotFinite {
        /// Its path.
        path: String,
        /// The value.
        value: f32,
    },
    /// Means and deviations do not fit the channels of the images.
    #[error(
        "there are {means} means and {deviations} deviations for images of {channels} channels"
    )]
    Normalization {
        /// Means.
        means: usize,
        /// Deviations.
        deviations: usize,
        /// Channels.
        channels: usize,
    },
    /// The number of class names is not that of the outputs.
    #[error("there are {found} class names for {expected} outputs")]
    Classes {
        /// Class names.
        found: usize,
        /// Outputs.
        expected: usize,
    },
    /// A graph that this crate does not know how to write.
    #[error("node {label}: {reason}")]
    Graph {
        /// The node.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file format's writer failed.
    #[error("safetensors: {0}")]
    Safetensors(String),
}
