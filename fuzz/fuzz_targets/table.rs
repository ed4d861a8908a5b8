//! The target `table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::table(data);
});
