//! What a training was begun with, small enough to keep beside a checkpoint: settings and images that changed since are
//! named and refused instead of trained on.

use std::{collections::BTreeMap, fmt};

use epnas_arch::Shape;
use epnas_data::Images;
use serde::{Deserialize, Serialize};

/// A value that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs: a key such as `training.epochs`, or words.
    pub key: String,
    /// What was stored.
    pub stored: String,
    /// What is given now.
    pub given: String,
}

impl Difference {
    /// A difference between two values that can be shown.
    pub fn new(key: impl Into<String>, stored: impl ToString, given: impl ToString) -> Difference {
        Difference {
            key: key.into(),
            stored: stored.to_string(),
            given: given.to_string(),
        }
    }

    /// Several of them in one line.
    pub fn list(differences: &[Difference]) -> String {
        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
        all.join(", ")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { key, stored, given } = self;
        write!(f, "{key} (stored {stored}, given {given})")
    }
}

/// The leaves of two JSON values that differ, by their dotted keys. A leaf that one side lacks reads `unset`.
pub(crate) fn differences<T: Serialize>(
    stored: &T,
    given: &T,
) -> Result<Vec<Difference>, serde_json::Error> {
    fn walk(prefix: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let separator = if prefix.is_empty() { "" } else { "." };
                    walk(&format!("{prefix}{separator}{key}"), value, out);
                }
            }
            serde_json::Value::String(text) => {
                out.insert(prefix.to_owned(), text.clone());
            }
            other => {
                out.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let mut sides = [BTreeMap::new(), BTreeMap::new()];
    for (side, value) in sides.iter_mut().zip([stored, given]) {
        walk("", &serde_json::to_value(value)?, side);
    }
    let [stored, given] = sides;
    let keys: std::collections::BTreeSet<&String> = stored.keys().chain(given.keys()).collect();
    let unset = String::from("unset");
    Ok(keys
        .into_iter()
        .filter(|key| stored.get(*key) != given.get(*key))
        .map(|key| {
            let of = |side: &BTreeMap<String, String>| side.get(key).unwrap_or(&unset).to_owned();
            Difference::new(key.as_str(), of(&stored), of(&given))
        })
        .collect())
}

/// Images of one kind, such as those trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    images: u64,
    crc32: u32,
}

/// Which images there are: classes, size, and number and CRC-32 of pixels and labels. Where they lie on disk does not
/// matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFingerprint {
    classes: Vec<String>,
    height: usize,
    width: usize,
    channels: usize,
    parts: BTreeMap<String, Part>,
}

impl DataFingerprint {
    /// A fingerprint of no images yet; `images` gives the size.
    pub fn new(classes: &[String], images: &Images) -> DataFingerprint {
        DataFingerprint {
            classes: classes.to_vec(),
            height: images.height,
            width: images.width,
            channels: images.channels,
            parts: BTreeMap::new(),
        }
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The size of an image.
    pub fn image_shape(&self) -> Shape {
        Shape::new(self.height, self.width, self.channels)
    }

    /// With all of `images` as the part `name`.
    #[must_use]
    pub fn with(mut self, name: &str, images: &Images) -> DataFingerprint {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&images.pixels);
        for label in &images.labels {
            hasher.update(&label.to_le_bytes());
        }
        self.add(name, images.len(), hasher);
        self
    }

    /// With the images at `indices`, in that order, as the part `name`. Indices that are out of range are left out.
    #[must_use]
    pub fn with_indices(mut self, name: &str, images: &Images, indices: &[u32]) -> DataFingerprint {
        let mut hasher = crc32fast::Hasher::new();
        for &index in indices {
            if let Some(label) = images.labels.get(index as usize) {
                hasher.update(images.image(index as usize));
                hasher.update(&label.to_le_bytes());
            }
        }
        self.add(name, indices.len(), hasher);
        self
    }

    fn add(&mut self, name: &str, images: usize, hasher: crc32fast::Hasher) {
        let part = Part {
            images: images as u64,
            crc32: hasher.finalize(),
        };
        self.parts.insert(name.to_owned(), part);
    }

    /// What of the images differs; empty when they are the same.
    pub fn differences(&self, given: &DataFingerprint) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.classes != given.classes {
            let shown = |classes: &[String]| match classes.len() {
                0..=12 => classes.join(" "),
                many => format!("{many} others"),
            };
            let (stored, now) = (shown(&self.classes), shown(&given.classes));
            found.push(Difference::new("classes", stored, now));
        }
        let size =
            |data: &DataFingerprint| format!("{}x{}x{}", data.height, data.width, data.channels);
        if size(self) != size(given) {
            found.push(Difference::new("image size", size(self), size(given)));
        }
        let names: std::collections::BTreeSet<&String> =
            self.parts.keys().chain(given.parts.keys()).collect();
        for name in names {
            let part = |data: &DataFingerprint| data.parts.get(name).copied();
            let count = |part: Option<Part>| part.map_or(0, |part| part.images);
            let (stored, now) = (part(self), part(given));
            if count(stored) != count(now) {
                let key = format!("number of {name} images");
                found.push(Difference::new(key, count(stored), count(now)));
            } else if stored != now {
                let crc = |part: Option<Part>| {
                    part.map_or_else(String::new, |part| format!("CRC-32 {:08x}", part.crc32))
                };
                let key = format!("content of the {name} images");
                found.push(Difference::new(key, crc(stored), crc(now)));
            }
        }
        found
    }
}
