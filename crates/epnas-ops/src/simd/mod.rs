//! Vectors of eight `f32`, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`], and compiled once for every level: [`dispatch`] enters
//! the version of the level in use. Eight lanes everywhere keep one blocking of channels for all machines;
//! AVX-512 is used for its 32 registers (larger register blocks), not for its wider vectors, because 24
//! channels, the usual width of a search network, are three vectors of eight and one and a half of sixteen.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// Environment variable that forces a level.
const VARIABLE: &str = "EPNAS_SIMD";

/// Instruction sets the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SimdLevel {
    /// Plain arithmetic, vectorized by the compiler for the build's target (NEON on 64-bit Arm).
    Portable,
    /// 256-bit AVX2 with fused multiply-add: 16 registers.
    Avx2,
    /// The same width with AVX-512VL encodings: 32 registers.
    Avx512,
    /// The same with dot products of bfloat16 pairs (AVX512-BF16).
    Avx512Bf16,
}

impl SimdLevel {
    /// All levels, the plainest first.
    pub const ALL: [SimdLevel; 4] = [
        SimdLevel::Portable,
        SimdLevel::Avx2,
        SimdLevel::Avx512,
        SimdLevel::Avx512Bf16,
    ];

    /// The name `EPNAS_SIMD` takes.
    pub fn name(self) -> &'static str {
        match self {
            SimdLevel::Portable => "portable",
            SimdLevel::Avx2 => "avx2",
            SimdLevel::Avx512 => "avx512",
            SimdLevel::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Whether this machine can run it.
    pub fn is_available(self) -> bool {
        match self {
            SimdLevel::Portable => true,
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => {
                SimdLevel::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512Bf16 => {
                SimdLevel::Avx512.is_available() && is_x86_feature_detected!("avx512bf16")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The best level this machine can run.
    pub fn best() -> Self {
        let mut available = SimdLevel::ALL
            .into_iter()
            .filter(|level| level.is_available());
        available.next_back().unwrap_or(SimdLevel::Portable)
    }
}

/// The level in use: the best available one, or the one the environment variable `EPNAS_SIMD` names
/// (`portable`, `avx2`, `avx512`, `avx512bf16`). Decided once per process, at the first operator.
///
/// # Errors
/// [`Error::Simd`] when the variable names no level or one this machine cannot run; every operator then
/// returns it.
pub fn simd_level() -> Result<SimdLevel> {
    static LEVEL: OnceLock<std::result::Result<SimdLevel, String>> = OnceLock::new();
    let level = LEVEL.get_or_init(|| match std::env::var_os(VARIABLE) {
        None => Ok(SimdLevel::best()),
        Some(value) => {
            let named = SimdLevel::ALL
                .into_iter()
                .find(|level| value == level.name());
            match named.filter(|level| level.is_available()) {
                Some(level) => Ok(level),
                None => Err(value.to_string_lossy().into_owned()),
            }
        }
    });
    level.clone().map_err(|found| Error::Simd {
        found,
        best: SimdLevel::best().name(),
    })
}

/// Arithmetic on vectors of eight `f32`. A value of an implementing type is proof that the machine has the
/// instructions: only [`dispatch`] makes one, after the check.
pub(crate) trait Simd: Copy {
    /// Eight numbers.
    type V: Copy;
    /// Eight truth values.
    type M: Copy;
    /// Columns of a register block that is one, two or three vectors wide.
    const COLUMNS: [usize; 3];

    /// The same number in every lane.
    fn splat(self, value: f32) -> Self::V;
    /// Eight numbers from memory.
    fn load(self, from: &[f32; LANES]) -> Self::V;
    /// Eight numbers to memory.
    fn store(self, value: Self::V, to: &mut [f32; LANES]);
    /// Eight numbers from memory.
    ///
    /// # Safety
    /// `from` is valid for reading eight floats; alignment does not matter.
    unsafe fn load_at(self, from: *const f32) -> Self::V;
    /// The number in memory in every lane.
    ///
    /// # Safety
    /// `from` is valid for reading a float.
    unsafe fn splat_at(self, from: *const f32) -> Self::V;
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `sum` and, lane by lane, the dot product of two pairs of bfloat16, one in each half of the 32 bits. The product
    /// of the upper halves is added first, then that of the lower ones, each rounded once, as Intel specifies
    /// VDPBF16PS. Where that is two multiply-adds instead of the instruction, values agree but for subnormal ones
    /// (below 1.2e-38), which the instruction takes and gives as zeros.
    fn dot_pairs(self, a: Self::V, b: Self::V, sum: Self::V) -> Self::V;
    /// `a > b`, false for NaN.
    fn gt(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a == b`, false for NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// `a > b`, or `a` is NaN.
    fn gt_or_nan(self, a: Self::V, b: Self::V) -> Self::M;
    /// `yes` where `mask`, else `no`.
    fn select(self, mask: Self::M, yes: Self::V, no: Self::V) -> Self::V;
    /// Eight bytes as numbers.
    fn load_bytes(self, from: &[u8; LANES]) -> Self::V;
    /// Numbers 0 to 255 without fraction as eight bytes.
    fn store_bytes(self, value: Self::V, to: &mut [u8; LANES]);

    /// `value` where `mask`, else 0.
    #[inline(always)]
    fn keep(self, mask: Self::M, value: Self::V) -> Self::V {
        self.select(mask, value, self.splat(0.0))
    }

    /// Up to eight numbers from memory, the other lanes 0.
    #[inline(always)]
    fn load_head(self, from: &[f32]) -> Self::V {
        let mut all = [0.0; LANES];
        let n = from.len().min(LANES);
        all[..n].copy_from_slice(&from[..n]);
        self.load(&all)
    }

    /// The first lanes to memory, as many as `to` has (at most eight).
    #[inline(always)]
    fn store_head(self, value: Self::V, to: &mut [f32]) {
        let mut all = [0.0; LANES];
        self.store(value, &mut all);
        let n = to.len().min(LANES);
        to[..n].copy_from_slice(&all[..n]);
    }
}

/// A computation that can run at every level.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it; must be `#[inline(always)]` so that it is compiled for the level's instructions.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a kernel at the level in use.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    // An unusable choice was reported when the operator checked its arguments.
    match simd_level().unwrap_or(SimdLevel::Portable) {
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => x86::run_avx2(kernel),
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 | SimdLevel::Avx512Bf16 => x86::run_avx512(kernel),
        _ => kernel.run(portable::Portable),
    }
}

/// As [`dispatch`] for kernels that call [`Simd::dot_pairs`]. Others have no version for its level, which would be
/// that of [`SimdLevel::Avx512`] once more.
#[inline]
pub(crate) fn dispatch_pairs<K: Kernel>(kernel: K) -> K::Output {
    match simd_level() {
        #[cfg(target_arch = "x86_64")]
        Ok(SimdLevel::Avx512Bf16) => x86::run_avx512_bf16(kernel),
        _ => dispatch(kernel),
    }
}
