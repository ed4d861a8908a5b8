//! Which architectures are chosen, by the search and by random search.

use super::*;

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
        let mut strategy = RandomSearch::new(space.clone(), seed);
        let baseline = run_within(
            Budget::spent_by(&outcome.history),
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
    let budget = Budget {
        training_macs: Some(300_000 * 400),
        children: Some(1_000_000),
    };
    let run = || {
        let folder = fakes::folder();
        let mut strategy = RandomSearch::new(space.clone(), 7);
        run_within(
            budget,
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
    let expected = Budget::children(history.len() as u64);
    assert_eq!(Budget::spent_by(&history), expected);
}
