//! Points with labels, and the line through a Pareto front.

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, COLORS, DrawError, Labels, Scale, axes, backend, draw, ranges, small};

/// A point.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labelled {
    /// Place along the horizontal axis.
    pub x: f64,
    /// Place along the vertical axis.
    pub y: f64,
    /// Written beside it; empty for nothing.
    pub label: String,
}

/// Points of one colour.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Points {
    /// As the legend calls them.
    pub name: String,
    /// In any order.
    pub points: Vec<Labelled>,
}

/// An SVG with points, and with a line through those of `front` (a Pareto front, say) from left to right, if there are
/// any. Colours repeat after seven.
///
/// # Errors
/// [`DrawError`] when there is no point, or one that has no place.
pub fn scatter(
    labels: &Labels,
    scale: Scale,
    groups: &[Points],
    front: &[(f64, f64)],
) -> Result<String, DrawError> {
    let of = |group: &'static str, front: &(f64, f64)| (group, front.0, front.1);
    let all = groups
        .iter()
        .flat_map(|group| {
            let points = group.points.iter();
            points.map(|point| (group.name.as_str(), point.x, point.y))
        })
        .chain(front.iter().map(|point| of("front", point)));
    let (x, y) = ranges(scale, all)?;
    let mut front = front.to_vec();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let sample = |legend: &Area<'_>, row: i32, color: RGBColor| {
        legend.draw(&Circle::new((11, row), 4, color.mix(0.8).filled()))
    };
    draw(&names, sample, |area| match scale.of(&x) {
        Scale::Linear => draw_points(area, labels, x, y, groups, &front),
        Scale::Log => draw_points(area, labels, x.log_scale(), y, groups, &front),
    })
}

fn draw_points<X>(
    area: &Area<'_>,
    labels: &Labels,
    x: X,
    y: Range<f64>,
    groups: &[Points],
    front: &[(f64, f64)],
) -> Result<(), DrawError>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = axes(area, labels, x, y)?;
    if !front.is_empty() {
        let line = LineSeries::new(front.iter().copied(), BLACK.mix(0.5).stroke_width(1));
        chart.draw_series(line).map_err(backend)?;
    }
    for (group, color) in groups.iter().zip(COLORS.iter().cycle()) {
        let points = group.points.iter();
        let circles = points
            .clone()
            .map(|point| Circle::new((point.x, point.y), 4, color.mix(0.8).filled()));
        chart.draw_series(circles).map_err(backend)?;
        let style = small().pos(Pos::new(HPos::Left, VPos::Center));
        let texts = points.filter(|point| !point.label.is_empty()).map(|point| {
            EmptyElement::at((point.x, point.y))
                + Text::new(point.label.clone(), (7, 0), style.clone())
        });
        chart.draw_series(texts).map_err(backend)?;
    }
    Ok(())
}
