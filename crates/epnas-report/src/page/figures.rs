//! The figures of one run: what its children tell.

use epnas_search::diagnostics::Diagnostics;
use epnas_search::{Record, pareto};

use super::chart::{Axis, Chart, Dot, Layer, Marks, Unit};
use super::run::{Cost, Origin, RunPage, Step, best_so_far, child_name, longest, steps};

/// Charts under one heading.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// Unique among the figures of a run.
    pub(super) id: &'static str,
    pub(super) title: String,
    /// What there is to see, with the main numbers.
    pub(super) caption: String,
    pub(super) charts: Vec<Chart>,
}

impl Figure {
    pub(super) fn new(id: &'static str, title: &str, caption: String, charts: Vec<Chart>) -> Self {
        Self {
            id,
            title: title.to_owned(),
            caption,
            charts,
        }
    }
}

/// Estimates, always said to be what they are.
pub(super) const ESTIMATE: &str = "estimate (shared weights)";

fn estimates() -> Axis {
    Axis::new(ESTIMATE, Unit::Percent)
}

fn percent(value: f64) -> String {
    format!("{:.1}%", 100.0 * value)
}

/// All figures of run number `run`. Those that have nothing to show are there without charts, and say why.
pub(super) fn figures(run: usize, page: &RunPage) -> Vec<Figure> {
    let mut figures = vec![
        progress(page),
        sampled(run, page),
        predictions(run, page),
        agreement(page),
        probabilities(run, page),
    ];
    figures.extend(super::frequencies::figures(page));
    figures.extend([
        tradeoff(
            run,
            page,
            "params",
            "Estimate against parameters",
            Axis::new("trainable parameters", Unit::Large),
            |record| record.params,
        ),
        tradeoff(
            run,
            page,
            "macs",
            "Estimate against multiply-accumulates",
            Axis::new("multiply-accumulates per image", Unit::Large),
            |record| record.macs,
        ),
        learning(page),
    ]);
    figures
}

/// Axis and factor for seconds up to `longest`.
pub(super) fn time_axis(longest: f64) -> (Axis, f64) {
    let (unit, seconds) = match longest {
        long if long > 10_800.0 => ("h", 3_600.0),
        long if long > 180.0 => ("min", 60.0),
        _ => ("s", 1.0),
    };
    (
        Axis::new(&format!("time spent on children ({unit})"), Unit::Number),
        1.0 / seconds,
    )
}

/// The axis of a cost, and what to multiply it with.
pub(super) fn cost_axis(cost: Cost, longest: f64) -> (Axis, f64) {
    match cost {
        Cost::Children => (Axis::new("children", Unit::Number), 1.0),
        Cost::Seconds => time_axis(longest),
        Cost::Macs => (Axis::new("training multiply-accumulates", Unit::Large), 1.0),
    }
}

fn progress(page: &RunPage) -> Figure {
    let title = "Best estimate so far";
    let parts = [
        ("random search", 1, &page.random),
        ("search", 0, &page.children),
    ];
    let parts = parts.map(|(name, color, records)| (name, color, records, longest(records)));
    let length = longest(&page.children);
    if parts.iter().all(|part| part.3 == 0) {
        let caption = "No network has an estimate yet.".to_owned();
        return Figure::new("progress", title, caption, Vec::new());
    }
    let charts = [Cost::Children, Cost::Seconds, Cost::Macs].map(|cost| {
        let stairs = parts.map(|(name, color, records, length)| {
            (name, color, best_so_far(records, length, cost))
        });
        let longest = stairs
            .iter()
            .flat_map(|part| &part.2)
            .map(|corner| corner.0);
        let (axis, factor) = cost_axis(cost, longest.fold(0.0, f64::max));
        let drawn = stairs.into_iter().filter(|part| !part.2.is_empty());
        let layers = drawn.map(|(name, color, corners)| {
            let scaled = corners.into_iter().map(|(x, y)| (factor * x, y));
            Layer::new(name, color, Marks::Line(scaled.collect()))
        });
        Chart {
            x: axis,
            y: estimates(),
            layers: layers.collect(),
        }
    });
    let mut caption = format!(
        "Highest estimate so far of a network with {length} levels, against children trained, their wall time and their \
         training multiply-accumulates."
    );
    for (name, _, records, own) in parts.iter().rev() {
        let corners = best_so_far(records, *own, Cost::Children);
        let Some((_, best)) = corners.last() else {
            continue;
        };
        let name = match *name {
            "search" => "Search",
            _ => "Random search",
        };
        let of_length = match *own == length {
            true => String::new(),
            false => format!(", with {own} levels"),
        };
        caption.push_str(&format!(
            " {name}: {} after {} children{of_length}.",
            percent(*best),
            records.len()
        ));
    }
    let full = page.space.levels();
    if length < full {
        caption.push_str(&format!(
            " The search has no network of full length, {full}, so far."
        ));
    }
    caption.push_str(
        " An estimate ranks architectures while weights are shared; it is no accuracy of a trained network, and the more \
         the shared weights have been trained, the higher it is.",
    );
    Figure::new("progress", title, caption, charts.into())
}

/// Dots of some children, one layer an iteration.
fn by_iteration(
    run: usize,
    steps: &[Step<'_>],
    place: impl Fn(&Record) -> Option<(f64, f64)>,
) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for chunk in steps.chunk_by(|a, b| a.iteration == b.iteration) {
        let iteration = chunk.first().map_or(0, |step| step.iteration);
        let children = chunk.iter().flat_map(|step| &step.children);
        let dots: Vec<Dot> = children
            .filter_map(|record| {
                let (x, y) = place(record)?;
                let child = child_name(run, Origin::Search, record.index);
                Some(Dot { x, y, child })
            })
            .collect();
        if !dots.is_empty() {
            let name = format!("iteration {}", iteration + 1);
            layers.push(Layer::new(name, iteration, Marks::Dots(dots)));
        }
    }
    layers
}

/// `1 step`, `2 steps`.
fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn order(record: &Record) -> f64 {
    record.index as f64
}

fn sampled(run: usize, page: &RunPage) -> Figure {
    let steps = steps(&page.children);
    let mut layers = by_iteration(run, &steps, |record| {
        Some((order(record), record.estimate?))
    });
    let means = steps.iter().filter_map(|step| {
        let found: Vec<f64> = step.children.iter().filter_map(|r| r.estimate).collect();
        let mean = epnas_search::statistics::mean(&found)?;
        let (first, last) = (step.children.first()?, step.children.last()?);
        Some([(order(first) - 0.4, mean), (order(last) + 0.4, mean)])
    });
    let means: Vec<_> = means.collect();
    layers.insert(0, Layer::new("mean of the step", 6, Marks::Pieces(means)));
    let mut charts = vec![Chart {
        x: Axis::new("child", Unit::Number),
        y: estimates(),
        layers,
    }];
    let temperatures: Vec<[(f64, f64); 2]> = steps
        .iter()
        .filter_map(|step| {
            let (first, last) = (step.children.first()?, step.children.last()?);
            let temperature = first.temperature?;
            Some([
                (order(first) - 0.5, temperature),
                (order(last) + 0.5, temperature),
            ])
        })
        .collect();
    if !temperatures.is_empty() {
        charts.push(Chart {
            x: Axis::new("child", Unit::Number),
            y: Axis::new("temperature", Unit::Number).log(),
            layers: vec![Layer::new("temperature", 1, Marks::Pieces(temperatures))],
        });
    }
    let failed = page.children.iter().filter(|r| r.estimate.is_none());
    let failed = failed.count();
    let mut caption = format!(
        "Every child in the order of training, {} in {}.",
        page.children.len(),
        counted(steps.len(), "step")
    );
    if charts.len() > 1 {
        caption.push_str(" Beside them the temperature they were drawn at.");
    }
    let mut lengths = page.children.iter().map(|record| record.arch.len());
    if (lengths.next()).is_some_and(|first| lengths.any(|length| length != first)) {
        caption.push_str(
            " Networks grow within an iteration; later iterations improve on those before.",
        );
    }
    if failed > 0 {
        caption.push_str(&format!(" {failed} failed and are only in the table."));
    }
    Figure::new("sampled", "Estimates of sampled children", caption, charts)
}

fn predictions(run: usize, page: &RunPage) -> Figure {
    let steps = steps(&page.children);
    let place = |record: &Record| Some((record.predicted?, record.estimate?));
    let mut layers = by_iteration(run, &steps, place);
    let ends = layers.iter().filter_map(|layer| match &layer.marks {
        Marks::Dots(dots) => Some(dots),
        _ => None,
    });
    let values = ends.flatten().flat_map(|dot| [dot.x, dot.y]);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let diagonal = Marks::Thin(vec![(low, low), (high, high)]);
    let found = Diagnostics::of(&page.history());
    let caption = match &found {
        None => "No child was predicted before it was trained.".to_owned(),
        Some(found) => {
            let tau = found.overall.kendall_tau;
            let tau = tau.map_or_else(String::new, |tau| format!(", Kendall's tau {tau:.2}"));
            format!(
                "What the surrogate said of {} children before they were trained, against what came of it: off by {:.1} \
                 points on average{tau}. On the line, both are the same.",
                found.overall.children,
                100.0 * found.overall.error
            )
        }
    };
    let charts = match found {
        None => Vec::new(),
        Some(_) => {
            layers.insert(0, Layer::new("", 6, diagonal));
            vec![Chart {
                x: Axis::new("predicted", Unit::Percent),
                y: estimates(),
                layers,
            }]
        }
    };
    Figure::new("predictions", "Predicted against measured", caption, charts)
}

fn agreement(page: &RunPage) -> Figure {
    let found = Diagnostics::of(&page.history());
    let steps = found.map_or_else(Vec::new, |found| found.steps);
    let mut layers = Vec::new();
    let mut all = Vec::new();
    for chunk in steps.chunk_by(|a, b| a.iteration == b.iteration) {
        let points: Vec<(f64, f64)> = chunk
            .iter()
            .filter_map(|step| Some((step.step as f64, step.agreement.kendall_tau?)))
            .collect();
        let Some(first) = chunk.first().filter(|_| !points.is_empty()) else {
            continue;
        };
        all.extend(points.iter().map(|point| point.1));
        let name = format!("iteration {}", first.iteration + 1);
        let dots = points.iter().map(|&(x, y)| Dot {
            x,
            y,
            child: String::new(),
        });
        layers.push(Layer::new(
            name.clone(),
            first.iteration,
            Marks::Dots(dots.collect()),
        ));
        layers.push(Layer::new(name, first.iteration, Marks::Thin(points)));
    }
    let caption = match epnas_search::statistics::mean(&all) {
        None => "No step had predictions to compare.".to_owned(),
        Some(mean) => format!(
            "Kendall's tau of predictions and estimates within each step, {mean:.2} on average over {}: at 1 the \
             surrogate ranks the children of a step as training does, at 0 it may as well guess.",
            counted(all.len(), "step")
        ),
    };
    let charts = match layers.is_empty() {
        true => Vec::new(),
        false => vec![Chart {
            x: Axis::new("step", Unit::Whole),
            y: Axis::new("Kendall's tau", Unit::Number).at_least(-1.05..1.05),
            layers,
        }],
    };
    Figure::new(
        "tau",
        "How well the surrogate ranks a step",
        caption,
        charts,
    )
}

fn probabilities(run: usize, page: &RunPage) -> Figure {
    let mut layers: Vec<Layer> = Vec::new();
    for step in steps(&page.children) {
        let mut drawn: Vec<(&Record, f64)> = step
            .children
            .iter()
            .filter_map(|record| Some((*record, record.probability?)))
            .collect();
        drawn.sort_by(|a, b| b.1.total_cmp(&a.1));
        if drawn.is_empty() {
            continue;
        }
        let name = format!("iteration {}", step.iteration + 1);
        let ranked = drawn.iter().zip(1..);
        let dots = ranked.map(|((record, probability), rank)| Dot {
            x: f64::from(rank),
            y: *probability,
            child: child_name(run, Origin::Search, record.index),
        });
        let dots: Vec<Dot> = dots.collect();
        let line = dots.iter().map(|dot| (dot.x, dot.y)).collect();
        layers.push(Layer::new(name.clone(), step.iteration, Marks::Thin(line)));
        layers.push(Layer::new(name, step.iteration, Marks::Dots(dots)));
    }
    let (caption, charts) = match layers.is_empty() {
        true => (
            "No child was drawn by a predicted probability.".to_owned(),
            Vec::new(),
        ),
        false => (
            "How probable each child was in a single draw among all candidates of its step, from the most probable child \
             to the least; one line a step. The cooler the temperature, the steeper the line."
                .to_owned(),
            vec![Chart {
                x: Axis::new("rank within the step", Unit::Whole),
                y: Axis::new("probability", Unit::Number).log(),
                layers,
            }],
        ),
    };
    Figure::new("probability", "Probability against rank", caption, charts)
}

fn tradeoff(
    run: usize,
    page: &RunPage,
    id: &'static str,
    title: &str,
    axis: Axis,
    cost: fn(&Record) -> Option<u64>,
) -> Figure {
    let length = longest(&page.children);
    let dots = |records: &[Record], origin| {
        let length = longest(records);
        let long = records.iter().filter(|record| record.arch.len() == length);
        let dot = |record: &Record| {
            Some(Dot {
                x: cost(record)? as f64,
                y: record.estimate?,
                child: child_name(run, origin, record.index),
            })
        };
        Marks::Dots(long.filter_map(dot).collect())
    };
    let history = page.history();
    let best = history.best(usize::MAX, length);
    let front: Vec<(f64, f64)> = pareto(&best, cost)
        .into_iter()
        .filter_map(|record| Some((cost(record)? as f64, record.estimate?)))
        .collect();
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in &front {
        stairs.extend(stairs.last().map(|last| (x, last.1)));
        stairs.push((x, y));
    }
    let random = dots(&page.random, Origin::Random);
    let mut layers = vec![Layer::new("Pareto front", 6, Marks::Line(stairs))];
    if random != Marks::Dots(Vec::new()) {
        layers.push(Layer::new("random search", 1, random));
    }
    layers.push(Layer::new(
        "search",
        0,
        dots(&page.children, Origin::Search),
    ));
    let caption = format!(
        "Children with {length} levels, the longest there are; the line goes through the {} of the search that no other beats at no higher cost.",
        front.len()
    );
    let chart = Chart {
        x: axis.log(),
        y: estimates(),
        layers,
    };
    Figure::new(id, title, caption, vec![chart])
}

fn learning(page: &RunPage) -> Figure {
    let (mut accuracy, mut loss) = (Vec::new(), Vec::new());
    let mut ends = Vec::new();
    for (color, training) in page.trainings.iter().enumerate() {
        let epochs = || training.epochs.iter();
        let at = |epoch: usize| epoch as f64;
        let name = &training.name;
        let validation: Vec<_> = epochs()
            .filter_map(|e| Some((at(e.epoch), e.validation_accuracy?)))
            .collect();
        accuracy.push(Layer::new(
            format!("{name}: training, augmented"),
            color,
            Marks::Thin(
                epochs()
                    .map(|e| (at(e.epoch), e.training_accuracy))
                    .collect(),
            ),
        ));
        loss.push(Layer::new(
            format!("{name}: training, augmented"),
            color,
            Marks::Thin(epochs().map(|e| (at(e.epoch), e.loss)).collect()),
        ));
        if !validation.is_empty() {
            let lost = epochs().filter_map(|e| Some((at(e.epoch), e.validation_loss?)));
            let name = format!("{name}: validation");
            loss.push(Layer::new(name.clone(), color, Marks::Line(lost.collect())));
            accuracy.push(Layer::new(name, color, Marks::Line(validation)));
        }
        let tested = training
            .test_accuracy()
            .map(|test| format!("{} on test images", percent(test)));
        ends.push(format!(
            "{name}: {}",
            tested.unwrap_or_else(|| format!("{} epochs", training.epochs.len()))
        ));
    }
    let charts = match page.trainings.is_empty() {
        true => Vec::new(),
        false => vec![
            Chart {
                x: Axis::new("epoch", Unit::Number),
                y: Axis::new("accuracy", Unit::Percent),
                layers: accuracy,
            },
            Chart {
                x: Axis::new("epoch", Unit::Number),
                y: Axis::new("loss (nats)", Unit::Number),
                layers: loss,
            },
        ],
    };
    let caption = match ends.is_empty() {
        true => "No network was trained from scratch yet: `epnas train` does that.".to_owned(),
        false => format!("Training from scratch. {}.", ends.join("; ")),
    };
    Figure::new(
        "learning",
        "Learning curves of the final training",
        caption,
        charts,
    )
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{page, record};
    use super::*;

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
}
