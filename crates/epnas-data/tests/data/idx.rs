//! MNIST and Fashion-MNIST in IDX files, plain and gzipped.

use std::fs;
use std::io::Write;
use std::path::Path;

use epnas_data::{Channels, Images, Source, detect, load};
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use crate::{assert_mentions, asymmetric, message, reading};

const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

fn header(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn image_file(images: &Images) -> Vec<u8> {
    let mut bytes = header(&[
        2051,
        images.len() as u32,
        images.height as u32,
        images.width as u32,
    ]);
    bytes.extend(&images.pixels);
    bytes
}

fn label_file(images: &Images) -> Vec<u8> {
    let mut bytes = header(&[2049, images.len() as u32]);
    bytes.extend(images.labels.iter().map(|&label| label as u8));
    bytes
}

pub(crate) fn write(dir: &Path) -> (Images, Images) {
    write_images(dir, 40)
}

pub(crate) fn write_images(dir: &Path, count: usize) -> (Images, Images) {
    let (train, test) = (asymmetric(count, 28, 28, 1), asymmetric(10, 28, 28, 1));
    for (file, bytes) in FILES.iter().zip([
        image_file(&train),
        label_file(&train),
        image_file(&test),
        label_file(&test),
    ]) {
        fs::write(dir.join(file), bytes).unwrap();
    }
    (train, test)
}

#[test]
fn pixels_and_labels_arrive_as_written() {
    let dir = TempDir::new().unwrap();
    let (train, test) = write(dir.path());
    let mut config = reading(Source::Mnist, dir.path());
    config.image_size = 28;
    let dataset = load(&config).unwrap();
    assert_eq!(dataset.train, train);
    assert_eq!(dataset.test.unwrap(), test);
    assert_eq!(dataset.classes[7], "7");
    config.source = Source::FashionMnist;
    assert_eq!(load(&config).unwrap().classes[9], "ankle_boot");
}

#[test]
fn candle_datasets_reads_the_same_pixels() {
    let dir = TempDir::new().unwrap();
    let (train, _) = write(dir.path());
    let theirs = candle_datasets::vision::mnist::load_dir(dir.path()).unwrap();
    let pixels: Vec<f32> = theirs
        .train_images
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let pixels: Vec<u8> = pixels.iter().map(|v| (v * 255.0).round() as u8).collect();
    assert_eq!(pixels, train.pixels);
}

#[test]
fn gzip_and_dotted_names() {
    let dir = TempDir::new().unwrap();
    let (train, _) = write(dir.path());
    for file in FILES {
        let plain = dir.path().join(file);
        let dotted = file.replace("-idx", ".idx");
        let mut encoder = GzEncoder::new(
            fs::File::create(dir.path().join(format!("{dotted}.gz"))).unwrap(),
            Compression::fast(),
        );
        encoder.write_all(&fs::read(&plain).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(plain).unwrap();
    }
    let mut config = reading(Source::Mnist, dir.path());
    config.image_size = 28;
    assert_eq!(load(&config).unwrap().train, train);
    // Truncated anywhere, also within its checksum, or followed by something else: an error that names the file. Two
    // streams one after the other are one.
    let path = dir.path().join("train-labels.idx1-ubyte.gz");
    let bytes = fs::read(&path).unwrap();
    let mut checksum = bytes.clone();
    checksum[bytes.len() - 8] ^= 1;
    let plain = label_file(&train);
    let streams = [&plain[..9], &plain[9..]].map(|part| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    });
    for (wrong, words) in [
        (bytes[..bytes.len() / 2].to_vec(), "gzip"),
        (bytes[..bytes.len() - 4].to_vec(), "gzip"),
        (bytes[..5].to_vec(), "header"),
        (vec![], "header"),
        (checksum, "gzip"),
        ([&bytes[..], b"more"].concat(), "gzip"),
        (plain, "gzip"),
        ([&bytes[..], &streams[1]].concat(), "more values"),
    ] {
        fs::write(&path, wrong).unwrap();
        assert_mentions(
            &message(load(&config)),
            &["train-labels.idx1-ubyte.gz", words, "expected"],
        );
    }
    fs::write(&path, streams.concat()).unwrap();
    assert_eq!(load(&config).unwrap().train, train);
}

#[test]
fn default_size_and_color() {
    let dir = TempDir::new().unwrap();
    write(dir.path());
    let mut config = reading(Source::Mnist, dir.path());
    let gray = load(&config).unwrap().train;
    assert_eq!((gray.height, gray.width, gray.channels), (32, 32, 1));
    config.channels = Channels::Rgb;
    let color = load(&config).unwrap().train;
    assert_eq!(color.channels, 3);
    assert!(
        color
            .pixels
            .chunks_exact(3)
            .zip(&gray.pixels)
            .all(|(rgb, &v)| rgb == [v; 3])
    );
}

#[test]
fn fashion_is_told_by_the_path() {
    let dir = TempDir::new().unwrap();
    let fashion = dir.path().join("Fashion-MNIST");
    fs::create_dir(&fashion).unwrap();
    write(&fashion);
    assert_eq!(detect(&fashion).unwrap(), Source::FashionMnist);
    let plain = dir.path().join("digits");
    fs::create_dir(&plain).unwrap();
    write(&plain);
    assert_eq!(detect(&plain).unwrap(), Source::Mnist);
}

#[test]
fn wrong_files_are_named() {
    let dir = TempDir::new().unwrap();
    let (train, _) = write(dir.path());
    let config = reading(Source::Mnist, dir.path());
    let images = dir.path().join(FILES[0]);
    let labels = dir.path().join(FILES[1]);
    let whole = fs::read(&images).unwrap();

    fs::write(&images, &whole[..whole.len() - 1]).unwrap();
    // 40 images of 28 x 28 pixels.
    assert_mentions(
        &message(load(&config)),
        &[FILES[0], "31359 values", "31360", "truncated"],
    );
    fs::write(&images, [&whole[..], &[0]].concat()).unwrap();
    assert_mentions(&message(load(&config)), &[FILES[0], "more values"]);
    fs::write(&images, &whole[..7]).unwrap();
    assert_mentions(
        &message(load(&config)),
        &[FILES[0], "ends within its header"],
    );
    for claim in [
        [u32::MAX, u32::MAX, u32::MAX],
        [0, 28, 28],
        [40, 0, 28],
        [1 << 23, 1, 1],
        [1, 1 << 16, 1 << 15],
    ] {
        fs::write(&images, header(&[&[2051], &claim[..]].concat())).unwrap();
        assert_mentions(
            &message(load(&config)),
            &[FILES[0], &format!("claims {claim:?}"), "at most"],
        );
    }
    // A count that lies: 80 images of half the size have as many pixels as 40.
    fs::write(
        &images,
        [&header(&[2051, 80, 14, 28]), &whole[16..]].concat(),
    )
    .unwrap();
    assert_mentions(
        &message(load(&config)),
        &[FILES[1], "40 labels", "80, one per image", FILES[0]],
    );
    fs::write(&images, label_file(&train)).unwrap();
    assert_mentions(
        &message(load(&config)),
        &[FILES[0], "0x00000801", "0x00000803"],
    );
    fs::write(&images, &whole).unwrap();

    let mut wrong = train.clone();
    wrong.labels[17] = 10;
    fs::write(&labels, label_file(&wrong)).unwrap();
    assert_mentions(
        &message(load(&config)),
        &[FILES[1], "label 10 of image 17", "0 to 9"],
    );
    let lies = [&header(&[2049, 40])[..], &[1; 39]].concat();
    fs::write(&labels, lies).unwrap();
    assert_mentions(&message(load(&config)), &[FILES[1], "39 values", "40 by"]);
    wrong.labels = vec![1; 39];
    fs::write(&labels, label_file(&wrong)).unwrap();
    assert_mentions(&message(load(&config)), &[FILES[1], "39 labels", "40"]);
    fs::remove_file(&labels).unwrap();
    assert_mentions(&message(load(&config)), &[FILES[1], "not found", "IDX"]);
}
