//! A run killed anywhere and resumed ends as the uninterrupted one: the same history, seconds aside, and the same
//! bytes of weights and surrogate.

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::seed::split;
use epnas_arch::{Arch, Cost, EvaluateError, MacroSpace, Space};

use crate::config::{Continuation, HistoryPolicy, SearchConfig};
use crate::fakes::{Landscape, Linear, Trouble};
use crate::{
    Admission, Budget, Driver, Enas, EnasConfig, Evolution, EvolutionConfig, Limits, LocalSearch,
    Meter, Outcome, Progressive, RandomSearch, Record, SearchError, Silent, Strategy,
};
use epnas_disk::fault::{die_at, points_passed};

fn space() -> Space {
    Space::Macro(MacroSpace {
        layers: 3,
        ..MacroSpace::default()
    })
}

fn config(continuation: Continuation) -> SearchConfig {
    SearchConfig {
        iterations: 2,
        children_per_step: 3,
        continuation,
        ..SearchConfig::default()
    }
}

const NO_LIMIT: Budget = Budget {
    children: None,
    training_macs: None,
};

fn attempt<S: Strategy>(
    folder: &Path,
    budget: Budget,
    mut strategy: S,
    trouble: Trouble,
) -> Result<Outcome, SearchError> {
    let mut evaluator = Landscape {
        trouble,
        noise: 0.3,
        ..Landscape::new(&space())
    };
    let driver = Driver {
        folder: Some(folder.to_owned()),
        space: space(),
        policy: HistoryPolicy::Best,
        seed: 5,
        settings: String::new(),
        budget,
        stop: None,
    };
    driver.run(&mut evaluator, &mut strategy, &mut Silent)
}

fn progressive(continuation: Continuation) -> Progressive<Linear> {
    Progressive::new(space(), config(continuation), Linear::new(&space()), 5)
}

/// What a run leaves: its history without times, and the bytes of every checkpoint file but `state.json` and
/// `previous.json`, which hold times.
type Left = (Vec<Record>, BTreeMap<String, Vec<u8>>);

fn result(folder: &Path) -> Left {
    let records = crate::read_history(&folder.join("history.jsonl")).expect("a history");
    let files = std::fs::read_dir(folder.join("checkpoint")).expect("a checkpoint");
    let blobs = files
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().into_string().expect("UTF-8"),
                entry.path(),
            )
        })
        .filter(|(name, _)| !name.ends_with(".json"))
        .map(|(name, path)| (name, std::fs::read(path).expect("a file")))
        .collect();
    (records.iter().map(Record::timeless).collect(), blobs)
}

fn uninterrupted<S: Strategy>(budget: Budget, strategy: S) -> (Left, usize) {
    let folder = crate::fakes::folder();
    die_at(None);
    attempt(folder.path(), budget, strategy, Trouble::None).expect("a whole run");
    (result(folder.path()), points_passed())
}

#[test]
fn aborted_at_every_child() {
    let (expected, _) = uninterrupted(NO_LIMIT, progressive(Continuation::Restart));
    // 6 + 3 + 3 children in the first iteration, 3 + 3 + 3 in the second.
    assert_eq!(expected.0.len(), 21);
    assert_eq!(
        expected.1.keys().collect::<Vec<_>>(),
        [
            "surrogate-5.bin",
            "surrogate-5.copy.bin",
            "surrogate-6.bin",
            "surrogate-6.copy.bin",
            "weights-20.bin",
            "weights-21.bin"
        ]
    );
    for child in 0..expected.0.len() {
        let folder = crate::fakes::folder();
        let died = attempt(
            folder.path(),
            NO_LIMIT,
            progressive(Continuation::Restart),
            Trouble::FatalAt(child),
        );
        assert!(
            matches!(died, Err(SearchError::Evaluate { .. })),
            "child {child}: {died:?}"
        );
        attempt(
            folder.path(),
            NO_LIMIT,
            progressive(Continuation::Restart),
            Trouble::None,
        )
        .expect("the rest");
        assert_eq!(result(folder.path()), expected, "aborted at child {child}");
    }
}

fn killed_at_every_write<S: Strategy>(budget: Budget, strategy: impl Fn() -> S) {
    let (expected, points) = uninterrupted(budget, strategy());
    assert!(points > 100, "{points} write points");
    for point in 0..points {
        let folder = crate::fakes::folder();
        die_at(Some(point));
        let died = attempt(folder.path(), budget, strategy(), Trouble::None);
        assert!(died.is_err(), "write point {point} did not kill");
        die_at(None);
        attempt(folder.path(), budget, strategy(), Trouble::None).expect("the rest");
        assert_eq!(
            result(folder.path()),
            expected,
            "killed at write point {point}"
        );
    }
}

#[test]
fn killed_at_every_write_point() {
    killed_at_every_write(NO_LIMIT, || progressive(Continuation::Restart));
}

#[test]
fn killed_at_every_write_point_while_refining() {
    killed_at_every_write(NO_LIMIT, || progressive(Continuation::Refine));
}

#[test]
fn random_search_killed_at_every_write_point() {
    // 3 layers of 1000 multiply-accumulates on 100 images: 300,000 a child, so 5 children reach 1,300,000.
    let budget = Budget {
        training_macs: Some(1_300_000),
        children: Some(100),
    };
    let random = || RandomSearch::new(space(), 5);
    let (expected, _) = uninterrupted(budget, random());
    assert_eq!(expected.0.len(), 5);
    killed_at_every_write(budget, random);
}

#[test]
fn baselines_killed_at_every_write_point() {
    let evolution = EvolutionConfig {
        population: 3,
        tournament: 2,
    };
    let budget = Budget::children(9);
    killed_at_every_write(budget, || Evolution::new(space(), evolution.clone(), 5));
    // A start and its neighbours: 15 from 3 operations with 5 others, 3 from as many free sources. The budget ends the
    // second step.
    let budget = Budget::children(21);
    killed_at_every_write(budget, || LocalSearch::new(space(), 5));
}

/// Times that differ from process to process.
struct Clock {
    process: u64,
}

impl Meter for Clock {
    fn cost(&self, _: &Arch) -> Option<Cost> {
        Some(Cost { params: 1, macs: 1 })
    }

    fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError> {
        Ok((split(self.process, &arch.to_string()) % 1000) as f64)
    }
}

/// A clock that must not be looked at.
struct Broken;

impl Meter for Broken {
    fn cost(&self, _: &Arch) -> Option<Cost> {
        Some(Cost { params: 1, macs: 1 })
    }

    fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError> {
        Err(EvaluateError::child(format!(
            "{arch} was not measured before"
        )))
    }
}

fn attempt_limited(folder: &Path, meter: impl Meter + 'static) -> Result<Outcome, SearchError> {
    let limits = Limits {
        latency: Some(700.0),
        ..Limits::default()
    };
    let path = folder.join("latency.jsonl");
    let admission = Admission::new(&space(), limits, meter, Some(&path))?;
    let strategy = progressive(Continuation::Restart).limited(admission);
    attempt(folder, NO_LIMIT, strategy, Trouble::None)
}

#[test]
fn killed_at_every_write_point_with_measured_limits() {
    let folder = crate::fakes::folder();
    die_at(None);
    attempt_limited(folder.path(), Clock { process: 0 }).expect("a whole run");
    let points = points_passed();
    assert!(points > 200, "{points} write points");
    for point in 0..points {
        let folder = crate::fakes::folder();
        die_at(Some(point));
        let died = attempt_limited(folder.path(), Clock { process: 0 });
        assert!(died.is_err(), "write point {point} did not kill");
        die_at(None);
        attempt_limited(folder.path(), Clock { process: 1 }).expect("the rest");

        // What was measured is all that an uninterrupted run needs to end the same.
        let again = crate::fakes::folder();
        let file = |folder: &Path| folder.join("latency.jsonl");
        std::fs::copy(file(folder.path()), file(again.path())).expect("copied");
        attempt_limited(again.path(), Broken).expect("a whole run");
        assert_eq!(
            result(folder.path()),
            result(again.path()),
            "killed at write point {point}"
        );
    }
}

#[test]
fn enas_killed_at_every_write_point() {
    // Two updates, and two children of the third batch.
    let budget = Budget::children(8);
    let config = EnasConfig {
        batch: 3,
        hidden: 4,
        ..EnasConfig::default()
    };
    let enas = || Enas::new(space(), config.clone(), 5);
    let (expected, _) = uninterrupted(budget, enas());
    assert_eq!(
        expected.1.keys().collect::<Vec<_>>(),
        [
            "surrogate-2.bin",
            "surrogate-2.copy.bin",
            "weights-7.bin",
            "weights-8.bin"
        ]
    );
    killed_at_every_write(budget, enas);
}

#[test]
fn killed_again_and_again() {
    let (expected, _) = uninterrupted(NO_LIMIT, progressive(Continuation::Restart));
    let folder = crate::fakes::folder();
    // 29 write points are enough for opening and one child, so that every attempt gets further.
    for attempts in 0.. {
        die_at(Some(29 + attempts % 7));
        if attempt(
            folder.path(),
            NO_LIMIT,
            progressive(Continuation::Restart),
            Trouble::None,
        )
        .is_ok()
        {
            break;
        }
        assert!(attempts < 200, "no progress");
    }
    die_at(None);
    assert_eq!(result(folder.path()), expected);
}

/// A folder with a run that was aborted after 8 children, and what its uninterrupted one leaves.
fn aborted() -> (tempfile::TempDir, Left) {
    let (expected, _) = uninterrupted(NO_LIMIT, progressive(Continuation::Restart));
    let folder = crate::fakes::folder();
    let strategy = progressive(Continuation::Restart);
    attempt(folder.path(), NO_LIMIT, strategy, Trouble::FatalAt(8)).expect_err("aborted");
    (folder, expected)
}

fn go_on(folder: &Path) -> Result<Outcome, SearchError> {
    let strategy = progressive(Continuation::Restart);
    attempt(folder, NO_LIMIT, strategy, Trouble::None)
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

/// Each file of the latest generation, and the last child's line.
#[test]
fn a_damaged_checkpoint_is_gone_back_from() {
    for name in [
        "checkpoint/state.json",
        "checkpoint/weights-8.bin",
        "checkpoint/surrogate-1.bin",
        "checkpoint/surrogate-1.copy.bin",
        "history.jsonl",
    ] {
        let (folder, expected) = aborted();
        let path = folder.path().join(name);
        match name {
            "history.jsonl" => {
                let text = std::fs::read_to_string(&path).expect("text");
                let last = text.lines().last().expect("a line");
                let changed = last.replace("\"index\":7", "\"index\":9");
                std::fs::write(&path, text.replace(last, &changed)).expect("written");
            }
            _ => flip(&path),
        }
        go_on(folder.path()).expect("the checkpoint before");
        assert_eq!(result(folder.path()), expected, "{name}");
    }
}

#[test]
fn damaged_files_are_named_when_none_before_them_is_whole() {
    let (folder, expected) = aborted();
    let file = |name: &str| folder.path().join("checkpoint").join(name);
    flip(&file("weights-8.bin"));
    flip(&file("previous.json"));
    let error = go_on(folder.path())
        .expect_err("a damaged checkpoint")
        .to_string();
    assert!(
        error.contains("weights-8.bin is damaged") && error.contains("CRC-32"),
        "{error}"
    );
    // Nothing was thrown away: mended from a copy, it goes on.
    flip(&file("weights-8.bin"));
    go_on(folder.path()).expect("mended");
    assert_eq!(result(folder.path()), expected);

    let (folder, _) = aborted();
    let path = folder.path().join("history.jsonl");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, text.replacen("0.", "1.", 1)).expect("written");
    let error = go_on(folder.path())
        .expect_err("a changed child")
        .to_string();
    assert!(
        error.contains("history.jsonl, line 1: its content has changed"),
        "{error}"
    );
    // Without a line in the middle.
    let rest: String = text.split_inclusive('\n').skip(1).collect();
    std::fs::write(&path, rest).expect("written");
    let error = go_on(folder.path())
        .expect_err("a missing child")
        .to_string();
    assert!(
        error.contains("history.jsonl, line 1: child 1, expected child 0"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_of_another_search_is_refused() {
    let (folder, _) = aborted();
    let (other, _) = aborted();
    let path = |folder: &tempfile::TempDir, name: &str| folder.path().join(name);
    // Its history alone: the same children took other times.
    std::fs::copy(
        path(&other, "history.jsonl"),
        path(&folder, "history.jsonl"),
    )
    .expect("copied");
    let error = go_on(folder.path())
        .expect_err("another history")
        .to_string();
    assert!(
        error.contains("history.jsonl is of another search: the CRC-32 of line 8 is"),
        "{error}"
    );

    let mut evaluator = Landscape::new(&space());
    let mut strategy = progressive(Continuation::Restart);
    let driver = Driver {
        folder: Some(other.path().to_owned()),
        space: space(),
        policy: HistoryPolicy::Best,
        seed: 5,
        settings: "learning rate 0.1".into(),
        budget: NO_LIMIT,
        stop: None,
    };
    let error = driver.run(&mut evaluator, &mut strategy, &mut Silent);
    let error = error.expect_err("other settings").to_string();
    assert!(
        error.ends_with(
            r#"state.json is of a search with other settings ("", expected "learning rate 0.1")"#
        ),
        "{error}"
    );
}

#[test]
fn children_without_a_checkpoint_are_not_thrown_away() {
    let (folder, _) = aborted();
    let path = folder.path().join("history.jsonl");
    let before = std::fs::read(&path).expect("children");
    std::fs::remove_dir_all(folder.path().join("checkpoint")).expect("removed");
    let error = go_on(folder.path()).expect_err("no checkpoint").to_string();
    assert!(
        error.contains("holds 8 children, but there is no checkpoint"),
        "{error}"
    );
    assert!(std::fs::read(&path).expect("children") == before);
}

#[test]
fn a_checkpoint_of_another_version_is_refused() {
    for (number, sealed) in [(1, false), (3, true)] {
        let (folder, _) = aborted();
        let path = folder.path().join("checkpoint/state.json");
        let value: Option<serde_json::Value> = epnas_disk::read_json(&path).expect("a state");
        let mut value = value.expect("a state");
        value["version"] = number.into();
        match sealed {
            true => epnas_disk::write_json(&path, &value).expect("written"),
            false => std::fs::write(&path, value.to_string()).expect("written"),
        }
        let error = go_on(folder.path())
            .expect_err("another version")
            .to_string();
        assert!(
            error.ends_with(&format!("state.json has version {number}, expected 2")),
            "{error}"
        );
    }
}

#[test]
fn a_history_shorter_than_its_checkpoint_is_refused() {
    let (folder, _) = aborted();
    std::fs::write(folder.path().join("history.jsonl"), "").expect("emptied");
    let error = go_on(folder.path())
        .expect_err("a short history")
        .to_string();
    assert!(
        error.contains("holds 0 children, expected at least the 8"),
        "{error}"
    );
}
