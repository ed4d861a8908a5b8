//! The micro space: two operations and their sources per block.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SpaceError, check_op};
use crate::{Block, BlockInput, CellArch, CellSource, MAX_BLOCKS, Op};

/// The operations of the micro space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MicroOps {
    /// Pools, convolutions, depthwise convolutions of 3x3 and 5x5, and the identity (Perez-Rua et al.,
    /// 2018, section 3).
    #[default]
    Seven,
    /// These and a depthwise convolution of 7x7: the published cardinality of 5e14 needs eight.
    Eight,
}

impl MicroOps {
    /// The operations, in the order of the encodings.
    pub fn list(self) -> &'static [Op] {
        match self {
            MicroOps::Seven => &Op::MICRO,
            MicroOps::Eight => &Op::MICRO_WIDE,
        }
    }
}

/// The cell that a network repeats, block by block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MicroSpace {
    /// Blocks of a full-length cell. Default 5, range 1 to 30.
    pub blocks: usize,
    /// The operations. `seven`: pools, convolutions and depthwise convolutions of 3x3 and 5x5, identity;
    /// `eight`: a depthwise convolution of 7x7 too. Default `seven`.
    pub ops: MicroOps,
    /// Whether blocks that differ only in the order of their two inputs are the same, which halves every
    /// level. Default true.
    pub canonicalize: bool,
}

impl Default for MicroSpace {
    fn default() -> Self {
        MicroSpace {
            blocks: 5,
            ops: MicroOps::Seven,
            canonicalize: true,
        }
    }
}

impl MicroSpace {
    pub(super) fn validate(&self) -> Result<(), SpaceError> {
        if (1..=MAX_BLOCKS).contains(&self.blocks) {
            return Ok(());
        }
        Err(SpaceError::Size {
            field: "blocks",
            found: self.blocks,
            expected: "1 to 30",
        })
    }

    /// (operation, source) pairs at a level: sources are the two earlier cells and the blocks before.
    fn pairs(&self, level: usize) -> u64 {
        self.ops.list().len() as u64 * (level as u64 + 1)
    }

    /// Ordered pairs of pairs, or unordered ones when canonical.
    pub(super) fn level_len(&self, level: usize) -> u64 {
        let pairs = self.pairs(level);
        if self.canonicalize {
            pairs * (pairs + 1) / 2
        } else {
            pairs * pairs
        }
    }

    /// The two pair numbers of an element. Unordered pairs (i <= j) are numbered j (j + 1) / 2 + i.
    fn split(&self, level: usize, element: u64) -> (u64, u64) {
        if !self.canonicalize {
            let pairs = self.pairs(level);
            return (element / pairs, element % pairs);
        }
        // The largest j with j (j + 1) / 2 <= element.
        let j = ((8 * element + 1).isqrt() - 1) / 2;
        (element - j * (j + 1) / 2, j)
    }

    /// Indices `[operation, source]` of both inputs of an element.
    pub(crate) fn indices(&self, level: usize, element: u64) -> [[usize; 2]; 2] {
        let sources = level as u64 + 1;
        let (first, second) = self.split(level, element);
        [first, second].map(|pair| [(pair / sources) as usize, (pair % sources) as usize])
    }

    pub(super) fn block(&self, level: usize, element: u64) -> Block {
        let inputs = self.indices(level, element).map(|[op, source]| BlockInput {
            op: self.ops.list()[op],
            source: match source {
                0 => CellSource::BeforePrevious,
                1 => CellSource::Previous,
                block => CellSource::Block((block - 2) as u8),
            },
        });
        Block { inputs }
    }

    pub(super) fn element(&self, level: usize, block: Block) -> u64 {
        let sources = level as u64 + 1;
        let pairs = block
            .inputs
            .map(|input| input.op.index() as u64 * sources + input.source.index() as u64);
        self.join(level, pairs)
    }

    /// The element with these two pair numbers: the inverse of [`split`](Self::split), in any order where that does not
    /// count.
    pub(super) fn join(&self, level: usize, [first, second]: [u64; 2]) -> u64 {
        if self.canonicalize {
            let (i, j) = (first.min(second), first.max(second));
            j * (j + 1) / 2 + i
        } else {
            first * self.pairs(level) + second
        }
    }

    pub(super) fn check(&self, cell: &CellArch) -> Result<(), SpaceError> {
        let inputs = cell
            .blocks
            .iter()
            .enumerate()
            .flat_map(|(b, block)| block.inputs.map(|i| (b + 1, i.op)));
        inputs
            .into_iter()
            .try_for_each(|(level, op)| check_op(level, op, self.ops.list()))
    }
}
