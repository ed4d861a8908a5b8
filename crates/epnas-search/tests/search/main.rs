//! The loop on a synthetic landscape: does it find good architectures, and does it keep its promises?

mod choice;
mod endings;
mod failures;
#[path = "../fakes/mod.rs"]
mod fakes;
mod records;

use std::collections::BTreeMap;
use std::path::Path;

use epnas_arch::{Evaluator, MacroSpace, Space};
use epnas_sampler::{Selection, TemperatureSchedule};
use epnas_search::driver::elapsed_seconds;
use epnas_search::{
    Budget, Driver, Ended, Event, History, HistoryPolicy, Outcome, Progressive, RandomSearch,
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
    run_within(Budget::default(), folder, space, seed, evaluator, strategy)
}

fn run_within<E: Evaluator, S: Strategy>(
    budget: Budget,
    folder: &Path,
    space: &Space,
    seed: u64,
    evaluator: &mut E,
    strategy: &mut S,
) -> Result<Outcome, SearchError> {
    let policy = HistoryPolicy::Best;
    let driver = Driver {
        folder: Some(folder.to_owned()),
        space: space.clone(),
        policy,
        seed,
        settings: String::new(),
        budget,
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
