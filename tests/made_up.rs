//! Run folders of searches that never were, for tests of what reads them.

use std::fs;
use std::io::Write;
use std::path::Path;

use epnas_disk::seal;
use serde_json::{Value, json};

use crate::command::{run, write_json};

/// Layers of the networks.
pub(crate) const LAYERS: usize = 12;

/// Writes the configuration of a macro search with [`LAYERS`] layers to the new folder `dir`.
pub(crate) fn begin(dir: &Path) {
    fs::create_dir_all(dir).expect("a folder");
    let layers = format!("space.layers={LAYERS}");
    let config = run(&["config", "--config", "demo", "--set", &layers]).ok();
    write_config(dir, &config.stdout);
}

/// Writes the configuration of the run in `dir`.
pub(crate) fn write_config(dir: &Path, text: &str) {
    fs::write(dir.join("config.toml"), seal::text(text)).expect("a configuration");
}

/// The configuration of the run in `dir`.
pub(crate) fn read_config(dir: &Path) -> String {
    let bytes = fs::read(dir.join("config.toml")).expect("a configuration");
    let text = seal::open_text(&bytes).expect("its checksum");
    String::from_utf8(text.to_owned()).expect("UTF-8")
}

/// Child number `index` of a made-up search: of full length and different from the others; each tenth failed.
pub(crate) fn child(index: u64) -> Value {
    const OPS: [&str; 6] = ["c3", "c5", "d3", "d5", "mp", "ap"];
    let mut bits = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (index << 7);
    let mut draw = |below: u64| {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (bits >> 33) % below
    };
    let layers = (1..=LAYERS).map(|depth| {
        let mut layer = format!("{}.", OPS[draw(6) as usize]);
        let skips = (0..depth - 1).filter(|_| draw(4) == 0);
        let sources: Vec<String> = skips
            .chain([depth - 1])
            .map(|from| from.to_string())
            .collect();
        layer.push_str(&sources.join("+"));
        layer
    });
    let arch = format!("macro:{}", layers.collect::<Vec<_>>().join("/"));
    let failed = index % 10 == 9;
    let estimate = 0.3 + 0.6 * (draw(10_000) as f64 / 10_000.0);
    json!({
        "index": index,
        "iteration": index / 600,
        "step": index / 50 % 12 + 1,
        "arch": arch,
        "estimate": if failed { Value::Null } else { json!(estimate) },
        "status": if failed { "failed" } else { "ok" },
        "reason": if failed { json!("out of <memory> & \"more\"") } else { Value::Null },
        "seconds": 1.5 + draw(100) as f64 / 50.0,
        "params": 20_000 + draw(200_000),
        "macs": 2_000_000 + draw(50_000_000),
        "images": 10_880,
        "predicted": (estimate + draw(100) as f64 / 1_000.0).min(0.99),
        "probability": 1.0 / (1.0 + draw(5_000) as f64),
        "temperature": 0.1 / (1.0 + (index / 600) as f64),
        "epochs": [{"epoch": 1, "loss": 2.0, "accuracy": estimate, "seconds": 0.7}],
    })
}

/// Appends children to the history of the run in `dir`, in one write. They are numbered on from those that are there.
pub(crate) fn append(dir: &Path, children: impl IntoIterator<Item = u64>) {
    append_values(dir, children.into_iter().map(child));
}

/// As [`append`], of any children.
pub(crate) fn append_values(dir: &Path, children: impl IntoIterator<Item = Value>) {
    let path = dir.join("history.jsonl");
    let before = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    let line = |(index, mut child): (usize, Value)| {
        child["index"] = index.into();
        seal::json_line(&child).expect("JSON").content + "\n"
    };
    let lines: String = (before..).zip(children).map(line).collect();
    let history = fs::OpenOptions::new().create(true).append(true).open(path);
    let mut history = history.expect("a history");
    history.write_all(lines.as_bytes()).expect("written");
}

/// Writes a result with this note into the run in `dir`; child 0 is the best.
pub(crate) fn finish(dir: &Path, note: &str) {
    let cost = json!({"children": 1, "images": 10_880, "macs": 1_000_000, "seconds": 60.0});
    let arch = &child(0)["arch"];
    let found = json!({
        "architecture": arch, "estimate": 0.5, "retrained_accuracy": 0.4, "params": 1_000, "macs": 2_000,
    });
    let best = json!({
        "architecture": arch, "estimate": 0.5, "estimate_note": "", "retrained_accuracy": 0.4, "retrained_epochs": 1,
        "notes": [note], "random": null, "cost": cost, "selection_cost": cost, "seed": 0,
        "machine": {"cpu": "made up", "cores": 2, "os": "linux"}, "versions": {"epnas": "0.1.0", "format": 1},
        "top": [found],
    });
    write_json(&dir.join("best.json"), &best);
}
