//! MNIST and Fashion-MNIST in IDX files (<http://yann.lecun.com/exdb/mnist/>), plain or gzipped.
//!
//! An IDX file starts with big-endian 32-bit words: a magic number (0x0803 for images, 0x0801 for labels), the number
//! of items and, for images, rows and columns; then one byte per value.
//!
//! The files are read directly: `candle_datasets::vision::mnist::load_dir` allocates whatever the header claims before
//! it reads, passes labels unchecked, knows neither gzip nor the names with a dot, loses rows and columns, and its
//! errors do not name the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use crate::{DataError, Images};

pub(crate) const MNIST_CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
pub(crate) const FASHION_CLASSES: [&str; 10] = [
    "t_shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle_boot",
];

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;
/// A bound on what a header may claim: 1 GiB of pixels, five times the largest published set of this form.
const MAX_BYTES: u64 = 1 << 30;

/// The two files of one part.
pub(crate) struct Pair {
    pub(crate) images: PathBuf,
    pub(crate) labels: PathBuf,
}

/// The files of the training and of the test part, in `dir` or, where torchvision puts them, in `dir/raw`. Missing files
/// are named as they should be.
pub(crate) fn files(dir: &Path) -> [Pair; 2] {
    let inner = files_in(&dir.join("raw"));
    if any(&inner) && !any(&files_in(dir)) {
        return inner;
    }
    files_in(dir)
}

/// Whether one of the files is there.
pub(crate) fn any(pairs: &[Pair; 2]) -> bool {
    pairs
        .iter()
        .any(|pair| pair.images.is_file() || pair.labels.is_file())
}

fn files_in(dir: &Path) -> [Pair; 2] {
    ["train", "t10k"].map(|part| Pair {
        images: find(dir, &format!("{part}-images"), "idx3-ubyte"),
        labels: find(dir, &format!("{part}-labels"), "idx1-ubyte"),
    })
}

/// `train-images-idx3-ubyte`, `train-images.idx3-ubyte` (as some unpackers write it), or one of them with `.gz`.
fn find(dir: &Path, stem: &str, kind: &str) -> PathBuf {
    let plain = dir.join(format!("{stem}-{kind}"));
    [
        plain.clone(),
        dir.join(format!("{stem}.{kind}")),
        dir.join(format!("{stem}-{kind}.gz")),
        dir.join(format!("{stem}.{kind}.gz")),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .unwrap_or(plain)
}

/// The images and labels of one part, one channel.
pub(crate) fn read(pair: &Pair) -> Result<Images, DataError> {
    let images = unpack(&pair.images, open(&pair.images)?, IMAGES)?;
    let labels = unpack(&pair.labels, open(&pair.labels)?, LABELS)?;
    join(pair, images, labels)
}

/// As [`read`], of the contents of the two files; their names say which of them are gzipped.
pub(crate) fn read_bytes(pair: &Pair, images: &[u8], labels: &[u8]) -> Result<Images, DataError> {
    let images = unpack(&pair.images, images, IMAGES)?;
    let labels = unpack(&pair.labels, labels, LABELS)?;
    join(pair, images, labels)
}

/// Dimensions and values of one file.
type Values = (Vec<usize>, Vec<u8>);

fn join(pair: &Pair, images: Values, labels: Values) -> Result<Images, DataError> {
    let ((dimensions, pixels), (_, labels)) = (images, labels);
    let [count, rows, columns] = dimensions[..] else {
        unreachable!("an image file has three dimensions");
    };
    if labels.len() != count {
        return Err(DataError::invalid(
            &pair.labels,
            format!("{} labels", labels.len()),
            format!("{count}, one per image of {}", pair.images.display()),
        ));
    }
    if let Some(index) = labels.iter().position(|&label| label > 9) {
        return Err(DataError::invalid(
            &pair.labels,
            format!("label {} of image {index}", labels[index]),
            "a label from 0 to 9",
        ));
    }
    Ok(Images {
        pixels,
        labels: labels.into_iter().map(u32::from).collect(),
        height: rows,
        width: columns,
        channels: 1,
    })
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => DataError::missing(
            path,
            "IDX files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz)",
        ),
        _ => DataError::io(path, error),
    })?;
    Ok(BufReader::new(file))
}

fn unpack(path: &Path, reader: impl BufRead, magic: u32) -> Result<Values, DataError> {
    if path.extension().is_some_and(|extension| extension == "gz") {
        parse(path, GzDecoder::new(reader), magic)
    } else {
        parse(path, reader, magic)
    }
}

fn parse(path: &Path, mut reader: impl Read, magic: u32) -> Result<Values, DataError> {
    let mut word = || -> Result<u32, DataError> {
        let mut bytes = [0; 4];
        reader
            .read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    DataError::invalid(path, "the file ends within its header", "an IDX header")
                }
                _ => DataError::io(path, error),
            })?;
        Ok(u32::from_be_bytes(bytes))
    };
    let found = word()?;
    if found != magic {
        return Err(DataError::invalid(
            path,
            format!("magic number {found:#010x}"),
            format!(
                "{magic:#010x}, an IDX file of {}",
                if magic == IMAGES { "images" } else { "labels" }
            ),
        ));
    }
    let dimensions = (0..magic & 0xff)
        .map(|_| word().map(|size| size as usize))
        .collect::<Result<Vec<_>, _>>()?;
    let size = dimensions
        .iter()
        .try_fold(1u64, |size, &d| size.checked_mul(d as u64))
        .filter(|size| (1..=MAX_BYTES).contains(size))
        .ok_or_else(|| {
            DataError::invalid(
                path,
                format!("a header that claims {dimensions:?} values"),
                format!("at least 1 and at most {MAX_BYTES} values"),
            )
        })?;
    let mut bytes = Vec::new();
    reader
        .take(size + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| DataError::io(path, error))?;
    if bytes.len() as u64 != size {
        let found = if (bytes.len() as u64) < size {
            format!("{} values", bytes.len())
        } else {
            "more values than the header says".to_owned()
        };
        return Err(DataError::invalid(
            path,
            found,
            format!("{size} by its header; is the file truncated?"),
        ));
    }
    Ok((dimensions, bytes))
}
