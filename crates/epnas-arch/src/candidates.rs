//! The candidates of one step: a product of parents and the elements of a level, never listed.

use crate::{Arch, Space, SpaceError};

/// A lazy, numbered set of architectures.
///
/// Candidate i is parent i / n with element i mod n, where n is the number of elements of the level. A
/// macro step has up to 307,200 of them, so only the parents are kept.
///
/// ```
/// use epnas_arch::{Candidates, Space};
///
/// let space = Space::default();
/// let first = Candidates::first(&space);
/// let second = Candidates::extend(&space, first.iter().collect())?;
/// assert_eq!((first.len(), second.len()), (6, 72));
/// assert_eq!(second.get(13).to_string(), "macro:ap.0/ap.1");
/// # Ok::<(), epnas_arch::SpaceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    space: Space,
    parents: Vec<Arch>,
    level: usize,
    level_len: u64,
    len: u64,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    First,
    Extend,
    Refine,
}

impl Candidates {
    /// All elements of level 1. Empty when the space is out of range.
    pub fn first(space: &Space) -> Self {
        let level_len = space.level_len(1);
        Candidates {
            space: space.clone(),
            parents: Vec::new(),
            level: 1,
            level_len,
            len: level_len,
            origin: Origin::First,
        }
    }

    /// All extensions of the parents by one level. There are none without parents.
    ///
    /// # Errors
    /// When a parent is not of the space, has another length than the first or is full-length already, or
    /// when there are too many candidates to be numbered.
    pub fn extend(space: &Space, parents: Vec<Arch>) -> Result<Self, SpaceError> {
        let level = parents.first().map_or(0, Arch::len) + 1;
        Self::new(space, parents, level, Origin::Extend)
    }

    /// All replacements of the element at `level` in the parents, the parents themselves included.
    ///
    /// # Errors
    /// When a parent is not of the space, has another length than the first or no such level, or when there
    /// are too many candidates to be numbered.
    pub fn refine(space: &Space, parents: Vec<Arch>, level: usize) -> Result<Self, SpaceError> {
        let limit = parents.first().map_or(space.levels(), Arch::len);
        if level > limit {
            return Err(SpaceError::Level {
                found: level,
                limit,
            });
        }
        Self::new(space, parents, level, Origin::Refine)
    }

    fn new(
        space: &Space,
        parents: Vec<Arch>,
        level: usize,
        origin: Origin,
    ) -> Result<Self, SpaceError> {
        space.validate()?;
        if level == 0 || level > space.levels() {
            return Err(SpaceError::Level {
                found: level,
                limit: space.levels(),
            });
        }
        let expected = parents.first().map_or(0, Arch::len);
        for parent in &parents {
            space.check(parent)?;
            if parent.len() != expected {
                let (arch, found) = (parent.to_string(), parent.len());
                return Err(SpaceError::Parents {
                    arch,
                    found,
                    expected,
                });
            }
        }
        let level_len = space.level_len(level);
        let len =
            level_len
                .checked_mul(parents.len() as u64)
                .ok_or(SpaceError::TooManyCandidates {
                    parents: parents.len(),
                    level_len,
                })?;
        Ok(Candidates {
            space: space.clone(),
            parents,
            level,
            level_len,
            len,
            origin,
        })
    }

    /// Number of candidates.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Candidate `index`.
    ///
    /// # Panics
    /// When `index` is not less than [`len`](Candidates::len).
    pub fn get(&self, index: u64) -> Arch {
        assert!(index < self.len, "candidate {index} of {}", self.len);
        let element = self.element(index);
        match (self.origin, self.parent(index)) {
            (Origin::Refine, Some(parent)) => {
                self.space
                    .replace(&self.parents[parent], self.level, element)
            }
            (_, parent) => self.space.extend(parent.map(|p| &self.parents[p]), element),
        }
    }

    /// The candidates in order.
    pub fn iter(&self) -> impl Iterator<Item = Arch> + '_ {
        (0..self.len).map(|index| self.get(index))
    }

    /// Position of the parent of candidate `index` in [`parents`](Candidates::parents); `None` at level 1,
    /// where there are no parents.
    pub fn parent(&self, index: u64) -> Option<usize> {
        match self.origin {
            Origin::First => None,
            _ => index
                .checked_div(self.level_len)
                .map(|parent| parent as usize),
        }
    }

    /// The element of candidate `index` at [`level`](Candidates::level).
    pub fn element(&self, index: u64) -> u64 {
        index.checked_rem(self.level_len).unwrap_or(0)
    }

    /// The level in which the candidates of one parent differ, counted from 1.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Number of elements of that level, and so of candidates per parent.
    pub fn level_len(&self) -> u64 {
        self.level_len
    }

    /// The parents; none at level 1.
    pub fn parents(&self) -> &[Arch] {
        &self.parents
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Whether a level of the parents is replaced, rather than one appended.
    pub fn is_refine(&self) -> bool {
        self.origin == Origin::Refine
    }
}
