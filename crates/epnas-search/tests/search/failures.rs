//! Children that cannot be measured, and errors that end a search.

use super::*;

#[test]
fn a_failed_child_is_recorded_and_the_search_goes_on() {
    let space = space(3);
    let folder = fakes::folder();
    let bad = "macro:c5.0";
    let mut evaluator = Landscape {
        trouble: Trouble::Child(bad.into()),
        ..Landscape::new(&space)
    };
    let config = SearchConfig {
        iterations: 1,
        children_per_step: 1000,
        ..SearchConfig::default()
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 1);
    let outcome =
        run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect("a search");
    let failed: Vec<_> = outcome
        .history
        .records()
        .iter()
        .filter(|r| r.status == Status::Failed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].estimate, failed[0].reason.as_deref()),
        (None, Some("out of memory"))
    );
    assert_eq!(failed[0].arch.to_string(), bad);
    // K is more than there are candidates, so all extensions of the other five are trained: 5 + 1 failed, 5 * 12 of two
    // layers, 60 * 24 of three, of which 1000 are drawn.
    let of_length = |length| {
        outcome
            .history
            .records()
            .iter()
            .filter(|r| r.arch.len() == length)
            .count()
    };
    assert_eq!((of_length(1), of_length(2), of_length(3)), (6, 60, 1000));
    assert!(
        outcome
            .history
            .records()
            .iter()
            .all(|r| r.arch.len() == 1 || r.arch.prefix(1).to_string() != bad)
    );
    assert_eq!(outcome.history.distinct().len(), 5 + 60 + 1000);
}

#[test]
fn a_failed_child_leaves_the_shared_weights_alone() {
    let space = space(1);
    let folder = fakes::folder();
    let config = SearchConfig {
        iterations: 1,
        ..SearchConfig::default()
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 1);
    let bad = "macro:c5.0";
    let mut evaluator = Landscape {
        trouble: Trouble::Child(bad.into()),
        ..Landscape::new(&space)
    };
    run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect("a search");
    let arch = bad.parse().expect("an architecture");
    let weight = format!("1/{}", space.element(&arch, 1));
    assert_eq!(evaluator.weights.len(), 5);
    assert!(!evaluator.weights.contains_key(&weight));
}

/// A child that panics is to a search what a child is that fails: the same children after it, the same weights.
#[test]
fn a_child_that_panics_is_a_failed_one() {
    let space = space(3);
    let bad = "macro:c5.0".to_owned();
    let config = SearchConfig {
        iterations: 1,
        children_per_step: 5,
        ..SearchConfig::default()
    };
    let mut ends = Vec::new();
    for (trouble, reason) in [
        (Trouble::Child(bad.clone()), "out of memory"),
        (
            Trouble::Panic(bad.clone()),
            "panic: index 7 is out of range",
        ),
    ] {
        let folder = fakes::folder();
        let mut evaluator = Landscape {
            trouble,
            noise: 0.3,
            ..Landscape::new(&space)
        };
        let mut strategy = Progressive::new(space.clone(), config.clone(), Linear::new(&space), 1);
        let outcome =
            run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect("a search");
        let mut records: Vec<_> = outcome
            .history
            .records()
            .iter()
            .map(Record::timeless)
            .collect();
        let failed: Vec<_> = records
            .iter_mut()
            .filter(|record| record.status == Status::Failed)
            .map(|record| (record.arch.to_string(), record.reason.take()))
            .collect();
        assert_eq!(failed, [(bad.clone(), Some(reason.to_owned()))]);
        ends.push((records, evaluator.weights));
    }
    assert_eq!(ends[0], ends[1]);
}

/// Whoever watches a search is not a child of it.
#[test]
fn a_panic_of_the_observer_is_not_taken_for_the_childs() {
    let space = space(1);
    let folder = fakes::folder();
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 1);
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 1,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let mut observer = |event: Event<'_>| {
        assert!(
            !matches!(event, Event::ChildProgress(_)),
            "the screen is gone"
        );
    };
    let run = || driver.run(&mut Landscape::new(&space), &mut strategy, &mut observer);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("a panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the screen is gone"));
    assert_eq!(
        read_history(&folder.path().join("history.jsonl")).expect("a history"),
        []
    );
}

#[test]
fn an_estimate_that_is_no_number_is_a_failure() {
    let space = space(1);
    let folder = fakes::folder();
    let config = SearchConfig {
        iterations: 1,
        ..SearchConfig::default()
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 1);
    let mut evaluator = Landscape {
        trouble: Trouble::Nan("macro:d3.0".into()),
        ..Landscape::new(&space)
    };
    let outcome =
        run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect("a search");
    let failed: Vec<_> = outcome
        .history
        .records()
        .iter()
        .filter(|r| r.status == Status::Failed)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].reason.as_deref(), Some("its estimate is NaN"));
    let stored = read_history(&folder.path().join("history.jsonl")).expect("a readable history");
    assert_eq!(stored.as_slice(), outcome.history.records());
}

#[test]
fn when_every_child_fails_the_search_says_so() {
    let space = space(2);
    let folder = fakes::folder();
    let mut evaluator = Landscape {
        trouble: Trouble::EveryChild,
        ..Landscape::new(&space)
    };
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 1);
    let error =
        run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect_err("nothing works");
    assert!(
        matches!(
            error,
            SearchError::Strategy(StrategyError::AllFailed { children: 6, .. })
        ),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "all 6 children of iteration 0, step 1 failed; the last: never works"
    );
    let random = fakes::folder();
    let mut strategy = RandomSearch::new(space.clone(), 1);
    let error =
        run_in(random.path(), &space, 1, &mut evaluator, &mut strategy).expect_err("nothing works");
    assert!(
        matches!(
            error,
            SearchError::Strategy(StrategyError::AllFailed { children: 25, .. })
        ),
        "{error}"
    );
}

#[test]
fn a_fatal_error_stops_with_everything_saved() {
    let space = space(2);
    let folder = fakes::folder();
    let mut evaluator = Landscape {
        trouble: Trouble::FatalAt(8),
        ..Landscape::new(&space)
    };
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 1);
    let error = run_in(folder.path(), &space, 1, &mut evaluator, &mut strategy).expect_err("fatal");
    assert!(
        error.to_string().contains("the machine is on fire"),
        "{error}"
    );
    let stored = read_history(&folder.path().join("history.jsonl")).expect("a history");
    assert_eq!(stored.len(), 8);
}
