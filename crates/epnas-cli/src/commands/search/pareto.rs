//! The drawings `pareto-params.svg` and `pareto-macs.svg` of a run folder: estimates of the children against their cost.

use std::path::Path;

use epnas_report::curves::{Labelled, Labels, Points, Scale, scatter};
use epnas_search::{
    Best, Config, History, RankedCandidate, Record, RunFolder, read_history, write_atomic,
};

use crate::failure;

/// Draws the search in `dir` with its result.
pub(super) fn draw(dir: &Path, config: &Config, best: &Best) -> anyhow::Result<()> {
    let folder = RunFolder::new(dir);
    let records = read_history(&folder.history());
    let records = records.map_err(|error| failure::of_search(error.into()))?;
    let history = History::from_records(config.space.clone(), config.search.history, records);
    let children = history.best(usize::MAX, history.deepest().unwrap_or(0));
    let all = |cost: fn(&Record) -> Option<u64>| {
        let point = |record: &&Record| Some((cost(record)? as f64, record.estimate?));
        children.iter().filter_map(point).collect()
    };
    let front = |of: &[RankedCandidate], cost: fn(&RankedCandidate) -> Option<u64>| {
        let corner = |found: &RankedCandidate| Some((cost(found)? as f64, found.estimate));
        of.iter().filter_map(corner).collect()
    };
    let fronts = &best.pareto;
    let drawings = [
        (
            "params",
            svg(
                "trainable parameters",
                all(|child| child.params),
                front(&fronts.params, |found| found.params),
            )?,
        ),
        (
            "macs",
            svg(
                "multiply-accumulates per image",
                all(|child| child.macs),
                front(&fronts.macs, |found| found.macs),
            )?,
        ),
    ];
    for (name, svg) in drawings {
        if let Some(svg) = svg {
            write_atomic(&folder.pareto_drawing(name), svg.as_bytes())?;
        }
    }
    Ok(())
}

/// An SVG of points and of the line through the front; `None` when there are none.
fn svg(
    cost: &str,
    children: Vec<(f64, f64)>,
    front: Vec<(f64, f64)>,
) -> anyhow::Result<Option<String>> {
    if children.is_empty() {
        return Ok(None);
    }
    // What costs nothing has no place on a logarithmic axis.
    let scale = match children.iter().all(|&(x, _)| x > 0.0) {
        true => Scale::Log,
        false => Scale::Linear,
    };
    let points = children.into_iter().map(|(x, y)| Labelled {
        x,
        y,
        label: String::new(),
    });
    let children = Points {
        name: "children".to_owned(),
        points: points.collect(),
    };
    let labels = Labels {
        title: "Pareto front of the search".to_owned(),
        x: cost.to_owned(),
        y: "estimate (shared weights)".to_owned(),
    };
    Ok(Some(scatter(&labels, scale, &[children], &front)?))
}
