//! Which data to read and how to divide it: the `[data]` section of a configuration.

use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::DataError;

/// Which data to read and how to divide it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Where the images come from: "synthetic" (default), "cifar10", "cifar100", "mnist", "fashion_mnist" or "folder".
    pub source: Source,
    /// Folder with the data set's files. Default none: then "cifar10", "mnist" and "fashion_mnist" are downloaded;
    /// "synthetic" takes none.
    pub dir: Option<PathBuf>,
    /// Height and width of the images in pixels; images of another size are resized and cropped. Default 32, range
    /// 4 to 1024.
    pub image_size: usize,
    /// Channels of a pixel: "auto" (default: 1 for MNIST and Fashion-MNIST, else 3), "rgb" or "gray".
    pub channels: Channels,
    /// Part of the training images that is kept for validation: a number of images (5000) or a fraction (0.1).
    /// Default 0.1; at least one image must remain on both sides.
    pub validation: Share,
    /// Which images validate: "stratified" (default: drawn by seed, every class keeps its share) or "fixed" (the last
    /// ones; CIFAR's usual 45,000 / 5,000).
    pub split: SplitKind,
    /// Search on at most this many images, drawn by seed with every class keeping its share; the validation part stays
    /// whole, and the final training takes all images. Default none: all of them.
    pub train_limit: Option<usize>,
    /// For an image folder without a test part: the fraction set apart as test images, every class keeping its share.
    /// Default 0.2, above 0 and below 1.
    pub test_fraction: f64,
    /// Seed of that choice. It is apart from the run's seed so that runs with different seeds share their test images.
    /// Default 0.
    pub test_seed: u64,
    /// What to do about images that cannot be decoded, and about classes of an image folder that are left without
    /// training images: "fatal" (default) or "skip".
    pub unreadable: Unreadable,
    /// The built-in synthetic set, for source = "synthetic".
    pub synthetic: SyntheticConfig,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: Source::Synthetic,
            dir: None,
            image_size: 32,
            channels: Channels::Auto,
            validation: Share::Fraction(0.1),
            split: SplitKind::Stratified,
            train_limit: None,
            test_fraction: 0.2,
            test_seed: 0,
            unreadable: Unreadable::Fatal,
            synthetic: SyntheticConfig::default(),
        }
    }
}

impl DataConfig {
    /// Whether every value lies in its range; does not touch the disk.
    ///
    /// # Errors
    /// [`DataError::Config`] with the first field that does not.
    pub fn validate(&self) -> Result<(), DataError> {
        if !(4..=1024).contains(&self.image_size) {
            return Err(DataError::config(
                "image_size",
                self.image_size,
                "4 to 1024 pixels",
            ));
        }
        self.validation.validate("validation")?;
        if !(self.test_fraction > 0.0 && self.test_fraction < 1.0) {
            return Err(DataError::config(
                "test_fraction",
                self.test_fraction,
                "a fraction above 0 and below 1",
            ));
        }
        if self.train_limit == Some(0) {
            return Err(DataError::config("train_limit", 0, "at least 1 image"));
        }
        if self.source == Source::Synthetic {
            let image = (self.image_size * self.image_size * 3) as u64;
            let most = (SyntheticConfig::MAX_BYTES / image) as usize;
            for (field, value) in [
                ("synthetic.train", self.synthetic.train),
                ("synthetic.test", self.synthetic.test),
            ] {
                if value == 0 || value > most {
                    return Err(DataError::config(
                        field,
                        value,
                        format!("1 to {most} images of {0} x {0} pixels", self.image_size),
                    ));
                }
            }
            if let Some(dir) = &self.dir {
                return Err(DataError::config(
                    "dir",
                    dir.display(),
                    "no folder for source = \"synthetic\"; name the folder's format in data.source",
                ));
            }
        }
        Ok(())
    }
}

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The built-in set, drawn by seed.
    Synthetic,
    /// CIFAR-10, binary version.
    #[serde(rename = "cifar10")]
    Cifar10,
    /// CIFAR-100, binary version, fine labels.
    #[serde(rename = "cifar100")]
    Cifar100,
    /// MNIST, IDX files.
    Mnist,
    /// Fashion-MNIST, IDX files.
    FashionMnist,
    /// One directory of PNG and JPEG files per class.
    Folder,
}

impl Source {
    /// The name in configurations: `cifar10`.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Synthetic => "synthetic",
            Source::Cifar10 => "cifar10",
            Source::Cifar100 => "cifar100",
            Source::Mnist => "mnist",
            Source::FashionMnist => "fashion_mnist",
            Source::Folder => "folder",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// As the source has them: 1 for MNIST and Fashion-MNIST, else 3.
    Auto,
    /// Three; gray is repeated.
    Rgb,
    /// One; color becomes luma (0.2126 R + 0.7152 G + 0.0722 B of the stored values).
    Gray,
}

impl Channels {
    /// The number of channels for images of `source`.
    pub const fn count(self, source: Source) -> usize {
        match (self, source) {
            (Channels::Rgb, _) => 3,
            (Channels::Gray, _) | (Channels::Auto, Source::Mnist | Source::FashionMnist) => 1,
            (Channels::Auto, _) => 3,
        }
    }
}

/// Which of the training images validate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitKind {
    /// The last ones, in the order of the files.
    Fixed,
    /// Drawn by seed, every class keeping its share.
    Stratified,
}

/// What to do about images that cannot be decoded and about classes of an image folder without training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unreadable {
    /// Stop with an error that lists them.
    Fatal,
    /// Leave them out and log each path as a warning; the labels count the classes that remain.
    Skip,
}

/// A part of a set: a number of images (`5000`) or a fraction (`0.1`).
///
/// Which of the two is told by the form of the number: an integer counts, a number with a decimal point is a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Share {
    /// This many images.
    Count(usize),
    /// This fraction of the images, above 0 and below 1, rounded to the nearest number.
    Fraction(f64),
}

impl Share {
    /// The number of images out of `total`.
    pub fn of(self, total: usize) -> usize {
        match self {
            Share::Count(count) => count,
            Share::Fraction(fraction) => (total as f64 * fraction).round() as usize,
        }
    }

    fn validate(self, field: &'static str) -> Result<(), DataError> {
        match self {
            Share::Count(0) => Err(DataError::config(field, 0, "at least 1 image")),
            Share::Fraction(f) if !(f > 0.0 && f < 1.0) => Err(DataError::config(
                field,
                format!("{f:?}"),
                "a fraction above 0 and below 1, or a whole number of images",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Count(count) => write!(f, "{count}"),
            Share::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}

// Written by hand: serde's untagged enums answer a wrong value with "did not match any variant".
impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Share;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of images (5000) or a fraction (0.1)")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Share, E> {
                Ok(Share::Count(value as usize))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Share, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
                    .and_then(|value| self.visit_u64(value))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Share, E> {
                Ok(Share::Fraction(value))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "description": "A number of images (5000) or a fraction (0.1).",
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }
            ]
        })
    }
}

/// The built-in synthetic set: 10 classes of textured shapes ([`crate::synthetic`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Training images, validation included. Default 10000, range 1 to as many as fit 8 GiB (2.8 million of 32 x 32).
    pub train: usize,
    /// Test images. Default 2000, range as for `train`.
    pub test: usize,
    /// Seed of the pictures; apart from the run's seed so that runs share their data. Default 0.
    pub seed: u64,
}

impl SyntheticConfig {
    /// The most memory that one part may take: 8 GiB, 2.8 million images of 32 x 32 pixels.
    pub const MAX_BYTES: u64 = 8 << 30;
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            train: 10_000,
            test: 2_000,
            seed: 0,
        }
    }
}
