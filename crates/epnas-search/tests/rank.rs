//! Ranking: which architectures, what is kept, and what the report says of known orders.

mod fakes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use epnas_arch::{MacroSpace, Space};
use epnas_search::rank::{Draw, Estimates, Origin, Predictor, RankReport, Ranking, draws};
use epnas_search::select::SelectionRecord;
use epnas_search::{
    Admission, Budget, Driver, Event, History, HistoryPolicy, Observer, Progressive, RankRecord,
    SearchConfig, Silent, Status, read_rank,
};
use fakes::{Landscape, Linear, Trouble};

fn space(layers: usize) -> Space {
    Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    })
}

fn drawn_from(history: &History, seed: u64, n: usize) -> Vec<Draw> {
    draws(history, &Admission::default(), seed, n).expect("draws")
}

fn history(layers: usize, children: usize) -> History {
    let folder = fakes::folder();
    let space = space(layers);
    let config = SearchConfig {
        iterations: 1,
        children_per_step: children,
        ..SearchConfig::default()
    };
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        settings: String::new(),
        budget: Budget::default(),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 3,
        stop: None,
    };
    let mut strategy = Progressive::new(space.clone(), config, Linear::new(&space), 3);
    driver
        .run(&mut Landscape::new(&space), &mut strategy, &mut Silent)
        .expect("a search")
        .history
}

fn keys(draws: &[Draw]) -> Vec<String> {
    let keys = draws.iter().map(|draw| space(3).key(&draw.arch));
    keys.collect()
}

#[test]
fn half_are_children_of_the_run_and_half_come_from_the_space() {
    let history = history(3, 8);
    let drawn = drawn_from(&history, 1, 12);
    let from_run: Vec<&Draw> = drawn
        .iter()
        .filter(|draw| draw.origin == Origin::Run)
        .collect();
    assert_eq!((drawn.len(), from_run.len()), (12, 6));
    for draw in &drawn {
        assert_eq!(draw.arch.len(), 3);
        assert_eq!(draw.record.is_some(), draw.origin == Origin::Run);
    }
    for draw in from_run {
        let record = draw.record.as_ref().expect("a record");
        assert!(history.records().contains(record) && record.arch == draw.arch);
    }
    assert_eq!(keys(&drawn).into_iter().collect::<BTreeSet<_>>().len(), 12);
}

#[test]
fn a_longer_ranking_begins_with_the_shorter_one_and_another_seed_draws_others() {
    let history = history(3, 8);
    let short = drawn_from(&history, 1, 5);
    assert_eq!(drawn_from(&history, 1, 40)[..5], short);
    assert_ne!(drawn_from(&history, 2, 5), short);
    // The run has 8 children of full length; the space fills up.
    let from_run = |draws: &[Draw]| {
        let of_run = draws.iter().filter(|draw| draw.origin == Origin::Run);
        of_run.count()
    };
    // Children that the space gave first are not drawn twice.
    let all = drawn_from(&history, 1, 40);
    assert!((7..=8).contains(&from_run(&all)), "{}", from_run(&all));
    assert_eq!(all.len(), 40);
}

#[test]
fn a_small_space_is_used_up() {
    // One layer: six networks, all of them children.
    let drawn = drawn_from(&history(1, 6), 1, 20);
    assert_eq!(drawn.len(), 6);
}

#[test]
fn without_full_length_children_all_come_from_the_space() {
    let all = history(3, 8);
    let partial = all.records().iter().filter(|record| record.arch.len() < 3);
    let history = History::from_records(space(3), HistoryPolicy::Best, partial.cloned().collect());
    let drawn = drawn_from(&history, 1, 4);
    assert!(drawn.len() == 4 && drawn.iter().all(|draw| draw.origin == Origin::Space));
}

/// Ranks by the landscape; returns the records, the reason to stop, and the architectures that were retrained.
fn rank(
    file: PathBuf,
    settings: &str,
    n: usize,
    stop_after: usize,
    evaluator: &mut Landscape,
) -> (Vec<RankRecord>, Option<String>, Vec<String>) {
    let drawn = drawn_from(&history(3, 8), 1, n);
    let mut asked = 0;
    let ranking = Ranking {
        file,
        space: space(3),
        seed: 1,
        settings: settings.into(),
        stop: &mut || {
            asked += 1;
            (asked > stop_after).then(|| "enough".to_owned())
        },
    };
    let landscape = Landscape::new(&space(3));
    let mut estimate = |draw: &Draw, _: &mut dyn Observer| {
        let value = landscape.value(&draw.arch);
        Ok(Estimates {
            values: BTreeMap::from([(Predictor::Surrogate, value)]),
            seconds: BTreeMap::from([(Predictor::Surrogate, 0.5)]),
        })
    };
    let mut retrained = Vec::new();
    let mut watch = |event: Event<'_>| {
        if let Event::CandidateFinished { arch, .. } = event {
            retrained.push(arch.to_string());
        }
    };
    let (records, stopped) = ranking
        .run(&drawn, &mut estimate, evaluator, &mut watch)
        .expect("a ranking");
    (records, stopped, retrained)
}

fn timeless(records: &[RankRecord]) -> Vec<RankRecord> {
    let mut records = records.to_vec();
    for record in &mut records {
        record.retrained.seconds = 0.0;
    }
    records
}

#[test]
fn a_stopped_ranking_goes_on_and_grows_to_the_same_end() {
    let folder = fakes::folder();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut evaluator = Landscape::new(&space(3));
    let (expected, stopped, _) = rank(whole, "a", 8, 99, &mut evaluator);
    assert_eq!((expected.len(), stopped), (8, None));

    let (first, stopped, retrained) = rank(parts.clone(), "a", 6, 3, &mut evaluator);
    assert_eq!((first.len(), stopped.as_deref()), (3, Some("enough")));
    assert_eq!(retrained.len(), 3);
    // A process that died while it wrote.
    let mut text = std::fs::read(&parts).expect("lines");
    text.extend(b"{\"origin\":\"ru");
    std::fs::write(&parts, text).expect("written");
    let (_, _, retrained) = rank(parts.clone(), "a", 6, 99, &mut evaluator);
    assert_eq!(retrained.len(), 3);
    let (all, _, retrained) = rank(parts.clone(), "a", 8, 99, &mut evaluator);
    assert_eq!(retrained.len(), 2);
    assert_eq!(timeless(&all), timeless(&expected));
    assert_eq!(
        timeless(&read_rank(&parts).expect("lines")),
        timeless(&expected)
    );

    // A shorter one takes its share; other settings are kept apart.
    let (short, _, retrained) = rank(parts.clone(), "a", 4, 99, &mut evaluator);
    assert_eq!((short.len(), retrained.len()), (4, 0));
    let (_, _, retrained) = rank(parts.clone(), "b", 4, 99, &mut evaluator);
    assert_eq!(retrained.len(), 4);
    assert_eq!(read_rank(&parts).expect("lines").len(), 12);
}

#[test]
fn what_cannot_be_retrained_is_counted_and_left_out() {
    let folder = fakes::folder();
    let file = folder.path().join("rank.jsonl");
    let bad = drawn_from(&history(3, 8), 1, 6)[2].arch.to_string();
    let mut evaluator = Landscape::new(&space(3));
    evaluator.trouble = Trouble::Child(bad.clone());
    let (records, _, _) = rank(file, "a", 6, 99, &mut evaluator);
    assert_eq!(records[2].retrained.status, Status::Failed);
    assert_eq!(records[2].retrained.arch.to_string(), bad);
    let report = RankReport::new(&records, Predictor::Surrogate, 1, Vec::new());
    assert_eq!((report.architectures, report.failed), (5, 1));
    assert_eq!(report.all[0].architectures, 5);
}

fn record(origin: Origin, accuracy: Option<f64>, values: &[(Predictor, f64)]) -> RankRecord {
    RankRecord {
        origin,
        estimates: values.iter().copied().collect(),
        estimate_seconds: BTreeMap::from([(Predictor::Surrogate, accuracy.unwrap_or(9.0))]),
        retrained: SelectionRecord {
            arch: "macro:c3.0".parse().expect("an architecture"),
            retrained_accuracy: accuracy,
            status: match accuracy {
                Some(_) => Status::Ok,
                None => Status::Failed,
            },
            reason: None,
            seconds: 2.0,
            params: None,
            macs: None,
            images: 0,
            epochs: Vec::new(),
            settings: String::new(),
        },
    }
}

/// Ten architectures of accuracies 0.0 to 0.9. Each predictor orders them in a known way.
fn known() -> Vec<RankRecord> {
    (0..10)
        .map(|index| {
            let value = f64::from(index);
            let swapped = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8][index as usize];
            let mut values = vec![
                (Predictor::TrainedRunning, value),
                (Predictor::Macs, -value),
                (Predictor::Params, 1.0),
                (Predictor::Surrogate, f64::from(swapped)),
            ];
            if index < 4 {
                values.push((Predictor::Recorded, value));
            }
            let origin = match index < 4 {
                true => Origin::Run,
                false => Origin::Space,
            };
            record(origin, Some(value / 10.0), &values)
        })
        .collect()
}

#[test]
fn known_orders_have_known_scores() {
    let report = RankReport::new(&known(), Predictor::TrainedRunning, 1, Vec::new());
    assert_eq!((report.architectures, report.failed), (10, 0));
    let of = |predictor| {
        let scores = report
            .all
            .iter()
            .find(|scores| scores.predictor == predictor);
        scores.expect("scores")
    };
    let value = |score: Option<epnas_search::rank::Score>| score.map(|score| score.value);
    let search = of(Predictor::TrainedRunning);
    assert_eq!(value(search.kendall_tau), Some(1.0));
    assert_eq!(search.kendall_tau.and_then(|s| s.ci95), Some((1.0, 1.0)));
    assert_eq!((value(search.precision_at_k), search.k), (Some(1.0), 2));
    assert_eq!(search.tau_less_search, None);
    let macs = of(Predictor::Macs);
    assert_eq!(value(macs.kendall_tau), Some(-1.0));
    assert_eq!(value(macs.precision_at_k), Some(0.0));
    assert_eq!(value(macs.tau_less_search), Some(-2.0));
    assert_eq!(macs.seconds, None);
    // All tie: no order, and the best by chance.
    let params = of(Predictor::Params);
    assert_eq!((params.kendall_tau, params.spearman), (None, None));
    assert_eq!(value(params.precision_at_k), Some(0.2));
    // Five neighbours of 45 pairs are swapped: (40 - 5) / 45; Spearman 1 - 6 * 10 / (10 * 99).
    let surrogate = of(Predictor::Surrogate);
    let near = |found: Option<f64>, expected: f64| {
        let found = found.expect("a number");
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    };
    near(value(surrogate.kendall_tau), 35.0 / 45.0);
    near(value(surrogate.spearman), 1.0 - 60.0 / 990.0);
    near(value(surrogate.tau_less_search), 35.0 / 45.0 - 1.0);
    near(surrogate.seconds, 0.45);
    let (low, high) = surrogate
        .kendall_tau
        .and_then(|s| s.ci95)
        .expect("an interval");
    assert!(low < 35.0 / 45.0 && 35.0 / 45.0 < high && high <= 1.0);
    // What only the run's children have is scored over them.
    assert_eq!(of(Predictor::Recorded).architectures, 4);
    let groups = [&report.run, &report.space];
    let sizes = groups.map(|group| group.iter().map(|scores| scores.architectures).max());
    assert_eq!(sizes, [Some(4), Some(6)]);
    assert!(
        report
            .space
            .iter()
            .all(|scores| scores.predictor != Predictor::Recorded)
    );
    let retrained = report.retrained.expect("a summary");
    assert_eq!(
        (retrained.lowest, retrained.highest, retrained.seconds),
        (0.0, 0.9, 2.0)
    );
}

#[test]
fn a_report_without_architectures_is_empty() {
    let failed = [record(Origin::Run, None, &[(Predictor::Macs, 1.0)])];
    for records in [&failed[..], &[]] {
        let report = RankReport::new(records, Predictor::TrainedRunning, 1, Vec::new());
        assert_eq!((report.architectures, &report.retrained), (0, &None));
        assert!(report.all.iter().all(|scores| scores.kendall_tau.is_none()));
        let text = serde_json::to_string(&report).expect("JSON");
        assert_eq!(report, serde_json::from_str(&text).expect("the same"));
    }
}
