//! A network part by part: stem, layers or cells, reductions between layers, head.

use std::collections::BTreeMap;

use epnas_arch::{Arch, CellArch, CellSource, MacroArch, Network, Node, NodeKind, Shape};
use serde::Serialize;

/// One part of a network: a row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `stem`, `layer 3`, `pool 1` (what crosses the first boundary), `cell 0` or `head`.
    pub name: String,
    /// Its operation, or `normal` or `reduction` for a cell.
    pub what: String,
    /// What it reads, by name: `stem, layer 1`.
    pub reads: String,
    /// Shape of its output; `None` for a dead part, which is not built.
    pub shape: Option<Shape>,
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
}

impl Part {
    /// Whether the output of the network depends on it.
    pub fn is_live(&self) -> bool {
        self.shape.is_some()
    }
}

/// What the nodes of one part amount to.
#[derive(Debug, Clone, Copy)]
struct Total {
    shape: Shape,
    params: u64,
    macs: u64,
}

/// The parts of a network in the order of their numbers, dead layers and cells included.
///
/// `network` must have been built from `arch`; for another one the parts that it lacks read as dead.
pub fn parts(arch: &Arch, network: &Network) -> Vec<Part> {
    let totals = totals(network);
    let part = |name: String, what: String, reads: String| {
        let total = totals.get(&name);
        Part {
            shape: total.map(|t| t.shape),
            params: total.map_or(0, |t| t.params),
            macs: total.map_or(0, |t| t.macs),
            name,
            what,
            reads,
        }
    };
    let mut parts = vec![part("stem".into(), "conv_3x3".into(), "image".into())];
    match arch {
        Arch::Macro(arch) => {
            for boundary in [1, 2] {
                let name = format!("pool {boundary}");
                if let Some((what, reads)) = crossing(arch, network, boundary) {
                    parts.push(part(name, what.into(), reads));
                }
            }
            for (i, layer) in arch.layers.iter().enumerate() {
                let reads = layer
                    .sources
                    .iter()
                    .map(output_name)
                    .collect::<Vec<_>>()
                    .join(", ");
                parts.push(part(
                    format!("layer {}", i + 1),
                    layer.op.name().into(),
                    reads,
                ));
            }
        }
        Arch::Micro(cell) => {
            let count = cell_count(network);
            let period = count.div_ceil(3);
            for c in 0..count {
                let what = if period > 0 && c % period + 1 == period {
                    "reduction"
                } else {
                    "normal"
                };
                parts.push(part(format!("cell {c}"), what.into(), cell_reads(cell, c)));
            }
        }
        // It has no network, so there are no parts to tell of.
        Arch::Choices(_) => {}
    }
    let last = match arch {
        Arch::Macro(arch) => output_name(arch.layers.len()),
        Arch::Micro(_) => format!("cell {}", cell_count(network).saturating_sub(1)),
        Arch::Choices(_) => output_name(0),
    };
    parts.push(part("head".into(), "average, linear".into(), last));
    parts
}

/// `stem`, or `layer 3`.
pub(crate) fn output_name(source: usize) -> String {
    match source {
        0 => "stem".to_owned(),
        layer => format!("layer {layer}"),
    }
}

/// How sources cross a boundary, and which do.
fn crossing(
    arch: &MacroArch,
    network: &Network,
    boundary: usize,
) -> Option<(&'static str, String)> {
    let crossing = |j: &usize| network.node(&format!("pool.{boundary}.{j}"));
    let sources: Vec<usize> = (0..arch.layers.len())
        .filter(|j| crossing(j).is_some())
        .collect();
    let what = match sources.first().and_then(crossing)?.kind {
        NodeKind::Pool { .. } => "max_pool_3x3, stride 2",
        _ => "factorized reduction",
    };
    Some((
        what,
        sources
            .into_iter()
            .map(output_name)
            .collect::<Vec<_>>()
            .join(", "),
    ))
}

/// The last cell is always live, so its number tells how many there are.
fn cell_count(network: &Network) -> usize {
    let number = |node: &Node| {
        node.label
            .strip_prefix("cell.")?
            .split('.')
            .next()?
            .parse::<usize>()
            .ok()
    };
    network
        .nodes
        .iter()
        .filter_map(number)
        .max()
        .map_or(0, |last| last + 1)
}

fn cell_reads(cell: &CellArch, c: usize) -> String {
    let name = |back: usize| {
        c.checked_sub(back)
            .map_or_else(|| "stem".to_owned(), |c| format!("cell {c}"))
    };
    let mut reads = Vec::new();
    for (source, back) in [(CellSource::BeforePrevious, 2), (CellSource::Previous, 1)] {
        if cell.reads(source) && !reads.contains(&name(back)) {
            reads.push(name(back));
        }
    }
    reads.join(", ")
}

/// Sums over the nodes by part; the shape is that of the last node, which is the output.
fn totals(network: &Network) -> BTreeMap<String, Total> {
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    for node in &network.nodes {
        let mut words = node.label.split('.');
        let name = match (words.next(), words.next()) {
            (Some(kind @ ("layer" | "cell" | "pool")), Some(number)) => format!("{kind} {number}"),
            (first, _) => first.unwrap_or_default().to_owned(),
        };
        let total = totals.entry(name).or_insert(Total {
            shape: node.shape,
            params: 0,
            macs: 0,
        });
        total.shape = node.shape;
        total.params += node.param_count();
        total.macs += node.macs();
    }
    totals
}
