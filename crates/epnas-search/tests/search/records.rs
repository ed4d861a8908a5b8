//! What the history and the events tell.

use super::*;

#[test]
fn a_line_of_the_history_has_the_promised_fields() {
    let space = space(2);
    let folder = fakes::folder();
    let mut strategy = Progressive::new(space.clone(), small(), Linear::new(&space), 4);
    run_in(
        folder.path(),
        &space,
        4,
        &mut Landscape::new(&space),
        &mut strategy,
    )
    .expect("a search");
    let text = std::fs::read_to_string(folder.path().join("history.jsonl")).expect("text");
    assert_eq!(text.lines().count(), 24);
    for (index, line) in text.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for field in [
            "index",
            "iteration",
            "step",
            "arch",
            "estimate",
            "status",
            "reason",
            "seconds",
            "params",
            "macs",
            "images",
            "predicted",
            "probability",
            "temperature",
            "epochs",
        ] {
            assert!(value.get(field).is_some(), "{field} is missing in {line}");
        }
        assert_eq!(value["index"], index);
        assert_eq!(value["status"], "ok");
        assert!(
            value["arch"]
                .as_str()
                .is_some_and(|arch| arch.starts_with("macro:"))
        );
    }
}

#[test]
fn best_and_latest_differ_where_an_architecture_was_trained_again() {
    let space = space(1);
    let record = |index: u64, estimate: f64| Record {
        index,
        estimate: Some(estimate),
        arch: "macro:c3.0".parse().expect("an architecture"),
        ..search(&space, &small(), 1).history.records()[0].clone()
    };
    let records = vec![record(0, 0.8), record(1, 0.6), record(2, 0.7)];
    for (policy, expected) in [(HistoryPolicy::Best, 0.8), (HistoryPolicy::Latest, 0.7)] {
        let history = History::from_records(space.clone(), policy, records.clone());
        assert_eq!(history.len(), 3);
        let distinct = history.distinct();
        assert_eq!(
            (distinct.len(), distinct[0].estimate),
            (1, Some(expected)),
            "{policy:?}"
        );
        assert_eq!(history.best(5, 1)[0].estimate, Some(expected));
    }
}

#[test]
fn progress_is_told_in_order() {
    let space = space(2);
    let folder = fakes::folder();
    let mut told = Vec::new();
    let mut observer = |event: Event<'_>| {
        told.push(match event {
            Event::Scoring { .. } => "scoring",
            Event::Step { .. } => "step",
            Event::ChildStarted { .. } => "start",
            Event::ChildProgress(_) => "progress",
            Event::ChildFinished { .. } => "finish",
            Event::Fit { .. } => "fit",
            _ => "other",
        });
    };
    let config = SearchConfig {
        iterations: 1,
        children_per_step: 1,
        ..SearchConfig::default()
    };
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 4,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 4);
    driver
        .run(&mut Landscape::new(&space), &mut strategy, &mut observer)
        .expect("a search");
    let mut expected = vec!["step"];
    expected.extend(["start", "progress", "finish"].repeat(6));
    expected.extend([
        "fit", "scoring", "step", "start", "progress", "finish", "fit",
    ]);
    assert_eq!(told, expected);
}
