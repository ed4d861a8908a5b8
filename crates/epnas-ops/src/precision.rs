//! What the products of dense convolutions are computed in.

use crate::simd::{SimdLevel, simd_level};

/// What the products of dense convolutions are computed in. Tensors, sums and everything else are `f32` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Factors are rounded to bfloat16 (8 bits of precision; nearest, ties to even), products are added in `f32`: what
    /// VDPBF16PS does, and torch's autocast for convolutions. Where the CPU lacks the instruction the same values (but for
    /// subnormal ones, which it takes as zeros) are computed by others, more slowly than in [`Precision::F32`]; see
    /// [`Precision::is_native`].
    Bf16,
}

impl Precision {
    /// Whether this CPU has instructions for it, at the level of [`simd_level`].
    pub fn is_native(self) -> bool {
        match self {
            Precision::F32 => true,
            Precision::Bf16 => matches!(simd_level(), Ok(SimdLevel::Avx512Bf16)),
        }
    }

    /// Factors in each number (32 bits) that the kernels multiply.
    fn per_number(self) -> usize {
        match self {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
        }
    }

    /// Numbers that hold so many factors.
    pub(crate) fn numbers(self, factors: usize) -> usize {
        factors.div_ceil(self.per_number())
    }

    /// The factor in a half of a number. Where a number is one factor there is no second half.
    pub(crate) fn factor(self, number: usize, half: usize) -> usize {
        number * self.per_number() + half
    }
}
