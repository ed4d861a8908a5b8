//! `detect`: every kind by its files alone, and what is said of a folder without one.

use std::fs;
use std::path::Path;

use epnas_data::{Source, detect};
use tempfile::TempDir;

use crate::folders::png;
use crate::{assert_mentions, message};

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[track_caller]
fn assert_detected(files: &[&str], expected: Source) {
    let dir = TempDir::new().unwrap();
    for file in files {
        let path = dir.path().join(file);
        if file.ends_with("png") {
            png(&path, 8, 1);
        } else {
            touch(&path);
        }
    }
    assert_eq!(detect(dir.path()).unwrap(), expected, "{files:?}");
}

#[test]
fn every_kind_by_one_of_its_files() {
    assert_detected(&["data_batch_1.bin"], Source::Cifar10);
    assert_detected(&["test_batch.bin"], Source::Cifar10);
    // The first batch is missing: the folder of the archive is still found.
    assert_detected(&["cifar-10-batches-bin/data_batch_2.bin"], Source::Cifar10);
    assert_detected(&["train.bin", "fine_label_names.txt"], Source::Cifar100);
    assert_detected(&["cifar-100-binary/test.bin"], Source::Cifar100);
    assert_detected(&["train-images-idx3-ubyte"], Source::Mnist);
    assert_detected(&["t10k-labels.idx1-ubyte.gz"], Source::Mnist);
    assert_detected(&["raw/train-images-idx3-ubyte.gz"], Source::Mnist);
    assert_detected(&["a/1.png", "b/1.png"], Source::Folder);
    assert_detected(&["train/a/1.png", "test/a/1.png"], Source::Folder);
    // Pictures outweigh files whose names say little, not those of one set only.
    assert_detected(&["a/1.png", "b/1.png", "test.bin"], Source::Folder);
    assert_detected(&["a/1.png", "b/1.png", "data_batch_3.bin"], Source::Cifar10);
}

#[test]
fn fashion_is_told_by_the_path() {
    let dir = TempDir::new().unwrap();
    touch(&dir.path().join("FashionMNIST/raw/t10k-images-idx3-ubyte"));
    assert_eq!(
        detect(&dir.path().join("FashionMNIST")).unwrap(),
        Source::FashionMnist
    );
}

#[test]
fn what_is_there_instead_is_said() {
    for (file, expected) in [
        ("picture.jpg", "images, but not in directories by class"),
        (
            "cifar-10-binary.tar.gz",
            "the archive cifar-10-binary.tar.gz",
        ),
        ("notes/readme.txt", "no known data set"),
    ] {
        let dir = TempDir::new().unwrap();
        touch(&dir.path().join(file));
        assert_mentions(
            &message(detect(dir.path())),
            &[
                expected,
                "data_batch_1.bin",
                "train.bin",
                "train-images-idx3-ubyte",
                "one directory of PNG or JPEG files per class",
            ],
        );
    }
    let dir = TempDir::new().unwrap();
    touch(&dir.path().join("cifar-10-batches-py/data_batch_1"));
    touch(&dir.path().join("cifar-10-batches-py/test_batch"));
    assert_mentions(
        &message(detect(dir.path())),
        &["the Python version of cifar10", "CIFAR binary files"],
    );
}
