//! Rows and wires as SVG: where boxes stand and lanes run, and what they look like.

use std::fmt::Write as _;

use super::{Drawing, Node, Row, Wire};

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

/// Where a lane runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) from: usize,
    pub(super) last: usize,
    pub(super) column: i32,
}

impl Drawing {
    /// One lane per source and side; lanes that do not meet share a column.
    pub(super) fn lanes(&self, slot: usize) -> Vec<Lane> {
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

    pub(super) fn svg(&self, name: &str, sums: &str, style: &str) -> String {
        let sides = [self.lanes(0), self.lanes(1)];
        let has_bands = self.rows.iter().any(|row| row.band.is_some());
        let has_pairs = self.rows.iter().any(|row| row.nodes.len() > 1);
        // For as many lanes as there could be, so that networks of as many rows have one layout.
        let room = |lanes: &[Lane], can_have_some: bool| {
            let columns = lanes.iter().map(|lane| lane.column + 1).max();
            let most = match can_have_some {
                true => self.rows.len() as i32 - 2,
                false => 0,
            };
            LANE * columns.unwrap_or(0).max(most) + LANE
        };
        let bands = if has_bands { 70 } else { 0 };
        let middle = if has_pairs { 2 * HALF + 34 } else { WIDE };
        let left = MARGIN + bands + room(&sides[0], has_bands || has_pairs);
        let right = left + middle;
        let notes = right + room(&sides[1], has_pairs) + 6;
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
             role=\"img\" class=\"en-drawing\"><title>{}</title><desc>{}</desc>{style}\
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

/// The style sheet of drawings, as an element. Colours of Okabe and Ito, 2008, for wires; their tints for boxes. Classes of
/// their own, since a page may hold more.
pub const STYLE: &str = "<style>\
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
.en-pool{fill:#fff}.en-wire.en-tip{stroke:none;stroke-dasharray:none}.en-tip.en-dead{fill:#bbb}\
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
