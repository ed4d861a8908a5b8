//! Drawings as PNG, for readers that take no SVG.
//!
//! Text is set in a font of this crate's own (DejaVu Sans Condensed, regular and bold) whatever the drawing asks for, and
//! nothing outside the drawing is read: neither the machine's fonts nor linked files. So a drawing gives the same picture
//! on every machine, also where there are no fonts.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{ImageHrefResolver, Options, Tree};

/// The most pixels that a picture may have on a side. A square of it takes 1 GiB while it is drawn.
pub const MAX_SIDE: u32 = 16_384;

/// The font's name. It is about as wide as Helvetica and Arial, for which drawings leave room; DejaVu Sans is a tenth wider.
const FONT: &str = "DejaVu Sans";

/// Colours of a drawing that has two sets of them, as those of [`diagram::svg`](crate::diagram::svg) have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Theme {
    /// Dark on light: without the rules for a dark colour scheme.
    #[default]
    Light,
    /// Light on dark: with the rules of `@media (prefers-color-scheme: dark)`, where the drawing has some.
    Dark,
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RasterError {
    /// The text is no SVG, or one without a size.
    #[error("not a drawing in SVG: {0}")]
    Svg(String),
    /// No number to multiply sizes by.
    #[error("cannot draw at scale {0}, expected a number above 0")]
    Scale(f32),
    /// More pixels than anyone would look at.
    #[error(
        "a picture of {width} by {height} pixels is too large, expected at most {MAX_SIDE} on a side"
    )]
    Size {
        /// Its pixels from left to right.
        width: u64,
        /// Its pixels from top to bottom.
        height: u64,
    },
    /// The picture could not be written as PNG.
    #[error("cannot write a PNG: {0}")]
    Encode(String),
}

/// An SVG as PNG, 8 bits a channel, RGBA. It has the SVG's width and height in pixels times `scale`, each rounded, and at
/// least 1. What the drawing leaves bare is transparent. The same values give the same bytes.
///
/// # Errors
/// [`RasterError`] for what is no SVG or has no size, a `scale` that is not above 0, and more than [`MAX_SIDE`] pixels.
///
/// ```
/// use epnas_arch::{Arch, Network, NetworkConfig, Shape};
/// use epnas_report::diagram;
/// use epnas_report::raster::{Theme, png};
///
/// let arch: Arch = "macro:c3.0/d5.0+1".parse()?;
/// let network = Network::build(&arch, 2, &NetworkConfig::default(), Shape::new(32, 32, 3), 10)?;
/// let picture = png(&diagram::svg(&arch, &network), Theme::Dark, 2.0)?;
/// assert!(picture.starts_with(b"\x89PNG"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn png(svg: &str, theme: Theme, scale: f32) -> Result<Vec<u8>, RasterError> {
    if !(scale.is_finite() && scale > 0.0) {
        return Err(RasterError::Scale(scale));
    }
    let options = Options {
        fontdb: Arc::clone(&FONTS),
        image_href_resolver: ImageHrefResolver {
            resolve_data: ImageHrefResolver::default_data_resolver(),
            resolve_string: Box::new(|_, _| None),
        },
        ..Options::default()
    };
    let tree = Tree::from_str(&themed(svg, theme), &options)
        .map_err(|error| RasterError::Svg(error.to_string()))?;
    let pixels = |side: f32| (f64::from(side) * f64::from(scale)).round().max(1.0) as u64;
    let (width, height) = (pixels(tree.size().width()), pixels(tree.size().height()));
    let mut picture = [width, height]
        .iter()
        .all(|&side| side <= u64::from(MAX_SIDE))
        .then(|| Pixmap::new(width as u32, height as u32))
        .flatten()
        .ok_or(RasterError::Size { width, height })?;
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut picture.as_mut(),
    );
    picture
        .encode_png()
        .map_err(|error| RasterError::Encode(error.to_string()))
}

/// The font alone.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    for face in [
        dejavu::sans_condensed::regular(),
        dejavu::sans_condensed::bold(),
    ] {
        fonts.load_font_source(Source::Binary(Arc::new(face)));
    }
    // Where the renderer ends its search when there is no family of those that a drawing asks for.
    fonts.set_serif_family(FONT);
    Arc::new(fonts)
});

/// The drawing with its rules for a dark colour scheme left out, or in force. The renderer knows no media queries.
fn themed(svg: &str, theme: Theme) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some((before, block, after)) = dark_block(rest) {
        out.push_str(before);
        if theme == Theme::Dark {
            out.push_str(block);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What stands before the first block of rules for a dark colour scheme, in it, and after it.
fn dark_block(svg: &str) -> Option<(&str, &str, &str)> {
    for (start, _) in svg.match_indices("@media") {
        let (query, body) = svg[start..].split_once('{')?;
        let query: String = query.split_whitespace().collect();
        if query != "@media(prefers-color-scheme:dark)" {
            continue;
        }
        let mut depth = 1;
        let end = body.find(|character| {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        return Some((&svg[..start], &body[..end], &body[end + 1..]));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_for_dark_are_left_out_or_in_force() {
        let svg = "<style>.a{x:1}@media print{.a{x:2}}@media (prefers-color-scheme: dark) {.a{x:3}.b{x:4}}.c{x:5}\
                   @media (prefers-color-scheme:dark){.c{x:6}}</style>";
        assert_eq!(
            themed(svg, Theme::Light),
            "<style>.a{x:1}@media print{.a{x:2}}.c{x:5}</style>"
        );
        assert_eq!(
            themed(svg, Theme::Dark),
            "<style>.a{x:1}@media print{.a{x:2}}.a{x:3}.b{x:4}.c{x:5}.c{x:6}</style>"
        );
        // Without any, or cut off: as it is.
        for svg in [
            "<svg/>",
            "@media",
            "@media (prefers-color-scheme:dark){.a{x:1}",
        ] {
            assert_eq!(themed(svg, Theme::Dark), svg);
            assert_eq!(themed(svg, Theme::Light), svg);
        }
    }

    #[test]
    fn the_font_has_its_two_weights_under_one_name() {
        let faces: Vec<_> = FONTS.faces().collect();
        assert_eq!(faces.len(), 2);
        let weights: Vec<u16> = faces.iter().map(|face| face.weight.0).collect();
        assert_eq!(weights, [400, 700]);
        for face in faces {
            assert!(
                face.families.iter().any(|(name, _)| name == FONT),
                "{face:?}"
            );
        }
    }
}
