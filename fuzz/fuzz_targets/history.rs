//! The target `history`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::history(data);
});
