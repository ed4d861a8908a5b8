//! The target `cifar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    epnas_fuzz::cifar(data);
});
