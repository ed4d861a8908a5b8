//! Image folders: layouts, color models, sizes, what cannot be read.

use std::fs;
use std::path::Path;

use epnas_data::{
    ALPHA_BACKGROUND, DataError, Source, Unreadable, decode_image, detect, load, load_reporting,
};
use image::codecs::jpeg::JpegEncoder;
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage, Rgba, RgbaImage,
};
use tempfile::TempDir;

use crate::{assert_mentions, message, reading};

/// A PNG of `size` x `size` pixels with a color made of `value`.
pub(crate) fn png(path: &Path, size: u32, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(size, size, Rgb([value, 100, 255 - value]))
        .save(path)
        .unwrap();
}

/// Three classes of ten images each, in an order on disk that is not the order of the names.
fn three_classes(dir: &Path) {
    for (class, base) in [("zebra", 200), ("ant", 0), ("Bee", 100)] {
        for i in (0..10).rev() {
            png(
                &dir.join(class).join(format!("{i}.png")),
                8 + u32::from(i),
                base + i,
            );
        }
    }
}

fn red_values(images: &epnas_data::Images) -> Vec<u8> {
    (0..images.len()).map(|i| images.image(i)[0]).collect()
}

#[test]
fn classes_and_files_in_byte_order_with_a_test_part_set_apart() {
    let dir = TempDir::new().unwrap();
    three_classes(dir.path());
    fs::write(dir.path().join("ant/notes.txt"), "no image").unwrap();
    fs::write(dir.path().join("ant/.hidden.png"), "no image").unwrap();
    fs::create_dir(dir.path().join(".cache")).unwrap();
    assert_eq!(detect(dir.path()).unwrap(), Source::Folder);
    let mut config = reading(Source::Folder, dir.path());
    let dataset = load(&config).unwrap();
    assert_eq!(dataset.classes, ["Bee", "ant", "zebra"]);
    let test = dataset.test.clone().unwrap();
    // A fifth of ten images a class.
    assert_eq!(dataset.train.class_counts(3), [8; 3]);
    assert_eq!(test.class_counts(3), [2; 3]);
    let mut all = [red_values(&dataset.train), red_values(&test)].concat();
    assert!(
        red_values(&dataset.train)
            .windows(2)
            .filter(|w| w[0] > w[1])
            .count()
            == 1,
        "files in order, Bee (100..) before ant (0..)"
    );
    all.sort_unstable();
    let expected: Vec<u8> = (0..10).chain(100..110).chain(200..210).collect();
    assert_eq!(all, expected, "every image once");
    assert_eq!(load(&config).unwrap(), dataset, "the same again");
    config.test_seed = 1;
    assert_ne!(
        load(&config).unwrap().test.unwrap(),
        test,
        "another seed, another choice"
    );
}

#[test]
fn train_and_test_directories() {
    let dir = TempDir::new().unwrap();
    three_classes(&dir.path().join("train"));
    for test in ["valid", "val", "test"] {
        // `test` is preferred to `val`, `val` to `valid`: every one that is added takes over.
        png(&dir.path().join(test).join("ant/one.png"), 8, 33);
        png(
            &dir.path()
                .join(test)
                .join(format!("zebra/deeper/{test}.jpeg.png")),
            8,
            test.len() as u8,
        );
        let dataset = load(&reading(Source::Folder, dir.path())).unwrap();
        assert_eq!(dataset.train.len(), 30);
        let images = dataset.test.unwrap();
        assert_eq!(images.labels, [1, 2]);
        assert_eq!(red_values(&images), [33, test.len() as u8]);
    }
    png(&dir.path().join("test/wasp/one.png"), 8, 33);
    let mut config = reading(Source::Folder, dir.path());
    assert_mentions(
        &message(load(&config)),
        &[
            "1 class without training images: wasp",
            "test/wasp)",
            "skip",
        ],
    );
    config.unreadable = Unreadable::Skip;
    let (dataset, skipped) = load_reporting(&config).unwrap();
    assert_eq!(dataset.classes, ["Bee", "ant", "zebra"]);
    assert_eq!(dataset.test.unwrap().labels, [1, 2]);
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0].path, dir.path().join("test/wasp"));
}

#[test]
fn part_directories_may_be_capitalized() {
    let dir = TempDir::new().unwrap();
    three_classes(&dir.path().join("Train"));
    png(&dir.path().join("Validation/ant/one.png"), 8, 33);
    let dataset = load(&reading(Source::Folder, dir.path())).unwrap();
    assert_eq!(dataset.classes, ["Bee", "ant", "zebra"]);
    assert_eq!(dataset.test.unwrap().labels, [1]);
}

#[test]
fn a_class_may_be_called_train() {
    let dir = TempDir::new().unwrap();
    for i in 0..4 {
        png(&dir.path().join(format!("train/{i}.png")), 8, i);
        png(&dir.path().join(format!("car/{i}.png")), 8, i);
    }
    let mut config = reading(Source::Folder, dir.path());
    config.test_fraction = 0.25;
    assert_eq!(load(&config).unwrap().classes, ["car", "train"]);
}

#[test]
fn every_color_model() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, image: DynamicImage| {
        let path = dir.path().join(name);
        image.save(&path).unwrap();
        path
    };
    let first =
        |path: &Path, channels| decode_image(path, 8, channels).unwrap()[..channels].to_vec();

    let gray = file("gray.png", GrayImage::from_pixel(9, 9, Luma([77])).into());
    assert_eq!(first(&gray, 3), [77; 3]);
    assert_eq!(first(&gray, 1), [77]);
    let deep = ImageBuffer::<Rgb<u16>, Vec<u16>>::from_pixel(9, 9, Rgb([0, 0x8080, 0xffff]));
    assert_eq!(first(&file("deep.png", deep.into()), 3), [0, 0x80, 0xff]);
    let deep = ImageBuffer::<Luma<u16>, Vec<u16>>::from_pixel(9, 9, Luma([0x4040]));
    assert_eq!(first(&file("deep_gray.png", deep.into()), 3), [0x40; 3]);
    // Over white: a * color + (1 - a) * 255 with a = 51 / 255 = 0.2: 0.2 * 100 + 0.8 * 255 = 224.
    assert_eq!(ALPHA_BACKGROUND, [255; 3]);
    let alpha = RgbaImage::from_pixel(9, 9, Rgba([100, 0, 255, 51]));
    assert_eq!(first(&file("alpha.png", alpha.into()), 3), [224, 204, 255]);
    let clear = RgbaImage::from_pixel(9, 9, Rgba([1, 2, 3, 0]));
    assert_eq!(first(&file("clear.png", clear.into()), 3), ALPHA_BACKGROUND);
    let clear = GrayAlphaImage::from_pixel(9, 9, image::LumaA([7, 0]));
    assert_eq!(first(&file("clear_gray.png", clear.into()), 1), [255]);
    // A JPEG under a PNG's name is still a JPEG; constant colors survive its rounding within 2.
    let path = dir.path().join("jpeg.png");
    let image = RgbImage::from_pixel(16, 16, Rgb([200, 100, 50]));
    image
        .write_with_encoder(JpegEncoder::new_with_quality(
            fs::File::create(&path).unwrap(),
            95,
        ))
        .unwrap();
    for (got, expected) in first(&path, 3).iter().zip([200u8, 100, 50]) {
        assert!(got.abs_diff(expected) <= 2);
    }
}

#[test]
fn the_center_is_cropped_and_rows_stay_rows() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("wide.png");
    // 4 rows x 8 columns: the central square holds columns 2 to 5; red tells the row, green the column.
    RgbImage::from_fn(8, 4, |x, y| Rgb([y as u8 * 10, x as u8 * 20, 0]))
        .save(&path)
        .unwrap();
    let pixels = decode_image(&path, 4, 3).unwrap();
    for row in 0..4 {
        for column in 0..4 {
            assert_eq!(
                pixels[(row * 4 + column) * 3..][..2],
                [row as u8 * 10, (column + 2) as u8 * 20]
            );
        }
    }
}

#[test]
fn the_noted_orientation_is_applied() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("turned.jpg");
    // The left half black, the right half white, with the note "turn by 90 degrees clockwise" (Exif orientation 6).
    let image = RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 16 { 0 } else { 255 }; 3]));
    let mut jpeg = Vec::new();
    image
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, 95))
        .unwrap();
    // APP1: length 34, "Exif\0\0", a big-endian TIFF header, one entry: tag 0x0112, type short, count 1, value 6.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    fs::write(&path, [&jpeg[..2], exif, &jpeg[2..]].concat()).unwrap();
    let pixels = decode_image(&path, 32, 1).unwrap();
    // Turned clockwise, the left half comes to the top.
    assert!(pixels[5] < 30 && pixels[26] < 30, "the top row is black");
    assert!(pixels[31 * 32 + 5] > 225, "the bottom row is white");
}

/// Bytes that are no image, a PNG cut short, a JPEG cut short, an empty file.
fn unreadable_files(dir: &Path) {
    fs::write(dir.join("ant/text.png"), "hello").unwrap();
    let bytes = fs::read(dir.join("ant/5.png")).unwrap();
    fs::write(dir.join("ant/short.png"), &bytes[..bytes.len() / 2]).unwrap();
    let mut jpeg = Vec::new();
    let noise = RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * y) as u8, (x * 7) as u8, (y * 13) as u8])
    });
    noise
        .write_with_encoder(JpegEncoder::new(&mut jpeg))
        .unwrap();
    fs::write(dir.join("zebra/short.jpg"), &jpeg[..jpeg.len() / 2]).unwrap();
    fs::write(dir.join("zebra/whole.jpg"), &jpeg).unwrap();
    fs::write(dir.join("zebra/nothing.jpg"), "").unwrap();
}

#[test]
fn unreadable_images_are_fatal_or_skipped() {
    let dir = TempDir::new().unwrap();
    three_classes(dir.path());
    unreadable_files(dir.path());
    let mut config = reading(Source::Folder, dir.path());
    let names = [
        "ant/short.png",
        "ant/text.png",
        "zebra/nothing.jpg",
        "zebra/short.jpg",
    ];
    match load(&config) {
        Err(DataError::Unreadable(files)) => {
            let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
            assert_eq!(paths, names.map(|name| dir.path().join(name)));
            assert_mentions(&files[3].reason, &["truncated JPEG"]);
            assert_mentions(&files[2].reason, &["empty"]);
            assert_mentions(&files[1].reason, &["not a PNG or JPEG"]);
        }
        other => panic!("{other:?}"),
    }
    assert_mentions(
        &message(load(&config)),
        &[
            "4 images are unreadable",
            "ant/short.png",
            "and 1 more",
            "skip",
        ],
    );
    config.unreadable = Unreadable::Skip;
    let (dataset, skipped) = load_reporting(&config).unwrap();
    assert_eq!(skipped.len(), 4);
    assert_eq!(dataset.train.len() + dataset.test.unwrap().len(), 31);
}

#[test]
fn classes_without_a_readable_image_are_fatal_or_skipped() {
    let dir = TempDir::new().unwrap();
    three_classes(dir.path());
    let cow = dir.path().join("cow");
    fs::create_dir(&cow).unwrap();
    let mut config = reading(Source::Folder, dir.path());
    assert_mentions(
        &message(load(&config)),
        &[
            "1 class without training images: cow",
            &format!("({}): no PNG or JPEG file", cow.display()),
            "at least one image of every class",
            "skip",
        ],
    );
    config.unreadable = Unreadable::Skip;
    for file in [None, Some("one.png")] {
        if let Some(file) = file {
            fs::write(cow.join(file), "hello").unwrap();
        }
        let (dataset, skipped) = load_reporting(&config).unwrap();
        // Without cow, zebra's label is 2 again.
        assert_eq!(dataset.classes, ["Bee", "ant", "zebra"]);
        assert_eq!(dataset.train.class_counts(3), [8; 3]);
        assert_eq!(dataset.train.labels.last(), Some(&2));
        let paths: Vec<_> = skipped.iter().map(|file| file.path.clone()).collect();
        let expected = file.map(|file| cow.join(file)).into_iter();
        assert_eq!(paths, expected.chain([cow.clone()]).collect::<Vec<_>>());
    }
    // Of two classes, one must not be left alone.
    let dir = TempDir::new().unwrap();
    png(&dir.path().join("ant/1.png"), 8, 1);
    fs::create_dir(dir.path().join("cow")).unwrap();
    config.dir = Some(dir.path().to_owned());
    assert_mentions(
        &message(load(&config)),
        &["class ant only", "at least 2 classes"],
    );
}

#[test]
fn a_class_of_one_image_is_trained_on() {
    let dir = TempDir::new().unwrap();
    three_classes(dir.path());
    png(&dir.path().join("cow/only.png"), 8, 250);
    let config = reading(Source::Folder, dir.path());
    let dataset = load(&config).unwrap();
    assert_eq!(dataset.classes, ["Bee", "ant", "cow", "zebra"]);
    let test = dataset.test.clone().unwrap();
    // A fifth of 31 is 6.
    assert_eq!(test.class_counts(4), [2, 2, 0, 2]);
    assert_eq!(dataset.train.class_counts(4), [8, 8, 1, 8]);
    let mut config = config;
    config.validation = epnas_data::Share::Fraction(0.2);
    let parts = epnas_data::split(&dataset, &config, 1).unwrap();
    assert_eq!((parts.train.len(), parts.validation.len()), (20, 5));
    assert!(parts.train.contains(&16), "cow, after 8 Bee and 8 ant");
}

#[test]
fn a_thousand_classes() {
    let dir = TempDir::new().unwrap();
    for class in 0..1000 {
        for i in 0..3 {
            png(
                &dir.path().join(format!("class_{class:04}/{i}.png")),
                4,
                (class % 256) as u8,
            );
        }
    }
    let mut config = reading(Source::Folder, dir.path());
    config.image_size = 4;
    config.test_fraction = 1.0 / 3.0;
    let dataset = load(&config).unwrap();
    assert_eq!(dataset.classes.len(), 1000);
    assert_eq!(dataset.classes[999], "class_0999");
    assert_eq!(dataset.test.unwrap().class_counts(1000), vec![1; 1000]);
    assert_eq!(dataset.train.labels.last(), Some(&999));
    assert_eq!(dataset.train.image(1999)[0], (999 % 256) as u8);
    // A fraction that leaves some of so many classes without a test image.
    config.test_fraction = 0.2;
    assert_mentions(
        &message(load(&config)),
        &["data.test_fraction = 0.2", "1000 classes", "got 600"],
    );
}

#[test]
fn wrong_folders_are_named() {
    let dir = TempDir::new().unwrap();
    let absent = dir.path().join("absent");
    assert_mentions(
        &message(load(&reading(Source::Folder, &absent))),
        &["absent: not found", "folder"],
    );
    assert_mentions(&message(detect(&absent)), &["absent: not found"]);
    assert_mentions(
        &message(load(&reading(Source::Folder, dir.path()))),
        &["no directories", "at least 2"],
    );
    assert_mentions(
        &message(detect(dir.path())),
        &["an empty folder", "CIFAR", "one directory"],
    );
    png(&dir.path().join("only/1.png"), 8, 1);
    assert_mentions(
        &message(load(&reading(Source::Folder, dir.path()))),
        &["1 directory", "at least 2"],
    );
    png(&dir.path().join("other/1.png"), 8, 1);
    assert_mentions(
        &message(load(&reading(Source::Folder, dir.path()))),
        &[
            "data.test_fraction = 0.2",
            "at least 2 images of some class",
        ],
    );
    png(&dir.path().join("other/2.png"), 8, 2);
    png(&dir.path().join("only/2.png"), 8, 2);
    assert_mentions(
        &message(load(&reading(Source::Folder, dir.path()))),
        &[
            "data.test_fraction = 0.2: expected 2 to 2 images",
            "2 classes",
            &format!("out of the 4 images of {}, got 1", dir.path().display()),
        ],
    );
    let file = dir.path().join("only/1.png");
    assert_mentions(
        &message(load(&reading(Source::Folder, &file))),
        &["1.png: a file", "folder"],
    );
    let error = message(decode_image(&absent, 32, 3));
    assert_mentions(&error, &["absent: cannot be read: No such file"]);
    assert!(!error.contains("skip"), "no setting of the loader: {error}");
    assert_mentions(&message(decode_image(&file, 0, 3)), &["image_size = 0"]);
    assert_mentions(
        &message(decode_image(&file, 32, 4)),
        &["channels = 4", "1 or 3"],
    );
}
