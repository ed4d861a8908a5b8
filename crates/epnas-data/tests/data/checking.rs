//! `check`: what it reports on folders and packed files.

use std::fs;

use epnas_data::{ClassProblem, DataConfig, Part, Source, check};
use tempfile::TempDir;

use crate::cifar::{TRAIN, real, records, write_cifar10};
use crate::folders::png;
use crate::{assert_mentions, message};

#[test]
fn a_folder_with_everything_wrong() {
    let dir = TempDir::new().unwrap();
    for (path, size, value) in [
        ("train/cat/1.png", 8, 1),
        ("train/cat/2.png", 8, 2),
        ("train/cat/3.png", 12, 3),
        ("train/dog/1.png", 8, 1),
        ("train/dog/2.png", 9, 1),
        ("test/cat/1.png", 8, 2),
    ] {
        png(&dir.path().join(path), size, value);
    }
    fs::copy(
        dir.path().join("train/cat/3.png"),
        dir.path().join("train/cat/4.png"),
    )
    .unwrap();
    fs::write(dir.path().join("train/dog/3.png"), "nothing").unwrap();
    fs::write(dir.path().join("train/dog/notes.txt"), "notes").unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!(
        (report.source, report.images, report.ignored_files),
        (Source::Folder, 7, 1)
    );
    let counts: Vec<_> = report
        .classes
        .iter()
        .map(|c| (c.name.as_str(), c.train, c.test))
        .collect();
    assert_eq!(counts, [("cat", 4, 1), ("dog", 2, 0)]);
    let sizes: Vec<_> = report
        .sizes
        .iter()
        .map(|s| (s.width, s.height, s.images))
        .collect();
    assert_eq!(sizes, [(8, 8, 4), (9, 9, 1), (12, 12, 2)]);
    assert_eq!(report.unreadable.len(), 1);
    assert!(report.unreadable[0].path.ends_with("train/dog/3.png"));
    // Within a class, across classes (cat 1 = dog 1; dog 2 has the color but not the size), across parts.
    let pairs: Vec<_> = report
        .duplicates
        .iter()
        .map(|d| (d.first.as_str(), d.second.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("train/cat/3.png", "train/cat/4.png"),
            ("train/cat/1.png", "train/dog/1.png"),
            ("train/cat/2.png", "test/cat/1.png")
        ]
    );
    let kinds: Vec<_> = report
        .duplicates
        .iter()
        .map(|d| (d.across_classes(), d.across_parts()))
        .collect();
    assert_eq!(kinds, [(false, false), (true, false), (false, true)]);
    assert_eq!(report.duplicates[2].parts, [Part::Train, Part::Test]);
    assert!(!report.is_clean());
    let text = report.to_string();
    assert_mentions(
        &text,
        &[
            "folder, 7 images",
            "cat          4        1",
            "8 x 8: 4",
            "unreadable images: 1",
            "train/dog/3.png: not a PNG or JPEG file",
            "duplicates: 3 (1 across classes, 1 across training and test)",
            "train/cat/1.png = train/dog/1.png, classes cat and dog",
            "train/cat/2.png = test/cat/1.png, training and test",
        ],
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["source"], "folder");
    assert_eq!(
        json["duplicates"][2]["parts"],
        serde_json::json!(["train", "test"])
    );
}

#[test]
fn classes_without_images_are_listed_with_the_rest() {
    let dir = TempDir::new().unwrap();
    for (path, value) in [
        ("train/ant/1.png", 1),
        ("train/ant/2.png", 2),
        ("train/bee/1.png", 3),
        ("test/ant/1.png", 1),
        ("test/wasp/1.png", 5),
    ] {
        png(&dir.path().join(path), 8, value);
    }
    fs::create_dir(dir.path().join("train/cow")).unwrap();
    fs::create_dir(dir.path().join("train/dog")).unwrap();
    fs::write(dir.path().join("train/dog/1.png"), "nothing").unwrap();
    fs::create_dir(dir.path().join("test/nobody")).unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    let counts: Vec<_> = report
        .classes
        .iter()
        .map(|c| (c.name.as_str(), c.train, c.test))
        .collect();
    assert_eq!(
        counts,
        [
            ("ant", 2, 1),
            ("bee", 1, 0),
            ("cow", 0, 0),
            ("dog", 0, 0),
            ("wasp", 0, 1)
        ]
    );
    let findings: Vec<_> = report
        .class_findings
        .iter()
        .map(|f| (f.path.clone(), f.problem))
        .collect();
    assert_eq!(
        findings,
        [
            ("train/bee", ClassProblem::SingleImage),
            ("train/cow", ClassProblem::Empty),
            ("train/dog", ClassProblem::NoneReadable),
            ("test/wasp", ClassProblem::TestOnly)
        ]
        .map(|(path, problem)| (dir.path().join(path), problem))
    );
    assert_eq!(report.unreadable.len(), 1);
    assert_eq!(report.duplicates.len(), 1);
    assert_eq!(
        report.failure().unwrap(),
        "1 image and 3 classes cannot be used"
    );
    assert_mentions(
        &report.to_string(),
        &[
            "classes to look at: 4",
            "train/cow): no PNG or JPEG file",
            "test/wasp): in the test part only",
        ],
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["class_findings"][3]["problem"], "test_only");
}

#[test]
fn a_test_folder_without_images_is_reported() {
    let dir = TempDir::new().unwrap();
    for class in ["ant", "bee"] {
        for i in 0..2 {
            png(
                &dir.path().join(format!("train/{class}/{i}.png")),
                8,
                i + class.as_bytes()[0],
            );
        }
    }
    fs::create_dir_all(dir.path().join("test/ant")).unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert!(report.damaged[0].path.ends_with("test"));
    assert!(!report.is_clean());
}

#[test]
fn cifar_with_a_copy_and_a_truncated_file() {
    let dir = TempDir::new().unwrap();
    let (train, test) = write_cifar10(dir.path(), 10);
    let clean = check(dir.path(), &DataConfig::default()).unwrap();
    assert!(clean.is_clean(), "{clean}");
    assert_eq!((clean.source, clean.images), (Source::Cifar10, 60));
    assert_eq!(
        (
            clean.classes[0].name.as_str(),
            clean.classes[0].train,
            clean.classes[0].test
        ),
        ("airplane", 5, 1)
    );

    let mut copied = test.clone();
    let len = copied.image_len();
    copied.pixels[4 * len..5 * len].copy_from_slice(train.image(12));
    fs::write(dir.path().join("test_batch.bin"), records(&copied, None)).unwrap();
    let fifth = dir.path().join(TRAIN[4]);
    let bytes = fs::read(&fifth).unwrap();
    fs::write(&fifth, &bytes[..100]).unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!(report.images, 50);
    assert!(report.unreadable.is_empty(), "a file of many is no image");
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].path, fifth);
    assert_mentions(&report.damaged[0].reason, &["100 bytes", "truncated"]);
    assert_eq!(report.failure().unwrap(), "1 file cannot be used");
    assert_mentions(
        &report.to_string(),
        &["damaged files: 1", "data_batch_5.bin: 100 bytes"],
    );
    assert_eq!(report.duplicates.len(), 1);
    let pair = &report.duplicates[0];
    assert_eq!(
        (pair.first.as_str(), pair.second.as_str()),
        ("data_batch_2.bin#2", "test_batch.bin#4")
    );
    assert_eq!(pair.classes, ["bird", "deer"]);
}

#[test]
fn idx_files() {
    let dir = TempDir::new().unwrap();
    crate::idx::write(dir.path());
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    // The made-up images of the two parts start alike, so the ten test images are copies.
    assert_eq!(
        (report.source, report.images, report.duplicates.len()),
        (Source::Mnist, 50, 10)
    );
    assert!(report.duplicates.iter().all(|pair| pair.across_parts()));
    let fashion = DataConfig {
        source: Source::FashionMnist,
        ..DataConfig::default()
    };
    assert_eq!(check(dir.path(), &fashion).unwrap().classes[8].name, "bag");
    let labels = dir.path().join("t10k-labels-idx1-ubyte");
    fs::copy(dir.path().join("t10k-images-idx3-ubyte"), &labels).unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].path, labels);
    assert_mentions(
        &report.damaged[0].reason,
        &["magic number 0x00000803", "an IDX file of labels"],
    );
    assert_eq!((report.images, report.unreadable.len()), (40, 0));
}

#[test]
fn no_data_set_is_an_error() {
    let dir = TempDir::new().unwrap();
    assert_mentions(
        &message(check(&dir.path().join("absent"), &DataConfig::default())),
        &["absent: not found"],
    );
    assert_mentions(
        &message(check(dir.path(), &DataConfig::default())),
        &["an empty folder", "CIFAR"],
    );
}

#[test]
fn the_real_set() {
    let Some(dir) = real() else { return };
    let report = check(&dir, &DataConfig::default()).unwrap();
    assert_eq!(report.images, 60_000);
    assert_eq!(report.failure(), None);
    assert_eq!(report.sizes.len(), 1);
    println!("{report}");
}
