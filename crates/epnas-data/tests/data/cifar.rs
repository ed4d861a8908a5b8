//! CIFAR binary folders: layout, names, errors, candle-datasets as oracle, and the real set where there is one.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::IndexOp;
use epnas_data::{Images, Source, SplitKind, detect, load, split};
use tempfile::TempDir;

use crate::{assert_mentions, asymmetric, message, reading};

pub(crate) const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];

/// Bytes of a CIFAR file: label bytes, then the red, green and blue planes.
pub(crate) fn records(images: &Images, coarse: Option<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..images.len() {
        bytes.extend(coarse);
        bytes.push(images.labels[index] as u8);
        for channel in 0..3 {
            bytes.extend(images.image(index).iter().skip(channel).step_by(3));
        }
    }
    bytes
}

/// A CIFAR-10 folder of 5 x `per_file` training and `per_file` test images; the images it was written from.
pub(crate) fn write_cifar10(dir: &Path, per_file: usize) -> (Images, Images) {
    let all = asymmetric(6 * per_file, 32, 32, 3);
    let part = |from: usize, to: usize| all.subset(&(from..to).collect::<Vec<_>>());
    for (i, file) in TRAIN.iter().enumerate() {
        fs::write(
            dir.join(file),
            records(&part(i * per_file, (i + 1) * per_file), None),
        )
        .unwrap();
    }
    let test = part(5 * per_file, 6 * per_file);
    fs::write(dir.join("test_batch.bin"), records(&test, None)).unwrap();
    (part(0, 5 * per_file), test)
}

#[test]
fn pixels_and_labels_arrive_as_written() {
    let dir = TempDir::new().unwrap();
    let (train, test) = write_cifar10(dir.path(), 10);
    let dataset = load(&reading(Source::Cifar10, dir.path())).unwrap();
    assert_eq!(dataset.train, train);
    assert_eq!(dataset.test.unwrap(), test);
    assert_eq!(dataset.classes[3], "cat");
    assert_eq!(detect(dir.path()).unwrap(), Source::Cifar10);
}

#[test]
fn the_archive_directory_is_found() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&inner).unwrap();
    let (train, _) = write_cifar10(&inner, 10);
    assert_eq!(detect(dir.path()).unwrap(), Source::Cifar10);
    assert_eq!(
        load(&reading(Source::Cifar10, dir.path())).unwrap().train,
        train
    );
}

#[test]
fn names_come_from_the_folder() {
    let dir = TempDir::new().unwrap();
    write_cifar10(dir.path(), 10);
    let names: Vec<String> = (0..10).map(|i| format!("kind_{i}")).collect();
    let path = dir.path().join("batches.meta.txt");
    // The official file ends with an empty line.
    fs::write(&path, names.join("\n") + "\n\n").unwrap();
    let config = reading(Source::Cifar10, dir.path());
    assert_eq!(load(&config).unwrap().classes, names);
    for (wrong, words) in [
        (&b"cat\ndog\n"[..], "2 class names"),
        (b"", "0 class names"),
        (
            b"a\nb\nc\nd\ne\nf\ng\nh\ni\na\n",
            "10 class names, 1 of them twice",
        ),
        (b"\xff\n", "not in UTF-8"),
        (&vec![b'a'; (1 << 20) + 1], "1048577 bytes"),
    ] {
        fs::write(&path, wrong).unwrap();
        assert_mentions(&message(load(&config)), &["batches.meta.txt", words]);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_mentions(
        &message(load(&config)),
        &["batches.meta.txt: a folder", "a class name a line"],
    );
}

#[test]
fn cifar100_reads_the_fine_label() {
    let dir = TempDir::new().unwrap();
    let mut train = asymmetric(100, 32, 32, 3);
    train.labels = (0..100).rev().collect();
    let test = asymmetric(5, 32, 32, 3);
    fs::write(dir.path().join("train.bin"), records(&train, Some(19))).unwrap();
    fs::write(dir.path().join("test.bin"), records(&test, Some(3))).unwrap();
    assert_eq!(detect(dir.path()).unwrap(), Source::Cifar100);
    let dataset = load(&reading(Source::Cifar100, dir.path())).unwrap();
    assert_eq!(dataset.train, train);
    assert_eq!(dataset.test.unwrap(), test);
    assert_eq!(
        (dataset.classes.len(), dataset.classes[99].as_str()),
        (100, "worm")
    );
    let names: Vec<String> = (0..100).map(|i| format!("fine_{i}")).collect();
    let (path, config) = (
        dir.path().join("fine_label_names.txt"),
        reading(Source::Cifar100, dir.path()),
    );
    fs::write(&path, names.join("\n")).unwrap();
    assert_eq!(load(&config).unwrap().classes, names);
    fs::write(&path, names[..99].join("\n")).unwrap();
    assert_mentions(&message(load(&config)), &["99 class names", "100"]);
    fs::remove_file(path).unwrap();

    // Five test records of 3,074 bytes are 15,370; the coarse label is the first byte, the fine one the second.
    let file = dir.path().join("test.bin");
    let whole = fs::read(&file).unwrap();
    for (len, at, words) in [
        (15_369, 0, "15369 bytes"),
        (
            15_370,
            2 * 3074,
            "label 255 in record 2; expected a label from 0 to 19",
        ),
        (
            15_370,
            2 * 3074 + 1,
            "label 255 in record 2; expected a label from 0 to 99",
        ),
    ] {
        let mut wrong = whole[..len].to_vec();
        wrong[at] = 255;
        fs::write(&file, wrong).unwrap();
        assert_mentions(&message(load(&config)), &["test.bin", words]);
    }
}

/// What is cut at the end of a record is whole records. It is told by the other files, when they are as published.
#[test]
fn a_file_cut_at_the_end_of_a_record() {
    let zeros = |path: PathBuf, bytes: u64| fs::File::create(path).unwrap().set_len(bytes).unwrap();
    let dir = TempDir::new().unwrap();
    write_cifar10(dir.path(), 10);
    zeros(dir.path().join("test_batch.bin"), 3073 * 10_000);
    for file in TRAIN {
        zeros(dir.path().join(file), 3073 * 10_000);
    }
    zeros(dir.path().join(TRAIN[3]), 3073 * 9999);
    let words = ["data_batch_4.bin", "9999 images", "expected 10000"];
    assert_mentions(
        &message(load(&reading(Source::Cifar10, dir.path()))),
        &words,
    );
    let report = epnas_data::check(dir.path(), &epnas_data::DataConfig::default()).unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].path, dir.path().join(TRAIN[3]));

    let dir = TempDir::new().unwrap();
    zeros(dir.path().join("train.bin"), 3074 * 49_999);
    zeros(dir.path().join("test.bin"), 3074 * 10_000);
    let words = ["train.bin", "49999 images", "expected 50000"];
    assert_mentions(
        &message(load(&reading(Source::Cifar100, dir.path()))),
        &words,
    );
}

#[test]
fn another_size_and_gray() {
    let dir = TempDir::new().unwrap();
    write_cifar10(dir.path(), 10);
    let mut config = reading(Source::Cifar10, dir.path());
    config.image_size = 24;
    config.channels = epnas_data::Channels::Gray;
    let dataset = load(&config).unwrap();
    assert_eq!(
        (
            dataset.train.height,
            dataset.train.width,
            dataset.train.channels
        ),
        (24, 24, 1)
    );
    assert_eq!(dataset.train.pixels.len(), 50 * 24 * 24);
}

#[test]
fn wrong_files_are_named() {
    let dir = TempDir::new().unwrap();
    write_cifar10(dir.path(), 10);
    let config = reading(Source::Cifar10, dir.path());
    let third = dir.path().join(TRAIN[2]);
    let whole = fs::read(&third).unwrap();

    fs::write(&third, &whole[..whole.len() - 1]).unwrap();
    // 10 records of 3,073 bytes are 30,730.
    assert_mentions(
        &message(load(&config)),
        &["data_batch_3.bin", "30729 bytes", "30730", "truncated"],
    );

    fs::write(&third, b"").unwrap();
    assert_mentions(&message(load(&config)), &["data_batch_3.bin", "0 bytes"]);

    let mut wrong = whole.clone();
    wrong[4 * 3073] = 10;
    fs::write(&third, wrong).unwrap();
    assert_mentions(
        &message(load(&config)),
        &["data_batch_3.bin", "label 10 in record 4", "0 to 9"],
    );

    fs::remove_file(&third).unwrap();
    assert_mentions(
        &message(load(&config)),
        &["data_batch_3.bin: not found", "test_batch.bin"],
    );
    fs::write(third.with_extension(""), b"pickle").unwrap();
    assert_mentions(
        &message(load(&config)),
        &["data_batch_3.bin", "Python version"],
    );
}

/// The folder of the real set named by `EPNAS_CIFAR10`, if it is there.
pub(crate) fn real() -> Option<PathBuf> {
    let dir =
        PathBuf::from(std::env::var_os("EPNAS_CIFAR10").unwrap_or_else(|| "data/cifar10".into()));
    if dir.join("data_batch_1.bin").is_file() {
        return Some(dir);
    }
    println!("skipped: no data at {}", dir.display());
    None
}

#[test]
fn the_real_set() {
    let Some(dir) = real() else { return };
    let mut config = reading(Source::Cifar10, &dir);
    let dataset = load(&config).unwrap();
    let test = dataset.test.as_ref().unwrap();
    // The set's own statement: 6,000 images a class, 5,000 and 1,000 of them in the two parts.
    assert_eq!(dataset.train.class_counts(10), [5000; 10]);
    assert_eq!(test.class_counts(10), [1000; 10]);
    // The order of the images is the files' own: compare with their bytes. Pixel (row 2, column 5) of record 7.
    let bytes = fs::read(dir.join(TRAIN[1])).unwrap();
    let record = &bytes[7 * 3073..8 * 3073];
    assert_eq!(dataset.train.labels[10_007], u32::from(record[0]));
    let place = 1 + 2 * 32 + 5;
    let pixel = [record[place], record[place + 1024], record[place + 2048]];
    assert_eq!(dataset.train.image(10_007)[(2 * 32 + 5) * 3..][..3], pixel);
    // Channel means of the 50,000 training images, published in countless recipes: (0.4914, 0.4822, 0.4465), and
    // deviations (0.2470, 0.2435, 0.2616). Copies that went through JPEG differ in the last digit.
    let all: Vec<u32> = (0..50_000).collect();
    let normalization = epnas_data::Normalization::from_images(&dataset.train, &all);
    for (got, expected) in normalization.mean.iter().zip([0.4914, 0.4822, 0.4465]) {
        assert!((got - expected).abs() < 0.002, "{normalization:?}");
    }
    for (got, expected) in normalization.std.iter().zip([0.2470, 0.2435, 0.2616]) {
        assert!((got - expected).abs() < 0.003, "{normalization:?}");
    }
    config.split = SplitKind::Fixed;
    config.validation = epnas_data::Share::Count(5000);
    let parts = split(&dataset, &config, 1).unwrap();
    assert_eq!((parts.train.len(), parts.train[44_999]), (45_000, 44_999));
    assert_eq!(
        (parts.validation.len(), parts.validation[0]),
        (5000, 45_000)
    );
}

#[test]
fn candle_datasets_reads_the_same_pixels() {
    let Some(dir) = real() else { return };
    let ours = load(&reading(Source::Cifar10, &dir)).unwrap().test.unwrap();
    let theirs = candle_datasets::vision::cifar::load_dir(&dir).unwrap();
    let labels: Vec<u8> = theirs.test_labels.to_vec1().unwrap();
    assert!(
        ours.labels
            .iter()
            .zip(&labels)
            .all(|(&a, &b)| a == u32::from(b))
    );
    for index in [0, 1, 4321, 9999] {
        let image: Vec<f32> = theirs
            .test_images
            .i(index)
            .and_then(|image| image.permute((1, 2, 0))?.flatten_all()?.to_vec1())
            .unwrap();
        let image: Vec<u8> = image.iter().map(|v| (v * 255.0).round() as u8).collect();
        assert_eq!(image, ours.image(index), "image {index}");
    }
}
