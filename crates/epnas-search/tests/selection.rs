//! Selection: retraining the best few, resumable, and the result file.

mod fakes;

use epnas_arch::{MacroSpace, Space};
use epnas_search::best::{ESTIMATE_NOTE, rank};
use epnas_search::budget::{Baseline, TimeBudget};
use epnas_search::select::{Selection, read_selection, shortlist};
use epnas_search::{
    Best, Budget, Driver, Fronts, History, HistoryPolicy, Machine, Precisions, Progressive,
    SearchConfig, Silent, Status, TotalCost, Versions,
};
use fakes::{Landscape, Linear, Trouble};

fn space() -> Space {
    Space::Macro(MacroSpace {
        layers: 3,
        ..MacroSpace::default()
    })
}

fn history() -> History {
    let folder = fakes::folder();
    let space = space();
    let config = SearchConfig {
        iterations: 1,
        children_per_step: 8,
        ..SearchConfig::default()
    };
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 3,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 3);
    driver
        .run(&mut Landscape::new(&space), &mut strategy, &mut Silent)
        .expect("a search")
        .history
}

fn selection(file: std::path::PathBuf, settings: &str) -> Selection<'static> {
    Selection {
        file,
        space: space(),
        seed: 3,
        settings: settings.into(),
        stop: None,
    }
}

#[test]
fn the_shortlist_is_the_best_by_estimate() {
    let history = history();
    let list = shortlist(&history, 4).expect("a list");
    assert_eq!(
        (list.length, list.note, list.candidates.len()),
        (3, None, 4)
    );
    let mut estimates: Vec<f64> = history
        .records()
        .iter()
        .filter(|r| r.arch.len() == 3)
        .filter_map(|r| r.estimate)
        .collect();
    estimates.sort_by(|a, b| b.total_cmp(a));
    let listed: Vec<f64> = list
        .candidates
        .iter()
        .map(|candidate| candidate.estimate)
        .collect();
    assert_eq!(listed, estimates[..4]);
}

#[test]
fn without_full_length_architectures_the_deepest_are_taken() {
    let all = history();
    let partial: Vec<_> = all
        .records()
        .iter()
        .filter(|r| r.arch.len() < 3)
        .cloned()
        .collect();
    let list = shortlist(
        &History::from_records(space(), HistoryPolicy::Best, partial),
        2,
    )
    .expect("a list");
    assert_eq!((list.length, list.candidates.len()), (2, 2));
    assert!(
        list.note
            .is_some_and(|note| note.contains("the best of 2 of 3 levels"))
    );
    assert!(shortlist(&History::new(space(), HistoryPolicy::Best), 2).is_none());
}

#[test]
fn candidates_are_retrained_once_and_an_interrupted_selection_goes_on() {
    let folder = fakes::folder();
    let file = folder.path().join("selection.jsonl");
    let list = shortlist(&history(), 4).expect("a list");
    let retrained = |records: &[epnas_search::select::SelectionRecord]| -> Vec<_> {
        records
            .iter()
            .map(|r| (r.arch.to_string(), r.retrained_accuracy))
            .collect()
    };
    let whole = folder.path().join("whole.jsonl");
    let mut evaluator = Landscape::new(&space());
    let (expected, _) = selection(whole, "a")
        .run(&list.candidates, &mut evaluator, &mut Silent)
        .expect("a selection");
    assert_eq!(expected.len(), 4);

    let mut evaluator = Landscape {
        trouble: Trouble::FatalAt(2),
        ..Landscape::new(&space())
    };
    let error = selection(file.clone(), "a").run(&list.candidates, &mut evaluator, &mut Silent);
    assert!(error.is_err());
    // A line that was cut off is written anew.
    let text = std::fs::read_to_string(&file).expect("text");
    std::fs::write(&file, format!("{text}{{\"arch\":")).expect("written");
    assert_eq!(read_selection(&file).expect("records").len(), 2);
    let mut evaluator = Landscape::new(&space());
    let (records, stopped) = selection(file.clone(), "a")
        .run(&list.candidates, &mut evaluator, &mut Silent)
        .expect("the rest");
    assert_eq!((evaluator.evaluations, stopped), (2, None));
    assert_eq!(retrained(&records), retrained(&expected));
    // Again: nothing to do. With other settings: everything.
    for (settings, evaluations) in [("a", 2), ("b", 6)] {
        let run =
            selection(file.clone(), settings).run(&list.candidates, &mut evaluator, &mut Silent);
        assert_eq!(run.expect("records").0.len(), 4);
        assert_eq!(evaluator.evaluations, evaluations);
    }
}

#[test]
fn the_best_retrained_wins_and_failures_come_last() {
    let folder = fakes::folder();
    let list = shortlist(&history(), 4).expect("a list");
    let bad = list.candidates[0].arch.clone();
    let mut evaluator = Landscape {
        trouble: Trouble::Child(bad.to_string()),
        ..Landscape::new(&space())
    };
    let file = folder.path().join("selection.jsonl");
    let (mut records, _) = selection(file, "a")
        .run(&list.candidates, &mut evaluator, &mut Silent)
        .expect("a selection");
    assert_eq!(
        records
            .iter()
            .filter(|record| record.status == Status::Failed)
            .count(),
        1
    );
    // Let the third by estimate be the best after retraining.
    let winner = list.candidates[2].arch.clone();
    for record in &mut records {
        if record.arch == winner {
            record.retrained_accuracy = Some(0.99);
        }
    }
    let ranked = rank(&space(), &list, &records);
    assert_eq!(ranked[0].architecture, winner);
    assert_eq!(ranked[0].retrained_accuracy, Some(0.99));
    assert_eq!(
        (&ranked[3].architecture, ranked[3].retrained_accuracy),
        (&bad, None)
    );
    assert!(ranked[1].retrained_accuracy >= ranked[2].retrained_accuracy);
    // Without any retraining the order is that of the estimates.
    let unranked = rank(&space(), &list, &[]);
    assert_eq!(unranked[0].architecture, bad);
}

#[test]
fn the_result_file_round_trips_and_marks_the_estimate() {
    let folder = fakes::folder();
    let path = folder.path().join("best.json");
    assert!(
        Best::read(&path)
            .expect_err("no file")
            .to_string()
            .contains("there is no result yet")
    );
    let history = history();
    let top = rank(&space(), &shortlist(&history, 2).expect("a list"), &[]);
    let cost = TotalCost::of(&history, 1.5);
    // 6 of one layer, 8 of two, 8 of three: 1000 multiply-accumulates a layer, 100 images each.
    assert_eq!(
        (cost.children, cost.images, cost.macs),
        (22, 2200, 100 * 1000 * (6 + 8 * 2 + 8 * 3))
    );
    let best = Best {
        architecture: top[0].architecture.clone(),
        estimate: top[0].estimate,
        estimate_note: ESTIMATE_NOTE.into(),
        retrained_accuracy: None,
        retrained_epochs: None,
        notes: vec!["note".into()],
        random: None,
        surrogate: None,
        cost,
        selection_cost: TotalCost::of_selection(&[]),
        seed: 3,
        machine: Machine::here(),
        precision: Precisions::default(),
        pareto: Fronts::default(),
        versions: Versions::default(),
        top,
    };
    best.write(&path).expect("written");
    assert_eq!(Best::read(&path).expect("read"), best);
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("bytes")).expect("JSON");
    for field in [
        "architecture",
        "estimate",
        "retrained_accuracy",
        "random",
        "cost",
        "seed",
        "machine",
        "precision",
        "versions",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    assert!(
        json["estimate_note"]
            .as_str()
            .is_some_and(|note| note.contains("is not the accuracy"))
    );
    assert!(
        json["machine"]["cores"]
            .as_u64()
            .is_some_and(|cores| cores > 0)
    );
}

#[test]
fn the_time_budget_is_shared() {
    let history = history();
    let budget = TimeBudget {
        seconds: 100.0,
        baseline: Baseline::Random,
        retrained: 2,
        retrained_images: 200,
    };
    // The search spent 100 * 1000 * 46 multiply-accumulates; retraining 2 * 2 networks of 3000 on 200 images takes
    // 2,400,000 of them: 2.4 / 4.6 of the time.
    let reserve = budget.reserve(&history, 10.0);
    assert!((reserve - 10.0 * 2.4 / 4.6).abs() < 1e-9, "{reserve}");
    // Half of what is left is the search's.
    let share = |seconds: f64| budget.stops_search(&history, seconds, 0.0);
    // At s seconds the reserve is s * 2.4 / 4.6, so the share (100 - s * 0.5217) / 2 is reached at 39.66.
    assert_eq!(share(39.0), None);
    assert!(share(40.0).is_some_and(|reason| reason.contains("time budget of 1m 40s")));
    // The reserve is at most half of the budget.
    assert_eq!(budget.reserve(&history, 1e6), 50.0);
    assert!(budget.stops_search(&history, 1.0, 99.5).is_some());
    assert_eq!(budget.stops_baseline(79.0, 20.0), None);
    assert!(budget.stops_baseline(80.0, 20.0).is_some());
    assert_eq!(budget.stops_selection(99.0), None);
    assert!(budget.stops_selection(100.0).is_some());
    let alone = TimeBudget {
        baseline: Baseline::None,
        retrained: 0,
        ..budget
    };
    assert_eq!(alone.stops_search(&history, 99.0, 0.0), None);
}
