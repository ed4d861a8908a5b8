//! What the turns of one network gave, and how the two sides compare.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::figures::{finite, median};
use crate::networks::Network;

/// Training images of a child: 3 epochs of 45,000. What is spent once per child is spread over these.
pub(super) const CHILD_IMAGES: f64 = 3.0 * 45_000.0;

/// What is spent once per network, in seconds: a first step that sets kernels up, compilation, capture.
const ONCE: [&str; 3] = ["first_step_seconds", "compile_seconds", "capture_seconds"];

/// The turns of one mode of one side.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    once: BTreeMap<&'static str, Vec<f64>>,
}

impl Turns {
    fn add(&mut self, line: &Value) {
        let rate = line["images_per_second"].as_f64();
        // Zero or less would make every ratio infinite.
        let Some(rate) = rate.filter(|rate| *rate > 0.0) else {
            return;
        };
        self.rates.push(rate);
        for name in ONCE {
            if let Some(seconds) = line[name].as_f64() {
                self.once.entry(name).or_default().push(seconds);
            }
        }
    }

    fn rate(&self) -> f64 {
        median(&self.rates)
    }

    fn seconds_once(&self) -> f64 {
        self.once.values().map(|seconds| median(seconds)).sum()
    }

    /// Seconds of a child of a search: what is spent once, and its images.
    fn child_seconds(&self) -> f64 {
        self.seconds_once() + CHILD_IMAGES / self.rate()
    }

    fn row(&self) -> Value {
        let mut row = Map::new();
        row.insert("images_per_second".into(), json!(finite(self.rate())));
        row.insert("repeats".into(), json!(self.rates));
        for (name, seconds) in &self.once {
            row.insert((*name).into(), json!(finite(median(seconds))));
        }
        row.insert("once_seconds".into(), json!(finite(self.seconds_once())));
        row.insert("child_seconds".into(), json!(finite(self.child_seconds())));
        Value::Object(row)
    }
}

/// One network's turns of both sides, by mode.
#[derive(Default)]
pub(super) struct Comparison {
    ours: BTreeMap<String, Turns>,
    peer: BTreeMap<String, Turns>,
    flop_per_image: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Peer,
}

impl Comparison {
    pub(super) fn add(&mut self, side: Side, mode: &str, line: &Value) {
        self.flop_per_image = line["flop_per_image"].as_f64().or(self.flop_per_image);
        let modes = match side {
            Side::Ours => &mut self.ours,
            Side::Peer => &mut self.peer,
        };
        modes.entry(mode.to_owned()).or_default().add(line);
    }

    /// With the ratios of the best mode of ours to the peer's best.
    pub(super) fn row(&self, network: &Network) -> Value {
        let rows = |modes: &BTreeMap<String, Turns>| -> BTreeMap<String, Value> {
            let measured = modes.iter().filter(|(_, turns)| !turns.rates.is_empty());
            measured
                .map(|(mode, turns)| (mode.clone(), turns.row()))
                .collect()
        };
        let steady = |modes: &BTreeMap<String, Turns>| {
            modes.values().map(Turns::rate).fold(f64::NAN, f64::max)
        };
        let child = |modes: &BTreeMap<String, Turns>| {
            modes
                .values()
                .map(Turns::child_seconds)
                .fold(f64::NAN, f64::min)
        };
        json!({
            "name": network.name,
            "arch": network.arch,
            "channels": network.channels,
            "batch": network.batch,
            "flop_per_image": self.flop_per_image,
            "ours": rows(&self.ours),
            "peer": rows(&self.peer),
            "ratio_steady": finite(steady(&self.ours) / steady(&self.peer)),
            "ratio_child": finite(child(&self.peer) / child(&self.ours)),
            "child_seconds": finite(child(&self.ours)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks;

    fn line(rate: f64, capture: f64) -> Value {
        json!({ "images_per_second": rate, "capture_seconds": capture, "first_step_seconds": 0.5 })
    }

    #[test]
    fn ratios_are_of_the_best_modes_and_count_what_is_spent_once() {
        let mut comparison = Comparison::default();
        for rate in [90_000.0, 300_000.0, 135_000.0] {
            comparison.add(Side::Ours, "graph bf16", &line(rate, 0.5));
        }
        comparison.add(Side::Ours, "eager bf16", &line(1000.0, 0.0));
        comparison.add(Side::Peer, "graph-bf16-cl", &line(67_500.0, 0.5));
        // Faster once it runs, but compiling takes longer than the child.
        let mut compiled = line(90_000.0, 0.5);
        compiled["compile_seconds"] = json!(60.0);
        comparison.add(Side::Peer, "rcompile-graph-bf16-cl", &compiled);
        let row = comparison.row(&networks::wide(128));
        assert_eq!(row["ours"]["graph bf16"]["images_per_second"], 135_000.0);
        assert_eq!(row["ratio_steady"], 1.5);
        // A child: 1 s once and 1 s of images here, 1 s once and 2 s of images there.
        assert_eq!(row["child_seconds"], 2.0);
        assert_eq!(row["ratio_child"], 1.5);
        assert_eq!(row["peer"]["rcompile-graph-bf16-cl"]["once_seconds"], 61.0);
    }

    #[test]
    fn without_the_peer_there_is_no_ratio() {
        let mut comparison = Comparison::default();
        comparison.add(Side::Ours, "graph bf16", &line(100.0, 0.5));
        comparison.add(
            Side::Peer,
            "graph-bf16-cl",
            &json!({ "error": "no memory" }),
        );
        let row = comparison.row(&networks::wide(128));
        assert_eq!(row["ratio_steady"], Value::Null);
        assert_eq!(row["ratio_child"], Value::Null);
        assert_eq!(row["peer"], json!({}));
    }
}
