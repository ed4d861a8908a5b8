//! What an architecture is: the macro and micro search spaces of EPNAS, their encodings, counts and
//! network graphs, and the two traits the search is generic over.
//!
//! This is the ground crate of the workspace. It holds values and traits only: no tensors, no files, no
//! random numbers. Everything that searches, trains, draws or reports builds on it.
//!
//! - [`Op`], [`Arch`], [`MacroArch`], [`CellArch`]: architectures, with a compact [text form](text), JSON
//!   through serde and a [genotype](mod@genotype) for cells.
//! - [`Space`], [`Candidates`]: what can be searched, how much of it there is, and the lazy set of
//!   candidates of one step.
//! - [`Encoding`]: architectures as sequences of feature vectors for a surrogate.
//! - [`Design`]: an architecture or a network made by hand, [`HandMade`].
//! - [`Network`]: the one definition of a network, from which training, counting and drawing all follow.
//! - [`Evaluator`] and [`Surrogate`]: measured and predicted accuracy.
//! - [`seed`]: named child seeds.
//!
//! The spaces and the sharing of weights follow Perez-Rua et al., 2018, sections 3 and 4.
//!
//! ```
//! use epnas_arch::{Arch, Network, NetworkConfig, Shape};
//!
//! let arch: Arch = "macro:c3.0/c5.1/d3.1+2".parse()?;
//! let input = Shape::new(32, 32, 3);
//! let network = Network::build(&arch, 3, &NetworkConfig::default(), input, 10)?;
//! assert_eq!(network.params(), 23_914);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arch;
pub mod candidates;
pub mod design;
pub mod encode;
pub mod evaluator;
pub mod genotype;
pub mod json;
pub mod network;
pub mod op;
pub mod seed;
pub mod space;
pub mod surrogate;
pub mod text;

pub use arch::{
    Arch, ArchError, Block, BlockInput, CellArch, CellSource, ChoiceArch, Layer, MAX_BLOCKS,
    MAX_CHOICES, MAX_LAYERS, MacroArch, SourceSet,
};
pub use candidates::Candidates;
pub use design::{Design, ParseDesignError};
pub use encode::Encoding;
pub use evaluator::{Cost, EpochReport, EvaluateError, Evaluator, Job, Measurement, Progress};
pub use genotype::{genotype, parse_genotype};
pub use network::{
    Activation, DenseForm, DepthwiseKind, Downsample, HandMade, HeadSharing, Network,
    NetworkConfig, NetworkError, Node, NodeId, NodeKind, Param, ParamKind, ParseHandMadeError,
    PoolKind, Shape, Sharing, StageChannels,
};
pub use op::Op;
pub use space::{ChoiceSpace, MacroSpace, MicroOps, MicroSpace, Space, SpaceError, Wiring};
pub use surrogate::{FitReport, Surrogate, SurrogateError};
pub use text::ParseArchError;
