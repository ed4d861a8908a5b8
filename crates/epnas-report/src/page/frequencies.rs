//! What the children of a search are made of, by depth and iteration: operations, and where they read.

use std::collections::BTreeMap;

use epnas_arch::{Arch, CellSource, Op, Space};

use super::chart::{Axis, Chart, Layer, Marks, Unit};
use super::figures::Figure;
use super::run::RunPage;

/// How often each word occurred at a depth (from 1) in an iteration (from 0).
#[derive(Debug, Default)]
struct Counts {
    words: Vec<String>,
    counts: BTreeMap<(usize, usize), Vec<f64>>,
}

impl Counts {
    /// With words that must have a place in this order.
    fn with(words: impl IntoIterator<Item = String>) -> Self {
        Self {
            words: words.into_iter().collect(),
            counts: BTreeMap::new(),
        }
    }

    fn add(&mut self, depth: usize, iteration: usize, word: &str) {
        let place = self.words.iter().position(|known| known == word);
        let place = place.unwrap_or_else(|| {
            self.words.push(word.to_owned());
            self.words.len() - 1
        });
        let counts = self.counts.entry((depth, iteration)).or_default();
        if counts.len() <= place {
            counts.resize(place + 1, 0.0);
        }
        counts[place] += 1.0;
    }

    /// Stacked bars of shares: a group for each depth, in it a bar for each iteration.
    fn chart(&self, depth_name: &str, y: &str) -> Chart {
        let iterations = self.counts.keys().map(|key| key.1 + 1).max().unwrap_or(1) as f64;
        let mut bars = vec![Vec::new(); self.words.len()];
        for (&(depth, iteration), counts) in &self.counts {
            let whole: f64 = counts.iter().sum();
            let (width, mut bottom) = (0.84 / iterations, 0.0);
            let left = depth as f64 - 0.42 + width * iteration as f64;
            for (word, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                let top = bottom + count / whole;
                bars[word].push([left, left + 0.9 * width, bottom, top]);
                bottom = top;
            }
        }
        let layers = self.words.iter().zip(bars).enumerate();
        Chart {
            x: Axis::new(depth_name, Unit::Whole),
            y: Axis::new(y, Unit::Percent).at_least(0.0..1.0),
            layers: layers
                .filter(|(_, (_, bars))| !bars.is_empty())
                .map(|(place, (word, bars))| {
                    Layer::new(word, color(word, place), Marks::Bars(bars))
                })
                .collect(),
        }
    }
}

/// Colours of a family for the operations that drawings show in it, and for other words by their place.
fn color(word: &str, place: usize) -> usize {
    match Op::parse(word) {
        Some(Op::Conv3x3) => 0,
        Some(Op::Conv5x5) => 5,
        Some(Op::DwConv3x3) => 2,
        Some(Op::DwConv5x5) => 7,
        Some(Op::DwConv7x7) => 6,
        Some(Op::MaxPool3x3) => 1,
        Some(Op::AvgPool3x3) => 4,
        Some(Op::Identity) => 3,
        None => place,
    }
}

/// Operations by depth, and sources by depth.
pub(super) fn figures(page: &RunPage) -> Vec<Figure> {
    let known = page.space.ops().iter().map(|op| op.name().to_owned());
    let mut ops = Counts::with(known);
    let mut sources =
        Counts::with(["cell before", "previous cell", "earlier block"].map(str::to_owned));
    let mut skips: BTreeMap<(usize, usize), (f64, f64)> = BTreeMap::new();
    for record in &page.children {
        let iteration = record.iteration;
        match &record.arch {
            Arch::Macro(network) => {
                for (depth, layer) in (1..).zip(&network.layers) {
                    ops.add(depth, iteration, layer.op.name());
                    let skipped = layer
                        .sources
                        .iter()
                        .filter(|from| from + 1 != depth)
                        .count();
                    let sum = skips.entry((iteration, depth)).or_default();
                    *sum = (sum.0 + skipped as f64, sum.1 + 1.0);
                }
            }
            Arch::Micro(cell) => {
                for (depth, block) in (1..).zip(&cell.blocks) {
                    for input in &block.inputs {
                        ops.add(depth, iteration, input.op.name());
                        let from = match input.source {
                            CellSource::BeforePrevious => "cell before",
                            CellSource::Previous => "previous cell",
                            CellSource::Block(_) => "earlier block",
                        };
                        sources.add(depth, iteration, from);
                    }
                }
            }
            Arch::Choices(choices) => {
                for (depth, choice) in (1..).zip(&choices.choices) {
                    ops.add(depth, iteration, &format!("choice {choice}"));
                }
            }
        }
    }
    let iterations = page
        .children
        .iter()
        .map(|record| record.iteration + 1)
        .max();
    let depth = match page.space {
        Space::Macro(_) => "layer",
        Space::Micro(_) => "block",
        Space::Choices(_) => "level",
    };
    let over_time = match iterations {
        Some(several) if several > 1 => format!(
            " In each group, a bar for each of the {several} iterations, from left to right."
        ),
        _ => String::new(),
    };
    let charts = |chart: Chart| match page.children.is_empty() {
        true => Vec::new(),
        false => vec![chart],
    };
    let mut figures = vec![Figure::new(
        "operations",
        "Operations by depth",
        format!(
            "Shares of the operations that the children of the search have at each {depth}.{over_time}"
        ),
        charts(ops.chart(depth, "share")),
    )];
    match page.space {
        Space::Macro(_) => figures.push(Figure::new(
            "skips",
            "Skip connections by depth",
            "How many earlier layers, beside the one before, a layer reads on average; a line for each iteration.".to_owned(),
            charts(skip_chart(&skips)),
        )),
        Space::Micro(_) => figures.push(Figure::new(
            "skips",
            "Where blocks read",
            format!("Shares of the sources that the operations of each block read.{over_time}"),
            charts(sources.chart(depth, "share of inputs")),
        )),
        Space::Choices(_) => {}
    }
    figures
}

/// `(sum, number)` by iteration and depth, as lines of means.
fn skip_chart(skips: &BTreeMap<(usize, usize), (f64, f64)>) -> Chart {
    let mut lines: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for (&(iteration, depth), (sum, number)) in skips {
        let line = lines.entry(iteration).or_default();
        line.push((depth as f64, sum / number));
    }
    let layer = |(iteration, points): (usize, Vec<(f64, f64)>)| {
        Layer::new(
            format!("iteration {}", iteration + 1),
            iteration,
            Marks::Line(points),
        )
    };
    Chart {
        x: Axis::new("layer", Unit::Whole),
        y: Axis::new("skips into the layer", Unit::Number),
        layers: lines.into_iter().map(layer).collect(),
    }
}
