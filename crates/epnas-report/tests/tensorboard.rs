//! What TensorBoard itself reads from event files.
//!
//! Where `EPNAS_TENSORBOARD_PYTHON` names a Python with tensorboard, its reader of event files and both servers of its
//! pages tell what they find, and that has to be every number, bucket and picture that was written, and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use epnas_report::raster::{Theme, png};
use epnas_report::tensorboard::{Events, SearchEvents, file_name, of_history};
use epnas_search::{Record, Status};
use serde_json::{Value, json};

/// When everything began, in seconds since the beginning of 1970.
const BEGAN: f64 = 1_700_000_000.0;

/// The Python with tensorboard.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("EPNAS_TENSORBOARD_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: EPNAS_TENSORBOARD_PYTHON names no Python with tensorboard");
    }
    python
}

/// Two iterations of three steps of four children: `step` levels long, every ninth failed, the first four not predicted.
fn history() -> Vec<Record> {
    let record = |index: u64| {
        let step = index as usize / 4 % 3 + 1;
        let is_ok = index % 9 != 5;
        let estimate = 0.3 + 0.1 * step as f64 + 0.01 * ((index * 7) % 5) as f64;
        Record {
            index,
            iteration: index as usize / 12,
            step,
            arch: format!("macro:{}", vec!["c3.0"; step].join("/"))
                .parse()
                .expect("an architecture"),
            estimate: is_ok.then_some(estimate),
            status: if is_ok { Status::Ok } else { Status::Failed },
            reason: None,
            seconds: 1.5 + index as f64,
            params: index.is_multiple_of(2).then_some(10_000_019 * index),
            macs: Some(1 << index),
            images: 1,
            predicted: (index >= 4).then_some(estimate - 0.003 * index as f64),
            probability: (index >= 4).then_some(0.01 * index as f64),
            temperature: (index >= 4).then_some(100.0 / index as f64),
            epochs: Vec::new(),
        }
    };
    (0..24).map(record).collect()
}

/// What a folder of events should be found to hold: by tag, `[step, value]` of each number, `[step, buckets]` of each
/// histogram with `[left, right, count]` of each bucket, and `[step, side, Base64]` of each picture.
#[derive(Default)]
struct Run {
    scalars: BTreeMap<&'static str, Vec<Value>>,
    histograms: BTreeMap<&'static str, Vec<Value>>,
    images: BTreeMap<&'static str, Vec<Value>>,
}

impl Run {
    fn json(&self) -> Value {
        json!({"scalars": self.scalars, "histograms": self.histograms, "images": self.images})
    }

    /// The events of a search, by plain arithmetic from its children.
    fn of(records: &[Record]) -> Run {
        let mut run = Run::default();
        let (mut best, mut failed) = (f64::MIN, 0);
        for record in records {
            let ok = record.status == Status::Ok;
            failed += u64::from(!ok);
            best = best.max(record.estimate.unwrap_or(best));
            let values = [
                ("search/estimate", record.estimate),
                ("search/best", Some(best)),
                ("search/predicted", record.predicted),
                ("search/probability", record.probability),
                ("search/temperature", record.temperature),
                ("search/levels", Some(record.step as f64)),
                ("search/seconds", Some(record.seconds)),
                ("search/params", record.params.map(|n| n as f64)),
                ("search/macs", record.macs.map(|n| n as f64)),
            ];
            let values = values.into_iter().filter(|_| ok);
            for (tag, value) in values.chain([("search/failed", Some(failed as f64))]) {
                if let Some(value) = value {
                    let values = run.scalars.entry(tag).or_default();
                    values.push(json!([record.index, value]));
                }
            }
        }
        for step in records.chunks(4) {
            let first = step[0].index;
            let estimates: Vec<f64> = step.iter().filter_map(|r| r.estimate).collect();
            let evaluated = step.iter().filter(|r| r.status == Status::Ok);
            let predictions: Vec<f64> = evaluated.filter_map(|r| r.predicted).collect();
            for (tag, values) in [
                ("search/estimates", estimates),
                ("search/predictions", predictions),
            ] {
                if !values.is_empty() {
                    run.histogram(tag, first, &values);
                }
            }
        }
        run
    }

    fn histogram(&mut self, tag: &'static str, step: u64, values: &[f64]) {
        let histograms = self.histograms.entry(tag).or_default();
        histograms.push(json!([step, buckets(values)]));
    }
}

/// `[left, right, count]` of the buckets between the smallest and the largest value, as TensorBoard shows them.
fn buckets(values: &[f64]) -> Vec<[f64; 3]> {
    let (low, high) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    if low == high {
        return vec![[low, high, values.len() as f64]];
    }
    let edge = |place: usize| low + (high - low) * place as f64 / 30.0;
    let inside = |place: usize| {
        let is_in = |value: f64| {
            value >= edge(place) && (value < edge(place + 1) || (place == 29 && value == high))
        };
        values.iter().filter(|value| is_in(**value)).count() as f64
    };
    (0..30)
        .map(|place| [edge(place), edge(place + 1), inside(place)])
        .collect()
}

/// A picture of a square of `side` pixels.
fn picture(side: u32) -> Vec<u8> {
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{side}\" height=\"{side}\">\
         <rect width=\"5\" height=\"9\" fill=\"#0072b2\"/></svg>"
    );
    png(&svg, Theme::Light, 1.0).expect("a picture")
}

fn write(folder: &Path, run: &str, began: f64, bytes: &[u8]) {
    let folder = folder.join(run);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(file_name(began)), bytes).expect("written");
}

/// How a search ended before it went on after the first ten children, in the middle of a step.
enum Ending {
    /// It was told to stop.
    Stopped,
    /// It was killed some children after its last checkpoint, while it wrote.
    Killed,
}

fn interrupted(folder: &Path, run: &str, records: &[Record], ending: &Ending) {
    let mut search = SearchEvents::new(BEGAN);
    let mut bytes = Vec::new();
    for record in &records[..10] {
        bytes.extend(search.child(record, BEGAN + record.index as f64));
    }
    match ending {
        Ending::Stopped => bytes.extend(search.finish()),
        Ending::Killed => {
            for record in &records[10..14] {
                let other = Record {
                    estimate: Some(0.1),
                    status: Status::Ok,
                    ..record.clone()
                };
                bytes.extend(search.child(&other, BEGAN + record.index as f64));
            }
            bytes.truncate(bytes.len() - 5);
        }
    }
    write(folder, run, BEGAN, &bytes);
    let began = BEGAN + 100.0;
    let mut search = SearchEvents::resumed(&records[..10], began);
    let mut bytes = Vec::new();
    for record in &records[10..] {
        bytes.extend(search.child(record, began + record.index as f64));
    }
    bytes.extend(search.finish());
    write(folder, run, began, &bytes);
}

#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let records = history();
    write(&runs, "search", BEGAN, &of_history(&records, BEGAN));
    interrupted(&runs, "stopped", &records, &Ending::Stopped);
    interrupted(&runs, "killed", &records, &Ending::Killed);

    let mut events = Events::new(BEGAN);
    let mut expected = Run::default();
    for step in 0..2000_u64 {
        let value = (step as f64 * 0.1).sin();
        events.scalar("train/loss", step, BEGAN + 0.5 * step as f64, value);
        let values = expected.scalars.entry("train/loss").or_default();
        values.push(json!([step, value]));
    }
    for (step, values) in [
        (0, vec![0.5, 0.5]),
        (1, vec![-1.0, 2.0, 0.03, 0.04]),
        (2, vec![1.0, 1e6]),
    ] {
        events.histogram("train/weights", step, BEGAN, &values);
        expected.histogram("train/weights", step, &values);
    }
    for side in [16, 40] {
        let picture = picture(side);
        events
            .image("drawings/square", side.into(), BEGAN, &picture)
            .expect("a picture");
        let images = expected.images.entry("drawings/square").or_default();
        images.push(json!([side, side, STANDARD.encode(&picture)]));
    }
    write(&runs, "train", BEGAN, &events.take());

    let search = Run::of(&records).json();
    let expected =
        json!({"search": search, "stopped": search, "killed": search, "train": expected.json()});
    let file = folder.path().join("expected.json");
    std::fs::write(&file, expected.to_string()).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tensorboard_check.py");
    let status = Command::new(&python)
        .arg(script)
        .args([&runs, &file])
        .status();
    assert!(
        status.expect("Python starts").success(),
        "{} failed",
        python.display()
    );
}
