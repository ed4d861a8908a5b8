//! Charts of a page: axes by plotters, and over them marks whose looks the page's style sheet decides.
//!
//! Marks of a series are one path, so that thousands of points cost as little as they can; points that stand for children
//! say which, so that a page can tell of the one under the pointer.

use std::fmt::Write as _;
use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::curves::{backend, number, roomy, small};

/// Width and height in pixels; a page scales them.
const SIZE: (u32, u32) = (520, 290);

/// Colours that a style sheet tells apart; they repeat after so many.
pub(super) const COLORS: usize = 8;

/// What an axis counts, for its ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// Any number.
    #[default]
    Number,
    /// A share, written in percent.
    Percent,
    /// Whole numbers.
    Whole,
    /// Numbers so large that they are written with k, M, G or T.
    Large,
}

/// One axis.
#[derive(Debug, Clone, Default)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) unit: Unit,
    /// By the logarithm, where the numbers span more than a power of ten.
    pub(super) is_log: bool,
    /// At least so far.
    pub(super) least: Option<Range<f64>>,
}

impl Axis {
    pub(super) fn new(label: &str, unit: Unit) -> Self {
        Self {
            label: label.to_owned(),
            unit,
            ..Self::default()
        }
    }

    pub(super) fn log(self) -> Self {
        Self {
            is_log: true,
            ..self
        }
    }

    pub(super) fn at_least(self, least: Range<f64>) -> Self {
        Self {
            least: Some(least),
            ..self
        }
    }

    /// Whether a number has a place on it.
    fn takes(&self, value: f64) -> bool {
        value.is_finite() && (!self.is_log || value > 0.0)
    }

    /// What it must show, and whether by the logarithm.
    fn range(&self, values: impl Iterator<Item = f64>) -> (Range<f64>, bool) {
        let (mut low, mut high) = match &self.least {
            Some(least) => (least.start, least.end),
            None => (f64::INFINITY, f64::NEG_INFINITY),
        };
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        if self.is_log && high > 12.0 * low {
            let logarithms = roomy((low.ln(), high.ln()));
            return (logarithms.start.exp()..logarithms.end.exp(), true);
        }
        if self.is_log && low == high {
            // Nothing that has logarithms is below zero.
            return (0.0..2.0 * high, false);
        }
        match self.unit {
            // Half a unit beyond both ends: bars and points stand whole.
            Unit::Whole if self.least.is_none() => (low - 0.5..high + 0.5, false),
            _ if self.least.is_some() => (low..high, false),
            _ => (roomy((low, high)), false),
        }
    }

    fn title(&self, is_log: bool) -> String {
        match is_log {
            true => format!("{} (logarithmic)", self.label),
            false => self.label.clone(),
        }
    }

    fn tick(&self, value: f64, is_log: bool) -> String {
        // Between powers of ten, plotters has a line for each number of their digit: not all have room for a name.
        if is_log && ![1.0, 2.0, 5.0].iter().any(|digit| is_power(value / digit)) {
            return String::new();
        }
        match self.unit {
            Unit::Number => number(value),
            Unit::Percent => format!("{}%", number(100.0 * value)),
            Unit::Whole if (value - value.round()).abs() > 1e-6 => String::new(),
            Unit::Whole => number(value.round()),
            Unit::Large => large(value),
        }
    }
}

/// How many ticks an axis is asked to have.
fn labels(is_log: bool, usual: usize) -> usize {
    if is_log { 24 } else { usual }
}

/// Whether it is a power of ten, but for rounding.
fn is_power(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-6
}

/// `1200000` as `1.2M`.
pub(super) fn large(value: f64) -> String {
    let (scaled, letter) = match value.abs() {
        size if size >= 1e12 => (value / 1e12, "T"),
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let rounded = (scaled * 100.0).round() / 100.0;
    format!("{rounded}{letter}")
}

/// A point, and the child that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dot {
    pub(super) x: f64,
    pub(super) y: f64,
    /// As the table calls it; empty for none.
    pub(super) child: String,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Marks {
    /// Through these points.
    Line(Vec<(f64, f64)>),
    /// The same, to be looked at second.
    Thin(Vec<(f64, f64)>),
    /// Lines apart from one another.
    Pieces(Vec<[(f64, f64); 2]>),
    /// Between lower and upper edges `(x, low, high)`.
    Band(Vec<(f64, f64, f64)>),
    Dots(Vec<Dot>),
    /// Rectangles `(left, right, bottom, top)`.
    Bars(Vec<[f64; 4]>),
}

impl Marks {
    fn points(&self) -> Vec<(f64, f64)> {
        match self {
            Marks::Line(points) | Marks::Thin(points) => points.clone(),
            Marks::Pieces(pieces) => pieces.iter().flatten().copied().collect(),
            Marks::Band(edges) => (edges.iter())
                .flat_map(|&(x, low, high)| [(x, low), (x, high)])
                .collect(),
            Marks::Dots(dots) => dots.iter().map(|dot| (dot.x, dot.y)).collect(),
            Marks::Bars(bars) => (bars.iter())
                .flat_map(|&[left, right, bottom, top]| [(left, bottom), (right, top)])
                .collect(),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Marks::Line(_) => "line",
            Marks::Thin(_) => "thin",
            Marks::Pieces(_) => "line",
            Marks::Band(_) => "band",
            Marks::Dots(_) => "dots",
            Marks::Bars(_) => "bars",
        }
    }

    /// As the `d` of a path. Points without a place are left out.
    fn path(
        &self,
        takes: &dyn Fn(f64, f64) -> bool,
        at: &dyn Fn(f64, f64) -> (i32, i32),
    ) -> String {
        let mut d = String::new();
        let mut through = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let mut last = None;
            for (x, y) in points.filter(|&(x, y)| takes(x, y)) {
                let place = at(x, y);
                let letter = if last.is_none() { 'M' } else { 'L' };
                if last != Some(place) {
                    let _ = write!(d, "{letter}{} {}", place.0, place.1);
                }
                last = Some(place);
            }
        };
        match self {
            Marks::Line(points) | Marks::Thin(points) => through(&mut points.iter().copied()),
            Marks::Pieces(pieces) => {
                for piece in pieces {
                    through(&mut piece.iter().copied());
                }
            }
            Marks::Band(edges) => {
                let low = edges.iter().map(|&(x, low, _)| (x, low));
                let high = edges.iter().rev().map(|&(x, _, high)| (x, high));
                through(&mut low.chain(high));
                d.push('z');
            }
            Marks::Dots(dots) => {
                for dot in dots.iter().filter(|dot| takes(dot.x, dot.y)) {
                    let (x, y) = at(dot.x, dot.y);
                    let _ = write!(d, "M{x} {y}h0");
                }
            }
            Marks::Bars(bars) => {
                for &[left, right, bottom, top] in bars {
                    let ((x, y), (to, up)) = (at(left, bottom), at(right, top));
                    let _ = write!(d, "M{x} {y}H{to}V{up}H{x}z");
                }
            }
        }
        d
    }
}

/// Marks of one colour under one name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// As the legend calls it; empty to leave it out there.
    pub(super) name: String,
    /// Of the style sheet's series colours.
    pub(super) color: usize,
    pub(super) marks: Marks,
}

impl Layer {
    pub(super) fn new(name: impl Into<String>, color: usize, marks: Marks) -> Self {
        Self {
            name: name.into(),
            color: color % COLORS,
            marks,
        }
    }
}

/// Axes and what is drawn over them, from the back to the front.
#[derive(Debug, Clone, Default)]
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) layers: Vec<Layer>,
}

impl Chart {
    /// What a legend lists: name, colour and class of the marks, each name once.
    pub(super) fn legend(&self) -> Vec<(&str, usize, &'static str)> {
        let mut found: Vec<(&str, usize, &'static str)> = Vec::new();
        for layer in self.layers.iter().filter(|layer| !layer.name.is_empty()) {
            if !found.iter().any(|(name, ..)| *name == layer.name) {
                found.push((&layer.name, layer.color, layer.marks.class()));
            }
        }
        found
    }

    /// As SVG; `None` when no point has a place.
    pub(super) fn svg(&self) -> Option<String> {
        let takes = |&(x, y): &(f64, f64)| self.x.takes(x) && self.y.takes(y);
        let all = self.layers.iter().flat_map(|layer| layer.marks.points());
        let points: Vec<(f64, f64)> = all.filter(takes).collect();
        if points.is_empty() {
            return None;
        }
        let (x, x_is_log) = self.x.range(points.iter().map(|point| point.0));
        let (y, y_is_log) = self.y.range(points.iter().map(|point| point.1));
        let logs = (x_is_log, y_is_log);
        match logs {
            (false, false) => self.drawn(logs, RangedCoordf64::from(x), RangedCoordf64::from(y)),
            (true, false) => self.drawn(logs, x.log_scale(), RangedCoordf64::from(y)),
            (false, true) => self.drawn(logs, RangedCoordf64::from(x), y.log_scale()),
            (true, true) => self.drawn(logs, x.log_scale(), y.log_scale()),
        }
        .ok()
    }

    fn drawn<X, Y>(
        &self,
        (x_is_log, y_is_log): (bool, bool),
        x: X,
        y: Y,
    ) -> Result<String, crate::curves::DrawError>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let (mut svg, mut marks) = (String::new(), String::new());
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            let mut chart = ChartBuilder::on(&root)
                .margin_top(8)
                .margin_right(16)
                .x_label_area_size(40)
                .y_label_area_size(62)
                .build_cartesian_2d(x, y)
                .map_err(backend)?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .bold_line_style(BLACK.mix(0.12))
                .label_style(small())
                .axis_desc_style(("sans-serif", 15))
                .x_desc(self.x.title(x_is_log))
                .y_desc(self.y.title(y_is_log))
                .x_labels(labels(x_is_log, 8))
                .y_labels(labels(y_is_log, 7))
                .x_label_formatter(&|value| self.x.tick(*value, x_is_log))
                .y_label_formatter(&|value| self.y.tick(*value, y_is_log))
                .draw()
                .map_err(backend)?;
            let at = |x: f64, y: f64| chart.backend_coord(&(x, y));
            let takes = |x: f64, y: f64| self.x.takes(x) && self.y.takes(y);
            for layer in &self.layers {
                let d = layer.marks.path(&takes, &at);
                let class = layer.marks.class();
                let _ = write!(marks, "<path class=\"s{} {class}\"", layer.color);
                if let Marks::Dots(dots) = &layer.marks
                    && dots.iter().any(|dot| !dot.child.is_empty())
                {
                    let placed = dots.iter().filter(|dot| takes(dot.x, dot.y));
                    let names: Vec<&str> = placed.map(|dot| dot.child.as_str()).collect();
                    let _ = write!(marks, " data-children=\"{}\"", names.join(" "));
                }
                let _ = write!(marks, " d=\"{d}\"/>");
            }
            root.present().map_err(backend)?;
        }
        // Before the end of the drawing, over the axes.
        let end = svg.rfind("</svg>").unwrap_or(svg.len());
        svg.insert_str(end, &marks);
        Ok(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(layers: Vec<Layer>) -> Chart {
        Chart {
            x: Axis::new("children", Unit::Whole),
            y: Axis::new("estimate", Unit::Percent),
            layers,
        }
    }

    fn dots(places: &[(f64, f64)]) -> Marks {
        let dot = |(index, &(x, y)): (usize, &(f64, f64))| Dot {
            x,
            y,
            child: format!("0s{index}"),
        };
        Marks::Dots(places.iter().enumerate().map(dot).collect())
    }

    #[test]
    fn points_are_one_path_and_say_which_child_they_are() {
        let places = [(1.0, 0.5), (2.0, 0.7), (3.0, f64::NAN), (4.0, 0.6)];
        let svg = chart(vec![Layer::new("search", 0, dots(&places))])
            .svg()
            .expect("points");
        assert!(svg.contains("data-children=\"0s0 0s1 0s3\""), "{svg}");
        let path = svg.split("class=\"s0 dots\"").nth(1).expect("a path");
        assert_eq!(path.matches("h0").count(), 3);
        assert!(svg.contains("60%"), "{svg}");
        assert!(svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn places_follow_the_numbers() {
        let svg = chart(vec![Layer::new(
            "",
            1,
            Marks::Line(vec![(0.0, 0.1), (5.0, 0.2), (10.0, 0.3)]),
        )]);
        let svg = svg.svg().expect("points");
        let d = svg.split("class=\"s1 line\" d=\"").nth(1).expect("a line");
        let d = &d[..d.find('"').expect("an end")];
        let numbers: Vec<f64> = d
            .split(['M', 'L', ' '])
            .filter(|word| !word.is_empty())
            .map(|word| word.parse().expect("a number"))
            .collect();
        let [x0, y0, x1, y1, x2, y2] = numbers[..] else {
            panic!("{d}")
        };
        assert!((x1 - (x0 + x2) / 2.0).abs() <= 1.0 && (y1 - (y0 + y2) / 2.0).abs() <= 1.0);
        assert!(x0 < x2 && y0 > y2, "higher is further up: {d}");
    }

    #[test]
    fn an_axis_by_logarithms_leaves_out_what_has_none() {
        let marks = dots(&[(1.0, 0.0), (10.0, 0.5), (1000.0, 0.5), (0.0, 0.5)]);
        let mut chart = chart(vec![Layer::new("a", 0, marks)]);
        chart.x = Axis::new("cost", Unit::Large).log();
        let svg = chart.svg().expect("points");
        assert!(svg.contains("data-children=\"0s0 0s1 0s2\""));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(chart(Vec::new()).svg().is_none());
        let nan = Marks::Line(vec![(f64::NAN, 1.0)]);
        assert!(chart(vec![Layer::new("a", 0, nan)]).svg().is_none());
    }

    #[test]
    fn legends_name_each_series_once() {
        let layers = vec![
            Layer::new("a", 0, Marks::Thin(vec![])),
            Layer::new("", 0, dots(&[])),
            Layer::new("a", 0, dots(&[])),
            Layer::new("b", COLORS + 1, Marks::Band(vec![])),
        ];
        assert_eq!(chart(layers).legend(), [("a", 0, "thin"), ("b", 1, "band")]);
    }

    #[test]
    fn large_numbers_are_short() {
        assert_eq!(
            [950.0, 1_610.0, 7_258_272.0, 3e9].map(large),
            ["950", "1.61k", "7.26M", "3G"]
        );
    }
}
