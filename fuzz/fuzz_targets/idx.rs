//! The target `idx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::idx(data);
});
