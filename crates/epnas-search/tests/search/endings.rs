//! Stopping, going on, and what a kill leaves of the history.

use super::*;

#[test]
fn a_stopped_search_goes_on_where_it_stopped() {
    let space = space(3);
    let whole = search(&space, &small(), 4);
    let folder = fakes::folder();
    // Stops before every third child.
    for round in 1.. {
        let seconds = elapsed_seconds(folder.path()).expect("a time");
        assert_eq!(seconds > 0.0, round > 1);
        let mut stop = |history: &History, elapsed: f64| {
            assert!(elapsed > seconds, "time goes on over resumed parts");
            (history.len() >= 3 * round).then(|| "enough".to_owned())
        };
        let driver = Driver {
            folder: Some(folder.path().to_owned()),
            space: space.clone(),
            policy: HistoryPolicy::Best,
            seed: 4,
            settings: String::new(),
            budget: Budget::default(),
            stop: Some(&mut stop),
        };
        let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 4);
        let outcome = driver
            .run(&mut Landscape::new(&space), &mut strategy, &mut Silent)
            .expect("a part");
        match outcome.ended {
            Ended::Stopped(reason) => {
                assert_eq!(
                    (reason.as_str(), outcome.history.len()),
                    ("enough", 3 * round)
                );
            }
            Ended::Finished => {
                let timeless = |o: &Outcome| -> Vec<_> {
                    o.history.records().iter().map(Record::timeless).collect()
                };
                assert_eq!(timeless(&outcome), timeless(&whole));
                return;
            }
        }
    }
}

#[test]
fn one_child_is_trained_however_short_the_time() {
    let space = space(2);
    let folder = fakes::folder();
    let mut stop = |_: &History, _: f64| Some("no time".to_owned());
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 4,
        settings: String::new(),
        budget: Budget::default(),
        stop: Some(&mut stop),
    };
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 4);
    let outcome = driver
        .run(&mut Landscape::new(&space), &mut strategy, &mut Silent)
        .expect("a part");
    assert_eq!(outcome.history.len(), 1);
}

#[test]
fn a_finished_search_that_is_resumed_trains_nothing() {
    let space = space(2);
    let folder = fakes::folder();
    let mut evaluator = Landscape::new(&space);
    for evaluations in [18, 18] {
        let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 4);
        let outcome =
            run_in(folder.path(), &space, 4, &mut evaluator, &mut strategy).expect("a search");
        // 6 + 6 and 6 + 6 children.
        assert_eq!(
            (outcome.history.len(), outcome.ended),
            (24, Ended::Finished)
        );
        assert_eq!(evaluator.evaluations, evaluations + 6);
    }
}

#[test]
fn a_torn_last_line_is_left_out_and_a_torn_line_elsewhere_is_named() {
    let space = space(2);
    let folder = fakes::folder();
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 4);
    let outcome = run_in(
        folder.path(),
        &space,
        4,
        &mut Landscape::new(&space),
        &mut strategy,
    )
    .expect("a search");
    let path = folder.path().join("history.jsonl");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, format!("{text}{{\"index\":24,\"itera")).expect("written");
    let stored = read_history(&path).expect("a history");
    assert_eq!(stored.as_slice(), outcome.history.records());
    std::fs::write(&path, text.replacen("\"index\":2,", "\"index\":", 1)).expect("written");
    let error = read_history(&path).expect_err("a damaged line").to_string();
    assert!(error.contains("history.jsonl, line 3: "), "{error}");
}
