//! The macro space: an operation and a set of sources per layer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SpaceError, check_op};
use crate::{Layer, MacroArch, Op, SourceSet};

/// Which sets of sources a layer may have. Layer l has l - 1 free bits under both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wiring {
    /// Layer l always reads layer l - 1, and any of the stem and the layers before that (Perez-Rua et al.,
    /// 2018, figure 1; ENAS).
    #[default]
    Chain,
    /// Layer l reads any of the layers before it; one that reads none of them reads the stem (Perez-Rua et
    /// al., 2018, section 3, the formula). A layer may then be dead.
    Free,
}

/// Whole networks, layer by layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MacroSpace {
    /// Layers of a full-length network, stem not counted. Default 12, range 1 to 48; from 15 on the space
    /// is too large to be counted exactly.
    pub layers: usize,
    /// Which earlier outputs a layer may read. `chain`: always the previous layer, any others too; `free`:
    /// any earlier layers, or the stem alone. Default `chain`.
    pub wiring: Wiring,
}

impl Default for MacroSpace {
    fn default() -> Self {
        MacroSpace {
            layers: 12,
            wiring: Wiring::Chain,
        }
    }
}

impl MacroSpace {
    /// Most layers: level 48 alone has 8e14 elements, so no more could be searched, and up to here
    /// 20,000 parents' candidates can be numbered with 64 bits.
    pub const MAX_LAYERS: usize = 48;

    pub(super) fn validate(&self) -> Result<(), SpaceError> {
        if (1..=Self::MAX_LAYERS).contains(&self.layers) {
            return Ok(());
        }
        Err(SpaceError::Size {
            field: "layers",
            found: self.layers,
            expected: "1 to 48",
        })
    }

    /// Six operations times the subsets of l - 1 sources.
    pub(super) fn level_len(level: usize) -> u64 {
        (Op::MACRO.len() as u64) << (level - 1)
    }

    /// An element is the operation plus six times the free bits.
    pub(super) fn layer(&self, level: usize, element: u64) -> Layer {
        let (op, bits) = split(element);
        let sources = match self.wiring {
            Wiring::Chain => bits | 1 << (level - 1),
            Wiring::Free if bits == 0 => 1,
            Wiring::Free => bits << 1,
        };
        Layer {
            op: Op::MACRO[op],
            sources: SourceSet::from_bits(sources),
        }
    }

    pub(super) fn element(&self, level: usize, layer: Layer) -> u64 {
        let bits = match self.wiring {
            Wiring::Chain => layer.sources.bits() & !(1 << (level - 1)),
            Wiring::Free => layer.sources.bits() >> 1,
        };
        bits * Op::MACRO.len() as u64 + layer.op.index() as u64
    }

    pub(super) fn check(&self, arch: &MacroArch) -> Result<(), SpaceError> {
        for (previous, layer) in arch.layers.iter().enumerate() {
            check_op(previous + 1, layer.op, &Op::MACRO)?;
            let expected = match self.wiring {
                Wiring::Chain if !layer.sources.contains(previous) => {
                    format!("H_{previous} among them, because the wiring is chain")
                }
                Wiring::Free if layer.sources.contains(0) && layer.sources.len() > 1 => {
                    "the stem 0 only by itself, because the wiring is free".to_owned()
                }
                _ => continue,
            };
            let found = layer.sources.to_string();
            return Err(SpaceError::Wiring {
                layer: previous + 1,
                found,
                expected,
            });
        }
        Ok(())
    }
}

/// The operation's index and the free bits of an element.
pub(crate) fn split(element: u64) -> (usize, u64) {
    let ops = Op::MACRO.len() as u64;
    ((element % ops) as usize, element / ops)
}
