//! A network as a table for reading.

use epnas_arch::{Arch, CellArch, CellSource, Network};

use crate::parts::parts;

/// The architecture, its totals and a table of its parts: what each is, what it reads, the shape it gives
/// (height x width x channels), parameters and multiply-accumulates (MACs) per image.
///
/// `network` must have been built from `arch`. Lines end with a line break and have no trailing spaces.
///
/// ```
/// use epnas_arch::{Arch, Network, NetworkConfig, Shape};
///
/// let arch: Arch = "macro:c3.0/mp.0/d5.1".parse()?;
/// let network = Network::build(&arch, 12, &NetworkConfig::default(), Shape::new(32, 32, 3), 10)?;
/// let table = epnas_report::text::describe(&arch, &network);
/// assert!(table.contains("layer 2  max_pool_3x3     stem     dead"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn describe(arch: &Arch, network: &Network) -> String {
    let mut text = format!(
        "{arch}\n{} parameters, {} MACs for an image of {}\n\n",
        grouped(network.params()),
        grouped(network.macs()),
        network.input
    );
    if let Arch::Micro(cell) = arch {
        text.push_str(&blocks(cell));
        text.push('\n');
    }
    let header = ["part", "what", "reads", "output", "params", "MACs"].map(str::to_owned);
    let mut rows = vec![header];
    for part in parts(arch, network) {
        let live = |value: u64| {
            if part.is_live() {
                grouped(value)
            } else {
                "-".to_owned()
            }
        };
        rows.push([
            part.name.clone(),
            part.what.clone(),
            part.reads.clone(),
            part.shape
                .map_or_else(|| "dead".to_owned(), |shape| shape.to_string()),
            live(part.params),
            live(part.macs),
        ]);
    }
    let total = [
        "total",
        "",
        "",
        "",
        &grouped(network.params()),
        &grouped(network.macs()),
    ];
    rows.push(total.map(str::to_owned));
    text.push_str(&table(&rows));
    text
}

/// The blocks of a cell in words, one a line, then what makes its output.
fn blocks(cell: &CellArch) -> String {
    let mut text = String::new();
    for (b, block) in cell.blocks.iter().enumerate() {
        let [first, second] = block
            .inputs
            .map(|i| format!("{}({})", i.op, source_name(i.source)));
        text.push_str(&format!("block {b}: {first} + {second}\n"));
    }
    let outputs: Vec<String> = cell
        .outputs()
        .iter()
        .map(|b| format!("block {b}"))
        .collect();
    text.push_str(&format!("output: {}\n", outputs.join(", ")));
    text
}

pub(crate) fn source_name(source: CellSource) -> String {
    match source {
        CellSource::BeforePrevious => "cell before previous".to_owned(),
        CellSource::Previous => "previous cell".to_owned(),
        CellSource::Block(block) => format!("block {block}"),
    }
}

/// Columns two spaces apart, the last two flush right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            line += &if column + 2 < N {
                format!("{gap}{cell:<width$}")
            } else {
                format!("{gap}{cell:>width$}")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// `0.7123` as `71.2%`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// A number with its thousands apart: `1,572,010`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
