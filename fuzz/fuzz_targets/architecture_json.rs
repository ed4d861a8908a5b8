//! The target `architecture_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::architecture_json(data);
});
