//! The controller's gradients and probabilities, what it learns, and what a checkpoint keeps of it.

use epnas_arch::{ChoiceSpace, MacroSpace, MicroSpace};

use super::*;
use crate::config::HistoryPolicy;
use crate::fakes::{Landscape, Trouble};
use crate::observer::Silent;
use crate::strategy::random::RandomSearch;
use crate::{Budget, Driver, Outcome, SearchError, Status};

fn macro_space(layers: usize) -> Space {
    Space::Macro(MacroSpace {
        layers,
        ..MacroSpace::default()
    })
}

fn micro_space(blocks: usize) -> Space {
    Space::Micro(MicroSpace {
        blocks,
        ..MicroSpace::default()
    })
}

fn choices(sizes: &[usize]) -> Space {
    let sizes = sizes.to_vec();
    Space::Choices(ChoiceSpace { sizes })
}

/// A small controller with weights large enough that nothing is nearly linear or nearly uniform.
fn controller(space: &Space, seed: u64) -> Controller {
    let config = EnasConfig {
        hidden: 5,
        temperature: 0.7,
        ..EnasConfig::default()
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut controller = Controller::new(space, &config, &mut rng);
    controller.weights.iter_mut().for_each(|w| *w *= 15.0);
    controller
}

fn replay(controller: &Controller, choices: &[usize]) -> Episode {
    controller.run(|at, _| choices[at])
}

fn children(strategy: &mut Enas, history: &History) -> Batch {
    let batch = strategy.propose(history, &mut Silent);
    batch.expect("a policy").expect("children")
}

fn search(
    space: &Space,
    seed: u64,
    budget: u64,
    trouble: Trouble,
    strategy: &mut dyn Strategy,
) -> Result<Outcome, SearchError> {
    let mut landscape = Landscape {
        trouble,
        ..Landscape::new(space)
    };
    let driver = Driver {
        folder: None,
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed,
        settings: String::new(),
        budget: Budget::children(budget),
        stop: None,
    };
    driver.run(&mut landscape, strategy, &mut Silent)
}

/// Every weight's derivative of the loss against central differences, in every kind of space.
#[test]
fn gradients_are_those_of_finite_differences() {
    for (number, space) in [macro_space(3), micro_space(2), choices(&[3, 1, 3])]
        .iter()
        .enumerate()
    {
        let mut controller = controller(space, number as u64);
        let mut taken = Vec::new();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let episode = controller.sample(&mut rng);
        // The decisions stay as they were drawn while weights are moved.
        controller.run(|at, _| {
            taken.push(episode.choice(at));
            taken[at]
        });
        let advantage = 0.3;
        let mut grads = vec![0.0; controller.weights.len()];
        controller.backward(&episode, advantage, &mut grads);
        let mut largest: f64 = 0.0;
        for (weight, &grad) in grads.iter().enumerate() {
            let before = controller.weights[weight];
            let step = 1e-5;
            let [up, down] = [step, -step].map(|step| {
                controller.weights[weight] = before + step;
                controller.loss(&replay(&controller, &taken), advantage)
            });
            controller.weights[weight] = before;
            let expected = (up - down) / (2.0 * step);
            // The third derivative leaves about step^2 = 1e-10, rounding about 1e-16 / step = 1e-11.
            assert!(
                (grad - expected).abs() < 1e-8 * (1.0 + expected.abs()),
                "{space:?}, weight {weight}: {grad}, expected {expected}"
            );
            largest = largest.max(grad.abs());
        }
        assert!(largest > 1e-2, "{space:?}: no gradient beyond {largest}");
    }
}

/// All decisions of a space, as a number of mixed radix each.
fn all_decisions(space: &Space) -> Vec<Vec<usize>> {
    let sizes = (1..=space.levels()).flat_map(|level| space.decisions(level));
    sizes.fold(vec![Vec::new()], |all, size| {
        let longer = all.iter();
        longer
            .flat_map(|prefix| (0..size).map(move |choice| [&prefix[..], &[choice]].concat()))
            .collect()
    })
}

#[test]
fn probabilities_sum_to_one_and_entropies_are_theirs() {
    for space in [macro_space(2), micro_space(1), choices(&[4, 1, 3])] {
        let controller = controller(&space, 3);
        let episodes: Vec<Episode> = all_decisions(&space)
            .iter()
            .map(|choices| replay(&controller, choices))
            .collect();
        let of = |value: &dyn Fn(&Episode) -> f64| -> f64 {
            let weighted = episodes
                .iter()
                .map(|e| e.log_probability().exp() * value(e));
            weighted.sum()
        };
        assert!((of(&|_| 1.0) - 1.0).abs() < 1e-12, "{space:?}");
        // The chain rule: the mean of the sums of the steps' entropies is the entropy of the whole.
        let entropy = of(&|e| -e.log_probability());
        assert!((of(&Episode::entropy) - entropy).abs() < 1e-12, "{space:?}");
        let uniform = (episodes.len() as f64).ln();
        assert!(
            entropy > 0.0 && entropy < 0.99 * uniform,
            "{space:?}: {entropy} of {uniform}"
        );
    }
}

#[test]
fn samples_come_as_often_as_they_are_probable() {
    let space = choices(&[3, 2, 3]);
    let controller = controller(&space, 4);
    let draws = 20_000;
    let mut counts = std::collections::BTreeMap::new();
    for draw in 0..draws {
        let episode = controller.sample(&mut ChaCha8Rng::seed_from_u64(draw));
        let arch = controller.arch(&space, &episode).expect("levels");
        assert_eq!(space.check(&arch), Ok(()));
        *counts.entry(arch.to_string()).or_insert(0) += 1;
    }
    let chi2: f64 = all_decisions(&space)
        .iter()
        .map(|choices| {
            let episode = replay(&controller, choices);
            let arch = controller.arch(&space, &episode).expect("levels");
            let expected = draws as f64 * episode.log_probability().exp();
            let found = f64::from(counts.get(&arch.to_string()).copied().unwrap_or(0));
            (found - expected).powi(2) / expected
        })
        .sum();
    // 17 degrees of freedom: mean 17, and above 41 once in a thousand.
    assert!(chi2 < 41.0, "{chi2}");
}

#[test]
fn an_untrained_policy_is_nearly_uniform() {
    let space = macro_space(12);
    let enas = Enas::new(space.clone(), EnasConfig::default(), 1);
    // 12 operations and 66 bits.
    let uniform = 12.0 * 6_f64.ln() + 66.0 * 2_f64.ln();
    for (arch, episode) in enas.draw().expect("children") {
        assert_eq!(arch.len(), 12);
        assert!((episode.entropy() / uniform - 1.0).abs() < 1e-3);
    }
}

/// What was better than the baseline becomes more probable, what was worse less, whatever the space.
#[test]
fn an_update_moves_probabilities_the_right_way() {
    for space in [macro_space(4), micro_space(3), choices(&[3, 3, 3])] {
        let config = EnasConfig {
            batch: 2,
            skip_weight: 0.0,
            learning_rate: 1e-4,
            ..EnasConfig::default()
        };
        let mut enas = Enas::new(space.clone(), config, 2);
        let drawn = enas.draw().expect("children");
        assert_ne!(drawn[0].0, drawn[1].0, "two children that differ");
        enas.update(&[(&drawn[0].1, 0.9), (&drawn[1].1, 0.5)]);
        // Rewards .9 and .5, entropies aside: the baseline starts at .7 and goes to .72, then .698.
        let baseline = enas.state.baseline.expect("one");
        assert!((baseline - 0.698).abs() < 0.01, "{baseline}");
        let change = |(_, before): &(Arch, Episode)| {
            let taken: Vec<usize> = (0..before.len()).map(|at| before.choice(at)).collect();
            replay(&enas.controller, &taken).log_probability() - before.log_probability()
        };
        assert!(change(&drawn[0]) > 0.0, "{space:?}");
        assert!(change(&drawn[1]) < 0.0, "{space:?}");
    }
}

#[test]
fn of_equal_children_the_less_certain_one_is_rewarded() {
    for space in [macro_space(4), choices(&[3, 3, 3])] {
        let config = EnasConfig {
            batch: 8,
            skip_weight: 0.0,
            learning_rate: 1e-4,
            entropy_weight: 100.0,
            ..EnasConfig::default()
        };
        let mut enas = Enas::new(space.clone(), config, 2);
        let mut drawn = enas.draw().expect("children");
        drawn.sort_by(|a, b| a.1.entropy().total_cmp(&b.1.entropy()));
        let (least, most) = (&drawn[0].1, &drawn[drawn.len() - 1].1);
        assert!(most.entropy() > least.entropy() + 1e-6, "{space:?}");
        enas.update(&[(least, 0.5), (most, 0.5)]);
        let change = |before: &Episode| {
            let taken: Vec<usize> = (0..before.len()).map(|at| before.choice(at)).collect();
            replay(&enas.controller, &taken).log_probability() - before.log_probability()
        };
        assert!(change(most) > change(least), "{space:?}");
    }
}

#[test]
fn sources_are_read_as_often_as_the_target_says() {
    let space = macro_space(6);
    for target in [0.2, 0.8] {
        let config = EnasConfig {
            skip_target: target,
            skip_weight: 100.0,
            hidden: 16,
            ..EnasConfig::default()
        };
        let mut enas = Enas::new(space.clone(), config, 6);
        for _ in 0..60 {
            let drawn = enas.draw().expect("children");
            let equal: Vec<(&Episode, f64)> = drawn.iter().map(|(_, e)| (e, 0.5)).collect();
            enas.update(&equal);
            enas.state.batches += 1;
        }
        let drawn = enas.draw().expect("children");
        let read = drawn.iter().flat_map(|(arch, _)| {
            (2..=6).flat_map(|level| space.decided(level, space.element(arch, level))[1..].to_vec())
        });
        // 10 children of 15 bits: the standard deviation of the mean is 0.033.
        let rate = read.sum::<usize>() as f64 / 150.0;
        assert!((rate - target).abs() < 0.12, "{rate}, expected {target}");
    }
}

#[test]
fn it_learns_a_landscape() {
    let value = |space: &Space, outcome: &Outcome, last: usize| {
        let landscape = Landscape::new(space);
        let records = outcome.history.records();
        let values = records[records.len() - last..].iter();
        values
            .map(|record| landscape.value(&record.arch))
            .sum::<f64>()
            / last as f64
    };
    for space in [macro_space(5), micro_space(4), choices(&[3; 8])] {
        for seed in 0..3 {
            let mut enas = Enas::new(space.clone(), EnasConfig::default(), seed);
            let learned = search(&space, seed, 400, Trouble::None, &mut enas).expect("a search");
            let mut random = RandomSearch::new(space.clone(), seed);
            let drawn = search(&space, seed, 400, Trouble::None, &mut random).expect("a search");
            let spread = {
                let values: Vec<f64> = (drawn.history.records().iter())
                    .map(|record| Landscape::new(&space).value(&record.arch))
                    .collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
                    .sqrt()
            };
            let (learned, random) = (value(&space, &learned, 100), value(&space, &drawn, 400));
            // The mean of 100 random children would lie within a fifth of their spread.
            assert!(
                learned > random + spread,
                "{space:?}, seed {seed}: {learned}, random {random} with spread {spread}"
            );
        }
    }
}

#[test]
fn proposing_again_gives_the_same_and_learning_something_else() {
    let space = macro_space(4);
    let mut enas = Enas::new(space.clone(), EnasConfig::default(), 7);
    let history = History::new(space.clone(), HistoryPolicy::Best);
    let first = children(&mut enas, &history);
    assert_eq!(children(&mut enas, &history), first);
    assert_eq!(first.children.len(), 10);
    let outcome = search(&space, 7, 10, Trouble::None, &mut enas).expect("a search");
    let strangers = enas.observe(&first, &outcome.history, &mut Silent);
    // The driver has handed these children over already.
    assert!(
        matches!(strangers, Err(StrategyError::State { .. })),
        "{strangers:?}"
    );
    let next = children(&mut enas, &history);
    assert_ne!(next.children, first.children);
    assert_ne!(next.seed_name, first.seed_name);
    let mut other = Enas::new(space, EnasConfig::default(), 8);
    assert_ne!(children(&mut other, &history).children, first.children);
}

#[test]
fn a_restored_strategy_goes_on_bit_by_bit() {
    let space = micro_space(3);
    let mut enas = Enas::new(space.clone(), EnasConfig::default(), 7);
    search(&space, 7, 30, Trouble::None, &mut enas).expect("a search");
    let text = enas.state().to_string();
    let bytes = enas.surrogate().expect("readable").expect("a controller");
    let state = serde_json::from_str(&text).expect("JSON");
    let fresh = || Enas::new(space.clone(), EnasConfig::default(), 7);
    let mut restored = fresh();
    restored.restore(&state, Some(&bytes)).expect("fits");
    assert_eq!(restored.state, enas.state);
    let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(
        bits(&restored.controller.weights),
        bits(&enas.controller.weights)
    );
    assert_eq!(bits(&restored.moments), bits(&enas.moments));
    assert_eq!(enas.fits(), 3);
    for (state, bytes) in [
        (&state, Some(&bytes[1..])),
        (&state, Some(&bytes[8..])),
        (&state, None),
        (&serde_json::Value::Null, None),
    ] {
        let refused = fresh().restore(state, bytes);
        assert!(
            matches!(refused, Err(StrategyError::State { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn failed_children_teach_nothing_and_end_it_when_there_are_no_others() {
    let space = macro_space(4);
    let mut enas = Enas::new(space.clone(), EnasConfig::default(), 7);
    let before = enas.controller.weights.clone();
    let ended = search(&space, 7, 100, Trouble::EveryChild, &mut enas);
    let Err(SearchError::Strategy(StrategyError::AllFailed {
        children, reason, ..
    })) = ended
    else {
        panic!("{ended:?}");
    };
    // After whole batches of 10, the first of at least 25.
    assert_eq!((children, &*reason), (30, "never works"));
    assert_eq!(enas.controller.weights, before);
    assert_eq!((enas.state.batches, enas.state.updates), (3, 0));
    assert_eq!(enas.state.baseline, None);

    // One failure in a batch: the update is that of the nine others.
    let mut enas = Enas::new(space.clone(), EnasConfig::default(), 7);
    let mut nine = enas.clone();
    let bad = enas.draw().expect("children")[4].0.to_string();
    let outcome = search(&space, 7, 10, Trouble::Child(bad), &mut enas).expect("a search");
    let drawn = nine.draw().expect("children");
    let records = outcome.history.records();
    assert_eq!(records[4].status, Status::Failed);
    let good = records.iter().zip(&drawn);
    let good: Vec<(&Episode, f64)> = good
        .filter_map(|(record, (_, episode))| Some((episode, record.estimate?)))
        .collect();
    assert_eq!(good.len(), 9);
    nine.update(&good);
    assert_eq!(nine.controller.weights, enas.controller.weights);
}

#[test]
fn values_out_of_range_name_their_key() {
    type Change = fn(&mut EnasConfig);
    assert_eq!(EnasConfig::default().validate(), Ok(()));
    let changes: [(&str, Change); 11] = [
        ("batch", |c| c.batch = 0),
        ("hidden", |c| c.hidden = 1025),
        ("learning_rate", |c| c.learning_rate = 0.0),
        ("epsilon", |c| c.epsilon = f64::NAN),
        ("temperature", |c| c.temperature = -1.0),
        ("tanh_constant", |c| c.tanh_constant = 101.0),
        ("entropy_weight", |c| c.entropy_weight = -1e-9),
        ("baseline_decay", |c| c.baseline_decay = 1.0),
        ("skip_target", |c| c.skip_target = 1.0),
        ("skip_weight", |c| c.skip_weight = f64::INFINITY),
        ("skip_target", |c| c.skip_target = 0.0),
    ];
    for (key, change) in changes {
        let mut config = EnasConfig::default();
        change(&mut config);
        let error = config.validate().expect_err(key).to_string();
        assert!(error.contains(&format!("`search.enas.{key}`")), "{error}");
    }
}
