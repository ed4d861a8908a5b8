//! What can go wrong while networks are compiled, trained and stored.

use std::path::PathBuf;

use epnas_arch::Network;

use crate::{config::TrainConfigError, fingerprint::Difference, weights::WeightBytesError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum SupernetError {
    /// A network cannot be built from an architecture.
    #[error(transparent)]
    Network(#[from] epnas_arch::NetworkError),
    /// A file that cannot be read or written, or that holds something else than was written.
    #[error(transparent)]
    Disk(#[from] epnas_disk::FileError),
    /// An operator refused its tensors.
    #[error(transparent)]
    Op(#[from] epnas_ops::Error),
    /// A tensor could not be made, read or written.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A weight exists with another shape.
    #[error("weight `{path}` has shape {found:?}, the network needs {expected:?}")]
    WeightShape {
        /// The weight's path.
        path: String,
        /// The stored shape.
        found: Vec<usize>,
        /// The network's shape.
        expected: Vec<usize>,
    },
    /// A weight is not `f32`.
    #[error("weight `{path}` has element type {found}, expected F32")]
    WeightType {
        /// The weight's path.
        path: String,
        /// Its element type.
        found: String,
    },
    /// A weight that must exist does not.
    #[error("weight `{path}` is missing")]
    MissingWeight {
        /// The weight's path.
        path: String,
    },
    /// A weight that the network does not use.
    #[error("weight `{path}` is not one of the network's")]
    ForeignWeight {
        /// The weight's path.
        path: String,
    },
    /// A text that is no architecture or hand-made network.
    #[error(transparent)]
    Architecture(epnas_arch::ParseDesignError),
    /// Bytes are not a weight store.
    #[error(transparent)]
    WeightBytes(#[from] WeightBytesError),
    /// A node reads one that comes after it.
    #[error("node `{node}` reads a node that comes after it")]
    NetworkOrder {
        /// The node.
        node: String,
    },
    /// A node that nobody reads.
    #[error("node `{node}` does not lead to the head, so it cannot be trained")]
    DeadNode {
        /// The node.
        node: String,
    },
    /// A batch norm or ReLU over what is no result of its own.
    #[error(
        "node `{node}` reads images or another batch norm or ReLU, expected a convolution, a pool or a sum"
    )]
    NormWithoutResult {
        /// The label of the batch norm or ReLU.
        node: String,
    },
    /// A node that would pass a gradient to images.
    #[error("node `{node}` has no trained weights before it")]
    NoWeightsBefore {
        /// The node.
        node: String,
    },
    /// A network that does not end in a head, or has no input.
    #[error("the network has no {what} node")]
    Incomplete {
        /// What it lacks.
        what: &'static str,
    },
    /// A node with the wrong number of inputs.
    #[error("node `{node}` has {found} inputs, expected {expected}")]
    Inputs {
        /// The node.
        node: String,
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// Two nodes name the same weight.
    #[error("weight `{path}` is used by two nodes of one network")]
    SharedWithin {
        /// The weight's path.
        path: String,
    },
    /// A plan was asked for what its mode does not include.
    #[error("a plan compiled for inference has no {what}")]
    NotForTraining {
        /// What was asked for.
        what: &'static str,
    },
    /// A network without branches to drop.
    #[error(
        "drop-path drops branches of sums, and this network has none: macro networks and DenseNets have no sums"
    )]
    NoBranches,
    /// A batch of no images.
    #[error("a plan needs a batch of at least one image")]
    EmptyBatch,
    /// A training recipe out of range.
    #[error(transparent)]
    Config(#[from] TrainConfigError),
    /// The device has no room for a network.
    #[error(
        "{cause}; the network takes batches of {batch} images of {height} x {width} x {channels} and has {params} \
         parameters: smaller batches or fewer channels take less"
    )]
    Memory {
        /// What was asked for.
        cause: String,
        /// Images in a batch.
        batch: usize,
        /// Height of an image in pixels.
        height: usize,
        /// Width of an image in pixels.
        width: usize,
        /// Channels of an image.
        channels: usize,
        /// Trainable parameters.
        params: u64,
    },
    /// Images do not fit.
    #[error("{0}")]
    Data(String),
    /// The loss is no longer a number.
    #[error(
        "training diverged at step {step} (learning rate {learning_rate:.3e}): {what} is {value}"
    )]
    Diverged {
        /// The step, counted from 1 over all epochs.
        step: u64,
        /// Its learning rate.
        learning_rate: f64,
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// Validation gave no number.
    #[error("the validation loss after epoch {epoch} is {value}")]
    DivergedInValidation {
        /// The epoch, counted from 1.
        epoch: usize,
        /// The loss.
        value: f64,
    },
    /// A checkpoint does not fit the training it should resume.
    #[error("the checkpoint does not fit: {0}")]
    Checkpoint(String),
    /// A checkpoint is of another architecture, recipe, seed or other images.
    #[error("the checkpoint was begun with other settings: {}", Difference::list(.0))]
    OtherTraining(Vec<Difference>),
    /// A file of a saved model.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An image that does not fit a model.
    #[error(
        "image {index} has {found} values, the model takes {height} x {width} x {channels} = {expected}"
    )]
    ImageSize {
        /// Which image of the call.
        index: usize,
        /// How many bytes it has.
        found: usize,
        /// How many it should have.
        expected: usize,
        /// Height of the model's input in pixels.
        height: usize,
        /// Width of the model's input in pixels.
        width: usize,
        /// Channels of the model's input.
        channels: usize,
    },
}

impl SupernetError {
    /// Whether a device had no room.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        match self {
            SupernetError::Op(error) => error.is_out_of_memory(),
            SupernetError::Tensor(error) => epnas_ops::is_out_of_memory(error),
            _ => false,
        }
    }

    /// The same for a network, where the device had no room for it.
    pub(crate) fn of_network(self, network: &Network, batch: usize) -> SupernetError {
        if !self.is_out_of_memory() {
            return self;
        }
        SupernetError::Memory {
            cause: match &self {
                SupernetError::Op(error @ epnas_ops::Error::Memory { .. }) => error.to_string(),
                _ => "not enough memory on the GPU".to_owned(),
            },
            batch,
            height: network.input.height,
            width: network.input.width,
            channels: network.input.channels,
            params: network.params(),
        }
    }
}
