//! Limits: what is beyond one is never drawn, and what is within is drawn as if the rest had never been there.

mod fakes;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use epnas_arch::{
    Arch, Candidates, ChoiceArch, ChoiceSpace, Cost, EvaluateError, MacroSpace, Space, seed::split,
};
use epnas_arch::{Evaluator, Surrogate};
use epnas_sampler::StreamingSampler;
use epnas_search::{
    Admission, Budget, Driver, HistoryPolicy, Limits, LimitsConfig, Meter, Outcome, Row,
    SearchConfig, SearchError, Silent, Strategy, StrategyError, StrategyKind, Table,
    TableEvaluator, TableMeter, strategy,
};
use fakes::{Landscape, Linear};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn space() -> Space {
    Space::Macro(MacroSpace {
        layers: 3,
        ..MacroSpace::default()
    })
}

/// An arbitrary cost of each architecture, 0 to 999 parameters and as many multiply-accumulates; latencies in
/// milliseconds likewise, counted as they are measured.
#[derive(Clone, Default)]
struct Hashed {
    measured: Rc<Cell<u64>>,
}

fn number(arch: &Arch, name: &str) -> u64 {
    split(3, &format!("{name}/{arch}")) % 1000
}

impl Meter for Hashed {
    fn cost(&self, arch: &Arch) -> Option<Cost> {
        let arch = space().canonical(arch);
        Some(Cost {
            params: number(&arch, "params"),
            macs: number(&arch, "macs"),
        })
    }

    fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError> {
        self.measured.set(self.measured.get() + 1);
        Ok(number(&space().canonical(arch), "latency") as f64 / 1e3)
    }
}

fn within(limits: &Limits, arch: &Arch) -> bool {
    let meter = Hashed::default();
    let cost = meter.cost(arch).expect("a cost");
    let slow = |limit: f64| meter.latency(arch).expect("a latency") > limit;
    limits.params.is_none_or(|limit| cost.params <= limit)
        && limits.macs.is_none_or(|limit| cost.macs <= limit)
        && !limits.latency.is_some_and(slow)
}

fn admission(limits: Limits) -> Admission {
    Admission::new(&space(), limits, Hashed::default(), None).expect("an admission")
}

fn config(kind: StrategyKind) -> SearchConfig {
    let mut config = SearchConfig {
        strategy: kind,
        iterations: 2,
        children_per_step: 4,
        ..SearchConfig::default()
    };
    config.evolution.population = 4;
    config.evolution.tournament = 2;
    config
}

fn search(
    kind: StrategyKind,
    space: &Space,
    evaluator: &mut dyn Evaluator,
    admission: Admission,
    seed: u64,
) -> Result<Outcome, SearchError> {
    let surrogate = || Ok::<_, SearchError>(Linear::new(space));
    let mut strategy =
        strategy::configured(space, &config(kind), admission, None, surrogate, seed)?;
    driver(space, seed, 30).run(evaluator, &mut *strategy, &mut Silent)
}

fn driver(space: &Space, seed: u64, children: u64) -> Driver<'static> {
    Driver {
        folder: None,
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed,
        settings: String::new(),
        budget: Budget::children(children),
        stop: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_child_of_any_strategy_exceeds_the_limits(seed in 0_u64..1000, params in 500_u64..900, milliseconds in 600_u32..900) {
        let limits = Limits {
            params: Some(params),
            macs: Some(950),
            latency: Some(f64::from(milliseconds) / 1e3),
        };
        for kind in StrategyKind::ALL {
            let mut landscape = Landscape::new(&space());
            match search(kind, &space(), &mut landscape, admission(limits), seed) {
                Ok(outcome) => {
                    prop_assert!(!outcome.history.is_empty());
                    for record in outcome.history.records() {
                        prop_assert!(within(&limits, &record.arch), "{}: {}", kind.name(), record.arch);
                    }
                }
                // All of one layer may be beyond.
                Err(SearchError::Strategy(StrategyError::Limits { .. })) if kind.is_progressive() => {}
                Err(error) => prop_assert!(false, "{}: {error}", kind.name()),
            }
        }
    }

    #[test]
    fn a_limited_draw_is_the_draw_from_what_is_within(seed in 0_u64..10_000, params in 300_u64..1000) {
        let limits = Limits { params: Some(params), ..Limits::default() };
        let mut strategy =
            epnas_search::Progressive::new(space(), config(StrategyKind::Epnas), Linear::new(&space()), seed)
                .limited(admission(limits));
        let one_layer = Candidates::first(&space()).iter().filter(|arch| within(&limits, arch)).count();
        prop_assume!(one_layer > 0);
        let outcome = driver(&space(), seed, one_layer as u64).run(&mut Landscape::new(&space()), &mut strategy, &mut Silent);
        let history = outcome.expect("all of one layer").history;
        let drawn = strategy.propose(&history, &mut Silent);

        // Two layers from all of one, of which those beyond the limit are never pushed: an item's random number depends
        // on its index alone.
        let candidates = Candidates::extend(&space(), Candidates::first(&space()).iter().collect()).expect("candidates");
        let scores = strategy.surrogate().predict(&candidates, 0..candidates.len()).expect("scores");
        let temperature = config(StrategyKind::Epnas).temperature.at(1, 3.0);
        let mut rng = ChaCha8Rng::seed_from_u64(split(seed, "draw/0/2"));
        let mut sampler =
            StreamingSampler::new(epnas_sampler::Selection::Sample, 4, temperature, &mut rng).expect("a sampler");
        for (index, &score) in (0..).zip(&scores) {
            if within(&limits, &candidates.get(index)) {
                sampler.push(index, score).expect("pushed");
            }
        }
        let expected: BTreeSet<String> =
            sampler.finish().iter().map(|draw| candidates.get(draw.index).to_string()).collect();
        match drawn {
            Ok(batch) => {
                let children = batch.expect("a batch").children;
                let found: BTreeSet<String> = children.iter().map(|child| child.arch.to_string()).collect();
                prop_assert_eq!(found, expected);
            }
            Err(error) => prop_assert!(expected.is_empty(), "{}", error),
        }
    }
}

/// A convolution costs 100, a pooling 10, and what is grown can always be finished with poolings.
struct Grown {
    levels: usize,
    sees_ahead: bool,
}

impl Meter for Grown {
    fn cost(&self, arch: &Arch) -> Option<Cost> {
        let text = arch.to_string();
        let layers = text.trim_start_matches("macro:").split('/');
        let macs = layers.map(|layer| if layer.contains('p') { 10 } else { 100 });
        Some(Cost {
            params: 1,
            macs: macs.sum(),
        })
    }

    fn latency(&self, _: &Arch) -> Result<f64, EvaluateError> {
        unreachable!("no limit asks for it")
    }

    fn completion(&self, arch: &Arch) -> Option<Arch> {
        let pooling =
            (0..6).find(|&element| space().extend(None, element).to_string().contains('p'));
        let element = pooling.filter(|_| self.sees_ahead && arch.len() < self.levels)?;
        let grow = |arch: Arch, _| space().extend(Some(&arch), element);
        Some((arch.len()..self.levels).fold(arch.clone(), grow))
    }
}

#[test]
fn nothing_is_grown_that_can_only_end_beyond_a_limit() {
    // A convolution and two poolings cost 120, and nothing costs less with a convolution in it: 115 leaves poolings alone.
    let limits = |macs| Limits {
        macs: Some(macs),
        ..Limits::default()
    };
    let mut misled = 0;
    for seed in 0..20 {
        let run = |macs, sees_ahead| {
            let meter = Grown {
                levels: 3,
                sees_ahead,
            };
            let admission = Admission::new(&space(), limits(macs), meter, None);
            let mut landscape = Landscape::new(&space());
            let kind = StrategyKind::Epnas;
            search(
                kind,
                &space(),
                &mut landscape,
                admission.expect("one"),
                seed,
            )
        };
        let history = run(115, true).expect("poolings").history;
        assert_eq!(history.deepest(), Some(3));
        for record in history.records() {
            let text = record.arch.to_string();
            let layers = text.trim_start_matches("macro:").split('/');
            assert!(
                layers.into_iter().all(|layer| layer.contains('p')),
                "{text}"
            );
        }
        // One layer that is a convolution is within, and can grow no further.
        misled += usize::from(run(115, false).map_or(true, |outcome| {
            let records = outcome.history.records();
            records
                .iter()
                .any(|record| !record.arch.to_string().contains('p'))
        }));
    }
    assert_eq!(misled, 20, "searches that do not see ahead");
}

/// Three choices, three times; the cost of an architecture is the sum of its choices, 10 parameters each.
fn table() -> Arc<Table> {
    let rows = (0..27_u16).map(|n| {
        let choices = vec![n / 9, n / 3 % 3, n % 3];
        let sum: u64 = choices.iter().map(|&choice| u64::from(choice)).sum();
        let row = Row {
            accuracies: vec![0.5 + sum as f64 / 20.0],
            cost: Some(Cost {
                params: 10 * sum,
                macs: sum,
            }),
        };
        (Arch::Choices(ChoiceArch { choices }), row)
    });
    let space = Space::Choices(ChoiceSpace { sizes: vec![3; 3] });
    Arc::new(Table::new("sums", space, Some(0), rows).expect("a table"))
}

#[test]
fn on_a_table_recorded_costs_count_and_the_best_within_is_found() {
    let table = table();
    let limits = Limits {
        params: Some(30),
        ..Limits::default()
    };
    for kind in StrategyKind::ALL {
        let meter = TableMeter(Arc::clone(&table));
        let admission = Admission::new(table.space(), limits, meter, None).expect("an admission");
        let mut evaluator = TableEvaluator::new(Arc::clone(&table), 0);
        let outcome = search(kind, table.space(), &mut evaluator, admission, 1).expect("a search");
        let records = outcome.history.records();
        assert!(records.iter().all(|record| record.params <= Some(30)));
        // 7 of the 27 sum to 3, the most within the limit: 0.5 + 3 / 20.
        let best = outcome.history.best(1, 3)[0].estimate;
        assert_eq!(best, Some(0.65), "{}", kind.name());
    }
}

#[test]
fn impossible_limits_are_an_error_that_says_how_near_it_came() {
    let table = table();
    let limits = Limits {
        params: Some(1000),
        macs: Some(0),
        ..Limits::default()
    };
    // Of the shortest, `choices:0` costs nothing; this one asks for less than any full-length one but that.
    for (kind, sum) in [(StrategyKind::Random, 1), (StrategyKind::Epnas, 1)] {
        struct Dearer(TableMeter, u64);
        impl Meter for Dearer {
            fn cost(&self, arch: &Arch) -> Option<Cost> {
                let Cost { params, macs } = self.0.cost(arch)?;
                Some(Cost {
                    params,
                    macs: macs + self.1,
                })
            }
            fn latency(&self, arch: &Arch) -> Result<f64, EvaluateError> {
                self.0.latency(arch)
            }
        }
        let meter = Dearer(TableMeter(Arc::clone(&table)), sum);
        let admission = Admission::new(table.space(), limits, meter, None).expect("an admission");
        let mut evaluator = TableEvaluator::new(Arc::clone(&table), 0);
        let error = search(kind, table.space(), &mut evaluator, admission, 1)
            .expect_err("nothing is within")
            .to_string();
        for part in [
            "search.limits.params = 1000, the smallest seen is 0",
            "search.limits.macs = 0, the smallest seen is 1",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn latency_is_measured_once_only_within_the_other_limits_and_kept() {
    let folder = fakes::folder();
    let path = folder.path().join("latency.jsonl");
    let limits = Limits {
        params: Some(500),
        latency: Some(0.5),
        ..Limits::default()
    };
    let archs: Vec<Arch> =
        Candidates::extend(&space(), Candidates::first(&space()).iter().collect())
            .expect("candidates")
            .iter()
            .collect();
    let open = || {
        let meter = Hashed::default();
        let admission = Admission::new(&space(), limits, meter.clone(), Some(&path));
        (admission.expect("an admission"), meter.measured)
    };
    let (admission, measured) = open();
    let decided = |admission: &Admission| -> Vec<bool> {
        let decide = |arch| admission.admits(arch).expect("decided");
        archs.iter().map(decide).collect()
    };
    let first = decided(&admission);
    assert_eq!(decided(&admission), first);
    assert_eq!(
        first,
        archs
            .iter()
            .map(|arch| within(&limits, arch))
            .collect::<Vec<_>>()
    );
    let small = archs.iter().filter(|arch| number(arch, "params") <= 500);
    assert_eq!(measured.get(), small.count() as u64);
    drop(admission);

    // A torn line is measured again, the others never.
    let text = std::fs::read_to_string(&path).expect("latencies");
    std::fs::write(&path, &text[..text.len() - 3]).expect("torn");
    let (admission, measured) = open();
    assert_eq!(decided(&admission), first);
    assert_eq!(measured.get(), 1);
    assert_eq!(std::fs::read_to_string(&path).expect("latencies"), text);
}

#[test]
fn limits_are_checked() {
    let refused = |limits: LimitsConfig| limits.parse().expect_err("refused").to_string();
    let zero = LimitsConfig {
        macs: Some(0),
        ..LimitsConfig::default()
    };
    assert!(refused(zero).contains("search.limits.macs"));
    for text in ["soon", "0s", "-1ms"] {
        let latency = LimitsConfig {
            latency: Some(text.to_owned()),
            ..LimitsConfig::default()
        };
        assert!(refused(latency).contains("search.limits.latency"));
    }
    let latency = LimitsConfig {
        latency: Some("800us".to_owned()),
        ..LimitsConfig::default()
    };
    assert_eq!(latency.parse().expect("valid").latency, Some(0.0008));
}
