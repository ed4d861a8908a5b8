//! Graphviz graphs. Render with `dot -Tsvg`.
//!
//! Every label is escaped, so any text gives a valid graph.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use epnas_arch::{
    Activation, Arch, CellArch, CellSource, ChoiceArch, MacroArch, Network, NodeKind, PoolKind,
};

use crate::parts::output_name;
use crate::text::{grouped, source_name};

/// An architecture as it is usually drawn.
///
/// Macro: the layers from stem to head, the chain of layers in solid edges and the skip connections dashed
/// (Perez-Rua et al., 2018, figure 1); layers that the output does not depend on are gray. Micro: the
/// blocks of the cell, their operations and the two earlier cells (figure 2). Choices: the levels in a row.
///
/// ```
/// let arch: epnas_arch::Arch = "macro:c3.0/c5.0+1".parse()?;
/// let graph = epnas_report::dot::architecture(&arch);
/// assert!(graph.starts_with("digraph architecture {"));
/// # Ok::<(), epnas_arch::ParseArchError>(())
/// ```
pub fn architecture(arch: &Arch) -> String {
    let mut graph = Graph::new("architecture", &arch.to_string());
    match arch {
        Arch::Macro(arch) => macro_graph(&mut graph, arch),
        Arch::Micro(cell) => cell_graph(&mut graph, cell),
        Arch::Choices(arch) => choice_graph(&mut graph, arch),
    }
    graph.finish()
}

/// A whole network, node by node, with shapes.
pub fn network(network: &Network) -> String {
    let title = format!(
        "{} parameters, {} MACs for an image of {}",
        grouped(network.params()),
        grouped(network.macs()),
        network.input
    );
    let mut graph = Graph::new("network", &title);
    for (id, node) in network.nodes.iter().enumerate() {
        let label = format!("{}\n{}\n{}", node.label, describe(&node.kind), node.shape);
        graph.node(&format!("n{id}"), &label, "");
        for input in &node.inputs {
            graph.edge(&format!("n{input}"), &format!("n{id}"), "");
        }
    }
    graph.finish()
}

/// Levels in a row.
fn choice_graph(graph: &mut Graph, arch: &ChoiceArch) {
    for (level, choice) in (1..).zip(&arch.choices) {
        let label = format!("level {level}\nchoice {choice}");
        graph.node(&format!("l{level}"), &label, "");
        if level > 1 {
            graph.edge(&format!("l{}", level - 1), &format!("l{level}"), "");
        }
    }
}

fn macro_graph(graph: &mut Graph, arch: &MacroArch) {
    let last = arch.layers.len();
    let mut live = BTreeSet::from([last]);
    for (i, layer) in arch.layers.iter().enumerate().rev() {
        if live.contains(&(i + 1)) {
            live.extend(layer.sources.iter());
        }
    }
    let faded = |l: usize| {
        if live.contains(&l) {
            ""
        } else {
            "color=gray, fontcolor=gray"
        }
    };
    graph.node("h0", "stem", faded(0));
    for (i, layer) in arch.layers.iter().enumerate() {
        let l = i + 1;
        graph.node(
            &format!("h{l}"),
            &format!("{}\n{}", output_name(l), layer.op),
            faded(l),
        );
        for source in layer.sources.iter() {
            let style = match (source + 1 == l, live.contains(&l)) {
                (true, true) => "",
                (true, false) => "color=gray",
                (false, true) => "style=dashed",
                (false, false) => "style=dashed, color=gray",
            };
            graph.edge(&format!("h{source}"), &format!("h{l}"), style);
        }
    }
    graph.node("head", "head", "");
    graph.edge(&format!("h{last}"), "head", "");
}

fn cell_graph(graph: &mut Graph, cell: &CellArch) {
    let id = |source: CellSource| format!("s{}", source.index());
    for source in [CellSource::BeforePrevious, CellSource::Previous] {
        if cell.reads(source) {
            graph.node(
                &id(source),
                &source_name(source),
                "style=\"rounded,filled\", fillcolor=lightgray",
            );
        }
    }
    for (b, block) in cell.blocks.iter().enumerate() {
        let sum = format!("s{}", b + 2);
        graph.node(&sum, &format!("block {b}\nadd"), "shape=ellipse");
        for (slot, input) in block.inputs.iter().enumerate() {
            let op = format!("b{b}_{slot}");
            graph.node(&op, input.op.name(), "");
            graph.edge(&id(input.source), &op, "");
            graph.edge(&op, &sum, "");
        }
    }
    graph.node(
        "output",
        "output",
        "style=\"rounded,filled\", fillcolor=lightgray",
    );
    for b in cell.outputs() {
        graph.edge(&format!("s{}", b + 2), "output", "");
    }
}

fn describe(kind: &NodeKind) -> String {
    let strided = |stride: &usize| {
        if *stride == 1 {
            String::new()
        } else {
            format!(", stride {stride}")
        }
    };
    match kind {
        NodeKind::Input => "image".to_owned(),
        NodeKind::Conv { kernel, stride, .. } => {
            format!("conv {kernel}x{kernel}{}", strided(stride))
        }
        NodeKind::Depthwise { kernel, stride, .. } => {
            format!("depthwise {kernel}x{kernel}{}", strided(stride))
        }
        NodeKind::FactorizedConv { .. } => "factorized reduction".to_owned(),
        NodeKind::BatchNorm {
            activation: Activation::None,
            ..
        } => "batch norm".to_owned(),
        NodeKind::BatchNorm {
            activation: Activation::Relu,
            ..
        } => "batch norm, ReLU".to_owned(),
        NodeKind::Pool {
            kind: PoolKind::Max,
            stride,
        } => format!("max pool 3x3{}", strided(stride)),
        NodeKind::Pool {
            kind: PoolKind::Avg,
            stride,
        } => format!("average pool 3x3{}", strided(stride)),
        NodeKind::Add => "add".to_owned(),
        NodeKind::Relu => "ReLU".to_owned(),
        NodeKind::Head { .. } => "average, linear".to_owned(),
    }
}

/// A graph being written.
struct Graph {
    text: String,
}

impl Graph {
    fn new(name: &str, title: &str) -> Self {
        let title = escaped(title);
        let text = format!(
            "digraph {name} {{\n  label={title};\n  labelloc=t;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n"
        );
        Graph { text }
    }

    fn node(&mut self, id: &str, label: &str, attributes: &str) {
        let separator = if attributes.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.text,
            "  {id} [label={}{separator}{attributes}];",
            escaped(label)
        );
    }

    fn edge(&mut self, from: &str, to: &str, attributes: &str) {
        let attributes = if attributes.is_empty() {
            String::new()
        } else {
            format!(" [{attributes}]")
        };
        let _ = writeln!(self.text, "  {from} -> {to}{attributes};");
    }

    fn finish(mut self) -> String {
        self.text.push_str("}\n");
        self.text
    }
}

/// A quoted DOT string that shows exactly this text. Backslashes are doubled because DOT labels read `\n`,
/// `\N` and the like as escapes.
pub fn escaped(label: &str) -> String {
    let mut text = String::from("\"");
    for c in label.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
