//! An element of a level as a tuple of small decisions, for whatever chooses or changes one of them at a time: the
//! controller of ENAS, the mutations of evolution, the neighbours of local search.

use super::Space;
use crate::Op;

/// Choices of a decision that is a free source bit: not read, or read.
const BIT: usize = 2;

impl Space {
    /// The decisions that make an element of `level`: how many choices each has. None for a level that is not there.
    ///
    /// | | decisions |
    /// |---|---|
    /// | macro, layer l | 6 for the operation, then 2 for each of the l - 1 free source bits, lowest source first |
    /// | micro, block at level b, n operations | n, b + 1, n, b + 1: operation and source of both inputs |
    /// | choices | the level's number of choices |
    ///
    /// ```
    /// use epnas_arch::{MicroSpace, Space};
    ///
    /// assert_eq!(Space::default().decisions(3), [6, 2, 2]);
    /// assert_eq!(Space::Micro(MicroSpace::default()).decisions(1), [7, 2, 7, 2]);
    /// ```
    pub fn decisions(&self, level: usize) -> Vec<usize> {
        if level == 0 || level > self.levels() {
            return Vec::new();
        }
        match self {
            Space::Macro(_) => {
                let bits = std::iter::repeat_n(BIT, level - 1);
                std::iter::once(Op::MACRO.len()).chain(bits).collect()
            }
            Space::Micro(space) => [space.ops.list().len(), level + 1].repeat(2),
            Space::Choices(space) => vec![space.sizes[level - 1]],
        }
    }

    /// The element that these decisions make. Where the order of two inputs does not count, both orders make the same
    /// element; otherwise different decisions make different elements.
    ///
    /// # Panics
    /// When the decisions are not as many as [`decisions`](Space::decisions) says, or one is out of its range.
    pub fn decide(&self, level: usize, decisions: &[usize]) -> u64 {
        let sizes = self.decisions(level);
        assert!(
            sizes.len() == decisions.len() && decisions.iter().zip(&sizes).all(|(d, n)| d < n),
            "decisions {decisions:?} at level {level}, expected one below each of {sizes:?}"
        );
        match self {
            // Digits of mixed radix, the operation lowest.
            Space::Macro(_) => decisions
                .iter()
                .zip(&sizes)
                .rfold(0, |element, (&d, &n)| element * n as u64 + d as u64),
            Space::Micro(space) => {
                let sources = level as u64 + 1;
                let pair = |input: &[usize]| input[0] as u64 * sources + input[1] as u64;
                space.join(level, [pair(&decisions[..2]), pair(&decisions[2..])])
            }
            Space::Choices(_) => decisions[0] as u64,
        }
    }

    /// The decisions that make an element: [`decide`](Space::decide) gives it back. Where both orders of two inputs make
    /// the same element, these are the canonical one.
    ///
    /// # Panics
    /// When the element is beyond the level.
    pub fn decided(&self, level: usize, element: u64) -> Vec<usize> {
        let len = self.level_len(level);
        assert!(element < len, "element {element} of {len} at level {level}");
        match self {
            Space::Macro(_) => {
                let (op, bits) = super::split_layer(element);
                let bits = (0..level - 1).map(|bit| (bits >> bit & 1) as usize);
                std::iter::once(op).chain(bits).collect()
            }
            Space::Micro(space) => space.indices(level, element).concat(),
            Space::Choices(_) => vec![element as usize],
        }
    }
}
