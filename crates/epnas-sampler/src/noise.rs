//! One random number per item, as a function of the sampler's key and the item's index.
//!
//! Numbers that are drawn one after another from a generator would tie a draw to the order in
//! which the scores come in. Here the number of item `i` is output `i` of the SplitMix64
//! generator (Steele, Lea, Flood, 2014) that starts at the key: any order of pushes and any
//! batching gives the same draw, and a single item can be recomputed alone.

/// Increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 at position `index` of the stream that starts at `key`.
pub(crate) fn bits(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A uniform number strictly between 0 and 1, of the item `index`.
///
/// 52 bits and a half, so that neither 0 nor 1 comes out: the extremes are 2^-53 and 1 - 2^-53.
pub(crate) fn uniform(key: u64, index: u64) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 52) as f64;
    ((bits(key, index) >> 12) as f64 + 0.5) * SCALE
}

/// A standard Gumbel number of the item `index`: `-ln(-ln u)`, between -3.61 and 36.74.
pub(crate) fn gumbel(key: u64, index: u64) -> f64 {
    -(-uniform(key, index).ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the reference SplitMix64 for the seed 1234567, as published with the
    /// Rosetta Code task "Pseudo-random numbers/Splitmix64".
    #[test]
    fn follows_the_reference_generator() {
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        let got: Vec<u64> = (0..5).map(|i| bits(1_234_567, i)).collect();
        assert_eq!(got, expected);
    }

    /// Mean and variance of 200,000 Gumbel numbers against Euler's constant and pi^2/6. Standard
    /// errors are 1.2825/sqrt(n) = 0.0029 and, with the kurtosis 5.4, 1.645*sqrt(4.4/n) = 0.0077;
    /// the bounds are five of them.
    #[test]
    fn gumbel_numbers_have_the_right_moments() {
        let n = 200_000u64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for i in 0..n {
            let g = gumbel(99, i);
            assert!(g.is_finite());
            sum += g;
            squares += g * g;
        }
        let mean = sum / n as f64;
        let variance = squares / n as f64 - mean * mean;
        assert!((mean - 0.577_215_66).abs() < 0.0145, "mean {mean}");
        assert!((variance - 1.644_934).abs() < 0.0385, "variance {variance}");
    }
}
