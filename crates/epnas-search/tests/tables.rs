//! Tables of known accuracies: what is read, what is refused, and how strategies do on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use epnas_arch::{Arch, Evaluator, Job, Space, seed::split};
use epnas_search::strategy::evolution::mutate;
use epnas_search::strategy::local_search::neighbours;
use epnas_search::{Config, Row, StrategyKind, Table, TableEvaluator, compare_on_table};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn written(name: &str, text: &str) -> Result<Table, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    Table::read(&path).map_err(|error| {
        let text = error.to_string();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        text.replace(&format!("{}: ", path.display()), "")
    })
}

fn arch(text: &str) -> Arch {
    text.parse().expect("an architecture")
}

fn seen(table: &Arc<Table>, draw: u64, text: &str) -> Option<f64> {
    let job = Job {
        arch: &arch(text),
        seed: 1,
        progress: &mut |_| (),
    };
    let measured = TableEvaluator::new(Arc::clone(table), draw).evaluate(job);
    measured.ok().map(|measured| measured.estimate)
}

#[test]
fn nas_bench_macro_is_read_as_published() {
    let text = r#"{
        "00": {"test_acc": [80.0, 81.0, 82.0], "mean_acc": 81.0, "std": 0.8, "params": 10, "flops": 100},
        "01": {"test_acc": [84.0, 83.0, 85.0], "mean_acc": 84.0, "std": 0.8, "params": 20, "flops": 200},
        "20": {"test_acc": [90.0, 91.0, 92.0], "mean_acc": 91.0, "std": 0.8, "params": 30, "flops": 300}
    }"#;
    let table = Arc::new(written("tiny.json", text).expect("a table"));
    assert_eq!((table.name(), table.len()), ("tiny", 3));
    assert_eq!([1, 2].map(|level| table.space().level_len(level)), [3, 2]);
    assert!((table.best() - 0.91).abs() < 1e-12);
    // Each draw is a training; a shorter network leaves the layers out that it lacks.
    assert_eq!(seen(&table, 0, "choices:0/1"), Some(0.84));
    assert_eq!(seen(&table, 4, "choices:0/1"), Some(0.83));
    assert_eq!(seen(&table, 0, "choices:2"), Some(0.90));
    assert_eq!(seen(&table, 0, "choices:1/1"), None);
    let cost = TableEvaluator::new(Arc::clone(&table), 0).cost(&arch("choices:2"));
    assert_eq!(cost.map(|cost| (cost.params, cost.macs)), Some((30, 300)));
    assert!(table.knows_prefixes());
}

#[test]
fn own_tables_are_json_or_csv() {
    let json = r#"{"name": "mine", "padding": 1, "rows": [
        {"arch": [0, 1], "accuracy": [0.5, 0.6], "params": 7, "macs": 70},
        {"arch": "choices:2/1", "accuracy": 0.7}]}"#;
    let table = Arc::new(written("own.json", json).expect("a table"));
    assert_eq!(table.name(), "mine");
    assert_eq!(seen(&table, 1, "choices:0"), Some(0.6));
    assert_eq!(table.get(&arch("choices:0/1")).map(Row::mean), Some(0.55));

    let csv = "arch, accuracy, accuracy_2, macs, params\nchoices:0/1, 0.5, 0.6, 9, 1\nchoices:1/0, 0.7,,,\n";
    let table = Arc::new(written("own.csv", csv).expect("a table"));
    assert_eq!(seen(&table, 1, "choices:0/1"), Some(0.6));
    assert_eq!(seen(&table, 1, "choices:1/0"), Some(0.7));
    assert!(!table.knows_prefixes());

    // Networks of our own spaces, whose equals are one row.
    let json = r#"{"space": {"kind": "micro", "blocks": 1}, "rows": [
        {"arch": "micro:c3.-1+mp.-2", "accuracy": 0.5}]}"#;
    let table = Arc::new(written("cells.json", json).expect("a table"));
    assert_eq!(seen(&table, 0, "micro:mp.-2+c3.-1"), Some(0.5));
    assert!(table.knows_prefixes());
}

#[test]
fn what_is_wrong_with_a_table_is_told() {
    let json = |rows: &str| written("t.json", &format!("{{\"rows\": [{rows}]}}"));
    let row = |text: &str| json(text).expect_err(text);
    assert_eq!(row(""), "the table has no rows");
    assert_eq!(
        row(r#"{"arch": [], "accuracy": 0.5}"#),
        "the table has no rows"
    );
    assert!(row(r#"{"arch": 7, "accuracy": 0.5}"#).starts_with("arch: expected a list of choices"));
    assert!(row(r#"{"arch": [0], "accuracy": "x"}"#).starts_with("accuracy: expected a number"));
    assert_eq!(
        row(r#"{"arch": [0], "accuracy": 0.5, "macs": 7}"#),
        "row 1: params or macs alone, expected both or none"
    );
    assert!(row(r#"{"arch": "0/1", "accuracy": 0.5}"#).contains("begin with choices:"));
    assert_eq!(
        row(r#"{"arch": [0], "accuracy": 80}"#),
        "choices:0 has the accuracy 80, expected 0 to 1 (not percent)"
    );
    assert_eq!(
        row(r#"{"arch": [0], "accuracy": []}"#),
        "choices:0 has no accuracy"
    );
    assert_eq!(
        row(r#"{"arch": [0], "accuracy": 0.5}, {"arch": "choices:0", "accuracy": 0.5}"#),
        "choices:0 comes twice"
    );
    assert!(
        row(r#"{"arch": "chices:0", "accuracy": 0.5}"#).starts_with("row 1: arch \"chices:0\"")
    );
    assert!(row(r#"{"arch": "macro:c3.0", "accuracy": 0.5}"#).contains("needs the space"));
    assert!(row(r#"{"arch": [0], "acuracy": 0.5}"#).contains("unknown field `acuracy`"));
    let named = written(
        "n.json",
        r#"{"name": "\u001b[31m", "rows": [{"arch": [0], "accuracy": 0.5}]}"#,
    );
    assert!(
        named
            .expect_err("a name")
            .contains("expected a line of text")
    );
    let padded = written(
        "p.json",
        r#"{"padding": 3, "rows": [{"arch": [0], "accuracy": 0.5}]}"#,
    );
    assert_eq!(
        padded.expect_err("a choice that is not there"),
        "padding is choice 3, but a level has only 1 choices"
    );
    let csv = |text: &str| written("t.csv", text).expect_err(text);
    assert!(csv("arch,acc\nchoices:0,1\n").starts_with("column \"acc\", expected arch"));
    assert_eq!(csv("accuracy\n0.5\n"), "there is no column arch");
    assert_eq!(
        csv("arch,arch,accuracy\na,a,0.5\n"),
        "column \"arch\" comes twice"
    );
    assert_eq!(
        csv("arch,accuracy\nchoices:0,x\n"),
        "line 2: accuracy is \"x\", expected a number from 0 to 1"
    );
    assert_eq!(
        csv("arch,accuracy,params\nchoices:0,0.5,-1\n"),
        "line 2: \"-1\", expected a whole number"
    );
    assert!(
        written("t.txt", "")
            .expect_err("a name")
            .contains("ends in .json or .csv")
    );
    let missing = Table::read(Path::new("/nowhere/t.json")).expect_err("no file");
    assert!(missing.to_string().contains("/nowhere/t.json"), "{missing}");
}

/// All architectures of four levels of three choices. Level l is best with choice l mod 3, alone it is worth l points; a
/// training adds or takes up to half a point.
fn additive() -> Table {
    let digits = |number: u64| (0..4).map(move |level| number / 3_u64.pow(level) % 3);
    let rows = (0..81).map(|number| {
        let worth = (0..4)
            .zip(digits(number))
            .map(|(level, choice)| (level + 1) as f64 * f64::from(u8::from(choice == level % 3)));
        let mean = 0.5 + worth.sum::<f64>() / 100.0;
        let noise = |training: u64| {
            split(number, &training.to_string()) as f64 / u64::MAX as f64 / 100.0 - 0.005
        };
        let text: Vec<String> = digits(number).map(|choice| choice.to_string()).collect();
        let row = Row {
            accuracies: (0..3).map(|training| mean + noise(training)).collect(),
            cost: None,
        };
        (arch(&format!("choices:{}", text.join("/"))), row)
    });
    let sizes = vec![3; 4];
    let space = Space::Choices(epnas_arch::ChoiceSpace { sizes });
    Table::new("additive", space, Some(0), rows).expect("a table")
}

fn settings() -> Config {
    let mut config = Config::default();
    for (key, value) in [
        ("search.children_per_step", "3"),
        ("search.continuation", "improve"),
        ("search.parents", "best"),
        ("search.known", "never"),
        ("search.evolution.population", "8"),
        ("search.temperature.initial", "0.01"),
        ("search.temperature.final", "0.01"),
        ("surrogate.epochs", "10"),
        ("surrogate.hidden", "16"),
        ("surrogate.embedding", "16"),
        ("surrogate.learning_rate", "0.01"),
    ] {
        config.set(key, value).expect("a key");
    }
    config
}

#[test]
fn searches_beat_random_search_where_levels_add_up() {
    let table = Arc::new(additive());
    let trials: BTreeMap<_, _> = StrategyKind::ALL
        .map(|kind| (kind, if kind.is_progressive() { 40 } else { 200 }))
        .into();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let trials = trials.clone();
        let compare = || compare_on_table(&settings(), &table, trials, vec![10, 30], &|_| ());
        let mut result = pool
            .expect("threads")
            .install(compare)
            .expect("a comparison");
        for strategy in result.strategies.values_mut() {
            strategy.seconds_per_trial = 0.0;
        }
        result
    };
    let result = run(1);
    assert_eq!(result, run(3), "another number of threads");
    let regret = |name: &str| &result.strategies[name].regret[&30];
    for kind in StrategyKind::ALL {
        let found = regret(kind.name());
        let [low, high] = found.ci95.expect("an interval");
        assert!(low <= found.mean && found.mean <= high, "{found:?}");
        match kind {
            StrategyKind::Random => assert_eq!(found.vs_random_p, None),
            // One pass of 3 + 3 * 3 children, and three updates of a controller, which are not enough.
            StrategyKind::Pnas | StrategyKind::Enas => assert!(found.vs_random_p.is_some()),
            _ => {
                let p = found.vs_random_p.expect("random search beside it");
                assert!(
                    found.mean < regret("random").mean && p < 0.05,
                    "{kind:?}: {found:?}"
                );
            }
        }
    }
    let curve = &result.strategies["random"].curve;
    assert!(curve.windows(2).all(|pair| pair[1].budget > pair[0].budget));
    assert_eq!(curve.last().map(|point| point.budget), Some(30));
}

/// Of `n` uniform draws from `m` architectures, the best looks best where it is drawn: by hand for one training without
/// noise and two architectures, of which one is 10 points better: regret 10 with probability 2^-n.
#[test]
fn regret_of_random_search_is_what_chance_says() {
    let row = |accuracy: f64| Row {
        accuracies: vec![accuracy],
        cost: None,
    };
    let rows = [(arch("choices:0"), row(0.8)), (arch("choices:1"), row(0.9))];
    let space = Space::Choices(epnas_arch::ChoiceSpace { sizes: vec![2] });
    let table = Arc::new(Table::new("coin", space, None, rows).expect("a table"));
    let trials = BTreeMap::from([(StrategyKind::Random, 4000)]);
    let result = compare_on_table(&Config::default(), &table, trials, vec![1, 2, 3], &|_| ());
    let regret = &result.expect("a comparison").strategies["random"].regret;
    for (children, expected) in [(1, 5.0), (2, 2.5), (3, 1.25)] {
        // Five standard errors of a mean of 4,000 values of 0 and 10.
        let p: f64 = expected / 10.0;
        let tolerance = 5.0 * 10.0 * (p * (1.0 - p) / 4000.0).sqrt();
        let found = regret[&children].mean;
        assert!(
            (found - expected).abs() < tolerance,
            "{children}: {found}, expected {expected}"
        );
    }
}

/// What looks best in one training need not be the best: of two architectures, by hand.
#[test]
fn regret_is_told_in_means_of_what_one_training_shows() {
    // Means of .8 and .7. The first training shows the better one, the second the other: 10 points of regret.
    let row = |accuracies: [f64; 2]| Row {
        accuracies: accuracies.to_vec(),
        cost: None,
    };
    let rows = [
        (arch("choices:0"), row([0.9, 0.7])),
        (arch("choices:1"), row([0.6, 0.8])),
    ];
    let space = Space::Choices(epnas_arch::ChoiceSpace { sizes: vec![2] });
    let table = Arc::new(Table::new("two", space, None, rows).expect("a table"));
    let trials = BTreeMap::from([(StrategyKind::Random, 1000)]);
    let result = compare_on_table(&Config::default(), &table, trials, vec![30], &|_| ());
    let regret = result.expect("a comparison").strategies["random"].regret[&30].clone();
    // Half of the trials each, but for 2^-29 in which one of the two is never drawn.
    let error = 10.0 * (0.25_f64 / 1000.0).sqrt();
    assert!((regret.mean - 5.0).abs() < 4.0 * error, "{regret:?}");
    assert!((regret.std - 5.0).abs() < 0.2, "{regret:?}");
}

#[test]
fn regret_is_that_of_whole_architectures_within_the_limits() {
    let table = |padding: Option<u16>, rows: &[(&str, f64, u64)]| {
        let rows = rows.iter().map(|&(text, accuracy, params)| {
            let cost = Some(epnas_arch::Cost { params, macs: 1 });
            (
                arch(text),
                Row {
                    accuracies: vec![accuracy],
                    cost,
                },
            )
        });
        let space = Space::Choices(epnas_arch::ChoiceSpace { sizes: vec![2, 2] });
        Table::new("levels", space, padding, rows)
    };
    let whole = [
        ("choices:0/0", 0.5, 1),
        ("choices:0/1", 0.6, 2),
        ("choices:1/0", 0.7, 3),
        ("choices:1/1", 0.8, 4),
    ];
    let short = [("choices:0", 0.4, 1), ("choices:1", 0.95, 1)];
    let both = table(None, &[&whole[..], &short[..]].concat()).expect("a table");
    assert_eq!(both.best(), 0.8);
    let regrets = |table: Table, limit: Option<u64>| {
        let mut config = settings();
        config.search.limits.params = limit;
        let trials = BTreeMap::from([(StrategyKind::Random, 20), (StrategyKind::Epnas, 4)]);
        let result = compare_on_table(&config, &Arc::new(table), trials, vec![40], &|_| ());
        let result = result.expect("a comparison");
        let regret = |name: &str| result.strategies[name].regret[&40].mean;
        (result.best_accuracy, regret("random"), regret("epnas"))
    };
    // Nobody is better than the best, and who has seen all has found it.
    assert_eq!(regrets(both, None), (0.8, 0.0, 0.0));
    let padded = table(Some(0), &whole).expect("a table");
    assert_eq!(regrets(padded, Some(3)), (0.7, 0.0, 0.0));

    let error = table(Some(0), &[&whole[..], &short[..]].concat()).expect_err("refused");
    assert!(error.contains("choices:0 has 1 of 2 levels"), "{error}");
    let error = table(None, &short).expect_err("refused");
    assert!(error.contains("no row has all 2 levels"), "{error}");
}

/// The expected regret of the one of `n` uniform draws that looks best in one training, over the recorded trainings.
///
/// With accuracies sorted, the best of `n` is among the first `i` with probability `(i / rows)^n`. Which of equals is drawn
/// first is chance.
fn exact_regret_of_random_search(table: &Table, n: i32) -> f64 {
    let rows: Vec<&Row> = table.rows().map(|(_, row)| row).collect();
    let trainings = rows[0].accuracies.len();
    let of_training = |training: usize| {
        let pair = |row: &&Row| {
            (
                row.accuracies[training],
                100.0 * (table.best() - row.mean()),
            )
        };
        let mut pairs: Vec<(f64, f64)> = rows.iter().map(pair).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut before = 0;
        pairs
            .chunk_by(|a, b| a.0 == b.0)
            .map(|equal| {
                let within = |count: usize| (count as f64 / pairs.len() as f64).powi(n);
                let probability = within(before + equal.len()) - within(before);
                before += equal.len();
                probability * equal.iter().map(|pair| pair.1).sum::<f64>() / equal.len() as f64
            })
            .sum::<f64>()
    };
    (0..trainings).map(of_training).sum::<f64>() / trainings as f64
}

/// The published table, where `EPNAS_NAS_BENCH_MACRO` names its file.
#[test]
fn random_search_on_nas_bench_macro_misses_what_it_must() {
    let path = std::env::var("EPNAS_NAS_BENCH_MACRO").unwrap_or_default();
    if !Path::new(&path).is_file() {
        println!("skipped: no data at EPNAS_NAS_BENCH_MACRO={path:?}");
        return;
    }
    let table = Arc::new(Table::read(Path::new(&path)).expect("the table"));
    assert_eq!(table.len(), 3_usize.pow(8));
    // The greatest `mean_acc` of the file, 93.12666.
    assert!((table.best() - 0.931_266_6).abs() < 1e-6);
    let trials = BTreeMap::from([(StrategyKind::Random, 500)]);
    let result = compare_on_table(&Config::default(), &table, trials, vec![100, 300], &|_| ());
    let regret = &result.expect("a comparison").strategies["random"].regret;
    // By the same formula in Python: 0.3240 and 0.2233.
    for (children, published) in [(100, 0.3240), (300, 0.2233)] {
        let expected = exact_regret_of_random_search(&table, children);
        assert!((expected - published).abs() < 5e-5, "{expected}");
        let found = &regret[&(children as u64)];
        let error = found.std / 500_f64.sqrt();
        assert!(
            (found.mean - expected).abs() < 4.0 * error,
            "{found:?}, expected {expected}"
        );
    }
}

#[test]
fn mutations_and_neighbours_change_one_decision() {
    let spaces = [
        Space::Macro(epnas_arch::MacroSpace {
            layers: 4,
            ..Default::default()
        }),
        Space::Micro(epnas_arch::MicroSpace {
            blocks: 3,
            ..Default::default()
        }),
        additive().space().clone(),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for space in spaces {
        for index in 0..20 {
            let start = epnas_search::strategy::random::random_architecture(&space, 5, index);
            let start = start.expect("an architecture");
            let around = neighbours(&space, &start);
            let keys: Vec<String> = around.iter().map(|arch| space.key(arch)).collect();
            for near in &around {
                space.check(near).expect("of the space");
                let differs =
                    |&level: &usize| space.element(near, level) != space.element(&start, level);
                assert_eq!(
                    (1..=start.len()).filter(differs).count(),
                    1,
                    "{start} and {near}"
                );
            }
            if let Space::Macro(_) = space {
                // 5 other operations in each of 4 layers, and 0 + 1 + 2 + 3 free sources.
                assert_eq!(around.len(), 4 * 5 + 6);
            }
            for _ in 0..30 {
                let mutant = space.key(&mutate(&space, &start, &mut rng));
                assert!(keys.contains(&mutant), "{start} became {mutant}");
            }
        }
    }
}
