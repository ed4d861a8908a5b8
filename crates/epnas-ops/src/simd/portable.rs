//! Vectors as plain arrays, for the compiler to vectorize.

use super::{LANES, Simd};

/// No special instructions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

/// Whether the target fuses multiply and add in hardware; elsewhere `mul_add` is a slow library call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(lane);
    }
    out
}

#[inline(always)]
fn compare(f: impl Fn(usize) -> bool) -> [u32; LANES] {
    let mut out = [0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = if f(lane) { u32::MAX } else { 0 };
    }
    out
}

impl Simd for Portable {
    type V = [f32; LANES];
    type M = [u32; LANES];

    // A vector takes two 128-bit registers: 32 of them on 64-bit Arm, 16 on the x86-64 baseline.
    const COLUMNS: [usize; 3] = if cfg!(target_arch = "aarch64") {
        [8, 4, 4]
    } else {
        [4, 2, 1]
    };

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }

    #[inline(always)]
    fn store(self, value: Self::V, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    unsafe fn load_at(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for eight floats.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn splat_at(self, from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for a float.
        unsafe { [from.read_unaligned(); LANES] }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        if FUSED {
            each(|i| a[i].mul_add(b[i], c[i]))
        } else {
            each(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn dot_pairs(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V {
        let upper = |v: Self::V| each(|i| f32::from_bits(v[i].to_bits() & 0xffff_0000));
        let lower = |v: Self::V| each(|i| f32::from_bits(v[i].to_bits() << 16));
        // Products of two bfloat16 are exact, so that it does not matter whether multiply and add are fused.
        self.fma(lower(a), lower(b), self.fma(upper(a), upper(b), sum))
    }

    #[inline(always)]
    fn gt(self, a: Self::V, b: Self::V) -> Self::M {
        compare(|i| a[i] > b[i])
    }

    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        compare(|i| a[i] == b[i])
    }

    #[inline(always)]
    fn gt_or_nan(self, a: Self::V, b: Self::V) -> Self::M {
        compare(|i| a[i] > b[i] || a[i].is_nan())
    }

    #[inline(always)]
    fn select(self, mask: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        each(|i| f32::from_bits((yes[i].to_bits() & mask[i]) | (no[i].to_bits() & !mask[i])))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; LANES]) -> Self::V {
        each(|i| f32::from(from[i]))
    }

    #[inline(always)]
    fn store_bytes(self, value: Self::V, to: &mut [u8; LANES]) {
        for (to, value) in to.iter_mut().zip(value) {
            *to = value as i32 as u8;
        }
    }
}
