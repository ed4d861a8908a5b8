//! Counter-based random numbers: a draw is a pure function of (seed, position, channel), nothing is carried along.
//!
//! A sequential generator would tie image 1,000 to the 999 before it, and so to the order of work. Here every draw can
//! be made alone, on any thread or on a GPU, with a few integer operations:
//!
//! ```text
//! G             = 0x9e3779b97f4a7c15
//! mix(z)        = splitmix64's finalizer:
//!                 z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//!                 z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//!                 z ^ (z >> 31)
//! draw(s, p, c) = mix(mix(s + G * (p + 1)) + G * (c + 1))
//! below(r, n)   = high 32 bits of ((r >> 32) * n)            for n < 2^32
//! ```
//! All arithmetic is modulo 2^64. `draw(s, p, 0)`, `draw(s, p, 1)`, .. is the splitmix64 sequence (Steele, Lea and
//! Flood, 2014) that starts at `mix(s + G * (p + 1))`.

/// The odd constant by which splitmix64 steps: 2^64 divided by the golden ratio.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of splitmix64: a bijection of 64-bit words in which every input bit reaches every output bit.
#[inline]
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 random bits for one `channel` of randomness at one `position` of the stream `seed`.
#[inline]
pub const fn draw(seed: u64, position: u64, channel: u64) -> u64 {
    let start = mix(seed.wrapping_add(STEP.wrapping_mul(position.wrapping_add(1))));
    mix(start.wrapping_add(STEP.wrapping_mul(channel.wrapping_add(1))))
}

/// Brings 64 random bits to the range `0..bound` by multiplication; 0 when `bound` is 0.
///
/// The bias against an exact draw is below `bound / 2^32`, which for crop offsets and shuffles is far below anything
/// that can be observed; rejection would make the number of draws depend on their values.
#[inline]
pub const fn below(bits: u64, bound: u32) -> u32 {
    (((bits >> 32) * bound as u64) >> 32) as u32
}

/// The splitmix64 sequence of one (seed, position): what [`draw`] gives for channels 0, 1, 2, ..
#[derive(Debug, Clone)]
pub struct Sequence {
    state: u64,
}

impl Sequence {
    /// The sequence of draws at `position` of the stream `seed`.
    pub const fn new(seed: u64, position: u64) -> Self {
        Self {
            state: mix(seed.wrapping_add(STEP.wrapping_mul(position.wrapping_add(1)))),
        }
    }

    /// The next 64 bits.
    #[inline]
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// An integer in `0..bound`; 0 when `bound` is 0.
    #[inline]
    pub const fn below(&mut self, bound: u32) -> u32 {
        below(self.bits(), bound)
    }

    /// A number in `0.0..1.0` with 24 random bits.
    #[inline]
    pub const fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number in `low..high`.
    #[inline]
    pub const fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_splitmix64() {
        // The published first outputs of splitmix64 from state 1234567 (Vigna's reference C code, as quoted on
        // Rosetta Code "Pseudo-random numbers/Splitmix64").
        let mut sequence = Sequence { state: 1_234_567 };
        let got: Vec<u64> = (0..5).map(|_| sequence.bits()).collect();
        assert_eq!(
            got,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn draw_is_the_sequence() {
        let mut sequence = Sequence::new(5, 17);
        for channel in 0..8 {
            assert_eq!(draw(5, 17, channel), sequence.bits());
        }
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut counts = [0u32; 9];
        for position in 0..9000 {
            counts[below(draw(1, position, 0), 9) as usize] += 1;
        }
        // Binomial(9000, 1/9): mean 1000, standard deviation 29.8; 5 of them.
        assert!(counts.iter().all(|&c| c.abs_diff(1000) < 150), "{counts:?}");
        assert_eq!(below(u64::MAX, 0), 0);
        assert_eq!(below(u64::MAX, 9), 8);
    }
}
