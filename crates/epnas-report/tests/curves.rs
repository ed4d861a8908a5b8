//! Drawings hold what they were given: every line, band, point and name, in its place.

use epnas_report::curves::{
    CurvePoint, DrawError, Labelled, Labels, Points, Scale, Series, lines, scatter,
};

fn labels() -> Labels {
    Labels {
        title: "Regret of strategies".into(),
        x: "queries".into(),
        y: "regret <points>".into(),
    }
}

fn falling(name: &str, scale: f64) -> Series {
    let point = |x: f64| CurvePoint {
        x,
        mean: scale / x.sqrt(),
        low: 0.8 * scale / x.sqrt(),
        high: 1.3 * scale / x.sqrt(),
    };
    Series {
        name: name.into(),
        points: [1, 3, 10, 30, 100, 300].map(|x| point(f64::from(x))).into(),
    }
}

/// What stands between `<name ` and its end, for every element of that name.
fn elements<'s>(svg: &'s str, name: &str) -> Vec<&'s str> {
    let opening = format!("<{name} ");
    svg.split(&opening)
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap_or_default())
        .collect()
}

/// The places of a polyline or polygon, in pixels.
fn places(element: &str) -> Vec<(f64, f64)> {
    let points = element.split("points=\"").nth(1).expect("points");
    let points = points.split('"').next().expect("their end");
    let pairs = points.split_whitespace().map(|pair| {
        let (x, y) = pair.split_once(',').expect("a pair");
        (x.parse().expect("a number"), y.parse().expect("a number"))
    });
    pairs.collect()
}

fn has_text(svg: &str, text: &str) -> bool {
    elements(svg, "text").iter().any(|element| {
        let content = element.split_once('>').map_or("", |(_, content)| content);
        content.trim() == text
    })
}

/// The lines and bands of the plot, without ticks: those with as many places as the series.
fn with_places<'s>(svg: &'s str, name: &str, count: usize) -> Vec<&'s str> {
    let all = elements(svg, name).into_iter();
    all.filter(|element| places(element).len() == count)
        .collect()
}

#[test]
fn every_series_has_a_line_a_band_and_a_name() {
    let names = ["random", "regularized_evolution", "epnas & co"];
    let series: Vec<Series> = names
        .iter()
        .zip([3.0, 2.0, 1.0])
        .map(|(name, scale)| falling(name, scale))
        .collect();
    for (scale, count) in [(Scale::Linear, 3), (Scale::Log, 2)] {
        let svg = lines(&labels(), scale, &series[..count]).expect("a drawing");
        assert_eq!(with_places(&svg, "polyline", 6).len(), count);
        let bands = with_places(&svg, "polygon", 12);
        assert_eq!(bands.len(), count);
        assert!(bands.iter().all(|band| band.contains("opacity=\"0.15\"")));
        for (index, name) in names.iter().enumerate() {
            let name = name.replace('&', "&amp;");
            assert_eq!(has_text(&svg, &name), index < count, "{name}");
        }
        for text in ["Regret of strategies", "queries", "regret &lt;points&gt;"] {
            assert!(has_text(&svg, text), "{text}");
        }
    }
}

#[test]
fn lines_lie_within_their_bands_and_fall_as_the_numbers_do() {
    let svg = lines(&labels(), Scale::Log, &[falling("random", 3.0)]).expect("a drawing");
    let line = places(with_places(&svg, "polyline", 6)[0]);
    let band = places(with_places(&svg, "polygon", 12)[0]);
    for (index, (x, y)) in line.iter().enumerate() {
        let (low, high) = (band[index], band[11 - index]);
        assert!((low.0 - x).abs() <= 1.0 && (high.0 - x).abs() <= 1.0);
        // Down is more.
        assert!(low.1 > *y && *y > high.1, "{low:?} {y} {high:?}");
    }
    assert!(line.windows(2).all(|pair| pair[0].1 < pair[1].1));
    // On a logarithmic axis, 1 to 10, 10 to 100 and 3 to 30 are equally far.
    let width = |from: usize, to: usize| line[to].0 - line[from].0;
    assert!((width(0, 2) - width(2, 4)).abs() <= 2.0 && (width(1, 3) - width(0, 2)).abs() <= 2.0);
}

#[test]
fn the_legend_stands_beside_the_plot() {
    let series = [falling("random", 3.0), falling("local_search", 1.0)];
    let svg = lines(&labels(), Scale::Linear, &series).expect("a drawing");
    let right = with_places(&svg, "polyline", 6)
        .into_iter()
        .flat_map(places)
        .fold(0.0, |right: f64, (x, _)| right.max(x));
    for name in ["random", "local_search"] {
        let text = elements(&svg, "text")
            .into_iter()
            .find(|element| element.contains(name))
            .expect("a name");
        let x = text
            .split("x=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let x: f64 = x.and_then(|x| x.parse().ok()).expect("its place");
        assert!(x > right, "{name} at {x}, lines up to {right}");
    }
}

#[test]
fn every_point_has_a_circle_and_its_label() {
    let point = |x: f64, y: f64, label: &str| Labelled {
        x,
        y,
        label: label.into(),
    };
    let groups = [
        Points {
            name: "children of the run".into(),
            points: vec![point(0.3, 0.5, "a"), point(0.5, 0.6, "")],
        },
        Points {
            name: "random".into(),
            points: vec![
                point(0.2, 0.4, "b"),
                point(0.25, 0.45, ""),
                point(0.4, 0.5, ""),
            ],
        },
    ];
    let front = [(0.5, 0.6), (0.2, 0.4), (0.3, 0.5)];
    let svg = scatter(&labels(), Scale::Linear, &groups, &front).expect("a drawing");
    // A circle in the legend for each group.
    assert_eq!(elements(&svg, "circle").len(), 5 + 2);
    for text in ["a", "b", "children of the run", "random"] {
        assert!(has_text(&svg, text), "{text}");
    }
    let line = places(with_places(&svg, "polyline", 3)[0]);
    assert!(line.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let without = scatter(&labels(), Scale::Log, &groups, &[]).expect("a drawing");
    assert!(with_places(&without, "polyline", 3).is_empty());
}

#[test]
fn the_same_numbers_give_the_same_drawing() {
    let drawing = || lines(&labels(), Scale::Log, &[falling("random", 3.0)]);
    assert_eq!(drawing(), drawing());
}

#[test]
fn one_point_alone_can_be_drawn() {
    let mut series = falling("random", 0.0);
    series.points.truncate(1);
    for scale in [Scale::Linear, Scale::Log] {
        let svg = lines(&labels(), scale, &[series.clone()]).expect("a drawing");
        assert!(!svg.contains("NaN"), "{svg}");
    }
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let empty = lines(&labels(), Scale::Linear, &[Series::default()]);
    assert_eq!(empty, Err(DrawError::Empty));
    assert_eq!(
        scatter(&labels(), Scale::Linear, &[], &[]),
        Err(DrawError::Empty)
    );
    let mut series = falling("random", 1.0);
    series.points[0].x = 0.0;
    assert!(lines(&labels(), Scale::Linear, &[series.clone()]).is_ok());
    let error = lines(&labels(), Scale::Log, &[series.clone()]).expect_err("no logarithm");
    assert!(error.to_string().contains("`random` has a point at 0"));
    series.points[1].high = f64::NAN;
    assert!(lines(&labels(), Scale::Linear, &[series]).is_err());
}
