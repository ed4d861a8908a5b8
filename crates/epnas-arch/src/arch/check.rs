//! What makes a value an architecture, whatever the space.

use thiserror::Error;

use super::{CellArch, ChoiceArch, MAX_BLOCKS, MAX_LAYERS, MacroArch};

/// Why a value is no architecture at all, whatever the space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArchError {
    /// No layer, block or choice.
    #[error("an architecture needs at least one {0}, found none")]
    Empty(&'static str),
    /// More layers, blocks or choices than can be handled.
    #[error("{found} {what}s are too many, expected at most {limit}")]
    TooLong {
        /// `layer`, `block` or `choice`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A layer that reads nothing.
    #[error("layer {layer} has no source, expected at least one of 0..{}", layer - 1)]
    NoSource {
        /// The layer, counted from 1.
        layer: usize,
    },
    /// A layer that reads itself or a later one.
    #[error("layer {layer} reads H_{found}, expected a source of 0..{}", layer - 1)]
    LayerSource {
        /// The layer, counted from 1.
        layer: usize,
        /// The source it names.
        found: usize,
    },
    /// A block that reads itself or a later one.
    #[error("block {block} reads {found}, expected -2, -1 or an earlier block")]
    BlockSource {
        /// The block, counted from 0.
        block: usize,
        /// The source it names.
        found: i64,
    },
    /// The same source twice in one layer.
    #[error("source {found} is given twice")]
    RepeatedSource {
        /// The source it names.
        found: usize,
    },
}

impl MacroArch {
    /// Checks the number of layers and the sources; see [`Arch::check`](crate::Arch::check).
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ArchError> {
        check_len("layer", self.layers.len(), MAX_LAYERS)?;
        for (i, layer) in self.layers.iter().enumerate() {
            match layer.sources.highest() {
                None => return Err(ArchError::NoSource { layer: i + 1 }),
                Some(found) if found > i => {
                    return Err(ArchError::LayerSource {
                        layer: i + 1,
                        found,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl CellArch {
    /// Checks the number of blocks and the sources; see [`Arch::check`](crate::Arch::check).
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ArchError> {
        check_len("block", self.blocks.len(), MAX_BLOCKS)?;
        for (block, inputs) in self.blocks.iter().map(|b| &b.inputs).enumerate() {
            for input in inputs {
                if input.source.index() >= block + 2 {
                    return Err(ArchError::BlockSource {
                        block,
                        found: input.source.number(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl ChoiceArch {
    /// Checks the number of choices; see [`Arch::check`](crate::Arch::check).
    ///
    /// # Errors
    /// The fault found.
    pub fn check(&self) -> Result<(), ArchError> {
        check_len("choice", self.choices.len(), MAX_LAYERS)
    }
}

fn check_len(what: &'static str, found: usize, limit: usize) -> Result<(), ArchError> {
    match found {
        0 => Err(ArchError::Empty(what)),
        found if found > limit => Err(ArchError::TooLong { what, found, limit }),
        _ => Ok(()),
    }
}
