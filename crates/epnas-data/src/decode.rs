//! One image file to pixels: PNG or JPEG, any size, color depth and orientation.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::{DataError, file, resample};

/// Transparent pixels are composited over white, as most viewers show them.
pub const ALPHA_BACKGROUND: [u8; 3] = [255; 3];
/// The most pixels an image may have before it is decoded: 64 Mi, against decompression bombs.
pub const MAX_PIXELS: u64 = 64 << 20;
/// The longest side an image may have.
pub const MAX_SIDE: u32 = 32_768;
/// The largest image file that is read: 128 MiB.
pub const MAX_FILE_BYTES: u64 = 128 << 20;
/// What a decoder may allocate besides the pixels, for rows and for a color profile (which may be a bomb too): 16 MiB.
const MAX_ALLOCATION: u64 = 16 << 20;
/// Images of more pixels than this are decoded one at a time: the largest takes 0.8 GB, which many threads would multiply.
/// Most cameras stay below.
const LARGE: u64 = MAX_PIXELS / 2;
static ONE_LARGE: Mutex<()> = Mutex::new(());

/// Reads the image at `path` as `[size, size, channels]` pixels: the central square, resized with a bicubic filter.
///
/// PNG and JPEG are told apart by their content, not their name. Gray becomes three equal channels, 16 bits become 8,
/// transparent pixels are composited over [`ALPHA_BACKGROUND`], the orientation that a camera noted is applied, and an
/// animated PNG is its still image. `channels` is 3, or 1 for luma.
///
/// # Errors
/// [`DataError::Image`] with the path and the reason: not found, not an image, truncated, or above the limits
/// [`MAX_PIXELS`], [`MAX_SIDE`], [`MAX_FILE_BYTES`]. [`DataError::Config`] for another size or number of channels.
pub fn decode_image(path: &Path, size: usize, channels: usize) -> Result<Vec<u8>, DataError> {
    if size == 0 || size > 1024 {
        return Err(DataError::config("image_size", size, "4 to 1024 pixels"));
    }
    if channels != 1 && channels != 3 {
        return Err(DataError::config("channels", channels, "1 or 3"));
    }
    decode(path, |image| square(image, size, channels)).map_err(|reason| DataError::Image {
        path: path.to_owned(),
        reason,
    })
}

/// The central square of an image, `[size, size, channels]`.
pub(crate) fn square(image: &RgbImage, size: usize, channels: usize) -> Vec<u8> {
    let pixels = resample::square(image, size as u32);
    match channels {
        1 => resample::luma(&pixels),
        _ => pixels,
    }
}

/// As [`decode`] of a file that was found in a folder. A pipe is read when it is named; one that lies about is refused
/// unopened, because reading it may never end.
pub(crate) fn decode_found<T>(path: &Path, with: impl FnOnce(&RgbImage) -> T) -> Result<T, String> {
    let metadata = fs::metadata(path).map_err(|error| one_line(&error))?;
    if !metadata.is_file() {
        return Err(format!("{}, expected a PNG or JPEG file", file::NO_FILE));
    }
    decode(path, with)
}

/// Calls `with` on the image as it is stored, in 8-bit red, green and blue, upright. The error is the reason, in one
/// line.
pub(crate) fn decode<T>(path: &Path, with: impl FnOnce(&RgbImage) -> T) -> Result<T, String> {
    decode_bytes(&read(path)?, MAX_PIXELS, with)
}

/// As [`decode`], of the file's contents, if they claim at most `most` pixels.
pub(crate) fn decode_bytes<T>(
    bytes: &[u8],
    most: u64,
    with: impl FnOnce(&RgbImage) -> T,
) -> Result<T, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| one_line(&error))?;
    // Sides are checked below, by an error that tells them.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_ALLOCATION);
    reader.limits(limits);
    match reader.format() {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) => jpeg_is_whole(bytes)?,
        Some(other) => return Err(format!("{other:?} file, expected PNG or JPEG")),
        None => return Err("not a PNG or JPEG file".to_owned()),
    }
    let mut decoder = reader.into_decoder().map_err(|error| one_line(&error))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > most || width.max(height) > MAX_SIDE {
        return Err(format!(
            "{width} x {height} pixels, expected at most {most} in all and {MAX_SIDE} a side"
        ));
    }
    if pixels == 0 {
        return Err(format!(
            "{width} x {height} pixels, expected at least 1 x 1"
        ));
    }
    // Nothing that a panic could leave half done is guarded.
    let _one = (pixels > LARGE).then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    // Most files carry none; one that cannot be parsed is no reason to lose the image.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| one_line(&error))?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(with(&if image.color().has_alpha() {
        composite(image)
    } else {
        image.into_rgb8()
    }))
}

fn composite(image: DynamicImage) -> RgbImage {
    let image = image.into_rgba8();
    let mut out = RgbImage::new(image.width(), image.height());
    for (out, pixel) in out.pixels_mut().zip(image.pixels()) {
        let alpha = u32::from(pixel.0[3]);
        for ((out, &color), &background) in out.0.iter_mut().zip(&pixel.0).zip(&ALPHA_BACKGROUND) {
            let sum = u32::from(color) * alpha + u32::from(background) * (255 - alpha);
            *out = ((sum + 127) / 255) as u8;
        }
    }
    out
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| one_line(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| one_line(&error))?;
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    Ok(bytes)
}

/// The decoder fills what is missing of a truncated JPEG with gray and reports success, so the end marker is looked
/// for here: after the first scan begins, 0xFF 0xD9 can be nothing else (data bytes 0xFF are stuffed with 0x00).
fn jpeg_is_whole(bytes: &[u8]) -> Result<(), String> {
    const TRUNCATED: &str = "truncated JPEG: no end-of-image marker";
    let mut at = 2;
    loop {
        match bytes.get(at..at + 2) {
            // Fill bytes and markers without a segment.
            Some([0xff, 0xff]) => at += 1,
            Some([0xff, 0x01 | 0xd0..=0xd8]) => at += 2,
            Some([0xff, 0xda]) => break,
            Some([0xff, _]) => match bytes.get(at + 2..at + 4) {
                Some(length) => at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return Err(TRUNCATED.to_owned()),
            },
            // Not where a marker should be: leave the verdict to the decoder.
            Some(_) => return Ok(()),
            None => return Err(TRUNCATED.to_owned()),
        }
    }
    if bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]) {
        Ok(())
    } else {
        Err(TRUNCATED.to_owned())
    }
}

fn one_line(error: &dyn std::error::Error) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
