//! The loop on a synthetic landscape: does it find good architectures, and does it keep its promises?

mod fakes;

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{Evaluator, MacroSpace, Space};
use epnas_sampler::{Selection, TemperatureSchedule};
use epnas_search::driver::elapsed_seconds;
use epnas_search::{
    Driver, Ended, Event, History, HistoryPolicy, Outcome, Progressive, RandomBudget, RandomSearch,
    Record, SearchConfig, SearchError, Silent, Status, Strategy, StrategyError, read_history,
};
use fakes::{Landscape, Linear, Trouble};

fn space(layers: usize) -> Space {
    Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    })
}

fn small() -> SearchConfig {
    SearchConfig {
        iterations: 2,
        children_per_step: 6,
        ..SearchConfig::default()
    }
}

fn run_in<E: Evaluator, S: Strategy>(
    folder: &Path,
    space: &Space,
    seed: u64,
    evaluator: &mut E,
    strategy: &mut S,
) -> Result<Outcome, SearchError> {
    let policy = HistoryPolicy::Best;
    let driver = Driver {
        folder: folder.to_owned(),
        space: space.clone(),
        policy,
        seed,
        stop: None,
    };
    driver.run(evaluator, strategy, &mut Silent)
}

fn search(space: &Space, config: &SearchConfig, seed: u64) -> Outcome {
    let folder = fakes::folder();
    let mut strategy = Progressive::new(space.clone(), config.clone(), Linear::new(space), seed);
    run_in(
        folder.path(),
        space,
        seed,
        &mut Landscape::new(space),
        &mut strategy,
    )
    .expect("a search")
}

/// The best true value among full-length architectures.
fn best_value(space: &Space, history: &History) -> f64 {
    let landscape = Landscape::new(space);
    let full = history
        .records()
        .iter()
        .filter(|record| record.arch.len() == space.levels());
    full.map(|record| landscape.value(&record.arch))
        .fold(0.0, f64::max)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_search_beats_uniform_and_random_choice() {
    let space = space(6);
    let greedy = SearchConfig {
        iterations: 2,
        children_per_step: 10,
        temperature: TemperatureSchedule {
            initial: 1.0,
            final_: 0.03,
            decay: Some(3.0),
        },
        ..SearchConfig::default()
    };
    let uniform = SearchConfig {
        selection: Selection::Uniform,
        ..greedy.clone()
    };
    let (mut found, mut indifferent, mut random) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..6 {
        let outcome = search(&space, &greedy, seed);
        found.push(best_value(&space, &outcome.history));
        indifferent.push(best_value(&space, &search(&space, &uniform, seed).history));
        let folder = fakes::folder();
        let mut strategy =
            RandomSearch::new(space.clone(), RandomBudget::of(&outcome.history), seed);
        let baseline = run_in(
            folder.path(),
            &space,
            seed,
            &mut Landscape::new(&space),
            &mut strategy,
        );
        random.push(best_value(
            &space,
            &baseline.expect("a random search").history,
        ));
    }
    // Values are 1 - error; the differences are many times the spread over seeds.
    assert!(
        mean(&found) > mean(&indifferent) + 0.01,
        "{found:?} against {indifferent:?}"
    );
    assert!(
        mean(&found) > mean(&random) + 0.01,
        "{found:?} against {random:?}"
    );
}

#[test]
fn top_k_takes_the_best_predicted() {
    let space = space(4);
    let config = SearchConfig {
        selection: Selection::TopK,
        iterations: 1,
        ..small()
    };
    let history = search(&space, &config, 3).history;
    // The surrogate behind step 4 is not kept, but every child of a step must be predicted at least as high as any that
    // sampling at high temperature takes on average.
    let sampled = search(
        &space,
        &SearchConfig {
            selection: Selection::Sample,
            ..config
        },
        3,
    )
    .history;
    let predicted = |history: &History, step| {
        let values: Vec<f64> = history
            .records()
            .iter()
            .filter(|r| r.step == step)
            .filter_map(|r| r.predicted)
            .collect();
        values
    };
    assert_eq!(predicted(&history, 2).len(), 6);
    // Until step 2 both runs are the same, so the predictions there come from the same surrogate.
    let lowest = predicted(&history, 2).into_iter().fold(1.0, f64::min);
    assert!(lowest >= mean(&predicted(&sampled, 2)));
}

#[test]
fn temperatures_follow_the_schedule() {
    let space = space(4);
    let history = search(&space, &small(), 1).history;
    for record in history.records() {
        // tau(t) = 9 exp(-(t + 1)^2 / 4^2) + 1 with t counted over iterations of 4 steps.
        let t = (record.iteration * 4 + record.step - 1) as f64;
        let expected = 9.0 * (-(t + 1.0) * (t + 1.0) / 16.0).exp() + 1.0;
        let found = record.temperature.expect("a temperature");
        assert!(
            (found - expected).abs() < 1e-12,
            "step {t}: {found}, expected {expected}"
        );
        let first = record.iteration == 0 && record.step == 1;
        assert_eq!(record.predicted.is_none(), first);
        assert_eq!(record.probability.is_none(), first);
        if let Some(probability) = record.probability {
            assert!(probability > 0.0 && probability <= 1.0);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_search_and_another_does_not() {
    let space = space(4);
    let timeless = |seed| -> Vec<Record> {
        search(&space, &small(), seed)
            .history
            .records()
            .iter()
            .map(Record::timeless)
            .collect()
    };
    assert_eq!(timeless(1), timeless(1));
    assert_ne!(timeless(1), timeless(2));
}

#[test]
fn random_search_is_uniform_deterministic_and_spends_the_budget() {
    let space = space(3);
    let budget = RandomBudget {
        training_macs: Some(300_000 * 400),
        children: 1_000_000,
    };
    let run = || {
        let folder = fakes::folder();
        let mut strategy = RandomSearch::new(space.clone(), budget, 7);
        run_in(
            folder.path(),
            &space,
            7,
            &mut Landscape::new(&space),
            &mut strategy,
        )
        .expect("a random search")
    };
    let outcome = run();
    // Each child costs 3 layers * 1000 multiply-accumulates * 100 images.
    assert_eq!(outcome.history.len(), 400);
    assert_eq!(outcome.history.training_macs(), 300_000 * 400);
    let archs = |outcome: &Outcome| -> Vec<_> {
        outcome
            .history
            .records()
            .iter()
            .map(|record| record.arch.clone())
            .collect()
    };
    assert_eq!(archs(&outcome), archs(&run()));
    let mut operations = BTreeMap::new();
    for arch in archs(&outcome) {
        for level in 1..=3 {
            // Element = operation times number of wirings, or the reverse: either way all elements are alike.
            *operations
                .entry((level, space.element(&arch, level)))
                .or_insert(0) += 1;
        }
    }
    for (&(level, element), &count) in &operations {
        let expected = 400.0 / space.level_len(level) as f64;
        // Five standard deviations of a binomial count.
        assert!(
            (f64::from(count) - expected).abs() < 5.0 * expected.sqrt(),
            "{level}/{element}: {count}"
        );
    }
    assert_eq!(
        operations.len() as u64,
        (1..=3).map(|level| space.level_len(level)).sum::<u64>()
    );
}

#[test]
fn random_search_counts_children_where_cost_is_unknown() {
    let space = space(2);
    let records: Vec<Record> = search(&space, &small(), 1)
        .history
        .records()
        .iter()
        .map(|record| Record {
            macs: None,
            ..record.clone()
        })
        .collect();
    let history = History::from_records(space, HistoryPolicy::Best, records);
    let expected = RandomBudget {
        training_macs: None,
        children: history.len() as u64,
    };
    assert_eq!(RandomBudget::of(&history), expected);
}

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
    let budget = RandomBudget {
        training_macs: Some(1),
        children: 1000,
    };
    let mut strategy = RandomSearch::new(space.clone(), budget, 1);
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
            folder: folder.path().to_owned(),
            space: space.clone(),
            policy: HistoryPolicy::Best,
            seed: 4,
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
        folder: folder.path().to_owned(),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 4,
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
        folder: folder.path().to_owned(),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 4,
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
