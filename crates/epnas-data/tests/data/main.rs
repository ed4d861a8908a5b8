//! Integration tests of the data crate: one binary, one module per subject.

mod augmentation;
mod checking;
mod cifar;
mod detection;
mod folders;
#[cfg(unix)]
mod hostile;
mod hub;
mod idx;
mod image_kinds;
#[cfg(unix)]
mod links_and_names;
mod settings;
mod splits;
mod synthetic;

use epnas_data::{DataConfig, DataError, Images, Source};

/// A configuration that reads `dir` as `source`.
fn reading(source: Source, dir: &std::path::Path) -> DataConfig {
    DataConfig {
        source,
        dir: Some(dir.to_owned()),
        ..DataConfig::default()
    }
}

/// Made-up images whose pixels all differ by place: no transposition, shift or mirror image of one equals it.
fn asymmetric(count: usize, height: usize, width: usize, channels: usize) -> Images {
    let values = height * width * channels;
    Images {
        pixels: (0..count * values)
            .map(|i| {
                let (image, place) = (i / values, i % values);
                // Odd multiplier: distinct over any 256 neighboring places.
                (place * 37 + place / 256 * 11 + image * 101) as u8
            })
            .collect(),
        labels: (0..count as u32).map(|i| i % 10).collect(),
        height,
        width,
        channels,
    }
}

/// The error's text, which must be one line.
#[track_caller]
fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    let text = result.expect_err("an error").to_string();
    assert!(!text.contains('\n'), "more than one line: {text:?}");
    text
}

#[track_caller]
fn assert_mentions(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not mention {part:?}");
    }
}
