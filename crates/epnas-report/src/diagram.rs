//! Architectures drawn as SVG: a macro network from stem to head (as Perez-Rua et al., 2018, draw theirs in figure 4), a
//! cell with its blocks (figure 5).
//!
//! Every drawing has one layout: rows from top to bottom, and beside them a lane for each result that is read further down,
//! in the colour of its source. So two networks can be laid side by side. Colours are told apart by the colour-blind, follow
//! the reader's light or dark mode, and never carry meaning alone: everything is labelled.

mod canvas;

pub use canvas::STYLE;

use std::collections::BTreeMap;

use epnas_arch::{Arch, CellArch, CellSource, ChoiceArch, MacroArch, Network, Op, Shape};

use crate::parts::parts;
use crate::text::{grouped, source_name};

/// An architecture as SVG. `network` must have been built from it: sizes, parameters and operations are read there.
///
/// ```
/// use epnas_arch::{Arch, Network, NetworkConfig, Shape};
///
/// let arch: Arch = "macro:c3.0/d5.0+1".parse()?;
/// let network = Network::build(&arch, 2, &NetworkConfig::default(), Shape::new(32, 32, 3), 10)?;
/// let svg = epnas_report::diagram::svg(&arch, &network);
/// assert!(svg.starts_with("<svg"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn svg(arch: &Arch, network: &Network) -> String {
    drawn(arch, network, STYLE)
}

/// The same without its style sheet, for a page that holds many and [`STYLE`] once.
pub fn unstyled(arch: &Arch, network: &Network) -> String {
    drawn(arch, network, "")
}

fn drawn(arch: &Arch, network: &Network, style: &str) -> String {
    let drawing = match arch {
        Arch::Macro(layers) => of_layers(arch, layers, network),
        Arch::Micro(cell) => of_cell(cell, network),
        Arch::Choices(choices) => of_choices(choices),
    };
    let sums = match arch {
        Arch::Choices(_) => String::new(),
        _ => format!(
            "{} parameters, {} MACs for an image of {}",
            grouped(network.params()),
            grouped(network.macs()),
            network.input
        ),
    };
    drawing.svg(&arch.to_string(), &sums, style)
}

/// What a box stands for; its class in the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Conv,
    Depthwise,
    MaxPool,
    AvgPool,
    Identity,
    Plain,
}

impl Look {
    fn of(op: Op) -> Look {
        match op {
            Op::Conv3x3 | Op::Conv5x5 => Look::Conv,
            Op::DwConv3x3 | Op::DwConv5x5 | Op::DwConv7x7 => Look::Depthwise,
            Op::MaxPool3x3 => Look::MaxPool,
            Op::AvgPool3x3 => Look::AvgPool,
            Op::Identity => Look::Identity,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Look::Conv => "en-conv",
            Look::Depthwise => "en-depthwise",
            Look::MaxPool => "en-max",
            Look::AvgPool => "en-avg",
            Look::Identity => "en-identity",
            Look::Plain => "en-plain",
        }
    }
}

/// How an operation is written in a box.
fn title(op: Op) -> String {
    let kernel = op.kernel();
    match Look::of(op) {
        Look::Conv => format!("conv {kernel}x{kernel}"),
        Look::Depthwise => format!("depthwise {kernel}x{kernel}"),
        Look::MaxPool => "max pool 3x3".to_owned(),
        Look::AvgPool => "average pool 3x3".to_owned(),
        Look::Identity | Look::Plain => "identity".to_owned(),
    }
}

/// A box with its text.
#[derive(Debug, Clone)]
struct Node {
    look: Look,
    title: String,
}

/// One row: a box alone, or two whose sum is the row's result.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    nodes: Vec<Node>,
    notes: Vec<String>,
    is_live: bool,
    /// Begins a band of this resolution.
    band: Option<String>,
}

/// A result that is read elsewhere than in the row below, or by one of two boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wire {
    from: usize,
    to: usize,
    /// Which box of the row reads it: 0 from the left, 1 from the right.
    slot: usize,
    is_live: bool,
}

/// Rows and what connects them.
#[derive(Debug, Default)]
struct Drawing {
    rows: Vec<Row>,
    /// Straight down from the row above.
    chained: Vec<usize>,
    wires: Vec<Wire>,
    /// Said below the heading.
    remark: String,
}

fn resolution(shape: Shape) -> String {
    format!("{} x {}", shape.height, shape.width)
}

fn of_layers(arch: &Arch, layers: &MacroArch, network: &Network) -> Drawing {
    let parts = parts(arch, network);
    let part = |name: &str| parts.iter().find(|part| part.name == name);
    let mut drawing = Drawing::default();
    let mut last = None;
    let mut row = |drawing: &mut Drawing, name: String, node: Node| {
        let found = part(&name);
        let shape = found.and_then(|part| part.shape);
        let is_live = shape.is_some();
        let band = shape.filter(|_| name != "head").map(resolution);
        let notes = match found {
            Some(part) if is_live => vec![format!(
                "{} parameters, {} MACs",
                grouped(part.params),
                grouped(part.macs)
            )],
            _ => vec!["not used".to_owned()],
        };
        let begins = band.clone().filter(|band| last.as_ref() != Some(band));
        if begins.is_some() {
            last = band;
        }
        drawing.rows.push(Row {
            name,
            nodes: vec![node],
            notes,
            is_live,
            band: begins,
        });
    };
    let plain = |title: &str| Node {
        look: Look::Plain,
        title: title.to_owned(),
    };
    row(&mut drawing, "stem".into(), plain("stem: conv 3x3"));
    for (number, layer) in (1..).zip(&layers.layers) {
        let node = Node {
            look: Look::of(layer.op),
            title: format!("{number}  {}", title(layer.op)),
        };
        row(&mut drawing, format!("layer {number}"), node);
        let is_live = drawing.rows[number].is_live;
        for from in layer.sources.iter() {
            if from + 1 == number {
                drawing.chained.push(number);
            } else {
                drawing.wires.push(Wire {
                    from,
                    to: number,
                    slot: 0,
                    is_live,
                });
            }
        }
    }
    row(&mut drawing, "head".into(), plain("average, linear"));
    drawing.chained.push(drawing.rows.len() - 1);
    if drawing.rows.iter().filter(|row| row.band.is_some()).count() > 1 {
        drawing.remark = "rings: pooled to half the resolution".to_owned();
    }
    drawing
}

fn of_cell(cell: &CellArch, network: &Network) -> Drawing {
    let cells = parts(&Arch::Micro(cell.clone()), network);
    let cells: Vec<_> = cells
        .iter()
        .filter(|part| part.name.starts_with("cell ") && part.is_live())
        .collect();
    // Over all cells: parameters and operations of what is called so in each.
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for node in &network.nodes {
        let mut words = node.label.splitn(3, '.');
        let (Some("cell"), Some(_), Some(rest)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let mut words = rest.split('.');
        let key = match (words.next(), words.next(), words.next()) {
            (Some("block"), Some(block), Some(slot)) => format!("{block}.{slot}"),
            (Some(first), ..) => first.to_owned(),
            _ => continue,
        };
        let total = totals.entry(key).or_default();
        total.0 += node.param_count();
        total.1 += node.macs();
    }
    let cost = |key: String| {
        let (params, macs) = totals.get(&key).copied().unwrap_or_default();
        format!("{} parameters, {} MACs", grouped(params), grouped(macs))
    };
    let mut drawing = Drawing::default();
    let plain = |title: String| Node {
        look: Look::Plain,
        title,
    };
    for source in [CellSource::BeforePrevious, CellSource::Previous] {
        drawing.rows.push(Row {
            name: source_name(source),
            nodes: vec![plain(source_name(source))],
            notes: match cell.reads(source) {
                true => Vec::new(),
                false => vec!["not read".to_owned()],
            },
            is_live: cell.reads(source),
            band: None,
        });
    }
    for (number, block) in cell.blocks.iter().enumerate() {
        let nodes = block.inputs.iter().map(|input| Node {
            look: Look::of(input.op),
            title: title(input.op),
        });
        drawing.rows.push(Row {
            name: format!("block {number}"),
            nodes: nodes.collect(),
            notes: vec![
                format!("block {number}, left: {}", cost(format!("{number}.0"))),
                format!("right: {}", cost(format!("{number}.1"))),
            ],
            is_live: true,
            band: None,
        });
        for (slot, input) in block.inputs.iter().enumerate() {
            drawing.wires.push(Wire {
                from: input.source.index(),
                to: number + 2,
                slot,
                is_live: true,
            });
        }
    }
    let output = drawing.rows.len();
    drawing.rows.push(Row {
        name: "output".into(),
        nodes: vec![plain("conv 1x1: output".into())],
        notes: vec![cost("out".into())],
        is_live: true,
        band: None,
    });
    for block in cell.outputs() {
        drawing.wires.push(Wire {
            from: block + 2,
            to: output,
            slot: 0,
            is_live: true,
        });
    }
    let kinds = |what: &str| cells.iter().filter(|part| part.what == what).count();
    drawing.remark = format!(
        "{} normal cells and {} reductions; parameters and MACs are sums over all of them",
        kinds("normal"),
        kinds("reduction")
    );
    drawing
}

fn of_choices(choices: &ChoiceArch) -> Drawing {
    let mut drawing = Drawing::default();
    for (level, choice) in (1..).zip(&choices.choices) {
        drawing.rows.push(Row {
            name: format!("level {level}"),
            nodes: vec![Node {
                look: Look::Plain,
                title: format!("level {level}: choice {choice}"),
            }],
            notes: Vec::new(),
            is_live: true,
            band: None,
        });
        if level > 1 {
            drawing.chained.push(level - 1);
        }
    }
    drawing
}

#[cfg(test)]
mod tests {
    use epnas_arch::NetworkConfig;

    use super::*;

    fn drawn(text: &str) -> String {
        let arch: Arch = text.parse().expect("an architecture");
        let image = Shape::new(32, 32, 3);
        let network = Network::build(&arch, 6, &NetworkConfig::default(), image, 10);
        svg(&arch, &network.expect("a network"))
    }

    fn count(text: &str, part: &str) -> usize {
        text.matches(part).count()
    }

    #[test]
    fn layers_have_boxes_wires_and_resolutions() {
        let svg = drawn("macro:c3.0/d5.0+1/mp.1/c5.0+2+3/ap.4/c3.2+5");
        // Stem, six layers, head.
        assert_eq!(count(&svg, "<g class=\"en-box"), 8);
        // 1, 2, 4, 5, 6 read the layer before, and so does the head; 3 skips it.
        assert_eq!(count(&svg, " en-tip\""), 6 + 5);
        for part in [
            "32 x 32",
            "16 x 16",
            "8 x 8",
            "4  conv 5x5",
            "layer 4: 4  conv 5x5 reads layer 3, stem, layer 2.",
        ] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg, drawn("macro:c3.0/d5.0+1/mp.1/c5.0+2+3/ap.4/c3.2+5"));
    }

    #[test]
    fn layers_that_nobody_reads_are_marked() {
        let svg = drawn("macro:c3.0/d5.0/mp.1");
        assert_eq!(count(&svg, "en-unused\""), 1);
        assert!(svg.contains("not used"));
        // The second layer's wire.
        assert!(svg.contains("en-wire en-dead\""));
        assert_eq!(count(&drawn("macro:c3.0/d5.1"), "en-unused\""), 0);
    }

    #[test]
    fn cells_have_pairs_with_sums() {
        let svg = drawn("micro:c3.-2+mp.-1/d5.-1+id.0/ap.0+d7.-2");
        // Two inputs, three times two operations and a sum, the output.
        assert_eq!(count(&svg, "<g class=\"en-box"), 2 + 9 + 1);
        // Six inputs of operations, and blocks 1 and 2 make the output.
        assert_eq!(count(&svg, " en-tip\""), 6 + 2);
        assert!(svg.contains("6 normal cells and 2 reductions"), "{svg}");
    }

    /// However many skips they have, networks of as many layers can be laid over each other.
    #[test]
    fn boxes_stand_where_those_of_other_networks_do() {
        let places = |text: &str| -> Vec<String> {
            let svg = drawn(text);
            let boxes = svg.split("<g class=\"en-box").skip(1);
            let rect = |part: &str| {
                part.split("<rect ")
                    .nth(1)
                    .map(|rect| rect.split(" rx").next().unwrap_or("").to_owned())
            };
            boxes.filter_map(rect).collect()
        };
        let chain = places("macro:c3.0/c3.1/c3.2/c3.3/c3.4");
        assert_eq!(chain.len(), 7);
        assert_eq!(
            chain,
            places("macro:c3.0/c3.0+1/c3.0+1+2/c3.0+1+2+3/c3.0+1+2+3+4")
        );
        let cell = places("micro:c3.-2+mp.-1/d5.-1+id.-2");
        assert_eq!(cell, places("micro:c3.-2+mp.-2/d5.0+id.0"));
    }

    /// Lanes in one column never run beside each other.
    #[test]
    fn lanes_do_not_overlap() {
        let arch: Arch = "macro:c3.0/c3.0/c3.0+1/c3.0+1+2/c3.1+2+3/c3.0+3+4"
            .parse()
            .expect("valid");
        let image = Shape::new(8, 8, 3);
        let network = Network::build(&arch, 6, &NetworkConfig::default(), image, 10);
        let Arch::Macro(layers) = &arch else {
            unreachable!("macro")
        };
        let drawing = of_layers(&arch, layers, &network.expect("a network"));
        let lanes = drawing.lanes(0);
        assert!(lanes.len() >= 4);
        for (index, a) in lanes.iter().enumerate() {
            for b in &lanes[index + 1..] {
                assert!(a.column != b.column || b.from > a.last, "{a:?} {b:?}");
            }
        }
    }
}
