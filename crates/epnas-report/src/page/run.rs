//! One run as a page needs it, and what follows from its children.

use std::collections::BTreeMap;

use epnas_arch::{Arch, Network, NetworkConfig, Shape, Space};
use epnas_search::history::Status;
use epnas_search::select::SelectionRecord;
use epnas_search::{Best, History, HistoryPolicy, RankedCandidate, Record};
use serde::Serialize;

/// What is known of a run.
#[derive(Debug, Clone)]
pub struct RunPage {
    /// As the page calls it; no two runs of a page may have the same name.
    pub name: String,
    /// The configuration in force, as TOML.
    pub config: String,
    /// The same as dotted keys and values.
    pub settings: BTreeMap<String, String>,
    /// The search space.
    pub space: Space,
    /// Which estimate of an architecture counts.
    pub policy: HistoryPolicy,
    /// What makes a child's network of its architecture.
    pub network: ChildNetwork,
    /// The search's children in order.
    pub children: Vec<Record>,
    /// The baseline's children in order.
    pub random: Vec<Record>,
    /// Candidates that were retrained briefly.
    pub selection: Vec<SelectionRecord>,
    /// The result, once there is one.
    pub best: Option<Best>,
    /// Final trainings.
    pub trainings: Vec<Training>,
    /// What else a reader wants to know of it, such as its images: names and values.
    pub facts: Vec<(String, String)>,
    /// Whether it is the result of several searches, whose children are theirs.
    pub is_fleet: bool,
}

/// What makes a network of an architecture, for drawings.
#[derive(Debug, Clone)]
pub struct ChildNetwork {
    /// As the children of the search are built.
    pub config: NetworkConfig,
    /// Size of an image.
    pub input: Shape,
    /// Number of classes.
    pub classes: usize,
}

impl ChildNetwork {
    /// The network of a child; `None` when there is none, as of plain choices.
    pub(super) fn of(&self, arch: &Arch, space: &Space) -> Option<Network> {
        let full = space.levels().max(arch.len());
        Network::build(arch, full, &self.config, self.input, self.classes).ok()
    }
}

/// A training from scratch.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// As the legend calls it: `found`, `random search`, `found, seed 2`.
    pub name: String,
    /// What is trained, in text form, when it is known.
    pub architecture: Option<String>,
    /// Epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// What came of it; `None` before that.
    pub result: Option<Trained>,
}

impl Training {
    /// Share of test images recognized, 0 to 1; `None` before the end, or without test images.
    pub(super) fn test_accuracy(&self) -> Option<f64> {
        Some(self.result.as_ref()?.tested.as_ref()?.accuracy)
    }
}

/// A trained network.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Trainable parameters.
    pub params: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// 0 to 1, where there were images to validate on.
    pub validation_accuracy: Option<f64>,
    /// On the test images, where there are some.
    pub tested: Option<Tested>,
}

/// What a network recognizes of images that it was not trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// How many there are.
    pub images: u64,
    /// Share recognized, 0 to 1.
    pub accuracy: f64,
    /// Class by class: name, images, share recognized where there are images.
    pub classes: Vec<(String, u64, Option<f64>)>,
}

/// One epoch of a training from scratch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Which, from 1.
    pub epoch: usize,
    /// Mean training loss in nats.
    pub loss: f64,
    /// 0 to 1, on augmented images.
    pub training_accuracy: f64,
    /// 0 to 1, where there are images to validate on.
    pub validation_accuracy: Option<f64>,
    /// In nats.
    pub validation_loss: Option<f64>,
    /// Of the epoch's last step.
    pub learning_rate: f64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Image passes.
    pub images: u64,
}

/// Who drew a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The search.
    Search,
    /// Random search beside it.
    Random,
}

impl Origin {
    /// One letter for it, in the names of children.
    fn letter(self) -> char {
        match self {
            Origin::Search => 's',
            Origin::Random => 'r',
        }
    }
}

/// What a page calls a child: number of the run, who drew it, place in that history.
pub(super) fn child_name(run: usize, origin: Origin, index: u64) -> String {
    format!("{run}{}{index}", origin.letter())
}

/// A child as a row of the page's table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row<'a> {
    pub(super) id: String,
    pub(super) run: &'a str,
    pub(super) origin: &'static str,
    pub(super) index: u64,
    pub(super) iteration: usize,
    pub(super) step: usize,
    pub(super) arch: String,
    pub(super) estimate: Option<f64>,
    pub(super) predicted: Option<f64>,
    pub(super) probability: Option<f64>,
    pub(super) temperature: Option<f64>,
    pub(super) params: Option<u64>,
    pub(super) macs: Option<u64>,
    pub(super) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<&'a str>,
}

impl<'a> Row<'a> {
    pub(super) fn of(run: usize, name: &'a str, origin: Origin, record: &'a Record) -> Self {
        // Six digits are more than anything here is known to.
        let rounded = |value: f64| format!("{value:.6e}").parse().unwrap_or(value);
        Self {
            id: child_name(run, origin, record.index),
            run: name,
            origin: match origin {
                Origin::Search => "search",
                Origin::Random => "random",
            },
            index: record.index,
            iteration: record.iteration + 1,
            step: record.step,
            arch: record.arch.to_string(),
            estimate: record.estimate.map(rounded),
            predicted: record.predicted.map(rounded),
            probability: record.probability.map(rounded),
            temperature: record.temperature.map(rounded),
            params: record.params,
            macs: record.macs,
            seconds: (record.seconds * 1000.0).round() / 1000.0,
            failed: match record.status {
                Status::Ok => None,
                Status::Failed => Some(record.reason.as_deref().unwrap_or("no reason given")),
            },
        }
    }
}

/// What is counted along an axis of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Children,
    Seconds,
    Macs,
}

impl Cost {
    fn of(self, record: &Record) -> f64 {
        match self {
            Cost::Children => 1.0,
            Cost::Seconds => record.seconds,
            Cost::Macs => record.training_macs() as f64,
        }
    }
}

impl RunPage {
    pub(super) fn history(&self) -> History {
        History::from_records(self.space.clone(), self.policy, self.children.clone())
    }

    /// The best few: of the result or, before there is one, of the children so far.
    pub(super) fn top(&self, n: usize) -> Vec<RankedCandidate> {
        if let Some(best) = &self.best {
            return best.top.iter().take(n).cloned().collect();
        }
        let history = self.history();
        let length = history.deepest().unwrap_or(0);
        let best = history.best(n, length).into_iter();
        let ranked = |record: &Record| {
            Some(RankedCandidate {
                architecture: record.arch.clone(),
                estimate: record.estimate?,
                retrained_accuracy: None,
                params: record.params,
                macs: record.macs,
            })
        };
        best.filter_map(ranked).collect()
    }

    /// Settings that tell runs apart which are not repetitions of each other.
    pub(super) fn kind(&self) -> BTreeMap<&str, &str> {
        const INCIDENTAL: [&str; 3] = ["seed", "data.dir", "search.budget"];
        // What happens beside a search and after it.
        const AFTER: [&str; 4] = ["baseline.", "fleet.", "select.", "train."];
        let settings = self.settings.iter();
        settings
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .filter(|(key, _)| !INCIDENTAL.contains(key))
            .filter(|(key, _)| !AFTER.iter().any(|section| key.starts_with(section)))
            .collect()
    }

    pub(super) fn seed(&self) -> &str {
        self.settings.get("seed").map_or("", String::as_str)
    }
}

/// Levels of the architectures that count as results: full length, or the longest there are so far; 0 without any.
pub(super) fn longest(records: &[Record]) -> usize {
    let measured = records.iter().filter(|record| record.estimate.is_some());
    measured.map(|record| record.arch.len()).max().unwrap_or(0)
}

/// The best estimate so far of networks with `length` levels against what was spent, as the corners of a staircase; it
/// begins with the first such network and ends where the records do.
pub(super) fn best_so_far(records: &[Record], length: usize, cost: Cost) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    let mut spent = 0.0;
    let mut best: Option<f64> = None;
    for record in records {
        spent += cost.of(record);
        let Some(estimate) = record.estimate.filter(|_| record.arch.len() == length) else {
            continue;
        };
        if best.is_none_or(|best| estimate > best) {
            corners.extend(best.map(|best| (spent, best)));
            corners.push((spent, estimate));
            best = Some(estimate);
        }
    }
    corners.extend(best.map(|best| (spent, best)));
    corners.dedup();
    corners
}

/// The height of a staircase at `x`; `None` before its first corner.
pub(super) fn height(stairs: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = stairs.partition_point(|corner| corner.0 <= x);
    Some(stairs.get(after.checked_sub(1)?)?.1)
}

/// Children of one step.
#[derive(Debug, Clone)]
pub(super) struct Step<'a> {
    pub(super) iteration: usize,
    pub(super) children: Vec<&'a Record>,
}

/// The children step by step.
pub(super) fn steps(records: &[Record]) -> Vec<Step<'_>> {
    records
        .chunk_by(|a, b| (a.iteration, a.step) == (b.iteration, b.step))
        .filter_map(|chunk| {
            let first = chunk.first()?;
            Some(Step {
                iteration: first.iteration,
                children: chunk.iter().collect(),
            })
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use epnas_arch::{EpochReport, MacroSpace};

    use super::*;

    pub(in crate::page) fn record(
        index: u64,
        iteration: usize,
        step: usize,
        arch: &str,
        estimate: Option<f64>,
    ) -> Record {
        Record {
            index,
            iteration,
            step,
            arch: arch.parse().expect("an architecture"),
            estimate,
            status: if estimate.is_some() {
                Status::Ok
            } else {
                Status::Failed
            },
            reason: estimate
                .is_none()
                .then(|| "it <failed> & \"fell\"".to_owned()),
            seconds: 2.0,
            params: Some(1_000 + index),
            macs: Some(10 * (1 + index)),
            images: 100,
            predicted: (step > 1).then_some(0.5),
            probability: (step > 1).then_some(0.25),
            temperature: Some(0.1),
            epochs: vec![EpochReport {
                epoch: 1,
                loss: 2.0,
                accuracy: 0.1,
                seconds: 1.0,
            }],
        }
    }

    /// A run of these children, which are macro networks of up to two layers.
    pub(in crate::page) fn page(children: Vec<Record>, random: Vec<Record>) -> RunPage {
        RunPage {
            name: "a".to_owned(),
            config: String::new(),
            settings: BTreeMap::from([("seed".to_owned(), "0".to_owned())]),
            space: Space::Macro(MacroSpace {
                layers: 2,
                ..MacroSpace::default()
            }),
            policy: HistoryPolicy::Best,
            network: ChildNetwork {
                config: NetworkConfig::default(),
                input: Shape::new(16, 16, 3),
                classes: 10,
            },
            children,
            random,
            selection: Vec::new(),
            best: None,
            trainings: Vec::new(),
            facts: Vec::new(),
            is_fleet: false,
        }
    }

    #[test]
    fn the_best_so_far_counts_networks_of_one_length() {
        let records = [
            record(0, 0, 1, "macro:c3.0", Some(0.9)),
            record(1, 0, 2, "macro:c3.0/c3.1", Some(0.3)),
            record(2, 0, 2, "macro:c3.0/c5.1", None),
            record(3, 0, 2, "macro:c5.0/c5.1", Some(0.2)),
            record(4, 0, 2, "macro:d5.0/c5.1", Some(0.5)),
            record(5, 0, 2, "macro:d5.0/d5.1", Some(0.4)),
        ];
        assert_eq!(
            best_so_far(&records, 2, Cost::Children),
            [(2.0, 0.3), (5.0, 0.3), (5.0, 0.5), (6.0, 0.5)]
        );
        // 100 images each: 10, 20, .. multiply-accumulates an image.
        assert_eq!(best_so_far(&records[..2], 2, Cost::Macs), [(3_000.0, 0.3)]);
        assert_eq!(best_so_far(&records[..2], 2, Cost::Seconds), [(4.0, 0.3)]);
        assert_eq!(best_so_far(&records, 3, Cost::Children), []);
        let stairs = best_so_far(&records, 2, Cost::Children);
        assert_eq!(
            [1.9, 2.0, 4.9, 5.0, 9.0].map(|x| height(&stairs, x)),
            [None, Some(0.3), Some(0.3), Some(0.5), Some(0.5)]
        );
    }

    #[test]
    fn steps_are_told_apart_by_iteration_too() {
        let records = [
            record(0, 0, 1, "macro:c3.0", Some(0.9)),
            record(1, 0, 1, "macro:c5.0", Some(0.9)),
            record(2, 1, 1, "macro:c5.0", Some(0.9)),
        ];
        let found: Vec<_> = steps(&records)
            .iter()
            .map(|step| (step.iteration, step.children.len()))
            .collect();
        assert_eq!(found, [(0, 2), (1, 1)]);
    }
}
