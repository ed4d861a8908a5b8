//! What single steps of the strategies do with a history that is known.

use epnas_arch::{Arch, ChoiceArch, ChoiceSpace, Cost, EvaluateError, MacroSpace, Space};
use epnas_search::rank::{Origin, draws};
use epnas_search::{
    Admission, Evolution, EvolutionConfig, History, HistoryPolicy, Limits, LocalSearch, Meter,
    Record, Silent, Status, Strategy,
};

/// Words of four letters out of five, of which any two differ in at least three places (a, b, a + b, a + 2b modulo 5).
fn word(number: u16) -> Vec<u16> {
    let (a, b) = (number / 5, number % 5);
    vec![a, b, (a + b) % 5, (a + 2 * b) % 5]
}

fn space() -> Space {
    Space::Choices(ChoiceSpace { sizes: vec![5; 4] })
}

fn arch(choices: Vec<u16>) -> Arch {
    Arch::Choices(ChoiceArch { choices })
}

fn record(index: u64, arch: Arch, estimate: f64) -> Record {
    Record {
        index,
        iteration: 0,
        step: arch.len(),
        arch,
        estimate: Some(estimate),
        status: Status::Ok,
        reason: None,
        seconds: 0.0,
        params: None,
        macs: None,
        images: 0,
        predicted: None,
        probability: None,
        temperature: None,
        epochs: vec![],
    }
}

/// The first `count` words with these estimates, in the order of their age.
fn words(estimates: impl Iterator<Item = f64>) -> History {
    let records = (0..).zip(estimates);
    let records = records.map(|(n, estimate)| record(n, arch(word(n as u16)), estimate));
    History::from_records(space(), HistoryPolicy::Best, records.collect())
}

/// The number of the only word that a mutant can come from.
fn parent(mutant: &Arch) -> u16 {
    let Arch::Choices(mutant) = mutant else {
        panic!("{mutant} is of another space")
    };
    let differences = |number: &u16| {
        let pairs = word(*number).into_iter().zip(&mutant.choices);
        pairs.filter(|(a, b)| a != *b).count()
    };
    let near: Vec<u16> = (0..25).filter(|number| differences(number) <= 1).collect();
    assert_eq!(near.len(), 1, "{mutant:?}");
    assert_eq!(differences(&near[0]), 1, "a mutant differs in one decision");
    near[0]
}

fn parent_chosen(history: &History, population: usize, tournament: usize, seed: u64) -> u16 {
    let config = EvolutionConfig {
        population,
        tournament,
    };
    let mut evolution = Evolution::new(space(), config, seed);
    let batch = evolution.propose(history, &mut Silent).expect("proposed");
    parent(&batch.expect("a batch").children[0].arch)
}

#[test]
fn evolution_forgets_the_oldest_however_good_they_are() {
    // Better the older, so that the best of the last 20 of 25 is number 5.
    let history = words((0..25).map(|n| 0.9 - 0.01 * f64::from(n)));
    for seed in 0..20 {
        assert_eq!(parent_chosen(&history, 20, 20, seed), 5);
    }
}

#[test]
fn evolution_takes_the_best_of_a_few() {
    let history = words((0..20).map(|n| 0.5 + 0.01 * f64::from(n)));
    // The best of three out of 20 is the best of all with a probability of 3/20, and none of the two worst ever.
    let trials = 2000;
    let chosen: Vec<u16> = (0..trials)
        .map(|seed| parent_chosen(&history, 20, 3, seed))
        .collect();
    assert!(chosen.iter().all(|&number| number >= 2));
    let best = chosen.iter().filter(|&&number| number == 19).count() as f64 / trials as f64;
    let error = (0.15 * 0.85 / trials as f64).sqrt();
    assert!((best - 0.15).abs() < 4.0 * error, "{best}");
}

#[test]
fn local_search_moves_to_the_best_of_all_neighbours() {
    let mut search = LocalSearch::new(space(), 4);
    let mut history = History::new(space(), HistoryPolicy::Best);
    let push = |history: &mut History, arch: &Arch, estimate: f64| {
        history.push(record(history.len() as u64, arch.clone(), estimate));
    };
    let start = search
        .propose(&history, &mut Silent)
        .expect("proposed")
        .expect("a start");
    push(&mut history, &start.children[0].arch, 0.5);
    search
        .observe(&start, &history, &mut Silent)
        .expect("observed");
    let around = search
        .propose(&history, &mut Silent)
        .expect("proposed")
        .expect("neighbours");
    assert_eq!(around.children.len(), 4 * 4);
    // All are better than where it stands; the best is neither the first nor the last.
    for (n, child) in around.children.iter().enumerate() {
        let estimate = if n == 7 { 0.9 } else { 0.6 + 0.001 * n as f64 };
        push(&mut history, &child.arch, estimate);
    }
    search
        .observe(&around, &history, &mut Silent)
        .expect("observed");
    let best = around.children[7].arch.to_string();
    assert_eq!(search.state()["here"].as_str(), Some(best.as_str()));

    // Where no neighbour is better, it begins elsewhere.
    let around = search
        .propose(&history, &mut Silent)
        .expect("proposed")
        .expect("neighbours");
    for child in &around.children {
        push(&mut history, &child.arch, 0.1);
    }
    search
        .observe(&around, &history, &mut Silent)
        .expect("observed");
    assert!(search.state()["here"].is_null());
}

/// A network costs as many parameters as its text has characters.
struct Length;

impl Meter for Length {
    fn cost(&self, arch: &Arch) -> Option<Cost> {
        Some(Cost {
            params: arch.to_string().len() as u64,
            macs: 1,
        })
    }

    fn latency(&self, _: &Arch) -> Result<f64, EvaluateError> {
        unreachable!("no limit asks for it")
    }
}

#[test]
fn what_a_ranking_draws_from_the_space_is_within_the_limits() {
    let space = Space::Macro(MacroSpace {
        layers: 4,
        ..MacroSpace::default()
    });
    let limits = Limits {
        params: Some(28),
        ..Limits::default()
    };
    let history = History::new(space.clone(), HistoryPolicy::Best);
    let lengths = |admission: &Admission| -> Vec<usize> {
        let drawn = draws(&history, admission, 1, 30).expect("draws");
        assert!(drawn.iter().all(|draw| draw.origin == Origin::Space));
        drawn
            .iter()
            .map(|draw| draw.arch.to_string().len())
            .collect()
    };
    let limited = Admission::new(&space, limits, Length, None).expect("an admission");
    let (free, limited) = (lengths(&Admission::default()), lengths(&limited));
    assert!(free.iter().any(|&length| length > 28), "{free:?}");
    assert!(
        limited.len() == 30 && limited.iter().all(|&length| length <= 28),
        "{limited:?}"
    );
}
