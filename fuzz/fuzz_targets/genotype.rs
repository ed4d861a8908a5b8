//! The target `genotype`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::genotype(data);
});
