//! The corpora of the fuzz targets (`fuzz/corpus`), replayed: every file through the function that fuzzing calls, so that
//! what was once found stays found, with any compiler.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

// Public there, for the crate that fuzzes.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/targets.rs"]
mod targets;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn replay(name: &str) {
    let (_, target) = targets::ALL.iter().find(|(n, _)| *n == name).unwrap();
    let folder = fuzz().join("corpus").join(name);
    let mut accepted = 0;
    for file in names(&folder) {
        let path = folder.join(file);
        let bytes = fs::read(&path).unwrap();
        match catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            Ok(good) => accepted += usize::from(good),
            Err(_) => panic!("{}: see above", path.display()),
        }
    }
    // A corpus of what is only refused goes no further than the first check.
    assert!(
        accepted > 0,
        "{}: nothing is accepted: the format has changed, so must the corpus",
        folder.display()
    );
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let all: BTreeSet<String> = targets::ALL
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(names(&fuzz().join("corpus")), all);
    let programs = all.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), programs);
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_corpus_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(targets::ALL.map(|(name, _)| name), replayed);
        }
    };
}

replays! {
    architecture architecture_json checkpoint cifar configuration genotype history idx image setting table
    training_checkpoint
}
