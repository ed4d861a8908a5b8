//! 256-bit vectors of x86-64, with 16 registers (AVX2) or 32 (AVX-512VL).

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

/// Proof that the machine has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

/// Proof that the machine has AVX2, FMA, AVX-512F and AVX-512VL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

/// Proof that the machine has AVX2, FMA, AVX-512F, AVX-512VL and AVX512-BF16.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512Bf16(());

/// Runs a kernel at [`super::SimdLevel::Avx2`], which must be available.
pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma")]
    fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }
    // SAFETY: `super::simd_level` returns this level only after `is_available` found AVX2 and FMA.
    unsafe { run(kernel) }
}

/// Runs a kernel at [`super::SimdLevel::Avx512`], which must be available.
pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
    fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }
    // SAFETY: `super::simd_level` returns this level only after `is_available` found all four features.
    unsafe { run(kernel) }
}

/// Runs a kernel at [`super::SimdLevel::Avx512Bf16`], which must be available.
pub(super) fn run_avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bf16")]
    fn run<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512Bf16(()))
    }
    // SAFETY: `super::simd_level` returns this level only after `is_available` found all five features.
    unsafe { run(kernel) }
}

/// [`Simd::dot_pairs`] by two multiply-adds.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[inline(always)]
unsafe fn two_multiply_adds(a: __m256, b: __m256, sum: __m256) -> __m256 {
    // SAFETY: the caller vouches for AVX2 and FMA.
    unsafe {
        let upper = _mm256_castsi256_ps(_mm256_set1_epi32(-1 << 16));
        let (a_upper, b_upper) = (_mm256_and_ps(a, upper), _mm256_and_ps(b, upper));
        let a_lower = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(a)));
        let b_lower = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(b)));
        _mm256_fmadd_ps(a_lower, b_lower, _mm256_fmadd_ps(a_upper, b_upper, sum))
    }
}

/// [`Simd::dot_pairs`] by VDPBF16PS.
///
/// # Safety
/// The machine has AVX-512VL and AVX512-BF16.
#[inline(always)]
unsafe fn dot_product(a: __m256, b: __m256, sum: __m256) -> __m256 {
    // SAFETY: the caller vouches for the instruction; both vector types are 256 bits without invalid values.
    unsafe {
        let a = std::mem::transmute::<__m256, __m256bh>(a);
        let b = std::mem::transmute::<__m256, __m256bh>(b);
        _mm256_dpbf16_ps(sum, a, b)
    }
}

/// A value at any address. Reading through it, rather than by `read_unaligned`, keeps the inner loops free of
/// checks in builds with debug assertions.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T: Copy>(T);

macro_rules! implement {
    ($token:ty, $rows:expr, $dot_pairs:path) => {
        impl Simd for $token {
            type V = __m256;
            type M = __m256;
            const COLUMNS: [usize; 3] = $rows;

            #[inline(always)]
            fn splat(self, value: f32) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_set1_ps(value) }
            }

            #[inline(always)]
            fn load(self, from: &[f32; LANES]) -> __m256 {
                // SAFETY: the token proves AVX; the reference is valid for eight floats, unaligned.
                unsafe { _mm256_loadu_ps(from.as_ptr()) }
            }

            #[inline(always)]
            fn store(self, value: __m256, to: &mut [f32; LANES]) {
                // SAFETY: the token proves AVX; the reference is valid for eight floats, unaligned.
                unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
            }

            #[inline(always)]
            unsafe fn load_at(self, from: *const f32) -> __m256 {
                // SAFETY: the caller vouches for eight floats; the wrapper has alignment 1.
                unsafe { (*from.cast::<Unaligned<__m256>>()).0 }
            }

            #[inline(always)]
            unsafe fn splat_at(self, from: *const f32) -> __m256 {
                // SAFETY: the caller vouches for a float; the wrapper has alignment 1.
                self.splat(unsafe { (*from.cast::<Unaligned<f32>>()).0 })
            }

            #[inline(always)]
            fn add(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_add_ps(a, b) }
            }

            #[inline(always)]
            fn sub(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_sub_ps(a, b) }
            }

            #[inline(always)]
            fn mul(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_mul_ps(a, b) }
            }

            #[inline(always)]
            fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
                // SAFETY: the token proves FMA.
                unsafe { _mm256_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            fn dot_pairs(self, a: __m256, b: __m256, sum: __m256) -> __m256 {
                // SAFETY: the token proves what the function asks for.
                unsafe { $dot_pairs(a, b, sum) }
            }

            #[inline(always)]
            fn gt(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_cmp_ps::<_CMP_GT_OQ>(a, b) }
            }

            #[inline(always)]
            fn eq(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b) }
            }

            #[inline(always)]
            fn gt_or_nan(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe {
                    let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
                    _mm256_or_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b), nan)
                }
            }

            #[inline(always)]
            fn select(self, mask: __m256, yes: __m256, no: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_blendv_ps(no, yes, mask) }
            }

            #[inline(always)]
            fn keep(self, mask: __m256, value: __m256) -> __m256 {
                // SAFETY: the token proves AVX.
                unsafe { _mm256_and_ps(mask, value) }
            }

            #[inline(always)]
            fn load_bytes(self, from: &[u8; LANES]) -> __m256 {
                // SAFETY: the token proves AVX2; the reference is valid for the eight bytes read.
                unsafe {
                    let bytes = _mm_loadl_epi64(from.as_ptr().cast());
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
                }
            }

            #[inline(always)]
            fn store_bytes(self, value: __m256, to: &mut [u8; LANES]) {
                // SAFETY: the token proves AVX2; the reference is valid for the eight bytes written.
                unsafe {
                    let wide = _mm256_cvtps_epi32(value);
                    let low = _mm256_castsi256_si128(wide);
                    let words = _mm_packs_epi32(low, _mm256_extracti128_si256::<1>(wide));
                    _mm_storel_epi64(to.as_mut_ptr().cast(), _mm_packus_epi16(words, words));
                }
            }
        }
    };
}

// Accumulators of a block, its vectors and the broadcasts in flight stay in registers: 3 x 3 + 3 + 2 of 16,
// and 8 x 3 + 3 + 2 of 32. With 16 registers, 4 x 3 + 3 + 1 would fit exactly, but the compiler keeps two
// broadcasts and puts an accumulator on the stack; nine accumulators already cover the latency of the two
// multiply-add units.
implement!(Avx2, [8, 4, 3], two_multiply_adds);
implement!(Avx512, [8, 8, 8], two_multiply_adds);
implement!(Avx512Bf16, [8, 8, 8], dot_product);
