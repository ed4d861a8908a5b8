//! CIFAR-10's binary layout, and whether a folder holds all of it.
//!
//! Six files of 10,000 records; a record is one label byte and 3,072 pixel bytes (1,024 red, green, blue, row by
//! row). 5,000 training and 1,000 test images of each of ten classes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const RECORD_BYTES: usize = 1 + 3 * 32 * 32;
const RECORDS_PER_FILE: usize = 10_000;
const CLASSES: usize = 10;

pub(crate) const TRAIN_FILES: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
pub(crate) const TEST_FILE: &str = "test_batch.bin";
pub(crate) const NAMES_FILE: &str = "batches.meta.txt";

/// Images a class in the training and in the test part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) train: [usize; CLASSES],
    pub(crate) test: [usize; CLASSES],
}

/// Checks sizes, labels and class counts of the six files.
pub(crate) fn verify(dir: &Path) -> Result<Counts> {
    let mut counts = Counts {
        train: [0; CLASSES],
        test: [0; CLASSES],
    };
    for file in TRAIN_FILES {
        count(&dir.join(file), &mut counts.train)?;
    }
    count(&dir.join(TEST_FILE), &mut counts.test)?;
    ensure!(
        counts.train == [5_000; CLASSES],
        "training images a class: {:?}, expected 5000 of each",
        counts.train
    );
    ensure!(
        counts.test == [1_000; CLASSES],
        "test images a class: {:?}, expected 1000 of each",
        counts.test
    );
    Ok(counts)
}

fn count(path: &Path, counts: &mut [usize; CLASSES]) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let expected = RECORD_BYTES * RECORDS_PER_FILE;
    if bytes.len() != expected {
        bail!(
            "{}: {} bytes, expected {expected}",
            path.display(),
            bytes.len()
        );
    }
    for (record, &label) in bytes.iter().step_by(RECORD_BYTES).enumerate() {
        let Some(count) = counts.get_mut(usize::from(label)) else {
            bail!(
                "{}: record {record} has label {label}, expected 0 to {}",
                path.display(),
                CLASSES - 1
            );
        };
        *count += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose record i has label `label(i)` and black pixels.
    fn batch(label: impl Fn(usize) -> u8) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_BYTES * RECORDS_PER_FILE];
        for record in 0..RECORDS_PER_FILE {
            bytes[record * RECORD_BYTES] = label(record);
        }
        bytes
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("epnas-xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for file in TRAIN_FILES.iter().chain([&TEST_FILE]) {
            fs::write(dir.join(file), batch(|i| (i % CLASSES) as u8)).unwrap();
        }
        dir
    }

    #[test]
    fn a_complete_folder_passes_and_each_fault_is_named() {
        let dir = folder("cifar10");
        assert_eq!(
            verify(&dir).unwrap(),
            Counts {
                train: [5_000; CLASSES],
                test: [1_000; CLASSES]
            }
        );

        fs::write(dir.join(TRAIN_FILES[2]), batch(|_| 3)).unwrap();
        let error = verify(&dir).unwrap_err().to_string();
        // 4 files x 1,000 of class 0, none from the third; 4 x 1,000 + 10,000 of class 3.
        assert!(error.contains("[4000, 4000, 4000, 14000"), "{error}");

        fs::write(
            dir.join(TRAIN_FILES[2]),
            batch(|i| if i == 7 { 10 } else { 0 }),
        )
        .unwrap();
        let error = verify(&dir).unwrap_err().to_string();
        assert!(
            error.contains("data_batch_3.bin: record 7 has label 10"),
            "{error}"
        );

        fs::write(dir.join(TRAIN_FILES[2]), b"short").unwrap();
        let error = verify(&dir).unwrap_err().to_string();
        assert!(
            error.contains("data_batch_3.bin: 5 bytes, expected 30730000"),
            "{error}"
        );

        fs::remove_file(dir.join(TRAIN_FILES[2])).unwrap();
        let error = verify(&dir).unwrap_err().to_string();
        assert!(error.contains("data_batch_3.bin"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }
}
