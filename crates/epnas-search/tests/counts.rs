//! What a search does, counted: children and candidates of every step.

mod fakes;

use epnas_arch::{MacroSpace, MicroSpace, Space};
use epnas_search::{
    Budget, Continuation, Driver, Event, HistoryPolicy, Outcome, PlannedStep, Progressive,
    Schedule, SearchConfig, StrategyKind,
};
use fakes::{Constant, Landscape};

/// A whole search, and the steps that it announced: (iteration, step, candidates, children).
fn search(space: &Space, config: &SearchConfig) -> (Outcome, Vec<(usize, usize, u64, usize)>) {
    let folder = fakes::folder();
    let mut steps = Vec::new();
    let mut observer = |event: Event<'_>| {
        if let Event::Step {
            iteration,
            step,
            candidates,
            children,
            ..
        } = event
        {
            steps.push((iteration, step, candidates, children));
        }
    };
    let driver = Driver {
        folder: Some(folder.path().to_owned()),
        space: space.clone(),
        policy: HistoryPolicy::Best,
        seed: 1,
        settings: String::new(),
        budget: Budget::default(),
        stop: None,
    };
    let mut strategy = Progressive::new(space.clone(), config.clone(), Constant, 1);
    let outcome = driver
        .run(&mut Landscape::new(space), &mut strategy, &mut observer)
        .expect("a search");
    (outcome, steps)
}

fn as_announced(schedule: &Schedule) -> Vec<(usize, usize, u64, usize)> {
    let step = |s: &PlannedStep| (s.iteration, s.step, s.candidates, s.children as usize);
    schedule.steps.iter().map(step).collect()
}

#[test]
fn macro_search_of_one_iteration() {
    let space = Space::default();
    let config = SearchConfig {
        iterations: 1,
        ..SearchConfig::default()
    };
    let (outcome, steps) = search(&space, &config);
    // 6 of one layer, then 25 in each of 11 steps: 6 + 11 * 25 (Perez-Rua et al., 2018, section 3, K = 25).
    assert_eq!(outcome.history.len(), 281);
    assert_eq!(steps[0], (0, 1, 6, 6));
    // |B_1| x |B_2| = 6 * 12.
    assert_eq!(steps[1], (0, 2, 72, 25));
    for &(_, step, candidates, children) in &steps[2..] {
        // 25 parents, 6 operations, step - 1 free bits.
        assert_eq!((candidates, children), (25 * 6 * (1 << (step - 1)), 25));
    }
    assert_eq!(steps[11].2, 307_200);
    assert_eq!(steps, as_announced(&Schedule::new(&space, &config)));
}

#[test]
fn macro_search_of_three_iterations() {
    let space = Space::default();
    let config = SearchConfig::default();
    let (outcome, steps) = search(&space, &config);
    // Each iteration has 6 of one layer (K = 25 is more than there are) and 11 * 25: 3 * 281.
    assert_eq!(outcome.history.len(), 843);
    assert_eq!(steps, as_announced(&Schedule::new(&space, &config)));
    assert_eq!(Schedule::new(&space, &config).children(), 843);
    let lengths: Vec<usize> = outcome
        .history
        .records()
        .iter()
        .map(|record| record.arch.len())
        .collect();
    assert_eq!(lengths.iter().filter(|&&length| length == 12).count(), 75);
    assert!(
        outcome
            .history
            .records()
            .iter()
            .all(|record| record.arch.len() == record.step)
    );
}

#[test]
fn micro_search() {
    // Ordered pairs: 7 operations and 2 sources each, so (7 * 2)^2 = 196 of one block, all of which are trained.
    let space = Space::Micro(MicroSpace {
        canonicalize: false,
        ..MicroSpace::default()
    });
    let config = SearchConfig {
        iterations: 2,
        ..SearchConfig::default()
    };
    let (outcome, steps) = search(&space, &config);
    let first = outcome
        .history
        .records()
        .iter()
        .filter(|record| record.iteration == 0)
        .count();
    assert_eq!(first, 196 + 4 * 25);
    // The first step of the second iteration draws 25 of the 196, and its second step still extends all of them.
    assert_eq!(
        (steps[5], steps[6]),
        ((1, 1, 196, 25), (1, 2, 196 * 441, 25))
    );
    assert_eq!(outcome.history.len(), 296 + 125);
    assert_eq!(steps, as_announced(&Schedule::new(&space, &config)));
}

#[test]
fn canonical_micro_steps() {
    let space = Space::Micro(MicroSpace::default());
    let schedule = Schedule::new(
        &space,
        &SearchConfig {
            iterations: 1,
            ..SearchConfig::default()
        },
    );
    let candidates: Vec<u64> = schedule.steps.iter().map(|step| step.candidates).collect();
    // Unordered pairs of n = 7 (b + 1) inputs: n (n + 1) / 2 = 105, 231, 406, 630, 903; then 105 * 231 and 25 parents.
    assert_eq!(candidates, [105, 24_255, 25 * 406, 25 * 630, 25 * 903]);
    assert_eq!(schedule.children(), 105 + 4 * 25);
}

#[test]
fn refining_replaces_one_level_of_full_length_architectures() {
    let space = Space::Macro(MacroSpace {
        layers: 4,
        ..MacroSpace::default()
    });
    let config = SearchConfig {
        iterations: 2,
        children_per_step: 10,
        continuation: Continuation::Refine,
        ..SearchConfig::default()
    };
    let (outcome, steps) = search(&space, &config);
    let second: Vec<_> = outcome
        .history
        .records()
        .iter()
        .filter(|record| record.iteration == 1)
        .collect();
    assert_eq!(second.len(), 40);
    assert!(second.iter().all(|record| record.arch.len() == 4));
    let planned = as_announced(&Schedule::new(&space, &config));
    for (done, planned) in steps.iter().zip(&planned) {
        // Parents that differ in the replaced level alone are refined once, so there may be fewer than planned.
        assert!(
            done.2 <= planned.2 && done.3 == planned.3,
            "{done:?}, planned {planned:?}"
        );
    }
    for step in 1..=4 {
        let parents: Vec<_> = outcome
            .history
            .records()
            .iter()
            .filter(|r| (r.iteration, r.step) == if step == 1 { (0, 4) } else { (1, step - 1) })
            .map(|r| r.arch.clone())
            .collect();
        let children: Vec<_> = second
            .iter()
            .filter(|r| r.step == step)
            .map(|r| r.arch.clone())
            .collect();
        let mut distinct = children.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(
            distinct.len(),
            10,
            "step {step} trains an architecture twice"
        );
        for child in &children {
            let related = parents.iter().any(|parent| {
                (1..=4).all(|level| {
                    level == step || space.element(parent, level) == space.element(child, level)
                })
            });
            assert!(related, "{child} is no refinement at level {step}");
        }
    }
}

#[test]
fn random_search_is_planned_with_as_many_children() {
    let config = SearchConfig {
        strategy: StrategyKind::Random,
        ..SearchConfig::default()
    };
    let schedule = Schedule::new(&Space::default(), &config);
    assert_eq!(
        (
            schedule.steps.len(),
            schedule.children(),
            schedule.steps[0].length
        ),
        (1, 843, 12)
    );
}
