//! Architectures drawn as SVG: a macro network from stem to head (as Perez-Rua et al., 2018, draw theirs in figure 4), a
//! cell with its blocks (figure 5).
//!
//! Every drawing has one layout: rows from top to bottom, and beside them a lane for each result that is read further down,
//! in the colour of its source. So two networks can be laid side by side. Colours are told apart by the colour-blind, follow
//! the reader's light or dark mode, and never carry meaning alone: everything is labelled.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use epnas_arch::{Arch, CellArch, CellSource, ChoiceArch, MacroArch, Network, Op, Shape};

use crate::parts::parts;
use crate::text::{grouped, source_name};

/// Height of a row and of a box in it, in pixels.
const ROW: i32 = 58;
const BOX: i32 = 34;
/// Width of a box that stands alone, and of one of two.
const WIDE: i32 = 190;
const HALF: i32 = 150;
/// Distance of lanes.
const LANE: i32 = 14;
/// Room around the drawing, and above the first row.
const MARGIN: i32 = 18;
const HEADING: i32 = 82;
/// Room for what is written beside a row.
const NOTES: i32 = 330;

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
    drawing.svg(&arch.to_string(), &sums)
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

/// Where a lane runs.
#[derive(Debug, Clone, Copy)]
struct Lane {
    from: usize,
    last: usize,
    column: i32,
}

impl Drawing {
    /// One lane per source and side; lanes that do not meet share a column.
    fn lanes(&self, slot: usize) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = Vec::new();
        for from in 0..self.rows.len() {
            let of_source = self.wires.iter();
            let of_source = of_source.filter(|wire| wire.from == from && wire.slot == slot);
            let Some(last) = of_source.map(|wire| wire.to).max() else {
                continue;
            };
            let taken = |column: i32| {
                lanes
                    .iter()
                    .any(|lane| lane.column == column && from <= lane.last)
            };
            let column = (0..).find(|column| !taken(*column)).unwrap_or(0);
            lanes.push(Lane { from, last, column });
        }
        lanes
    }

    fn svg(&self, name: &str, sums: &str) -> String {
        let sides = [self.lanes(0), self.lanes(1)];
        let room = |lanes: &[Lane]| {
            let columns = lanes.iter().map(|lane| lane.column + 1).max();
            LANE * columns.unwrap_or(0) + LANE
        };
        let has_bands = self.rows.iter().any(|row| row.band.is_some());
        let has_pairs = self.rows.iter().any(|row| row.nodes.len() > 1);
        let bands = if has_bands { 70 } else { 0 };
        let middle = if has_pairs { 2 * HALF + 34 } else { WIDE };
        let left = MARGIN + bands + room(&sides[0]);
        let right = left + middle;
        let notes = right + room(&sides[1]) + 6;
        let (width, height) = (
            (notes + NOTES).max(MARGIN + 9 * name.chars().count().min(70) as i32),
            HEADING + ROW * self.rows.len() as i32 + MARGIN,
        );
        let mut out = String::new();
        let shown: String = match name.chars().count() > 70 {
            true => name.chars().take(68).chain("..".chars()).collect(),
            false => name.to_owned(),
        };
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" class=\"en-drawing\"><title>{}</title><desc>{}</desc>{STYLE}\
             <rect class=\"en-paper\" width=\"{width}\" height=\"{height}\"/>\
             <text class=\"en-name\" x=\"{MARGIN}\" y=\"26\">{}</text>\
             <text class=\"en-note\" x=\"{MARGIN}\" y=\"46\">{}</text>\
             <text class=\"en-note\" x=\"{MARGIN}\" y=\"64\">{}</text>",
            escaped(name),
            escaped(&self.description()),
            escaped(&shown),
            escaped(sums),
            escaped(&self.remark)
        );
        if has_bands {
            self.draw_bands(&mut out, width);
        }
        let at = Place { left, right };
        for wires in [false, true] {
            // Dead wires first, so that live ones lie over them.
            for (slot, lanes) in sides.iter().enumerate() {
                self.draw_lanes(&mut out, at, slot, lanes, wires);
            }
        }
        for &row in &self.chained {
            let (x, y) = (at.center(), HEADING + ROW * row as i32);
            let class = self.wire_class(row - 1, self.rows[row].is_live);
            let (from, to) = (y - (ROW - BOX) / 2 - 6, y + (ROW - BOX) / 2);
            let _ = write!(
                out,
                "<path class=\"{class}\" d=\"M{x} {from}V{}\"/><path class=\"{class} en-tip\" d=\"M{x} {to}l-4 -8h8z\"/>",
                to - 6
            );
            if self.boundaries(row - 1, row).next().is_some() {
                let _ = write!(
                    out,
                    "<circle class=\"{class} en-pool\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>"
                );
            }
        }
        for (index, row) in self.rows.iter().enumerate() {
            row.draw(&mut out, at, notes, HEADING + ROW * index as i32);
        }
        out.push_str("</svg>\n");
        out
    }

    /// The drawing in words, for those who do not see it.
    fn description(&self) -> String {
        let mut sentences = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let titles: Vec<&str> = row.nodes.iter().map(|node| node.title.as_str()).collect();
            let mut reads: Vec<&str> = Vec::new();
            if self.chained.contains(&index) {
                reads.push(&self.rows[index - 1].name);
            }
            for wire in self.wires.iter().filter(|wire| wire.to == index) {
                reads.push(&self.rows[wire.from].name);
            }
            let reads = match reads.is_empty() {
                true => String::new(),
                false => format!(" reads {}", reads.join(", ")),
            };
            sentences.push(format!("{}: {}{reads}.", row.name, titles.join(" plus ")));
        }
        sentences.join(" ")
    }

    fn draw_bands(&self, out: &mut String, width: i32) {
        let begins: Vec<(usize, &str)> = (self.rows.iter().enumerate())
            .filter_map(|(index, row)| Some((index, row.band.as_deref()?)))
            .collect();
        for (place, (first, label)) in begins.iter().enumerate() {
            let end = begins.get(place + 1).map_or(self.rows.len(), |next| next.0);
            let (y, height) = (HEADING + ROW * *first as i32, ROW * (end - first) as i32);
            let shade = if place % 2 == 0 { "en-even" } else { "en-odd" };
            let _ = write!(
                out,
                "<rect class=\"{shade}\" x=\"0\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>\
                 <text class=\"en-band\" x=\"{MARGIN}\" y=\"{}\">{label}</text>",
                y + ROW / 2 + 4
            );
        }
    }

    fn wire_class(&self, from: usize, is_live: bool) -> String {
        match is_live {
            true => format!("en-wire en-w{}", from % 7),
            false => "en-wire en-dead".to_owned(),
        }
    }

    /// The lanes of one side with their taps: those of live readers, or those of dead ones.
    fn draw_lanes(&self, out: &mut String, at: Place, slot: usize, lanes: &[Lane], live: bool) {
        for lane in lanes {
            let taps = self
                .wires
                .iter()
                .filter(|wire| (wire.from, wire.slot, wire.is_live) == (lane.from, slot, live));
            let taps: Vec<usize> = taps.map(|wire| wire.to).collect();
            let Some(last) = taps.iter().max() else {
                continue;
            };
            let class = self.wire_class(lane.from, live);
            let away = LANE * (lane.column + 1);
            let x = match slot {
                0 => at.left - away,
                _ => at.right + away,
            };
            let middle = |row: usize| HEADING + ROW * row as i32 + ROW / 2;
            // It leaves below the middle and arrives above it, so that both can be at one box.
            let (start, y) = (self.exit(lane.from, at, slot), middle(lane.from) + 12);
            let y = match self.rows[lane.from].nodes.len() {
                1 => y,
                _ => middle(lane.from) + ROW / 2 - 4,
            };
            let _ = write!(
                out,
                "<path class=\"{class}\" d=\"M{start} {y}H{x}V{}\"/>",
                middle(*last) + self.arrival(*last, slot, lane.column, lanes)
            );
            for boundary in self.boundaries(lane.from, *last) {
                let y = HEADING + ROW * boundary as i32;
                let _ = write!(
                    out,
                    "<circle class=\"{class} en-pool\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>"
                );
            }
            for to in taps {
                let edge = self.entry(to, at, slot);
                let y = middle(to) + self.arrival(to, slot, lane.column, lanes);
                let (stop, tip) = match slot {
                    0 => (edge - 6, "l-8 -4v8z"),
                    _ => (edge + 6, "l8 -4v8z"),
                };
                let _ = write!(
                    out,
                    "<path class=\"{class}\" d=\"M{x} {y}H{stop}\"/><path class=\"{class} en-tip\" d=\"M{edge} {y}{tip}\"/>"
                );
            }
        }
    }

    /// How far from a row's middle a lane arrives: the outermost first, above the place where the row's own result leaves.
    fn arrival(&self, row: usize, slot: usize, column: i32, lanes: &[Lane]) -> i32 {
        const TOP: i32 = -12;
        const BOTTOM: i32 = 4;
        let column_of = |wire: &Wire| {
            let lane = lanes.iter().find(|lane| lane.from == wire.from);
            lane.map_or(0, |lane| lane.column)
        };
        let here = self
            .wires
            .iter()
            .filter(|wire| (wire.to, wire.slot) == (row, slot));
        let columns: Vec<i32> = here.map(column_of).collect();
        let further_out = columns.iter().filter(|other| **other > column).count() as i32;
        match columns.len() as i32 {
            0 | 1 => -6,
            count => TOP + further_out * (BOTTOM - TOP) / (count - 1),
        }
    }

    /// The rows between two at whose upper edge the resolution halves.
    fn boundaries(&self, from: usize, to: usize) -> impl Iterator<Item = usize> {
        (from + 1..=to).filter(|row| self.rows[*row].band.is_some())
    }

    /// Where a row's result leaves towards a side.
    fn exit(&self, row: usize, at: Place, slot: usize) -> i32 {
        match (self.rows[row].nodes.len(), slot) {
            (1, 0) => at.center() - WIDE / 2,
            (1, _) => at.center() + WIDE / 2,
            _ => at.center(),
        }
    }

    /// Where a row's box begins, seen from a side.
    fn entry(&self, row: usize, at: Place, slot: usize) -> i32 {
        match (self.rows[row].nodes.len(), slot) {
            (1, 0) => at.center() - WIDE / 2,
            (1, _) => at.center() + WIDE / 2,
            (_, 0) => at.left,
            _ => at.right,
        }
    }
}

/// Where the boxes stand.
#[derive(Debug, Clone, Copy)]
struct Place {
    left: i32,
    right: i32,
}

impl Place {
    fn center(self) -> i32 {
        i32::midpoint(self.left, self.right)
    }
}

impl Row {
    fn draw(&self, out: &mut String, at: Place, notes: i32, y: i32) {
        let top = y + (ROW - BOX) / 2;
        let dead = if self.is_live { "" } else { " en-unused" };
        let mut draw_box = |node: &Node, x: i32, width: i32| {
            let _ = write!(
                out,
                "<g class=\"en-box {}{dead}\"><rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{BOX}\" rx=\"7\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text></g>",
                node.look.class(),
                x + width / 2,
                top + BOX / 2 + 5,
                escaped(&node.title)
            );
        };
        match self.nodes.as_slice() {
            [node] => draw_box(node, at.center() - WIDE / 2, WIDE),
            nodes => {
                for (node, x) in nodes.iter().zip([at.left, at.right - HALF]) {
                    draw_box(node, x, HALF);
                }
            }
        }
        if self.nodes.len() > 1 {
            let (x, middle) = (at.center(), top + BOX / 2);
            let _ = write!(
                out,
                "<path class=\"en-wire en-sum\" d=\"M{} {middle}H{}M{x} {middle}V{}\"/>\
                 <g class=\"en-box en-plain\"><circle cx=\"{x}\" cy=\"{middle}\" r=\"11\"/>\
                 <text x=\"{x}\" y=\"{}\">+</text></g>",
                at.left + HALF,
                at.right - HALF,
                y + ROW - 4,
                middle + 5
            );
        }
        let lines = self.notes.len() as i32;
        for (place, note) in self.notes.iter().enumerate() {
            let line = y + ROW / 2 + 4 + 15 * place as i32 - 15 * (lines - 1) / 2;
            let _ = write!(
                out,
                "<text class=\"en-note\" x=\"{notes}\" y=\"{line}\">{}</text>",
                escaped(note)
            );
        }
    }
}

/// Colours of Okabe and Ito, 2008, for wires; their tints for boxes. Classes of their own, since a page may hold more.
const STYLE: &str = "<style>\
.en-drawing{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\
.en-paper{fill:#fff}.en-even{fill:#f4f4f4}.en-odd{fill:#eaeaea}\
.en-name{font-size:14px;font-weight:600;fill:#111}.en-note{font-size:12px;fill:#444}.en-band{font-size:12px;fill:#444}\
.en-box text{font-size:13px;text-anchor:middle;fill:#111}.en-box rect,.en-box circle{stroke-width:1.5}\
.en-conv rect{fill:#cfe6f5;stroke:#0072b2}.en-depthwise rect{fill:#cdeee2;stroke:#009e73}\
.en-max rect{fill:#fbdcc6;stroke:#d55e00}.en-avg rect{fill:#fbeacb;stroke:#b37700}\
.en-identity rect{fill:#f3dfeb;stroke:#a8537f}.en-plain rect,.en-plain circle{fill:#fff;stroke:#555}\
.en-unused{opacity:.45}.en-unused rect{stroke-dasharray:4 3}\
.en-wire{fill:none;stroke-width:2}.en-dead{stroke:#bbb;stroke-dasharray:4 3}.en-sum{stroke:#555}\
.en-w0{stroke:#0072b2}.en-w1{stroke:#d55e00}.en-w2{stroke:#009e73}.en-w3{stroke:#a8537f}.en-w4{stroke:#b37700}\
.en-w5{stroke:#3a93c9}.en-w6{stroke:#333}\
.en-pool{fill:#fff}.en-tip{stroke:none;stroke-dasharray:none}.en-tip.en-dead{fill:#bbb}\
.en-tip.en-w0{fill:#0072b2}.en-tip.en-w1{fill:#d55e00}.en-tip.en-w2{fill:#009e73}.en-tip.en-w3{fill:#a8537f}\
.en-tip.en-w4{fill:#b37700}.en-tip.en-w5{fill:#3a93c9}.en-tip.en-w6{fill:#333}\
@media (prefers-color-scheme:dark){.en-paper,.en-pool{fill:#16181c}.en-even{fill:#1c1f24}.en-odd{fill:#24282e}\
.en-name,.en-box text{fill:#f2f2f2}.en-note,.en-band{fill:#c4c8ce}\
.en-conv rect{fill:#12384f;stroke:#56b4e9}.en-depthwise rect{fill:#0f3d31;stroke:#2bc49a}\
.en-max rect{fill:#4d2a10;stroke:#f08a3c}.en-avg rect{fill:#463611;stroke:#e6b04a}\
.en-identity rect{fill:#43283a;stroke:#e09cc4}.en-plain rect,.en-plain circle{fill:#16181c;stroke:#aaa}\
.en-sum{stroke:#aaa}.en-dead{stroke:#555}.en-tip.en-dead{fill:#555}\
.en-w0{stroke:#56b4e9}.en-w1{stroke:#f08a3c}.en-w2{stroke:#2bc49a}.en-w3{stroke:#e09cc4}.en-w4{stroke:#e6b04a}\
.en-w5{stroke:#8fcbef}.en-w6{stroke:#ddd}\
.en-tip.en-w0{fill:#56b4e9}.en-tip.en-w1{fill:#f08a3c}.en-tip.en-w2{fill:#2bc49a}.en-tip.en-w3{fill:#e09cc4}\
.en-tip.en-w4{fill:#e6b04a}.en-tip.en-w5{fill:#8fcbef}.en-tip.en-w6{fill:#ddd}}</style>";

/// Text that XML takes as text.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            character if character.is_control() => safe.push(' '),
            character => safe.push(character),
        }
    }
    safe
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
