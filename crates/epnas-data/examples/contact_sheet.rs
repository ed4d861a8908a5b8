//! Draws the first images of the built-in set as one picture, a class a row.
//!
//! `cargo run -p epnas-data --example contact_sheet [FILE.png]` writes `contact_sheet.png` or the file named.

use epnas_data::{DataConfig, SyntheticConfig, load};
use image::{RgbImage, imageops};

/// Images of every class.
const COLUMNS: usize = 16;
/// Every pixel becomes a square of this side.
const ZOOM: u32 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "contact_sheet.png".to_owned());
    let config = DataConfig {
        synthetic: SyntheticConfig {
            train: 10 * COLUMNS,
            test: 10,
            ..SyntheticConfig::default()
        },
        ..DataConfig::default()
    };
    let dataset = load(&config)?;
    let (width, height) = (dataset.train.width as u32, dataset.train.height as u32);
    let mut sheet = RgbImage::new(
        width * COLUMNS as u32,
        height * dataset.classes.len() as u32,
    );
    let mut drawn = vec![0; dataset.classes.len()];
    for (index, &label) in dataset.train.labels.iter().enumerate() {
        let Some(image) = RgbImage::from_raw(width, height, dataset.train.image(index).to_vec())
        else {
            return Err("the images are not in color".into());
        };
        let column = &mut drawn[label as usize];
        imageops::replace(
            &mut sheet,
            &image,
            *column * i64::from(width),
            i64::from(label * height),
        );
        *column += 1;
    }
    let sheet = imageops::resize(
        &sheet,
        sheet.width() * ZOOM,
        sheet.height() * ZOOM,
        imageops::FilterType::Nearest,
    );
    sheet.save(&path)?;
    println!("{path}: from the top {}", dataset.classes.join(", "));
    Ok(())
}
