//! The figures of one run: what its children tell.

#[cfg(test)]
mod tests;

use epnas_search::diagnostics::Diagnostics;
use epnas_search::{History, Record, pareto};

use super::chart::{Axis, Chart, Dot, Layer, Marks, Unit};
use super::run::{Cost, Origin, RunPage, Step, best_so_far, child_name, longest, steps};
use crate::text::percent;

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

/// All figures of run number `run`. Those that have nothing to show are there without charts, and say why.
pub(super) fn figures(run: usize, page: &RunPage) -> Vec<Figure> {
    let history = page.history();
    let found = Diagnostics::of(&history);
    let mut figures = vec![
        progress(page),
        sampled(run, page),
        predictions(run, page, found.as_ref()),
        agreement(found.as_ref()),
        probabilities(run, page),
    ];
    figures.extend(super::frequencies::figures(page));
    figures.extend([
        tradeoff(
            run,
            page,
            &history,
            "params",
            "Estimate against parameters",
            Axis::new("trainable parameters", Unit::Large),
            |record| record.params,
        ),
        tradeoff(
            run,
            page,
            &history,
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

fn predictions(run: usize, page: &RunPage, found: Option<&Diagnostics>) -> Figure {
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
    let caption = match found {
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

fn agreement(found: Option<&Diagnostics>) -> Figure {
    let steps = found.map_or(&[][..], |found| &found.steps);
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
    history: &History,
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
