//! What the figures of a small run show, worked out by hand.

use super::*;
use crate::page::run::tests::{page, record};

const SHORT: &str = "macro:c3.0";
const LONG: [&str; 4] = [
    "macro:c3.0/c3.1",
    "macro:c3.0/c5.1",
    "macro:c3.0/d3.1",
    "macro:c3.0/d5.0+1",
];

/// Two iterations, the second of one step; `(iteration, step, network, predicted, estimate)`.
fn searched() -> RunPage {
    let of = [
        (0, 1, SHORT, None, Some(0.2)),
        (0, 1, "macro:c5.0", None, Some(0.9)),
        (0, 2, LONG[0], Some(0.5), Some(0.3)),
        (0, 2, LONG[1], Some(0.6), Some(0.4)),
        (0, 2, LONG[2], Some(0.7), None),
        (1, 2, LONG[2], Some(0.5), Some(0.6)),
        (1, 2, LONG[3], Some(0.8), Some(0.5)),
    ];
    let children = of.into_iter().zip(0..).map(|(child, index)| {
        let (iteration, step, arch, predicted, estimate) = child;
        let mut record = record(index, iteration, step, arch, estimate);
        record.predicted = predicted;
        record.probability = predicted.map(|predicted| predicted / 10.0);
        record.temperature = Some(if iteration == 0 { 0.5 } else { 0.1 });
        record
    });
    let random = vec![
        record(0, 0, 1, LONG[0], Some(0.35)),
        record(1, 0, 1, LONG[3], Some(0.25)),
    ];
    page(children.collect(), random)
}

fn of(id: &str) -> Figure {
    let all = figures(3, &searched());
    let found = all.into_iter().find(|figure| figure.id == id);
    found.expect("a figure")
}

fn layers<'a>(chart: &'a Chart, name: &str) -> Vec<&'a Marks> {
    let layers = chart.layers.iter().filter(|layer| layer.name == name);
    layers.map(|layer| &layer.marks).collect()
}

/// Places of dots with the names of their children.
fn dots(marks: &Marks) -> Vec<(f64, f64, &str)> {
    match marks {
        Marks::Dots(dots) => dots
            .iter()
            .map(|dot| (dot.x, dot.y, dot.child.as_str()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn progress_stands_beside_that_of_random_search() {
    let figure = of("progress");
    let line = |corners: &[(f64, f64)]| Marks::Line(corners.to_vec());
    let search = layers(&figure.charts[0], "search");
    let stairs = [
        (3.0, 0.3),
        (4.0, 0.3),
        (4.0, 0.4),
        (6.0, 0.4),
        (6.0, 0.6),
        (7.0, 0.6),
    ];
    assert_eq!(search, [&line(&stairs)]);
    let random = layers(&figure.charts[0], "random search");
    assert_eq!(random, [&line(&[(1.0, 0.35), (2.0, 0.35)])]);
    // Two seconds a child.
    let by_time = layers(&figure.charts[1], "search");
    let stairs = stairs.map(|(x, y)| (2.0 * x, y));
    assert_eq!(by_time, [&line(&stairs)]);
    // 10, 20, .. multiply-accumulates for each of 100 images.
    let by_macs = layers(&figure.charts[2], "random search");
    assert_eq!(by_macs, [&line(&[(1_000.0, 0.35), (3_000.0, 0.35)])]);
    assert!(
        figure
            .caption
            .contains("Search: 60.0% after 7 children. Random search: 35.0% after 2")
    );
}

#[test]
fn children_are_in_order_with_means_and_temperatures_of_their_steps() {
    let figure = of("sampled");
    let second = layers(&figure.charts[0], "iteration 2");
    assert_eq!(dots(second[0]), [(5.0, 0.6, "3s5"), (6.0, 0.5, "3s6")]);
    let means = layers(&figure.charts[0], "mean of the step");
    let Marks::Pieces(means) = means[0] else {
        panic!("{means:?}")
    };
    let heights: Vec<f64> = means.iter().map(|piece| piece[0].1).collect();
    for (found, expected) in heights.iter().zip([0.55, 0.35, 0.55]) {
        assert!((found - expected).abs() < 1e-12, "{heights:?}");
    }
    // The failed child has a place among those of its step.
    assert_eq!((means[1][0].0, means[1][1].0), (1.6, 4.4));
    let temperatures = layers(&figure.charts[1], "temperature");
    let expected = [
        [(-0.5, 0.5), (1.5, 0.5)],
        [(1.5, 0.5), (4.5, 0.5)],
        [(4.5, 0.1), (6.5, 0.1)],
    ];
    assert_eq!(temperatures, [&Marks::Pieces(expected.to_vec())]);
    assert!(figure.caption.contains("7 in 3 steps") && figure.caption.contains("1 failed"));
}

#[test]
fn predictions_are_compared_child_by_child_and_step_by_step() {
    let figure = of("predictions");
    let first = layers(&figure.charts[0], "iteration 1");
    assert_eq!(dots(first[0]), [(0.5, 0.3, "3s2"), (0.6, 0.4, "3s3")]);
    let diagonal = layers(&figure.charts[0], "");
    assert_eq!(diagonal, [&Marks::Thin(vec![(0.3, 0.3), (0.8, 0.8)])]);
    // Off by 0.2, 0.2, 0.1 and 0.3.
    assert!(figure.caption.contains("of 4 children") && figure.caption.contains("off by 20.0"));
    // In order in the first iteration, the other way round in the second.
    let figure = of("tau");
    for (name, tau) in [("iteration 1", 1.0), ("iteration 2", -1.0)] {
        let found = layers(&figure.charts[0], name);
        assert_eq!(dots(found[0]), [(2.0, tau, "")]);
    }
    assert!(figure.caption.contains("0.00 on average over 2 steps"));
}

#[test]
fn probabilities_fall_within_each_step() {
    let figure = of("probability");
    let first = layers(&figure.charts[0], "iteration 1");
    let found = dots(first[1]);
    let names: Vec<&str> = found.iter().map(|dot| dot.2).collect();
    assert_eq!(names, ["3s4", "3s3", "3s2"]);
    assert_eq!((found[0].0, found[2].0), (1.0, 3.0));
    assert!(found.windows(2).all(|pair| pair[0].1 > pair[1].1));
}

#[test]
fn fronts_are_those_of_full_length_networks_of_the_search() {
    let figure = of("params");
    let search = layers(&figure.charts[0], "search");
    assert_eq!(
        dots(search[0]).len(),
        4,
        "short and failed ones are left out"
    );
    // Children 2, 3 and 5 are the cheapest in order of rising estimates; 6 costs more and is worse.
    let front = [
        (1_002.0, 0.3),
        (1_003.0, 0.3),
        (1_003.0, 0.4),
        (1_005.0, 0.4),
        (1_005.0, 0.6),
    ];
    assert_eq!(
        layers(&figure.charts[0], "Pareto front"),
        [&Marks::Line(front.to_vec())]
    );
    let random = layers(&of("macs").charts[0], "random search").len();
    assert_eq!(random, 1);
    let macs = of("macs");
    let random = layers(&macs.charts[0], "random search");
    assert_eq!(dots(random[0]), [(10.0, 0.35, "3r0"), (20.0, 0.25, "3r1")]);
}

#[test]
fn operations_and_skips_are_counted_by_depth_and_iteration() {
    let figure = of("operations");
    let names: Vec<&str> = figure.charts[0]
        .legend()
        .iter()
        .map(|entry| entry.0)
        .collect();
    assert_eq!(
        names,
        ["conv_3x3", "conv_5x5", "dw_conv_3x3", "dw_conv_5x5"]
    );
    let bars = |name: &str| match layers(&figure.charts[0], name)[0] {
        Marks::Bars(bars) => bars.clone(),
        other => panic!("{other:?}"),
    };
    // Of layer 1 in iteration 1, four of five; in iteration 2 both. Of layer 2, one of three.
    let heights: Vec<(f64, f64)> = bars("conv_3x3")
        .iter()
        .map(|bar| (bar[0], bar[3] - bar[2]))
        .collect();
    let expected = [(1.0 - 0.42, 0.8), (1.0, 1.0), (2.0 - 0.42, 1.0 / 3.0)];
    for (found, expected) in heights.iter().zip(expected) {
        assert!(
            (found.0 - expected.0).abs() < 1e-9 && (found.1 - expected.1).abs() < 1e-9,
            "{heights:?}"
        );
    }
    // Shares stand on each other up to the whole.
    let tops = ["conv_3x3", "conv_5x5", "dw_conv_3x3"].map(bars);
    let second: f64 = tops
        .iter()
        .flatten()
        .filter(|bar| (1.5..1.6).contains(&bar[0]))
        .map(|bar| bar[3] - bar[2])
        .sum();
    assert!((second - 1.0).abs() < 1e-9, "{second}");
    let figure = of("skips");
    // One of the second iteration's two second layers reads the stem beside layer 1.
    let second = layers(&figure.charts[0], "iteration 2");
    assert_eq!(second, [&Marks::Line(vec![(1.0, 0.0), (2.0, 0.5)])]);
    let first = layers(&figure.charts[0], "iteration 1");
    assert_eq!(first, [&Marks::Line(vec![(1.0, 0.0), (2.0, 0.0)])]);
}

#[test]
fn what_has_nothing_to_show_says_so() {
    for figure in figures(0, &page(Vec::new(), Vec::new())) {
        let drawn = figure.charts.iter().filter_map(Chart::svg).count();
        assert_eq!(drawn, 0, "{}", figure.id);
        assert!(!figure.caption.is_empty());
    }
}
