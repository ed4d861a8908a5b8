//! Every kind of PNG and JPEG, byte by byte, and what only looks like one.

use std::fs;
use std::io::Write;

use epnas_data::decode_image;
use flate2::{Compression, write::ZlibEncoder};
use tempfile::TempDir;

use crate::{assert_mentions, message};

/// Name and data of a piece of a PNG file.
type Chunk = (&'static [u8; 4], Vec<u8>);

/// A PNG file of these chunks. Color types: 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.
pub(crate) fn png_file(width: u32, height: u32, depth: u8, color: u8, chunks: &[Chunk]) -> Vec<u8> {
    let header = [
        &width.to_be_bytes()[..],
        &height.to_be_bytes(),
        &[depth, color, 0, 0, 0],
    ];
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let ends = [(b"IHDR", header.concat()), (b"IEND", vec![])];
    for (kind, data) in ends[..1].iter().chain(chunks).chain(&ends[1..]) {
        bytes.extend((data.len() as u32).to_be_bytes());
        let start = bytes.len();
        bytes.extend(*kind);
        bytes.extend(data);
        bytes.extend(crc(&bytes[start..]).to_be_bytes());
    }
    bytes
}

/// `bytes` as zlib packs them, `times` over.
pub(crate) fn packed(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..times {
        encoder.write_all(bytes).unwrap();
    }
    encoder.finish().unwrap()
}

/// CRC-32 as PNG chunks carry it, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// A JPEG file of 8 x 8 pixels of one color, with the note in which Adobe says how to read its components.
///
/// The one block of a component has a mean and no waves: with quantization 8 the mean is stored as `value - 128`. Sizes of
/// means, 0 to 8 bits, are the codes 0000 to 1000; that no waves follow is the code 0.
fn jpeg(components: &[u8], adobe: Option<u8>) -> Vec<u8> {
    let n = components.len() as u8;
    let mut bytes = b"\xff\xd8".to_vec();
    if let Some(transform) = adobe {
        bytes.extend(b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00");
        bytes.push(transform);
    }
    bytes.extend(b"\xff\xdb\x00\x43\x00");
    bytes.extend([8; 64]);
    bytes.extend([0xff, 0xc0, 0, 8 + 3 * n, 8, 0, 8, 0, 8, n]);
    bytes.extend((1..=n).flat_map(|id| [id, 0x11, 0]));
    bytes.extend(b"\xff\xc4\x00\x1c\x00\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend(0..=8);
    bytes.extend(b"\xff\xc4\x00\x14\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    bytes.extend([0xff, 0xda, 0, 6 + 2 * n, n]);
    bytes.extend((1..=n).flat_map(|id| [id, 0]));
    bytes.extend([0, 63, 0]);
    let mut bits = String::new();
    for &value in components {
        let mean = i32::from(value) - 128;
        let size = (32 - mean.unsigned_abs().leading_zeros()) as usize;
        bits += &format!("{size:04b}");
        if size > 0 {
            let stored = if mean < 0 {
                mean + (1 << size) - 1
            } else {
                mean
            };
            bits += &format!("{stored:0size$b}");
        }
        bits += "0";
    }
    while !bits.len().is_multiple_of(8) {
        bits += "1";
    }
    for byte in bits.as_bytes().chunks(8) {
        let byte = byte.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        bytes.push(byte);
        if byte == 0xff {
            bytes.push(0);
        }
    }
    bytes.extend(b"\xff\xd9");
    bytes
}

fn decoded(bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.png");
    fs::write(&path, bytes).unwrap();
    decode_image(&path, size, 3).map_err(|error| {
        let text = message::<()>(Err(error));
        assert_mentions(&text, &["file.png: cannot be read: "]);
        text
    })
}

/// One pixel of each kind fills the whole image. Over white, a color of 20% is 0.2 * color + 0.8 * 255.
#[test]
fn a_single_pixel_of_every_kind() {
    let palette = || (b"PLTE", vec![1, 2, 3, 100, 0, 255]);
    // What it is called, bit depth, color type, chunks before the pixel, the pixel, what is seen.
    type Kind<'a> = (&'a str, u8, u8, &'a [Chunk], &'a [u8], [u8; 3]);
    let table: [Kind<'_>; 15] = [
        ("1-bit gray", 1, 0, &[], &[0x80], [255; 3]),
        ("2-bit gray", 2, 0, &[], &[0x40], [85; 3]),
        ("4-bit gray", 4, 0, &[], &[0x50], [85; 3]),
        ("gray", 8, 0, &[], &[77], [77; 3]),
        ("16-bit gray", 16, 0, &[], &[0x40, 0x40], [0x40; 3]),
        ("RGB", 8, 2, &[], &[1, 2, 3], [1, 2, 3]),
        (
            "16-bit RGB",
            16,
            2,
            &[],
            &[0, 0, 0x80, 0x80, 255, 255],
            [0, 0x80, 255],
        ),
        ("1-bit palette", 1, 3, &[palette()], &[0x80], [100, 0, 255]),
        ("palette", 8, 3, &[palette()], &[1], [100, 0, 255]),
        (
            "palette with alpha",
            8,
            3,
            &[palette(), (b"tRNS", vec![255, 51])],
            &[1],
            [224, 204, 255],
        ),
        (
            "gray with a clear value",
            8,
            0,
            &[(b"tRNS", vec![0, 77])],
            &[77],
            [255; 3],
        ),
        (
            "RGB with a clear color",
            8,
            2,
            &[(b"tRNS", vec![0, 1, 0, 2, 0, 3])],
            &[1, 2, 3],
            [255; 3],
        ),
        ("gray and alpha", 8, 4, &[], &[100, 51], [224; 3]),
        (
            "RGB and alpha",
            8,
            6,
            &[],
            &[100, 0, 255, 51],
            [224, 204, 255],
        ),
        (
            "16-bit RGB and alpha",
            16,
            6,
            &[],
            &[100, 100, 0, 0, 255, 255, 51, 51],
            [224, 204, 255],
        ),
    ];
    for (kind, depth, color, chunks, pixel, expected) in table {
        let row = [&[0][..], pixel].concat();
        let chunks = [chunks, &[(b"IDAT", packed(&row, 1))]].concat();
        let got = decoded(&png_file(1, 1, depth, color, &chunks), 4);
        assert_eq!(got.unwrap(), expected.repeat(16), "{kind}");
    }
}

/// Adobe stores inks inverted: 255 is none. Black at half takes half of each color.
#[test]
fn jpeg_by_its_components() {
    type Kind<'a> = (&'a str, &'a [u8], Option<u8>, [u8; 3]);
    let table: [Kind<'_>; 5] = [
        ("gray", &[77], None, [77; 3]),
        ("luma and chroma", &[77, 128, 128], None, [77; 3]),
        ("RGB", &[200, 100, 50], Some(0), [200, 100, 50]),
        ("CMYK", &[200, 100, 50, 128], Some(0), [100, 50, 25]),
        // Luma and chroma of the inks: 255 - 200 of each color.
        ("YCCK", &[200, 128, 128, 255], Some(2), [55; 3]),
    ];
    for (kind, components, adobe, expected) in table {
        let file = jpeg(components, adobe);
        let got = decoded(&file, 8).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for (got, expected) in got.iter().zip(expected.iter().cycle()) {
            assert!(got.abs_diff(*expected) <= 1, "{kind}: {got} for {expected}");
        }
        for len in 0..file.len() {
            assert!(decoded(&file[..len], 8).is_err(), "{kind}, {len} bytes");
        }
    }
}

/// Wherever a PNG is cut and whichever byte is wrong: its pixels or an error, never other pixels.
#[test]
fn a_damaged_png_gives_its_pixels_or_an_error() {
    let rows: Vec<u8> = (0..7u8)
        .flat_map(|row| [0, row * 9, 255 - row, 3, 7, row])
        .collect();
    let file = png_file(5, 7, 8, 0, &[(b"IDAT", packed(&rows, 1))]);
    let whole = decoded(&file, 5).unwrap();
    for at in 0..file.len() {
        let mut wrong = file.clone();
        wrong[at] ^= 0x10;
        for (what, bytes) in [("cut", &file[..at]), ("wrong", &wrong)] {
            if let Ok(pixels) = decoded(bytes, 5) {
                assert_eq!(pixels, whole, "{what} at {at}");
            }
        }
    }
    // The pixels end 12 bytes before the file.
    assert!(decoded(&file[..file.len() - 20], 5).is_err());
}

#[test]
fn an_animation_is_its_still_image() {
    let frame = |number: u32| {
        let words = [number, 2, 2, 0, 0].map(u32::to_be_bytes).concat();
        (b"fcTL", [&words[..], &[0, 1, 0, 10, 0, 0]].concat())
    };
    let pixels = |value| packed(&[0, value, value], 2);
    let file = png_file(
        2,
        2,
        8,
        0,
        &[
            (b"acTL", vec![0, 0, 0, 2, 0, 0, 0, 0]),
            frame(0),
            (b"IDAT", pixels(50)),
            frame(1),
            (b"fdAT", [vec![0, 0, 0, 2], pixels(200)].concat()),
        ],
    );
    assert_eq!(decoded(&file, 4).unwrap(), [50; 48]);
}

#[test]
fn what_is_no_image_says_so() {
    let gray =
        |width, height, rows: &[u8]| png_file(width, height, 8, 0, &[(b"IDAT", packed(rows, 1))]);
    let mut deep = jpeg(&[77], None);
    let precision = deep
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap()
        + 4;
    deep[precision] = 12;
    let table: [(Vec<u8>, &[&str]); 12] = [
        (vec![], &["the file is empty"]),
        (b"hello".to_vec(), &["not a PNG or JPEG file"]),
        (
            b"GIF89a\x01\0\x01\0".to_vec(),
            &["Gif file, expected PNG or JPEG"],
        ),
        (
            b"RIFF\0\0\0\0WEBPVP8 ".to_vec(),
            &["WebP file, expected PNG or JPEG"],
        ),
        (b"BM\0\0\0\0".to_vec(), &["Bmp file, expected PNG or JPEG"]),
        (b"\xff\xd8\xff".to_vec(), &["truncated JPEG"]),
        (deep, &["precision"]),
        (gray(0, 1, &[0]), &["dimensions"]),
        // Two rows of three.
        (gray(2, 3, &[0, 1, 1, 0, 1, 1]), &["file.png"]),
        (gray(40_000, 1, &[0]), &["40000 x 1 pixels", "32768 a side"]),
        (
            gray(10_000, 10_000, &[0]),
            &["10000 x 10000 pixels", "at most 67108864"],
        ),
        (gray(u32::MAX >> 1, u32::MAX >> 1, &[0]), &["file.png"]),
    ];
    for (bytes, words) in table {
        assert_mentions(&decoded(&bytes, 8).unwrap_err(), words);
    }
}
