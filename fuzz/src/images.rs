//! Images: MNIST's and CIFAR's files, PNG and JPEG.

use epnas_data::Images;
use epnas_data::bytes::{self, Packing};

use super::shown;

/// MNIST's two files: a byte that says which of them are gzipped, the length of the file of images in two more, the file
/// of images and that of labels.
pub fn idx(data: &[u8]) -> bool {
    let [packing, low, high, files @ ..] = data else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let (images, labels) = files.split_at(length.min(files.len()));
    let packed = |bit: u8| match packing & bit {
        0 => Packing::Plain,
        _ => Packing::Gzip,
    };
    let read = match bytes::mnist((images, packed(1)), (labels, packed(2))) {
        Ok(read) => read,
        Err(error) => {
            shown(&error);
            return false;
        }
    };
    assert!(!read.is_empty() && read.labels.iter().all(|&label| label < 10));
    assert_eq!(read.pixels.len(), read.len() * read.image_len());
    let (images, labels) = idx_files(&read);
    let again = bytes::mnist((&images, Packing::Plain), (&labels, Packing::Plain));
    assert_eq!(again.expect("the same in plain files"), read);
    // A gzipped file may unpack to a thousand times its size.
    if read.len() < 1000 {
        let count = read.len();
        let sized = bytes::conform(read, 4, 3).expect("room for it");
        assert_eq!(sized.pixels.len(), count * 4 * 4 * 3);
    }
    true
}

/// The two files that hold these images.
fn idx_files(images: &Images) -> (Vec<u8>, Vec<u8>) {
    let word = |value: usize| u32::try_from(value).expect("32 bits").to_be_bytes();
    let mut file = [0, 0, 8, 3].to_vec();
    for dimension in [images.len(), images.height, images.width] {
        file.extend(word(dimension));
    }
    file.extend(&images.pixels);
    let mut labels = [0, 0, 8, 1].to_vec();
    labels.extend(word(images.len()));
    labels.extend(images.labels.iter().map(|&label| label as u8));
    (file, labels)
}

/// A file of CIFAR-10 (where the first byte is even) or CIFAR-100: the bytes from the fourth on, repeated to the length in
/// the second and third, for a record has 3 KB and little in it matters.
pub fn cifar(data: &[u8]) -> bool {
    let [set, low, high, pattern @ ..] = data else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    let file: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
    let (read, label_bytes, classes) = match set % 2 {
        0 => (bytes::cifar10(&file), 1, 10),
        _ => (bytes::cifar100(&file), 2, 100),
    };
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            shown(&error);
            return false;
        }
    };
    let record = label_bytes + 3072;
    assert_eq!(read.len() * record, file.len());
    for (index, record) in file.chunks(record).enumerate() {
        let (labels, planes) = record.split_at(label_bytes);
        let label = u32::from(labels[label_bytes - 1]);
        assert!(label < classes && read.labels[index] == label);
        for (at, &value) in read.image(index).iter().enumerate() {
            assert_eq!(value, planes[at % 3 * 1024 + at / 3]);
        }
    }
    true
}

/// An image file.
pub fn image(data: &[u8]) -> bool {
    // What is beyond the limit is refused alike, wherever the limit is; decoding large images would only take time.
    const MOST: u64 = 1 << 16;
    let read = [(5, 3), (5, 1), (64, 3)].map(|(size, channels)| {
        let read = bytes::image(data, MOST, size, channels);
        match &read {
            Ok(pixels) => assert_eq!(pixels.len(), size * size * channels),
            Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
        }
        read.is_ok()
    });
    assert!(
        read.iter().all(|&one| one == read[0]),
        "one file, one verdict"
    );
    read[0]
}
