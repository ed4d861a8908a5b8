//! Architectures as sequences of feature vectors, one per level, for a surrogate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::space::Space;
use crate::{MicroSpace, Op};

/// How the element of a level becomes features. Both encodings tell all elements of a level apart.
///
/// | | macro, L layers | micro, n operations, B blocks | choices |
/// |---|---|---|---|
/// | `one_hot` | 6 for the operation, L - 1 source bits | 2 n for the operations, 2 (B + 1) for the sources | as many as the largest level has |
/// | `integer` | 1 for the operation's index, L - 1 source bits | 4: operation, operation, source, source | 1 |
///
/// The source bits of layer l are H_0 to H_{l-2} under `chain` wiring, H_1 to H_{l-1} under `free`; those
/// beyond are 0. Integers are plain indices from 0, sources in the order -2, -1, 0, 1, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// One feature per operation and source, 0 or 1.
    #[default]
    OneHot,
    /// Indices as numbers.
    Integer,
}

impl Encoding {
    pub(crate) fn features(self, space: &Space) -> usize {
        match (self, space) {
            (Encoding::OneHot, Space::Macro(space)) => {
                Op::MACRO.len() + space.layers.saturating_sub(1)
            }
            (Encoding::Integer, Space::Macro(space)) => 1 + space.layers.saturating_sub(1),
            (Encoding::OneHot, Space::Micro(space)) => {
                2 * space.ops.list().len() + 2 * (space.blocks + 1)
            }
            (Encoding::Integer, Space::Micro(_)) => 4,
            (Encoding::OneHot, Space::Choices(space)) => space.widest(),
            (Encoding::Integer, Space::Choices(_)) => 1,
        }
    }

    pub(crate) fn write(self, space: &Space, level: usize, element: u64, out: &mut [f32]) {
        let out = &mut out[..self.features(space)];
        out.fill(0.0);
        match space {
            Space::Macro(_) => self.write_layer(level, element, out),
            Space::Micro(space) => self.write_block(space, level, element, out),
            Space::Choices(_) => match self {
                Encoding::OneHot => out[element as usize] = 1.0,
                Encoding::Integer => out[0] = element as f32,
            },
        }
    }

    fn write_layer(self, level: usize, element: u64, out: &mut [f32]) {
        let (op, bits) = crate::space::split_layer(element);
        let skips = match self {
            Encoding::OneHot => {
                out[op] = 1.0;
                &mut out[Op::MACRO.len()..]
            }
            Encoding::Integer => {
                out[0] = op as f32;
                &mut out[1..]
            }
        };
        for (bit, skip) in skips.iter_mut().enumerate().take(level - 1) {
            *skip = (bits >> bit & 1) as f32;
        }
    }

    fn write_block(self, space: &MicroSpace, level: usize, element: u64, out: &mut [f32]) {
        let ops = space.ops.list().len();
        for (slot, [op, source]) in space.indices(level, element).into_iter().enumerate() {
            match self {
                Encoding::OneHot => {
                    out[slot * ops + op] = 1.0;
                    out[2 * ops + slot * (space.blocks + 1) + source] = 1.0;
                }
                Encoding::Integer => {
                    out[slot] = op as f32;
                    out[2 + slot] = source as f32;
                }
            }
        }
    }
}
