//! Links that lead nowhere, back or too far, and names that are no text: told, never another set than it seems.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use epnas_data::{DataConfig, Source, check, load};
use tempfile::TempDir;

use crate::folders::png;
use crate::hostile::two_classes;
use crate::{assert_mentions, message, reading};

#[test]
fn links_that_lead_nowhere_or_back() {
    let dir = TempDir::new().unwrap();
    two_classes(dir.path());
    let mut config = reading(Source::Folder, dir.path());
    let link = dir.path().join("eel");
    for (target, words) in [
        (
            "nowhere",
            [
                "eel: a link to nowhere: No such file",
                "expected a directory",
            ],
        ),
        (
            "eel",
            [
                "eel: a link to eel: Too many levels",
                "expected a directory",
            ],
        ),
        (
            ".",
            [
                "eel: a link to a folder that it is in",
                "expected a directory of images",
            ],
        ),
        (
            "..",
            [
                "eel: a link to a folder that it is in",
                "expected a directory of images",
            ],
        ),
    ] {
        symlink(target, &link).unwrap();
        assert_mentions(&message(load(&config)), &words);
        assert_mentions(&message(check(dir.path(), &DataConfig::default())), &words);
        fs::remove_file(&link).unwrap();
    }
    // A class may lie elsewhere.
    let elsewhere = TempDir::new().unwrap();
    for i in 0..4 {
        png(&elsewhere.path().join(format!("{i}.png")), 8, 200 + i);
    }
    symlink(elsewhere.path(), &link).unwrap();
    config.test_fraction = 0.25;
    assert_eq!(load(&config).unwrap().classes, ["cat", "dog", "eel"]);

    // In a class: directories that are links are left out and told, files that are links are followed.
    symlink("..", dir.path().join("cat/up")).unwrap();
    symlink("../dog/0.png", dir.path().join("cat/other.png")).unwrap();
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!((report.images, report.failure()), (13, None));
    assert_eq!(report.ignored_directories, [dir.path().join("cat/up")]);
    assert_mentions(
        &report.to_string(),
        &["ignored directory: ", "cat/up: a link"],
    );
    symlink("self.png", dir.path().join("cat/self.png")).unwrap();
    symlink("nowhere", dir.path().join("cat/gone.png")).unwrap();
    assert_mentions(
        &message(load(&config)),
        &[
            "2 images are unreadable",
            "cat/gone.png: No such file",
            "cat/self.png: Too many levels",
        ],
    );
    symlink("plain", dir.path().join("cat/plain")).unwrap();
    assert_mentions(
        &message(load(&config)),
        &["cat/plain: a link to plain: Too many levels"],
    );
}

#[test]
fn directories_too_deep_and_images_of_other_kinds_are_told() {
    let dir = TempDir::new().unwrap();
    two_classes(dir.path());
    png(&dir.path().join("cat/1/2/3/4/5/6/7/8/deep.png"), 8, 50);
    png(&dir.path().join("cat/1/2/3/4/5/6/7/8/9/deeper.png"), 8, 51);
    for name in ["a.gif", "b.WebP", "notes.txt"] {
        fs::write(dir.path().join("dog").join(name), "GIF89a").unwrap();
    }
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert_eq!(
        (report.images, report.ignored_files, report.ignored_images),
        (9, 3, 2)
    );
    assert_eq!(
        report.ignored_directories,
        [dir.path().join("cat/1/2/3/4/5/6/7/8/9")]
    );
    assert_mentions(
        &report.to_string(),
        &["jpeg: 3 (2 of them images that are not read)"],
    );
}

/// Names of classes are text, for they are written to models; two that are not could look alike. Files have any name.
#[test]
fn names_that_are_no_text() {
    let dir = TempDir::new().unwrap();
    two_classes(dir.path());
    let config = reading(Source::Folder, dir.path());
    for name in [&b"k\xff"[..], b"two\nlines", b"\x1b[31mred"] {
        let class = dir.path().join(OsStr::from_bytes(name));
        png(&class.join("0.png"), 8, 7);
        let error = message(load(&config));
        assert_mentions(
            &error,
            &["not UTF-8 or has control characters", "name of a class"],
        );
        assert!(!error.contains(char::is_control), "{error:?}");
        fs::remove_dir_all(class).unwrap();
    }
    for (name, value) in [
        (&b"\xff.png"[..], 50),
        (b"\xfe.png", 51),
        (b"two\nlines.png", 52),
    ] {
        png(
            &dir.path().join("cat").join(OsStr::from_bytes(name)),
            8,
            value,
        );
    }
    let dataset = load(&config).unwrap();
    assert_eq!(dataset.train.len() + dataset.test.unwrap().len(), 11);
    for name in [&b"\xfd.png"[..], b"\x1b[31m\n.png"] {
        fs::write(
            dir.path().join("dog").join(OsStr::from_bytes(name)),
            "no image",
        )
        .unwrap();
    }
    let error = message(load(&config));
    assert_mentions(&error, &["dog/\\u{1b}[31m\\n.png", "dog/\u{fffd}.png"]);
    let report = check(dir.path(), &DataConfig::default()).unwrap();
    assert!(!report.to_string().contains('\x1b'));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json.to_string().contains("dog/\u{fffd}.png"), "{json}");
}
