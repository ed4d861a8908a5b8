//! Drawings of measurements as SVG: lines with confidence bands, and points.
//!
//! Text stays text, in whatever sans-serif font the reader has, so that drawing needs no fonts and gives the same bytes
//! on every machine. The legend stands beside the plot, never in it.

mod scatter;

use std::fmt;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use scatter::{Labelled, Points, scatter};

/// Width and height of the plot with its axes, in pixels.
const PLOT: (u32, u32) = (720, 460);

/// Size of small text with the room around it, in pixels; letters get 1 / 1.24 of it.
const SMALL: i32 = 15;

/// Points of a line up to which each has a mark: between so few, the line is no measurement.
const MARKED: usize = 12;

/// A legend's line height, in pixels.
const ROW: i32 = 22;

/// Okabe and Ito, 2008: eight colours that the colour-blind tell apart, without the yellow, which is too light on white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// How numbers are laid out along an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm, if they span more than a power of ten: of less, a logarithmic axis has hardly a tick. They must be
    /// above 0.
    Log,
}

impl Scale {
    /// The scale of an axis with this range.
    fn of(self, range: &Range<f64>) -> Self {
        match self {
            Scale::Log if range.end > 12.0 * range.start => Scale::Log,
            _ => Scale::Linear,
        }
    }
}

/// What a drawing says around its plot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Above it.
    pub title: String,
    /// Below the horizontal axis.
    pub x: String,
    /// Beside the vertical axis.
    pub y: String,
}

/// A place on a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Where.
    pub x: f64,
    /// The line.
    pub mean: f64,
    /// Lower edge of the band.
    pub low: f64,
    /// Upper edge of the band.
    pub high: f64,
}

/// A line with a band around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// As the legend calls it.
    pub name: String,
    /// From left to right.
    pub points: Vec<CurvePoint>,
}

/// Why nothing can be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DrawError {
    /// There is no point in any series.
    #[error("there is nothing to draw: no series has a point")]
    Empty,
    /// A number that has no place on its axis.
    #[error(
        "`{series}` has a point at {x}, {y}; expected finite numbers, and x above 0 on a logarithmic axis"
    )]
    Number {
        /// The series.
        series: String,
        /// Its place along the horizontal axis.
        x: f64,
        /// Its place along the vertical axis.
        y: f64,
    },
    /// The drawing library failed.
    #[error("cannot draw: {0}")]
    Backend(String),
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG with a line and a translucent band for each series. Colours repeat after seven.
///
/// # Errors
/// [`DrawError`] when there is no point, or one that has no place.
///
/// ```
/// use epnas_report::curves::{CurvePoint, Labels, Scale, Series, lines};
///
/// let point = |x: f64| CurvePoint { x, mean: 1.0 / x, low: 0.8 / x, high: 1.2 / x };
/// let series = Series { name: "random".into(), points: (1..=9).map(f64::from).map(point).collect() };
/// let svg = lines(&Labels::default(), Scale::Log, &[series])?;
/// assert!(svg.starts_with("<svg"));
/// # Ok::<(), epnas_report::curves::DrawError>(())
/// ```
pub fn lines(labels: &Labels, scale: Scale, series: &[Series]) -> Result<String, DrawError> {
    let corners = series.iter().flat_map(|series| {
        series
            .points
            .iter()
            .flat_map(|p| [p.mean, p.low, p.high].map(|y| (series.name.as_str(), p.x, y)))
    });
    let (x, y) = ranges(scale, corners)?;
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let sample = |legend: &Area<'_>, row: i32, color: RGBColor| {
        legend.draw(&Rectangle::new(
            [(0, row - 1), (22, row + 1)],
            color.filled(),
        ))
    };
    draw(&names, sample, |area| match scale.of(&x) {
        Scale::Linear => draw_lines(area, labels, x, y, series),
        Scale::Log => draw_lines(area, labels, x.log_scale(), y, series),
    })
}

fn draw_lines<X>(
    area: &Area<'_>,
    labels: &Labels,
    x: X,
    y: Range<f64>,
    series: &[Series],
) -> Result<(), DrawError>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = axes(area, labels, x, y)?;
    let colored = || series.iter().zip(COLORS.iter().cycle());
    for (Series { points, .. }, color) in colored() {
        let low = points.iter().map(|p| (p.x, p.low));
        let high = points.iter().rev().map(|p| (p.x, p.high));
        let band = Polygon::new(low.chain(high).collect::<Vec<_>>(), color.mix(0.15));
        chart.draw_series([band]).map_err(backend)?;
    }
    for (Series { points, .. }, color) in colored() {
        let line = LineSeries::new(points.iter().map(|p| (p.x, p.mean)), color.stroke_width(2));
        chart.draw_series(line).map_err(backend)?;
        if points.len() <= MARKED {
            let mark = |p: &CurvePoint| Circle::new((p.x, p.mean), 4, color.filled());
            chart
                .draw_series(points.iter().map(mark))
                .map_err(backend)?;
        }
    }
    Ok(())
}

/// An SVG with what `plot` draws, and beside it a legend with `sample`s at the height of each row.
fn draw(
    names: &[&str],
    sample: impl Fn(&Area<'_>, i32, RGBColor) -> Drawn,
    plot: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String, DrawError> {
    // With this much a letter, names in common sans-serif fonts have room to spare.
    let longest = names.iter().map(|name| name.chars().count()).max();
    let legend = 48 + longest.unwrap_or(0) as i32 * SMALL / 2;
    let mut svg = String::new();
    {
        let size = (PLOT.0 + legend as u32, PLOT.1);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).map_err(backend)?;
        let (left, right) = root.split_horizontally(PLOT.0);
        plot(&left)?;
        let style = small().pos(Pos::new(HPos::Left, VPos::Center));
        for (index, (name, &color)) in names.iter().zip(COLORS.iter().cycle()).enumerate() {
            let row = 60 + ROW * index as i32;
            sample(&right, row, color).map_err(backend)?;
            right
                .draw(&Text::new(*name, (30, row), &style))
                .map_err(backend)?;
        }
        root.present().map_err(backend)?;
    }
    Ok(svg)
}

pub(crate) fn small<'a>() -> TextStyle<'a> {
    TextStyle::from(("sans-serif", SMALL).into_font())
}

type Chart<'a, 'b, X> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, RangedCoordf64>>;

/// Title, axes and grid.
fn axes<'a, 'b, X>(
    area: &'a Area<'b>,
    labels: &Labels,
    x: X,
    y: Range<f64>,
) -> Result<Chart<'a, 'b, X::CoordDescType>, DrawError>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .caption(&labels.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(68)
        .build_cartesian_2d(x, y)
        .map_err(backend)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(small())
        .axis_desc_style(("sans-serif", 17))
        .x_desc(&labels.x)
        .y_desc(&labels.y)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .draw()
        .map_err(backend)?;
    Ok(chart)
}

/// A tick's number, without what arithmetic left in the last digits.
pub(crate) fn number(value: f64) -> String {
    let rounded = format!("{value:.6}").parse::<f64>().unwrap_or(value);
    match value.abs() {
        // What subtracting ticks left of zero.
        size if size < 1e-12 => "0".to_owned(),
        size if size >= 1e6 || (size > 0.0 && size < 1e-5) => format!("{value:.1e}"),
        // Not "-0".
        _ => (rounded + 0.0).to_string(),
    }
}

/// What the axes must show of some points `(series, x, y)`, with a little room.
fn ranges<'a>(
    scale: Scale,
    points: impl Iterator<Item = (&'a str, f64, f64)>,
) -> Result<(Range<f64>, Range<f64>), DrawError> {
    let empty = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut horizontal, mut vertical) = (empty, empty);
    let include = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    for (series, x, y) in points {
        if !(x.is_finite() && y.is_finite() && (scale == Scale::Linear || x > 0.0)) {
            let series = series.to_owned();
            return Err(DrawError::Number { series, x, y });
        }
        (horizontal, vertical) = (include(horizontal, x), include(vertical, y));
    }
    if horizontal.0 > horizontal.1 {
        return Err(DrawError::Empty);
    }
    let x = match scale {
        Scale::Linear => roomy(horizontal),
        Scale::Log => {
            let logarithms = roomy((horizontal.0.ln(), horizontal.1.ln()));
            logarithms.start.exp()..logarithms.end.exp()
        }
    };
    Ok((x, roomy(vertical)))
}

/// A little more than the interval on both sides, even when it is a point.
pub(crate) fn roomy((low, high): (f64, f64)) -> Range<f64> {
    let room = match high - low {
        0.0 => low.abs().max(1.0) * 0.1,
        width => width * 0.04,
    };
    low - room..high + room
}

pub(crate) fn backend(error: impl fmt::Display) -> DrawError {
    DrawError::Backend(error.to_string())
}
