//! A run killed anywhere and resumed ends as the uninterrupted one: the same history, seconds aside, and the same
//! bytes of weights and surrogate.

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{MacroSpace, Space};

use crate::config::{Continuation, HistoryPolicy, SearchConfig};
use crate::disk::{die_at, points_passed};
use crate::fakes::{Landscape, Linear, Trouble};
use crate::{
    Driver, Outcome, Progressive, RandomBudget, RandomSearch, Record, SearchError, Silent, Strategy,
};

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

fn attempt<S: Strategy>(
    folder: &Path,
    mut strategy: S,
    trouble: Trouble,
) -> Result<Outcome, SearchError> {
    let mut evaluator = Landscape {
        trouble,
        noise: 0.3,
        ..Landscape::new(&space())
    };
    let driver = Driver {
        folder: folder.to_owned(),
        space: space(),
        policy: HistoryPolicy::Best,
        seed: 5,
        stop: None,
    };
    driver.run(&mut evaluator, &mut strategy, &mut Silent)
}

fn progressive(continuation: Continuation) -> Progressive<Linear> {
    Progressive::new(space(), config(continuation), Linear::new(&space()), 5)
}

/// What a run leaves: its history without times, and the bytes of every checkpoint file but `state.json`, which holds
/// times.
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
        .filter(|(name, _)| name != "state.json")
        .map(|(name, path)| (name, std::fs::read(path).expect("a file")))
        .collect();
    (records.iter().map(Record::timeless).collect(), blobs)
}

fn uninterrupted<S: Strategy>(strategy: S) -> (Left, usize) {
    let folder = crate::fakes::folder();
    die_at(None);
    attempt(folder.path(), strategy, Trouble::None).expect("a whole run");
    (result(folder.path()), points_passed())
}

#[test]
fn aborted_at_every_child() {
    let (expected, _) = uninterrupted(progressive(Continuation::Restart));
    // 6 + 3 + 3 children in the first iteration, 3 + 3 + 3 in the second.
    assert_eq!(expected.0.len(), 21);
    assert_eq!(
        expected.1.keys().collect::<Vec<_>>(),
        ["surrogate-6.bin", "weights-21.bin"]
    );
    for child in 0..expected.0.len() {
        let folder = crate::fakes::folder();
        let died = attempt(
            folder.path(),
            progressive(Continuation::Restart),
            Trouble::FatalAt(child),
        );
        assert!(
            matches!(died, Err(SearchError::Evaluate { .. })),
            "child {child}: {died:?}"
        );
        attempt(
            folder.path(),
            progressive(Continuation::Restart),
            Trouble::None,
        )
        .expect("the rest");
        assert_eq!(result(folder.path()), expected, "aborted at child {child}");
    }
}

fn killed_at_every_write<S: Strategy>(strategy: impl Fn() -> S) {
    let (expected, points) = uninterrupted(strategy());
    assert!(points > 100, "{points} write points");
    for point in 0..points {
        let folder = crate::fakes::folder();
        die_at(Some(point));
        let died = attempt(folder.path(), strategy(), Trouble::None);
        assert!(died.is_err(), "write point {point} did not kill");
        die_at(None);
        attempt(folder.path(), strategy(), Trouble::None).expect("the rest");
        assert_eq!(
            result(folder.path()),
            expected,
            "killed at write point {point}"
        );
    }
}

#[test]
fn killed_at_every_write_point() {
    killed_at_every_write(|| progressive(Continuation::Restart));
}

#[test]
fn killed_at_every_write_point_while_refining() {
    killed_at_every_write(|| progressive(Continuation::Refine));
}

#[test]
fn random_search_killed_at_every_write_point() {
    // 3 layers of 1000 multiply-accumulates on 100 images: 300,000 a child, so 5 children reach 1,300,000.
    let budget = RandomBudget {
        training_macs: Some(1_300_000),
        children: 100,
    };
    let (expected, _) = uninterrupted(RandomSearch::new(space(), budget, 5));
    assert_eq!(expected.0.len(), 5);
    killed_at_every_write(|| RandomSearch::new(space(), budget, 5));
}

#[test]
fn killed_again_and_again() {
    let (expected, _) = uninterrupted(progressive(Continuation::Restart));
    let folder = crate::fakes::folder();
    // 29 write points are enough for opening and one child, so that every attempt gets further.
    for attempts in 0.. {
        die_at(Some(29 + attempts % 7));
        if attempt(
            folder.path(),
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

#[test]
fn damaged_files_are_named() {
    let folder = crate::fakes::folder();
    die_at(None);
    let died = attempt(
        folder.path(),
        progressive(Continuation::Restart),
        Trouble::FatalAt(8),
    );
    assert!(died.is_err());
    let weights = folder.path().join("checkpoint/weights-8.bin");
    let mut bytes = std::fs::read(&weights).expect("weights");
    bytes[3] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    let error = attempt(
        folder.path(),
        progressive(Continuation::Restart),
        Trouble::None,
    )
    .expect_err("a damaged checkpoint")
    .to_string();
    assert!(
        error.contains("weights-8.bin is damaged") && error.contains("CRC-32"),
        "{error}"
    );
}

#[test]
fn a_history_shorter_than_its_checkpoint_is_refused() {
    let folder = crate::fakes::folder();
    die_at(None);
    let died = attempt(
        folder.path(),
        progressive(Continuation::Restart),
        Trouble::FatalAt(8),
    );
    assert!(died.is_err());
    std::fs::write(folder.path().join("history.jsonl"), "").expect("emptied");
    let error = attempt(
        folder.path(),
        progressive(Continuation::Restart),
        Trouble::None,
    )
    .expect_err("a short history")
    .to_string();
    assert!(
        error.contains("holds 0 children, expected at least the 8"),
        "{error}"
    );
}
