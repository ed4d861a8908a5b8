//! Named child seeds: every random stream of a run derives from one root seed.
//!
//! A name splits the root into independent seeds, so that adding a consumer of random numbers never shifts
//! what another one draws.

/// The seed called `name` under `seed`. A pure function of the two, the same on every platform and in every
/// version: values are part of what makes runs reproducible.
pub fn split(seed: u64, name: &str) -> u64 {
    let start = mix(seed ^ 0x6570_6e61_7331_3833);
    let hash = name
        .bytes()
        .fold(start, |hash, byte| mix(hash ^ u64::from(byte)));
    // The length closes the stream, so that the seed of a name says nothing about its extensions.
    mix(hash ^ (name.len() as u64) << 32)
}

/// One step of SplitMix64 (Steele et al., 2014): a bijection that spreads every input bit.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
