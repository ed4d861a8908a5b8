//! Architectures as values: macro layers with their sources, and the blocks of a micro cell.
//!
//! The fields are public, so a value can be ill-formed; [`Arch::check`] says whether it is. Parsing and
//! deserializing check by themselves. Whether an architecture belongs to a given space is for
//! [`Space::check`](crate::Space::check) to say.

mod check;

pub use check::ArchError;
use serde::{Deserialize, Serialize};

use crate::Op;

/// Most layers of a macro architecture: one bit of a [`SourceSet`] each.
pub const MAX_LAYERS: usize = 64;

/// Most blocks of a cell.
pub const MAX_BLOCKS: usize = 30;

/// Most choices of a level.
pub const MAX_CHOICES: usize = 1 << 16;

/// The set of earlier outputs that a macro layer reads: bit j stands for H_j, and H_0 is the stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceSet(u64);

impl SourceSet {
    /// The set that reads nothing.
    pub const EMPTY: SourceSet = SourceSet(0);

    /// The set of these bits: bit j reads H_j.
    pub fn from_bits(bits: u64) -> Self {
        SourceSet(bits)
    }

    /// The bits: bit j reads H_j.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The set that reads H_`source` alone; empty when `source` is 64 or more.
    pub fn single(source: usize) -> Self {
        SourceSet::EMPTY.with(source)
    }

    /// This set and H_`source`; unchanged when `source` is 64 or more.
    #[must_use]
    pub fn with(self, source: usize) -> Self {
        if source < MAX_LAYERS {
            SourceSet(self.0 | 1 << source)
        } else {
            self
        }
    }

    /// Whether H_`source` is read.
    pub fn contains(self, source: usize) -> bool {
        source < MAX_LAYERS && self.0 >> source & 1 == 1
    }

    /// Number of sources.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether nothing is read.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sources in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..MAX_LAYERS).filter(move |&j| self.contains(j))
    }

    /// The highest source, if any.
    pub fn highest(self) -> Option<usize> {
        self.0.checked_ilog2().map(|j| j as usize)
    }
}

impl FromIterator<usize> for SourceSet {
    fn from_iter<I: IntoIterator<Item = usize>>(iter: I) -> Self {
        iter.into_iter().fold(SourceSet::EMPTY, SourceSet::with)
    }
}

/// One layer of a macro architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// What it applies.
    pub op: Op,
    /// What it reads: every source is named, under both wirings, and all are earlier than the layer.
    pub sources: SourceSet,
}

/// A whole network, layer by layer. Layer l (counted from 1) gives H_l; H_0 is the stem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacroArch {
    /// The layers; `layers[0]` is layer 1.
    pub layers: Vec<Layer>,
}

/// Where an operation of a cell reads from. Ordered as written: -2, -1, 0, 1, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellSource {
    /// The output of the cell before the previous one, written -2.
    BeforePrevious,
    /// The output of the previous cell, written -1.
    Previous,
    /// The output of an earlier block of this cell, counted from 0.
    Block(u8),
}

impl CellSource {
    /// As a number: -2, -1, or the block.
    pub fn number(self) -> i64 {
        match self {
            CellSource::BeforePrevious => -2,
            CellSource::Previous => -1,
            CellSource::Block(block) => i64::from(block),
        }
    }

    /// From a number: -2, -1, or a block of 0 to 29. `None` for any other.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            -2 => Some(CellSource::BeforePrevious),
            -1 => Some(CellSource::Previous),
            block => u8::try_from(block)
                .ok()
                .filter(|&b| usize::from(b) < MAX_BLOCKS)
                .map(CellSource::Block),
        }
    }

    /// As an index from 0: 0 and 1 are the two earlier cells, 2 + b is block b.
    pub fn index(self) -> usize {
        match self {
            CellSource::BeforePrevious => 0,
            CellSource::Previous => 1,
            CellSource::Block(block) => 2 + usize::from(block),
        }
    }

    /// From an index from 0. `None` beyond the last block.
    pub fn from_index(index: usize) -> Option<Self> {
        i64::try_from(index)
            .ok()
            .and_then(|index| CellSource::from_number(index - 2))
    }
}

impl std::fmt::Display for CellSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// One of the two operations of a block and what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockInput {
    /// What it applies.
    pub op: Op,
    /// What it reads.
    pub source: CellSource,
}

/// A block of a cell: the sum of two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The two summands. Weights are keyed by the position here.
    pub inputs: [BlockInput; 2],
}

/// The cell of a micro network; normal and reduction cells have the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellArch {
    /// The blocks, counted from 0.
    pub blocks: Vec<Block>,
}

impl CellArch {
    /// The blocks that no other block reads, ascending: these make the output of the cell.
    pub fn outputs(&self) -> Vec<usize> {
        let read = |block: usize| {
            self.blocks
                .iter()
                .flat_map(|b| &b.inputs)
                .any(|i| i.source.index() == block + 2)
        };
        (0..self.blocks.len())
            .filter(|&block| !read(block))
            .collect()
    }

    /// Whether some block reads this source.
    pub fn reads(&self, source: CellSource) -> bool {
        self.blocks
            .iter()
            .flat_map(|b| &b.inputs)
            .any(|i| i.source == source)
    }
}

/// A sequence of choices, one per level, each counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChoiceArch {
    /// The choices; `choices[0]` is that of level 1.
    pub choices: Vec<u16>,
}

/// An architecture of any space.
///
/// It may be partial: the progressive search grows architectures one layer or block at a time, and each
/// prefix is an architecture of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// A whole network.
    Macro(MacroArch),
    /// A cell.
    Micro(CellArch),
    /// A row of a table.
    Choices(ChoiceArch),
}

impl Arch {
    /// Number of layers, blocks or choices.
    pub fn len(&self) -> usize {
        match self {
            Arch::Macro(arch) => arch.layers.len(),
            Arch::Micro(cell) => cell.blocks.len(),
            Arch::Choices(arch) => arch.choices.len(),
        }
    }

    /// Whether there is no layer, block or choice. Such a value is no architecture: see [`Arch::check`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `len` layers, blocks or choices; all of them when there are fewer.
    #[must_use]
    pub fn prefix(&self, len: usize) -> Arch {
        match self {
            Arch::Macro(arch) => Arch::Macro(MacroArch {
                layers: arch.layers[..len.min(arch.layers.len())].to_vec(),
            }),
            Arch::Micro(cell) => Arch::Micro(CellArch {
                blocks: cell.blocks[..len.min(cell.blocks.len())].to_vec(),
            }),
            Arch::Choices(arch) => Arch::Choices(ChoiceArch {
                choices: arch.choices[..len.min(arch.choices.len())].to_vec(),
            }),
        }
    }

    /// Checks that this is an architecture at all: 1 to 64 layers or choices, or 1 to 30 blocks, each reading only
    /// what comes before it, and every layer reading something.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), ArchError> {
        match self {
            Arch::Macro(arch) => arch.check(),
            Arch::Micro(cell) => cell.check(),
            Arch::Choices(arch) => arch.check(),
        }
    }
}
