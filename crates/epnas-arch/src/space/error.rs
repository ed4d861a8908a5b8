//! What can be wrong with a space, or with an architecture in it.

use thiserror::Error;

use crate::{ArchError, Op};

/// Why a space is none, or why an architecture does not belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpaceError {
    /// A size of the space that is out of range.
    #[error("space.{field} = {found} is out of range, expected {expected}")]
    Size {
        /// The configuration key.
        field: &'static str,
        /// Its value.
        found: usize,
        /// The range.
        expected: &'static str,
    },
    /// More architectures than a 128-bit number can count.
    #[error(
        "the first {level} levels hold about 1e{log10:.0} architectures, more than can be counted exactly, \
         expected fewer than 3.4e38"
    )]
    TooLarge {
        /// How many levels were to be counted.
        level: usize,
        /// Decimal logarithm of their number, rounded.
        log10: u32,
    },
    /// More candidates than can be numbered.
    #[error(
        "{parents} parents with {level_len} elements each are more candidates than can be numbered"
    )]
    TooManyCandidates {
        /// Number of parents.
        parents: usize,
        /// Elements of the level.
        level_len: u64,
    },
    /// An ill-formed architecture.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// An architecture of another kind of space.
    #[error("{arch} is a {found} architecture, expected a {expected} one")]
    Kind {
        /// The architecture.
        arch: String,
        /// Its kind.
        found: &'static str,
        /// The kind of the space.
        expected: &'static str,
    },
    /// More layers or blocks than the space has levels.
    #[error("{arch} has {found} levels, expected at most {limit}")]
    Length {
        /// The architecture.
        arch: String,
        /// Its layers or blocks.
        found: usize,
        /// The levels of the space.
        limit: usize,
    },
    /// An operation the space does not have.
    #[error("level {level} has the operation {found}, expected one of {expected}")]
    Op {
        /// The level, counted from 1.
        level: usize,
        /// The operation.
        found: Op,
        /// The operations of the space.
        expected: String,
    },
    /// A choice that a level does not have.
    #[error("level {level} has the choice {found}, expected one of 0..{limit}")]
    Choice {
        /// The level, counted from 1.
        level: usize,
        /// The choice.
        found: usize,
        /// How many choices the level has.
        limit: usize,
    },
    /// Sources the wiring does not allow.
    #[error("layer {layer} reads {found}, expected {expected}")]
    Wiring {
        /// The layer, counted from 1.
        layer: usize,
        /// Its sources, as in the text form.
        found: String,
        /// What the wiring asks for.
        expected: String,
    },
    /// A level that is not there.
    #[error("level {found} asked for, expected 1 to {limit}")]
    Level {
        /// The level asked for.
        found: usize,
        /// The last one.
        limit: usize,
    },
    /// Parents of different lengths.
    #[error("parent {arch} has {found} levels, expected {expected} as the first parent")]
    Parents {
        /// The parent.
        arch: String,
        /// Its levels.
        found: usize,
        /// Those of the first parent.
        expected: usize,
    },
}
