//! Several runs side by side: repetitions of one kind as a mean with a band, kinds beside each other (Perez-Rua et al., 2018,
//! figure 6).

use std::collections::BTreeMap;

use epnas_search::Record;
use epnas_search::statistics::{deviation, mean};

use super::chart::{Axis, Chart, Dot, Layer, Marks, Unit};
use super::figures::{ESTIMATE, Figure, cost_axis};
use super::run::{Cost, RunPage, best_so_far, height};

/// Places with a mean and the deviation from it.
type Means = Vec<(f64, f64, f64)>;

/// Points of a mean line.
const POINTS: usize = 160;

/// Runs that differ in their seeds alone, or in where their images lie.
#[derive(Debug, Clone)]
pub(super) struct Kind<'a> {
    /// The settings that other kinds of the page do not share.
    pub(super) name: String,
    pub(super) runs: Vec<&'a RunPage>,
}

/// The kinds of runs that searched, in order of their first run.
pub(super) fn kinds(pages: &[RunPage]) -> Vec<Kind<'_>> {
    let mut found: Vec<(BTreeMap<&str, &str>, Vec<&RunPage>)> = Vec::new();
    for page in pages.iter().filter(|page| !page.is_fleet) {
        let kind = page.kind();
        match found.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, runs)) => runs.push(page),
            None => found.push((kind, vec![page])),
        }
    }
    let all: Vec<BTreeMap<&str, &str>> = found.iter().map(|(kind, _)| kind.clone()).collect();
    let differs = |key: &str| all.iter().any(|kind| kind.get(key) != all[0].get(key));
    let name = |kind: &BTreeMap<&str, &str>, runs: &[&RunPage]| {
        let own = kind.iter().filter(|(key, _)| differs(key));
        let words: Vec<String> = own
            .map(|(key, value)| match (*key, value.trim_matches('"')) {
                ("search.strategy", strategy) => strategy.to_owned(),
                (key, value) => format!("{key} = {value}"),
            })
            .collect();
        match (all.len(), words.len()) {
            (1, _) => "search".to_owned(),
            (_, 1..=3) => words.join(", "),
            // Too much to say: the runs' names say it.
            _ => match runs {
                [one] => one.name.clone(),
                [first, second] => format!("{}, {}", first.name, second.name),
                [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
                [] => String::new(),
            },
        }
    };
    found
        .into_iter()
        .map(|(kind, runs)| Kind {
            name: name(&kind, &runs),
            runs,
        })
        .collect()
}

/// The figures of several runs together.
pub(super) fn figures(pages: &[RunPage]) -> Vec<Figure> {
    let kinds = kinds(pages);
    vec![progress(&kinds), iterations(&kinds)]
}

/// Staircases as one mean with the standard deviation beside it, from where all of them have begun; one that has ended stays
/// at its height.
fn band(stairs: &[Vec<(f64, f64)>]) -> Means {
    match stairs {
        [] => return Vec::new(),
        [alone] => return alone.iter().map(|&(x, height)| (x, height, 0.0)).collect(),
        _ => {}
    }
    let begins = stairs.iter().filter_map(|one| one.first()).map(|at| at.0);
    let ends = stairs.iter().filter_map(|one| one.last()).map(|at| at.0);
    let (from, to) = (
        begins.fold(f64::NEG_INFINITY, f64::max),
        ends.fold(f64::NEG_INFINITY, f64::max),
    );
    (0..=POINTS)
        .filter_map(|point| {
            let x = from + (to - from) * point as f64 / POINTS as f64;
            let heights: Vec<f64> = stairs.iter().filter_map(|one| height(one, x)).collect();
            Some((x, mean(&heights)?, deviation(&heights).unwrap_or(0.0)))
        })
        .collect()
}

fn progress(kinds: &[Kind<'_>]) -> Figure {
    let charts = [Cost::Children, Cost::Seconds, Cost::Macs].map(|cost| {
        let of = |kind: &Kind<'_>, records: fn(&RunPage) -> &[Record]| {
            let stairs = kind.runs.iter();
            let stairs = stairs.map(|run| best_so_far(records(run), run.space.levels(), cost));
            // A run without such a network yet is left out.
            band(
                &stairs
                    .filter(|stairs| !stairs.is_empty())
                    .collect::<Vec<_>>(),
            )
        };
        let mut series: Vec<(String, Means)> = Vec::new();
        for kind in kinds {
            series.push((kind.name.clone(), of(kind, |run| &run.children)));
            let random = match kinds.len() {
                1 => "random search".to_owned(),
                _ => format!("random search beside {}", kind.name),
            };
            series.push((random, of(kind, |run| &run.random)));
        }
        let longest = series.iter().flat_map(|one| &one.1).map(|point| point.0);
        let (axis, factor) = cost_axis(cost, longest.fold(0.0, f64::max));
        let mut layers = Vec::new();
        for (place, (name, points)) in series.into_iter().enumerate() {
            if points.is_empty() {
                continue;
            }
            // A kind has one colour in all figures, and so has its random search, in a thinner line.
            let is_random = place % 2 == 1;
            let color = match (kinds.len(), is_random) {
                (1, _) => place,
                _ => place / 2,
            };
            let edges = points
                .iter()
                .map(|&(x, mid, off)| (factor * x, mid - off, mid + off));
            layers.push(Layer::new("", color, Marks::Band(edges.collect())));
            let line = points
                .iter()
                .map(|&(x, mid, _)| (factor * x, mid))
                .collect();
            let marks = match is_random && kinds.len() > 1 {
                true => Marks::Thin(line),
                false => Marks::Line(line),
            };
            layers.push(Layer::new(name, color, marks));
        }
        Chart {
            x: axis,
            y: Axis::new(ESTIMATE, Unit::Percent),
            layers,
        }
    });
    let runs: usize = kinds.iter().map(|kind| kind.runs.len()).sum();
    let mut caption = format!(
        "Highest estimate so far of a full-length network, over {runs} runs: their mean, and one standard deviation to both \
         sides. A line begins where every run of its kind has such a network; a run that has ended counts with its best."
    );
    let begun = kinds.iter().flat_map(|kind| &kind.runs).filter(|run| {
        let full = run.space.levels();
        !best_so_far(&run.children, full, Cost::Children).is_empty()
    });
    let without = runs - begun.count();
    if without > 0 {
        caption.push_str(&format!(
            " {without} of the runs had no full-length network and are left out."
        ));
    }
    Figure::new("progress", "Best estimate so far", caption, charts.into())
}

/// The best estimate of a full-length network in each iteration.
fn by_iteration(run: &RunPage) -> BTreeMap<usize, f64> {
    let length = run.space.levels();
    let mut best: BTreeMap<usize, f64> = BTreeMap::new();
    for record in run
        .children
        .iter()
        .filter(|record| record.arch.len() == length)
    {
        if let Some(estimate) = record.estimate {
            let known = best.entry(record.iteration + 1).or_insert(estimate);
            *known = known.max(estimate);
        }
    }
    best
}

fn iterations(kinds: &[Kind<'_>]) -> Figure {
    let mut layers = Vec::new();
    for (color, kind) in kinds.iter().enumerate() {
        let mut found: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for (iteration, best) in kind.runs.iter().flat_map(|run| by_iteration(run)) {
            found.entry(iteration).or_default().push(best);
        }
        let means: Means = found
            .iter()
            .filter_map(|(iteration, all)| {
                Some((*iteration as f64, mean(all)?, deviation(all).unwrap_or(0.0)))
            })
            .collect();
        if means.is_empty() {
            continue;
        }
        let edges = means.iter().map(|&(x, mid, off)| (x, mid - off, mid + off));
        layers.push(Layer::new("", color, Marks::Band(edges.collect())));
        let line = means.iter().map(|&(x, mid, _)| (x, mid)).collect();
        layers.push(Layer::new(
            format!("{}: mean of {}", kind.name, kind.runs.len()),
            color,
            Marks::Line(line),
        ));
        let dots = found.iter().flat_map(|(iteration, all)| {
            all.iter().map(|best| Dot {
                x: *iteration as f64,
                y: *best,
                child: String::new(),
            })
        });
        layers.push(Layer::new(
            format!("{}: runs", kind.name),
            color,
            Marks::Dots(dots.collect()),
        ));
    }
    let chart = Chart {
        x: Axis::new("iteration", Unit::Whole),
        y: Axis::new(ESTIMATE, Unit::Percent),
        layers,
    };
    Figure::new(
        "iterations",
        "Best of each iteration, run by run",
        "The highest estimate of a full-length network in each iteration: a dot for each run, their mean, and one standard \
         deviation to both sides."
            .to_owned(),
        vec![chart],
    )
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::{page, record};
    use super::*;

    #[test]
    fn bands_begin_where_all_runs_have() {
        let stairs = vec![
            vec![(1.0, 0.2), (4.0, 0.2), (4.0, 0.6), (10.0, 0.6)],
            vec![(2.0, 0.4), (8.0, 0.4)],
        ];
        let points = band(&stairs);
        assert_eq!((points[0].0, points[POINTS].0), (2.0, 10.0));
        assert!((points[0].1 - 0.3).abs() < 1e-12 && (points[POINTS].1 - 0.5).abs() < 1e-12);
        // Two values 0.2 apart: a deviation of 0.2 / sqrt(2).
        assert!((points[0].2 - 0.2 / 2f64.sqrt()).abs() < 1e-12);
        assert!(band(&[]).is_empty());
        assert_eq!(band(&stairs[1..]), [(2.0, 0.4, 0.0), (8.0, 0.4, 0.0)]);
        let late = band(&[vec![(5.0, 0.1)], vec![(1.0, 0.1), (2.0, 0.3)]]);
        assert_eq!(late[0].0, 5.0);
        assert!((late[0].1 - 0.2).abs() < 1e-12);
    }

    fn runs() -> Vec<RunPage> {
        let child = |index: u64, iteration, estimate| {
            let arch = if index.is_multiple_of(2) {
                "macro:c3.0/c3.1"
            } else {
                "macro:c5.0/c3.1"
            };
            record(index, iteration, 2, arch, Some(estimate))
        };
        let run = |name: &str, seed: &str, strategy: &str, estimates: [f64; 3]| {
            let children = estimates.into_iter().zip(0..);
            let children =
                children.map(|(estimate, index)| child(index, index as usize / 2, estimate));
            let mut page = page(children.collect(), Vec::new());
            page.name = name.to_owned();
            page.settings = [
                ("seed", seed),
                ("search.strategy", strategy),
                ("space.layers", "2"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
            page
        };
        vec![
            run("a", "0", "epnas", [0.1, 0.3, 0.2]),
            run("b", "1", "epnas", [0.3, 0.2, 0.6]),
            run("c", "0", "random", [0.5, 0.1, 0.1]),
        ]
    }

    #[test]
    fn seeds_are_repetitions_and_other_settings_are_not() {
        let runs = runs();
        let found = kinds(&runs);
        let names: Vec<(&str, usize)> = found
            .iter()
            .map(|kind| (kind.name.as_str(), kind.runs.len()))
            .collect();
        assert_eq!(names, [("epnas", 2), ("random", 1)]);
        assert_eq!(kinds(&runs[..2])[0].name, "search");
    }

    #[test]
    fn iterations_have_the_mean_of_the_best_of_each_run() {
        let runs = runs();
        let figure = iterations(&kinds(&runs));
        let layers: Vec<&Layer> = figure.charts[0].layers.iter().collect();
        // Best of the first iteration: 0.3 and 0.3; of the second: 0.2 and 0.6.
        let Marks::Line(line) = &layers[1].marks else {
            panic!("{layers:?}")
        };
        for (found, expected) in line.iter().zip([(1.0, 0.3), (2.0, 0.4)]) {
            assert!(
                (found.0 - expected.0).abs() < 1e-12 && (found.1 - expected.1).abs() < 1e-12,
                "{line:?}"
            );
        }
        let Marks::Band(band) = &layers[0].marks else {
            panic!("{layers:?}")
        };
        // 0.4 apart: a deviation of 0.4 / sqrt(2).
        assert!(
            (band[1].2 - 0.4 - 0.4 / 2f64.sqrt()).abs() < 1e-12,
            "{band:?}"
        );
        let Marks::Dots(dots) = &layers[2].marks else {
            panic!("{layers:?}")
        };
        assert_eq!(dots.len(), 4);
    }
}
