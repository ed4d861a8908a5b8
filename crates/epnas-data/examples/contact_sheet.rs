//! Draws the first images of the built-in set as one picture, a class a column.
//!
//! `cargo run -p epnas-data --example contact_sheet [FILE.png [ROWS [BITS]]]` writes `contact_sheet.png` or the file
//! named, with ROWS images of every class (default 16) and BITS bits per channel (1 to 8, default 8: as they are).
//! `docs/synthetic.png` is `contact_sheet docs/synthetic.png 3 4`, which keeps it small.

use std::fs::File;
use std::io::BufWriter;

use epnas_data::{DataConfig, SyntheticConfig, load};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{RgbImage, imageops};

/// Every pixel becomes a square of this side.
const ZOOM: u32 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .unwrap_or_else(|| "contact_sheet.png".to_owned());
    let rows: usize = arguments.next().map_or(Ok(16), |text| text.parse())?;
    let bits: u8 = arguments.next().map_or(Ok(8), |text| text.parse())?;
    if rows == 0 || !(1..=8).contains(&bits) {
        return Err("expected at least 1 row, and 1 to 8 bits".into());
    }
    let config = DataConfig {
        synthetic: SyntheticConfig {
            train: 10 * rows,
            test: 10,
            ..SyntheticConfig::default()
        },
        ..DataConfig::default()
    };
    let dataset = load(&config)?;
    let (width, height) = (dataset.train.width as u32, dataset.train.height as u32);
    let mut sheet = RgbImage::new(width * dataset.classes.len() as u32, height * rows as u32);
    let mut drawn = vec![0; dataset.classes.len()];
    for (index, &label) in dataset.train.labels.iter().enumerate() {
        let Some(image) = RgbImage::from_raw(width, height, dataset.train.image(index).to_vec())
        else {
            return Err("the images are not in color".into());
        };
        let row = &mut drawn[label as usize];
        imageops::replace(
            &mut sheet,
            &image,
            i64::from(label * width),
            *row * i64::from(height),
        );
        *row += 1;
    }
    let most = u32::from(u8::MAX >> (8 - bits));
    for value in sheet.iter_mut() {
        *value = (u32::from(*value >> (8 - bits)) * 255 / most) as u8;
    }
    let sheet = imageops::resize(
        &sheet,
        sheet.width() * ZOOM,
        sheet.height() * ZOOM,
        imageops::FilterType::Nearest,
    );
    let file = BufWriter::new(File::create(&path)?);
    sheet.write_with_encoder(PngEncoder::new_with_quality(
        file,
        CompressionType::Best,
        FilterType::NoFilter,
    ))?;
    println!("{path}: from the left {}", dataset.classes.join(", "));
    Ok(())
}
