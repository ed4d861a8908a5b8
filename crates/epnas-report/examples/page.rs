//! A page of a history: `cargo run -p epnas-report --example page -- runs/demo/history.jsonl > page.html`.
//!
//! `epnas report` makes one of a whole run folder; this is what remains when all that is known are the children of a macro
//! search on images of 32x32.

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{MacroSpace, NetworkConfig, Shape, Space};
use epnas_report::page::{ChildNetwork, Mode, RunPage, html};
use epnas_search::{HistoryPolicy, read_history};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a history.jsonl")?;
    let children = read_history(Path::new(&path))?;
    let layers = children.iter().map(|child| child.arch.len()).max();
    let run = RunPage {
        name: path,
        config: String::new(),
        settings: BTreeMap::new(),
        space: Space::Macro(MacroSpace {
            layers: layers.unwrap_or(1),
            ..MacroSpace::default()
        }),
        policy: HistoryPolicy::Best,
        network: ChildNetwork {
            config: NetworkConfig::default(),
            input: Shape::new(32, 32, 3),
            classes: 10,
        },
        children,
        random: Vec::new(),
        selection: Vec::new(),
        best: None,
        trainings: Vec::new(),
        facts: Vec::new(),
        is_fleet: false,
    };
    println!("{}", html("A search", &[run], &Mode::File));
    Ok(())
}
