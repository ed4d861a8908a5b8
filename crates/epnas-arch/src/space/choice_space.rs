//! The space of a table: one of a few choices per level, whatever they stand for.

use super::SpaceError;
use crate::{ChoiceArch, MAX_CHOICES, MAX_LAYERS};

/// Sequences of choices. What choice 2 of level 3 means, a table says: here it is a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceSpace {
    /// Choices of each level; 1 to 64 levels of 1 to 65,536 choices.
    pub sizes: Vec<usize>,
}

impl ChoiceSpace {
    pub(super) fn validate(&self) -> Result<(), SpaceError> {
        let fault = |field, found, expected| SpaceError::Size {
            field,
            found,
            expected,
        };
        if !(1..=MAX_LAYERS).contains(&self.sizes.len()) {
            return Err(fault("levels", self.sizes.len(), "1 to 64"));
        }
        let wrong = |size: &&usize| !(1..=MAX_CHOICES).contains(*size);
        match self.sizes.iter().find(wrong) {
            Some(&size) => Err(fault("choices", size, "1 to 65536")),
            None => Ok(()),
        }
    }

    pub(super) fn level_len(&self, level: usize) -> u64 {
        self.sizes[level - 1] as u64
    }

    /// Features of the one-hot encoding: the choices of the largest level.
    pub(crate) fn widest(&self) -> usize {
        self.sizes.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn check(&self, arch: &ChoiceArch) -> Result<(), SpaceError> {
        let levels = arch.choices.iter().zip(&self.sizes);
        for (level, (&found, &limit)) in (1..).zip(levels) {
            if usize::from(found) >= limit {
                return Err(SpaceError::Choice {
                    level,
                    found: found.into(),
                    limit,
                });
            }
        }
        Ok(())
    }
}
