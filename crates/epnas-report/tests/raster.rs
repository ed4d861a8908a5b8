//! Pictures show what drawings do: their size, their text, their colours.

use epnas_arch::{Arch, Network, NetworkConfig, Shape};
use epnas_report::curves::{CurvePoint, Labels, Scale, Series, lines};
use epnas_report::diagram;
use epnas_report::raster::{MAX_SIDE, RasterError, Theme, png};
use resvg::tiny_skia::Pixmap;

/// A drawing of layers, and one of a cell.
const ARCHITECTURES: [&str; 2] = [
    "macro:c3.0/d5.0+1/mp.1/c5.0+2+3/ap.4/c3.2+5",
    "micro:c3.-2+mp.-1/d5.-1+id.0/ap.0+d7.-2",
];

fn drawing(arch: &str) -> String {
    let arch: Arch = arch.parse().expect("an architecture");
    let image = Shape::new(32, 32, 3);
    let network = Network::build(&arch, arch.len(), &NetworkConfig::default(), image, 10);
    diagram::svg(&arch, &network.expect("a network"))
}

fn picture(svg: &str, theme: Theme, scale: f32) -> Pixmap {
    let png = png(svg, theme, scale).expect("a picture");
    Pixmap::decode_png(&png).expect("a PNG")
}

/// Red, green and blue at a place.
fn color(picture: &Pixmap, x: u32, y: u32) -> [u8; 3] {
    let pixel = picture.pixel(x, y).expect("inside").demultiply();
    assert_eq!(pixel.alpha(), 255, "at {x}, {y}");
    [pixel.red(), pixel.green(), pixel.blue()]
}

/// The places of `svg` where its text has left traces, at scale 1.
fn text_places(svg: &str) -> Vec<(u32, u32)> {
    let mut bare = String::new();
    let mut rest = svg;
    while let Some((before, text)) = rest.split_once("<text") {
        bare.push_str(before);
        rest = text.split_once("</text>").expect("its end").1;
    }
    bare.push_str(rest);
    assert!(bare.len() < svg.len() && !bare.contains("<text"));
    let (with, without) = (
        picture(svg, Theme::Light, 1.0),
        picture(&bare, Theme::Light, 1.0),
    );
    let (width, height) = (with.width(), with.height());
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    places
        .filter(|&(x, y)| with.pixel(x, y) != without.pixel(x, y))
        .collect()
}

/// The number of an attribute of the first element, in pixels.
fn attribute(svg: &str, name: &str) -> u32 {
    let value = svg.split(&format!(" {name}=\"")).nth(1).expect("there");
    let value = value.split('"').next().expect("its end");
    value.parse().expect("a number")
}

#[test]
fn pictures_are_as_large_as_drawings_times_the_scale() {
    for arch in ARCHITECTURES {
        let svg = drawing(arch);
        let (width, height) = (attribute(&svg, "width"), attribute(&svg, "height"));
        for (scale, factor) in [(1.0, 1), (2.0, 2)] {
            let picture = picture(&svg, Theme::Light, scale);
            assert_eq!(picture.width(), factor * width, "{arch}");
            assert_eq!(picture.height(), factor * height, "{arch}");
        }
        let half = picture(&svg, Theme::Light, 0.5);
        assert_eq!(
            (half.width(), half.height()),
            (width / 2, height / 2),
            "{arch}"
        );
        // The drawing grows with the picture: the lower right corner is paper.
        let double = picture(&svg, Theme::Dark, 2.0);
        assert_eq!(
            color(&double, 2 * width - 1, 2 * height - 1),
            [0x16, 0x18, 0x1c]
        );
    }
    let speck = picture(&drawing(ARCHITECTURES[0]), Theme::Light, 1e-6);
    assert_eq!((speck.width(), speck.height()), (1, 1));
}

#[test]
fn style_sheets_are_followed() {
    let svg = drawing(ARCHITECTURES[0]);
    // Just inside the box of layer 1, whose rule is `.en-conv rect`: 5 pixels right of its left edge, in its middle.
    let (_, layer) = svg.split_once("en-box en-conv").expect("a convolution");
    let (x, y) = (attribute(layer, "x") + 5, attribute(layer, "y") + 17);
    let light = picture(&svg, Theme::Light, 1.0);
    let dark = picture(&svg, Theme::Dark, 1.0);
    assert_eq!(color(&light, x, y), [0xcf, 0xe6, 0xf5]);
    assert_eq!(color(&dark, x, y), [0x12, 0x38, 0x4f]);
    // A tip, "M239 152l-4 -8h8z", has no stroke: right above its upper right corner is the band behind it.
    let (tip, _) = svg.split_once("l-4 -8h8z").expect("a tip from above");
    let (_, place) = tip.rsplit_once('M').expect("its place");
    let (x, y) = place.split_once(' ').expect("a place");
    let [x, y] = [x, y].map(|number| number.parse::<u32>().expect("a number"));
    assert_eq!(color(&light, x + 4, y - 9), [0xf4; 3]);
    assert_eq!(color(&dark, x + 4, y - 9), [0x1c, 0x1f, 0x24]);
    // Paper.
    assert_eq!(color(&light, 1, 1), [0xff, 0xff, 0xff]);
    assert_eq!(color(&dark, 1, 1), [0x16, 0x18, 0x1c]);
}

#[test]
fn text_is_drawn_and_stays_inside() {
    // Its name is longer than what a heading shows.
    let long = format!("macro:c3.0{}", "/d5.0+1".repeat(11));
    for arch in ARCHITECTURES.into_iter().chain([long.as_str()]) {
        let svg = drawing(arch);
        let places = text_places(&svg);
        // Eight lines or more of at least ten letters, each of some pixels.
        assert!(places.len() > 2000, "{arch}: {}", places.len());
        let right = places.iter().map(|(x, _)| *x).max().expect("text");
        let room = attribute(&svg, "width") - right;
        assert!(room > 12, "{arch}: {room} pixels of room");
        // In each box: text, and none within 8 pixels of its sides.
        for part in svg.split("<g class=\"en-box").skip(1) {
            let Some(part) = part.split("</g>").next().filter(|p| p.contains("<rect")) else {
                continue;
            };
            let [x, y, width, height] =
                ["x", "y", "width", "height"].map(|name| attribute(part, name));
            let inside = |margin: u32| {
                let (rows, columns) = (y..y + height, x + margin..x + width - margin);
                let is_in = |&&(x, y): &&(u32, u32)| rows.contains(&y) && columns.contains(&x);
                places.iter().filter(is_in).count()
            };
            assert!(inside(0) > 60, "{arch}: {part}");
            assert_eq!(inside(0), inside(8), "{arch}: {part}");
        }
    }
}

#[test]
fn bold_text_is_bold_and_centred_text_is_centred() {
    let extent = |style: &str| {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\"><style>text{{{style}}}</style>\
             <text x=\"100\" y=\"30\" font-family=\"Some Font,sans-serif\">mmmm</text></svg>"
        );
        let places = text_places(&svg);
        let columns = places.iter().map(|(x, _)| *x);
        let (left, right) = (columns.clone().min(), columns.max());
        (left.expect("text"), right.expect("text"), places.len())
    };
    let plain = extent("font-size:20px");
    let bold = extent("font-size:20px;font-weight:600");
    let centred = extent("font-size:20px;text-anchor:middle");
    let large = extent("font-size:24px");
    // An m of the condensed font is 0.974 * 0.9 em wide: four of them at 20 pixels 70, less the room beside the first and last.
    assert!((64..=72).contains(&(plain.1 - plain.0)), "{plain:?}");
    assert!(plain.0.abs_diff(100) <= 3, "{plain:?}");
    assert!(bold.2 as f64 > 1.2 * plain.2 as f64, "{bold:?} {plain:?}");
    assert!(
        (centred.0 + centred.1).abs_diff(200) <= 2,
        "{centred:?} is not about 100"
    );
    assert!(large.1 - large.0 >= plain.1 - plain.0 + 10, "{large:?}");
}

#[test]
fn every_font_is_ours() {
    let in_font = |font: &str| {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"99\" height=\"40\"><text y=\"30\" {font}>Text</text></svg>"
        );
        assert!(text_places(&svg).len() > 60, "{font}");
        png(&svg, Theme::Light, 1.0)
    };
    let plain = in_font("");
    for font in [
        "sans-serif",
        "serif",
        "monospace",
        "cursive",
        "Arial",
        "Arial,sans-serif",
    ] {
        assert_eq!(in_font(&format!("font-family=\"{font}\"")), plain, "{font}");
    }
}

#[test]
fn curves_have_no_theme() {
    let point = |x: f64| CurvePoint {
        x,
        mean: 1.0 / x,
        low: 0.8 / x,
        high: 1.2 / x,
    };
    let series = Series {
        name: "random".into(),
        points: (1..=9).map(f64::from).map(point).collect(),
    };
    let svg = lines(&Labels::default(), Scale::Linear, &[series]).expect("a drawing");
    assert!(text_places(&svg).len() > 500);
    let light = png(&svg, Theme::Light, 1.0);
    assert_eq!(light, png(&svg, Theme::Dark, 1.0));
    assert_eq!(color(&picture(&svg, Theme::Dark, 1.0), 1, 1), [255; 3]);
}

#[test]
fn the_same_drawing_gives_the_same_bytes() {
    let svg = drawing(ARCHITECTURES[1]);
    let made = |theme| png(&svg, theme, 1.5).expect("a picture");
    assert_eq!(made(Theme::Dark), made(Theme::Dark));
    assert_ne!(made(Theme::Dark), made(Theme::Light));
}

#[test]
fn nothing_outside_the_drawing_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("inner.svg");
    let inner = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><rect width=\"9\" height=\"9\"/></svg>";
    std::fs::write(&file, inner).expect("written");
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><image width=\"9\" height=\"9\" href=\"{}\"/></svg>",
        file.display()
    );
    let picture = picture(&svg, Theme::Light, 1.0);
    assert!(picture.data().iter().all(|&byte| byte == 0));
}

#[test]
fn what_is_no_drawing_is_refused() {
    let refused = |svg: &str, scale| {
        let error = png(svg, Theme::Light, scale).expect_err("refused");
        (error.to_string(), error)
    };
    for svg in ["", "no drawing", "<svg", "<p>a page</p>"] {
        let (text, error) = refused(svg, 1.0);
        assert!(matches!(error, RasterError::Svg(_)), "{svg}: {text}");
        assert!(text.starts_with("not a drawing in SVG: "), "{text}");
    }
    let svg = |width: u32, height: u32| {
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\"/>")
    };
    assert!(matches!(refused(&svg(0, 5), 1.0).1, RasterError::Svg(_)));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let (text, error) = refused(&svg(5, 5), scale);
        assert!(matches!(error, RasterError::Scale(_)), "{text}");
    }
    for (svg, scale) in [
        (svg(MAX_SIDE + 1, 1), 1.0),
        (svg(1, MAX_SIDE + 1), 1.0),
        (svg(9000, 1), 2.0),
        (svg(1000, 1000), 1e30),
    ] {
        let (text, error) = refused(&svg, scale);
        assert!(matches!(error, RasterError::Size { .. }), "{text}");
    }
    let (text, _) = refused(&svg(9000, 3), 2.0);
    assert_eq!(
        text,
        "a picture of 18000 by 6 pixels is too large, expected at most 16384 on a side"
    );
    assert_eq!(
        picture(&svg(MAX_SIDE, 1), Theme::Light, 1.0).width(),
        MAX_SIDE
    );
}
