//! The search spaces: how many elements a level has, and which architecture an element makes.
//!
//! A space is a sequence of levels: a layer of the macro space, a block of the micro space. Each level is a
//! set of elements numbered from 0, and an architecture is one element per level. The progressive search
//! extends architectures by one level at a time, so all it needs is the arithmetic between elements and
//! layers or blocks, which is here. No set is ever listed.

mod choice_space;
mod decisions;
mod error;
mod macro_space;
mod micro_space;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use choice_space::ChoiceSpace;
pub use error::SpaceError;
pub(crate) use macro_space::split as split_layer;
pub use macro_space::{MacroSpace, Wiring};
pub use micro_space::{MicroOps, MicroSpace};

use crate::{Arch, CellArch, ChoiceArch, Encoding, MacroArch, Op};

/// What is searched: whole networks or the cell of one (Perez-Rua et al., 2018, section 3), or the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Space {
    /// Whole networks, layer by layer.
    Macro(MacroSpace),
    /// The cell that a network repeats, block by block.
    Micro(MicroSpace),
    /// Sequences of choices, which have no network: their accuracies are looked up.
    #[serde(skip)]
    Choices(ChoiceSpace),
}

impl Default for Space {
    /// The macro space of 12 layers.
    fn default() -> Self {
        Space::Macro(MacroSpace::default())
    }
}

impl Space {
    /// Checks the sizes: 1 to 48 layers, 1 to 30 blocks. Every other method expects a space that passes.
    ///
    /// # Errors
    /// [`SpaceError::Size`] with the key and its range.
    pub fn validate(&self) -> Result<(), SpaceError> {
        match self {
            Space::Macro(space) => space.validate(),
            Space::Micro(space) => space.validate(),
            Space::Choices(space) => space.validate(),
        }
    }

    /// `macro`, `micro` or `choices`.
    pub fn kind(&self) -> &'static str {
        match self {
            Space::Macro(_) => "macro",
            Space::Micro(_) => "micro",
            Space::Choices(_) => "choices",
        }
    }

    /// Number of levels: layers or blocks of a full-length architecture.
    pub fn levels(&self) -> usize {
        match self {
            Space::Macro(space) => space.layers,
            Space::Micro(space) => space.blocks,
            Space::Choices(space) => space.sizes.len(),
        }
    }

    /// The operations of the space, in the order of the encodings; none where levels are plain choices.
    pub fn ops(&self) -> &'static [Op] {
        match self {
            Space::Macro(_) => &Op::MACRO,
            Space::Micro(space) => space.ops.list(),
            Space::Choices(_) => &[],
        }
    }

    /// Number of elements of a level, counted from 1; 0 for a level that is not there.
    pub fn level_len(&self, level: usize) -> u64 {
        match self {
            _ if level == 0 || level > self.levels() || self.validate().is_err() => 0,
            Space::Macro(_) => MacroSpace::level_len(level),
            Space::Micro(space) => space.level_len(level),
            Space::Choices(space) => space.level_len(level),
        }
    }

    /// Number of full-length architectures, exactly.
    ///
    /// # Errors
    /// [`SpaceError::TooLarge`] from 15 macro layers on; see [`log10_cumulative`](Space::log10_cumulative).
    pub fn cardinality(&self) -> Result<u128, SpaceError> {
        self.cumulative(self.levels())
    }

    /// Number of architectures of exactly `level` levels, exactly.
    ///
    /// # Errors
    /// [`SpaceError::TooLarge`] when the number does not fit 128 bits, [`SpaceError::Level`] for a level
    /// that is not there, [`SpaceError::Size`] for a space out of range.
    pub fn cumulative(&self, level: usize) -> Result<u128, SpaceError> {
        self.validate()?;
        if level == 0 || level > self.levels() {
            return Err(SpaceError::Level {
                found: level,
                limit: self.levels(),
            });
        }
        (1..=level)
            .try_fold(1_u128, |count, l| {
                count.checked_mul(self.level_len(l).into())
            })
            .ok_or_else(|| SpaceError::TooLarge {
                level,
                log10: self.log10_cumulative(level).round() as u32,
            })
    }

    /// Decimal logarithm of [`cumulative`](Space::cumulative), for spaces of any size.
    pub fn log10_cumulative(&self, level: usize) -> f64 {
        (1..=level)
            .map(|l| (self.level_len(l) as f64).log10())
            .sum()
    }

    /// The architecture that `parent` becomes with this element at the next level; `None` stands for no
    /// level yet.
    ///
    /// # Panics
    /// When the parent is of the other kind. An element beyond the level gives an architecture that fails
    /// [`check`](Space::check).
    pub fn extend(&self, parent: Option<&Arch>, element: u64) -> Arch {
        let level = parent.map_or(0, Arch::len) + 1;
        match self {
            Space::Macro(space) => {
                let mut layers =
                    parent.map_or_else(Vec::new, |arch| macro_arch(arch).layers.clone());
                layers.push(space.layer(level, element));
                Arch::Macro(MacroArch { layers })
            }
            Space::Micro(space) => {
                let mut blocks =
                    parent.map_or_else(Vec::new, |arch| cell_arch(arch).blocks.clone());
                blocks.push(space.block(level, element));
                Arch::Micro(CellArch { blocks })
            }
            Space::Choices(_) => {
                let mut choices =
                    parent.map_or_else(Vec::new, |arch| choice_arch(arch).choices.clone());
                choices.push(choice(element));
                Arch::Choices(ChoiceArch { choices })
            }
        }
    }

    /// The architecture with this element in the place of the one at `level`, the others as they are.
    ///
    /// # Panics
    /// When the architecture is of the other kind or has no such level.
    pub fn replace(&self, arch: &Arch, level: usize, element: u64) -> Arch {
        let mut arch = arch.clone();
        match (self, &mut arch) {
            (Space::Macro(space), Arch::Macro(arch)) => {
                arch.layers[level - 1] = space.layer(level, element)
            }
            (Space::Micro(space), Arch::Micro(cell)) => {
                cell.blocks[level - 1] = space.block(level, element)
            }
            (Space::Choices(_), Arch::Choices(arch)) => arch.choices[level - 1] = choice(element),
            _ => panic!("{arch} is not of the {} space", self.kind()),
        }
        arch
    }

    /// The element of an architecture at `level`: the inverse of [`extend`](Space::extend). Of an
    /// architecture that is not canonical it is the element of the canonical one.
    ///
    /// # Panics
    /// When the architecture is of the other kind or has no such level.
    pub fn element(&self, arch: &Arch, level: usize) -> u64 {
        match self {
            Space::Macro(space) => space.element(level, macro_arch(arch).layers[level - 1]),
            Space::Micro(space) => space.element(level, cell_arch(arch).blocks[level - 1]),
            Space::Choices(_) => choice_arch(arch).choices[level - 1].into(),
        }
    }

    /// The one architecture that stands for all that are the same: in a micro space that canonicalizes,
    /// the two inputs of every block are sorted. Otherwise the architecture itself.
    #[must_use]
    pub fn canonical(&self, arch: &Arch) -> Arch {
        let mut arch = arch.clone();
        if let (
            Space::Micro(MicroSpace {
                canonicalize: true, ..
            }),
            Arch::Micro(cell),
        ) = (self, &mut arch)
        {
            cell.blocks.iter_mut().for_each(|block| block.inputs.sort());
        }
        arch
    }

    /// The key under which a history keeps an architecture: the text form of the canonical one.
    pub fn key(&self, arch: &Arch) -> String {
        self.canonical(arch).to_string()
    }

    /// Checks that an architecture, full-length or partial, belongs to this space. It need not be canonical.
    ///
    /// # Errors
    /// The first fault found, with the level.
    pub fn check(&self, arch: &Arch) -> Result<(), SpaceError> {
        self.validate()?;
        arch.check()?;
        let found = match arch {
            Arch::Macro(_) => "macro",
            Arch::Micro(_) => "micro",
            Arch::Choices(_) => "choices",
        };
        if found != self.kind() {
            return Err(SpaceError::Kind {
                arch: arch.to_string(),
                found,
                expected: self.kind(),
            });
        }
        if arch.len() > self.levels() {
            return Err(SpaceError::Length {
                arch: arch.to_string(),
                found: arch.len(),
                limit: self.levels(),
            });
        }
        match (self, arch) {
            (Space::Macro(space), Arch::Macro(arch)) => space.check(arch),
            (Space::Micro(space), Arch::Micro(cell)) => space.check(cell),
            (Space::Choices(space), Arch::Choices(arch)) => space.check(arch),
            _ => Ok(()),
        }
    }

    /// Features per level under an encoding: see [`Encoding`].
    pub fn features(&self, encoding: Encoding) -> usize {
        encoding.features(self)
    }

    /// An architecture as one feature vector per level: `[level][feature]`.
    ///
    /// # Panics
    /// When the architecture does not pass [`check`](Space::check).
    pub fn encode(&self, arch: &Arch, encoding: Encoding) -> Vec<Vec<f32>> {
        (1..=arch.len())
            .map(|level| {
                let mut out = vec![0.0; self.features(encoding)];
                self.encode_element(level, self.element(arch, level), encoding, &mut out);
                out
            })
            .collect()
    }

    /// Writes the features of one element; every entry of `out` is set.
    ///
    /// # Panics
    /// When `out` is shorter than [`features`](Space::features) or the element beyond the level.
    pub fn encode_element(&self, level: usize, element: u64, encoding: Encoding, out: &mut [f32]) {
        encoding.write(self, level, element, out);
    }
}

fn macro_arch(arch: &Arch) -> &MacroArch {
    match arch {
        Arch::Macro(arch) => arch,
        _ => panic!("{arch} is not of the macro space"),
    }
}

fn cell_arch(arch: &Arch) -> &CellArch {
    match arch {
        Arch::Micro(cell) => cell,
        _ => panic!("{arch} is not of the micro space"),
    }
}

fn choice_arch(arch: &Arch) -> &ChoiceArch {
    match arch {
        Arch::Choices(arch) => arch,
        _ => panic!("{arch} is not of a space of choices"),
    }
}

/// An element beyond all choices becomes the last one, which no level of fewer has.
fn choice(element: u64) -> u16 {
    u16::try_from(element).unwrap_or(u16::MAX)
}

fn check_op(level: usize, found: Op, ops: &[Op]) -> Result<(), SpaceError> {
    if ops.contains(&found) {
        return Ok(());
    }
    let expected = ops
        .iter()
        .map(|op| op.name())
        .collect::<Vec<_>>()
        .join(", ");
    Err(SpaceError::Op {
        level,
        found,
        expected,
    })
}
