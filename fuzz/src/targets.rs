//! What is read from outside, tried on bytes of every kind: one function per reader.
//!
//! A function returns whether its reader accepted the bytes. Refusing them is right; a panic is not, nor is a value that
//! does not come back as it was when it is printed and read again. `fuzz_targets` calls these functions with bytes that
//! libFuzzer makes up, `tests/fuzz_corpus.rs` with the files of `fuzz/corpus`, on every test run.

mod architectures;
mod images;
mod runs;
mod settings;
mod training;

pub use architectures::{architecture, architecture_json, genotype};
pub use images::{cifar, idx, image};
pub use runs::{checkpoint, history, table};
pub use settings::{configuration, setting};
pub use training::training_checkpoint;

/// A reader, with the properties that hold of it.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Target); 12] = [
    ("architecture", architecture),
    ("architecture_json", architecture_json),
    ("checkpoint", checkpoint),
    ("cifar", cifar),
    ("configuration", configuration),
    ("genotype", genotype),
    ("history", history),
    ("idx", idx),
    ("image", image),
    ("setting", setting),
    ("table", table),
    ("training_checkpoint", training_checkpoint),
];

/// Errors are shown: to write one must not fail either, and it has to say something.
fn shown(error: &dyn std::error::Error) {
    assert!(!error.to_string().trim().is_empty(), "{error:?}");
}
