//! MNIST and Fashion-MNIST in IDX files (<http://yann.lecun.com/exdb/mnist/>), plain or gzipped.
//!
//! An IDX file starts with big-endian 32-bit words: a magic number (0x0803 for images, 0x0801 for labels), the number
//! of items and, for images, rows and columns; then one byte per value.
//!
//! The files are read directly: `candle_datasets::vision::mnist::load_dir` allocates whatever the header claims before
//! it reads, passes labels unchecked, knows neither gzip nor the names with a dot, loses rows and columns, and its
//! errors do not name the file.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::error::shown;
use crate::{DataError, Images, file};

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
/// Five times the images of the largest such set (EMNIST has 814,255): a gzipped megabyte can hold a billion of one pixel,
/// each of which would be resized to a thousand.
const MAX_IMAGES: usize = 1 << 22;

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

/// The images and labels of one part, one channel. The two headers are compared before anything is unpacked.
pub(crate) fn read(pair: &Pair) -> Result<Images, DataError> {
    let images = Opened::new(&pair.images, open(&pair.images)?, IMAGES)?;
    let labels = Opened::new(&pair.labels, open(&pair.labels)?, LABELS)?;
    join(pair, images, labels)
}

/// As [`read`], of the contents of the two files; their names say which of them are gzipped.
pub(crate) fn read_bytes(pair: &Pair, images: &[u8], labels: &[u8]) -> Result<Images, DataError> {
    let images = Opened::new(&pair.images, images, IMAGES)?;
    let labels = Opened::new(&pair.labels, labels, LABELS)?;
    join(pair, images, labels)
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let file = file::open(path, || {
        "IDX files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or .gz)".to_owned()
    })?;
    Ok(BufReader::new(file))
}

fn join(pair: &Pair, images: Opened<'_>, labels: Opened<'_>) -> Result<Images, DataError> {
    let (&[count, height, width], &[named]) = (&images.dimensions[..], &labels.dimensions[..])
    else {
        unreachable!("an image file has three dimensions, a label file one");
    };
    if named != count {
        return Err(DataError::invalid(
            &pair.labels,
            format!("{named} labels"),
            format!("{count}, one per image of {}", shown(&pair.images)),
        ));
    }
    let labels = labels.values()?;
    if let Some(index) = labels.iter().position(|&label| label > 9) {
        return Err(DataError::invalid(
            &pair.labels,
            format!("label {} of image {index}", labels[index]),
            "a label from 0 to 9",
        ));
    }
    Ok(Images {
        pixels: images.values()?,
        labels: labels.into_iter().map(u32::from).collect(),
        height,
        width,
        channels: 1,
    })
}

/// A file whose header has been read.
struct Opened<'a> {
    path: &'a Path,
    reader: Box<dyn Read + 'a>,
    dimensions: Vec<usize>,
    /// How many values follow.
    size: u64,
}

impl<'a> Opened<'a> {
    fn new(path: &'a Path, file: impl BufRead + 'a, magic: u32) -> Result<Self, DataError> {
        let mut reader: Box<dyn Read + 'a> = match path.extension() {
            Some(extension) if extension == "gz" => Box::new(MultiGzDecoder::new(file)),
            _ => Box::new(file),
        };
        let mut word = || -> Result<u32, DataError> {
            let mut bytes = [0; 4];
            reader
                .read_exact(&mut bytes)
                .map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        DataError::invalid(path, "the file ends within its header", "an IDX header")
                    }
                    _ => unreadable(path, error),
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
            .filter(|size| (1..=MAX_BYTES).contains(size) && dimensions[0] <= MAX_IMAGES)
            .ok_or_else(|| {
                DataError::invalid(
                    path,
                    format!("a header that claims {dimensions:?} values"),
                    format!(
                        "at least 1 and at most {MAX_BYTES} values of at most {MAX_IMAGES} images"
                    ),
                )
            })?;
        Ok(Opened {
            path,
            reader,
            dimensions,
            size,
        })
    }

    /// The values that the header announces, when there are so many and no more.
    fn values(self) -> Result<Vec<u8>, DataError> {
        let (path, size) = (self.path, self.size);
        let mut bytes = Vec::new();
        self.reader
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, error))?;
        let found = match (bytes.len() as u64).cmp(&size) {
            Ordering::Equal => return Ok(bytes),
            Ordering::Less => format!("{} values", bytes.len()),
            Ordering::Greater => "more values than the header says".to_owned(),
        };
        Err(DataError::invalid(
            path,
            found,
            format!("{size} by its header; is the file truncated?"),
        ))
    }
}

/// The decoder of gzip tells by the kind of its error that the data is to blame.
fn unreadable(path: &Path, error: std::io::Error) -> DataError {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            DataError::invalid(
                path,
                format!("damaged gzip data ({error})"),
                "a whole gzip file; is it truncated?",
            )
        }
        _ => DataError::io(path, error),
    }
}
