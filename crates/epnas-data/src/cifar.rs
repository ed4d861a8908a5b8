//! CIFAR-10 and CIFAR-100, binary version (Krizhevsky, 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A CIFAR-10 record is 1 label byte and 3,072 pixel bytes, a CIFAR-100 record 2 label bytes (coarse, fine) and 3,072
//! pixel bytes: the red, green and blue planes, each 32 rows of 32.
//!
//! The files are read directly. `candle_datasets::vision::cifar::load_dir` gives the same pixels (a test holds them
//! equal), but as f32: 740 MB of tensors and as much again while it concatenates, for 184 MB of pixels. It also reads
//! exactly 10,000 records a file, passes labels unchecked, has no CIFAR-100, and its errors do not name the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::one_line;
use crate::{DataError, Images, file};

/// Height and width of a CIFAR image.
pub(crate) const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;
/// The most bytes of a file: six times the largest published one.
const MAX_BYTES: u64 = 1 << 30;
/// The most bytes of a file of class names.
const MAX_NAMES: u64 = 1 << 20;

/// One of the two sets: its files and the form of its records.
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) train: &'static [&'static str],
    pub(crate) test: &'static str,
    /// The directory that the official archive unpacks to.
    archive: &'static str,
    /// Images of a published training file, and of the published test file.
    published: [usize; 2],
    /// Label bytes of a record: below how much each is. The last is the label.
    label_bytes: &'static [u8],
    names_file: &'static str,
    names: &'static [&'static str],
}

/// CIFAR-10.
pub(crate) const CIFAR10: Format = Format {
    name: "cifar10",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    archive: "cifar-10-batches-bin",
    published: [10_000, 10_000],
    label_bytes: &[10],
    names_file: "batches.meta.txt",
    names: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
};

/// CIFAR-100 with its fine labels.
pub(crate) const CIFAR100: Format = Format {
    name: "cifar100",
    train: &["train.bin"],
    test: "test.bin",
    archive: "cifar-100-binary",
    published: [50_000, 10_000],
    label_bytes: &[20, 100],
    names_file: "fine_label_names.txt",
    names: &[
        "apple",
        "aquarium_fish",
        "baby",
        "bear",
        "beaver",
        "bed",
        "bee",
        "beetle",
        "bicycle",
        "bottle",
        "bowl",
        "boy",
        "bridge",
        "bus",
        "butterfly",
        "camel",
        "can",
        "castle",
        "caterpillar",
        "cattle",
        "chair",
        "chimpanzee",
        "clock",
        "cloud",
        "cockroach",
        "couch",
        "crab",
        "crocodile",
        "cup",
        "dinosaur",
        "dolphin",
        "elephant",
        "flatfish",
        "forest",
        "fox",
        "girl",
        "hamster",
        "house",
        "kangaroo",
        "keyboard",
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
        "plain",
        "plate",
        "poppy",
        "porcupine",
        "possum",
        "rabbit",
        "raccoon",
        "ray",
        "road",
        "rocket",
        "rose",
        "sea",
        "seal",
        "shark",
        "shrew",
        "skunk",
        "skyscraper",
        "snail",
        "snake",
        "spider",
        "squirrel",
        "streetcar",
        "sunflower",
        "sweet_pepper",
        "table",
        "tank",
        "telephone",
        "television",
        "tiger",
        "tractor",
        "train",
        "trout",
        "tulip",
        "turtle",
        "wardrobe",
        "whale",
        "willow_tree",
        "wolf",
        "woman",
        "worm",
    ],
};

impl Format {
    /// The folder that holds the files: `dir`, or the official archive's directory in it.
    pub(crate) fn root(&self, dir: &Path) -> PathBuf {
        let inner = dir.join(self.archive);
        if !self.any_in(dir) && self.any_in(&inner) {
            inner
        } else {
            dir.to_owned()
        }
    }

    /// Whether one of the set's files is in `dir`.
    pub(crate) fn any_in(&self, dir: &Path) -> bool {
        self.train
            .iter()
            .chain([&self.test])
            .any(|file| dir.join(file).is_file())
    }

    /// Whether the Python version's files are in `dir`, or in the directory that its archive unpacks to.
    pub(crate) fn is_pickled(&self, dir: &Path) -> bool {
        let inner = dir.join(match self.label_bytes.len() {
            1 => "cifar-10-batches-py",
            _ => "cifar-100-python",
        });
        [dir, &inner].iter().any(|dir| {
            let file = |name: &str| dir.join(name).with_extension("").is_file();
            file(self.train[0]) && file(self.test)
        })
    }

    /// The usual names of the classes.
    pub(crate) fn class_names(&self) -> Vec<String> {
        self.names.iter().map(|&name| name.to_owned()).collect()
    }

    /// Names of the classes, from the set's own file when it is there.
    pub(crate) fn classes(&self, root: &Path) -> Result<Vec<String>, DataError> {
        let path = root.join(self.names_file);
        let text = match file::read(&path, MAX_NAMES, || "a class name a line".to_owned()) {
            Ok(bytes) => String::from_utf8(bytes),
            Err(DataError::Missing { .. }) => return Ok(self.class_names()),
            Err(error) => return Err(error),
        };
        let expected = format!("{} different ones, one a line", self.names.len());
        let text =
            text.map_err(|_| DataError::invalid(&path, "class names not in UTF-8", &expected))?;
        let names: Vec<String> = text
            .lines()
            .map(|line| one_line(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        let distinct = names.iter().collect::<BTreeSet<_>>().len();
        if (names.len(), distinct) != (self.names.len(), names.len()) {
            let found = match names.len() - distinct {
                0 => format!("{} class names", names.len()),
                n => format!("{} class names, {n} of them twice", names.len()),
            };
            return Err(DataError::invalid(path, found, expected));
        }
        Ok(names)
    }

    /// The training and the test images of `root`, `[image, 32, 32, 3]`.
    pub(crate) fn load(&self, root: &Path) -> Result<(Images, Images), DataError> {
        let mut train = empty();
        let mut counts = Vec::new();
        for &file in self.train {
            let part = self.read(&root.join(file))?;
            counts.push((file, part.len()));
            train.pixels.extend_from_slice(&part.pixels);
            train.labels.extend_from_slice(&part.labels);
        }
        let test = self.read(&root.join(self.test))?;
        counts.push((self.test, test.len()));
        match self.cut(root, &counts).into_iter().next() {
            Some(error) => Err(error),
            None => Ok((train, test)),
        }
    }

    /// Files that hold fewer or more images than published while another holds as many: a cut at the end of a record
    /// leaves no other trace. A set with none of the published sizes is somebody's own.
    pub(crate) fn cut(&self, root: &Path, counts: &[(&str, usize)]) -> Vec<DataError> {
        let published = |file: &str| self.published[usize::from(file == self.test)];
        let (as_published, others): (Vec<_>, Vec<_>) = counts
            .iter()
            .partition(|&&(file, count)| count == published(file));
        let Some((whole, _)) = as_published.first() else {
            return Vec::new();
        };
        let error = |(file, count): (&str, usize)| {
            let expected = published(file);
            DataError::invalid(
                root.join(file),
                format!("{count} images"),
                format!(
                    "{expected}, for {whole} is as published (data.train_limit uses fewer); is the file truncated?"
                ),
            )
        };
        others.into_iter().map(error).collect()
    }

    /// The images of one file.
    pub(crate) fn read(&self, path: &Path) -> Result<Images, DataError> {
        let bytes = file::read(path, MAX_BYTES, || {
            if path.with_extension("").is_file() {
                format!(
                    "the binary version of {}, this is the Python version",
                    self.name
                )
            } else {
                format!(
                    "the binary version of {}, with {} and {}",
                    self.name,
                    self.train.join(", "),
                    self.test
                )
            }
        })?;
        self.parse(path, &bytes)
    }

    /// As [`Format::read`], of the file's contents; `path` is for errors.
    pub(crate) fn parse(&self, path: &Path, bytes: &[u8]) -> Result<Images, DataError> {
        let label_bytes = self.label_bytes.len();
        let record = label_bytes + PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            return Err(DataError::invalid(
                path,
                format!("{} bytes", bytes.len()),
                format!(
                    "whole records of {record} bytes ({} for {} of them); is the file truncated?",
                    record * bytes.len().div_ceil(record).max(1),
                    bytes.len().div_ceil(record).max(1),
                ),
            ));
        }
        let mut labels = Vec::with_capacity(bytes.len() / record);
        for (index, record) in bytes.chunks_exact(record).enumerate() {
            let mut label = 0;
            for (&found, &bound) in record.iter().zip(self.label_bytes) {
                if found >= bound {
                    return Err(DataError::invalid(
                        path,
                        format!("label {found} in record {index}"),
                        format!("a label from 0 to {}", bound - 1),
                    ));
                }
                label = u32::from(found);
            }
            labels.push(label);
        }
        let mut pixels = vec![0; labels.len() * PIXELS];
        pixels
            .par_chunks_exact_mut(PIXELS)
            .zip(bytes.par_chunks_exact(record))
            .for_each(|(out, record)| interleave(&record[label_bytes..], out));
        Ok(Images {
            pixels,
            labels,
            ..empty()
        })
    }
}

fn empty() -> Images {
    Images {
        height: SIDE,
        width: SIDE,
        channels: 3,
        ..Images::default()
    }
}

/// Three planes to `[row, column, channel]`.
fn interleave(planes: &[u8], out: &mut [u8]) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    for (((out, &red), &green), &blue) in out.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
        out.copy_from_slice(&[red, green, blue]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_names_in_order() {
        assert_eq!(CIFAR100.names.len(), 100);
        assert!(CIFAR100.names.is_sorted());
        // Well-known labels of the official list.
        assert_eq!(
            (CIFAR100.names[49], CIFAR100.names[90]),
            ("mountain", "train")
        );
    }
}
