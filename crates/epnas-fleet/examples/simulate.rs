//! A fleet of searches on a table of known accuracies: what many replicas find, and what their merge takes.
//!
//! ```console
//! $ cargo run --release -p epnas-fleet --example simulate -- nas-bench-macro_cifar10.json 64 843
//! ```
//!
//! With `pooled` at the end the surrogates learn from the children of all searches, as far as they have come; every child is
//! on disk before the next then.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use epnas_arch::EpochReport;
use epnas_arch::seed::split;
use epnas_disk::{make_dir, remove_dir, seal, write_atomic};
use epnas_fleet::{EndedSearch, FleetFolder, Merge, Merged, Replica, replica_seed};
use epnas_search::{
    Budget, Driver, HistoryPolicy, Pool, Progressive, Record, SearchConfig, Silent, Table,
    TableEvaluator,
};
use epnas_surrogate::{Lstm, LstmConfig};
use rayon::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Candidates of each search that are "retrained", which a table does at once.
const TOP: usize = 5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (numbers, pooled) = match arguments.as_slice() {
        [numbers @ .., last] if last == "pooled" => (numbers, true),
        numbers => (numbers, false),
    };
    let [table, replicas, children, seed @ ..] = numbers else {
        return Err(
            "expected a table, numbers of replicas and children, and perhaps a seed".into(),
        );
    };
    let (replicas, children): (usize, u64) = (replicas.parse()?, children.parse()?);
    let seed: u64 = seed.first().map_or(Ok(0), |seed| seed.parse())?;
    let table = Arc::new(Table::read(Path::new(table))?);
    let dir = tempfile::tempdir()?;
    let folder = FleetFolder::new(dir.path());

    let clock = Instant::now();
    let replica = |number| Replica {
        number,
        seed: replica_seed(seed, number),
    };
    let replicas: Vec<Replica> = (0..replicas).map(replica).collect();
    replicas
        .par_iter()
        .with_max_len(1)
        .try_for_each(|replica| {
            let pool = match pooled {
                true => Some(pool(&folder, *replica, &replicas)?),
                false => None,
            };
            let records = search(&table, replica.seed, children, pool)?;
            store(&folder, replica.number, &records)
        })?;
    let searched = clock.elapsed();

    let clock = Instant::now();
    let merge = Merge {
        folder: &folder,
        space: table.space(),
        policy: HistoryPolicy::Best,
        replicas: replicas.clone(),
        top: TOP,
        most: usize::MAX,
    };
    let merged = merge.run(String::new(), Vec::new())?;
    let took = clock.elapsed();

    let mib = |path: &Path| {
        path.metadata()
            .map_or(0.0, |meta| meta.len() as f64 / 1048576.0)
    };
    println!("replicas    {} of {children} children", replicas.len());
    println!("searches    {searched:.1?}");
    println!(
        "merge       {took:.2?}: {} children, {:.1} MiB in children.jsonl, {:.1} MiB in merged.json",
        merged.children,
        mib(&folder.children()),
        mib(&folder.merged())
    );
    println!("candidates  {}", merged.candidates(table.space()).len());
    for first in [1, 8, 64, 1024] {
        if first <= replicas.len() {
            println!("regret      {}", regrets(&table, &merged, first));
        }
    }
    Ok(())
}

/// The paper's method at a low temperature, as on other tables, with a surrogate that is small and fitted briefly: thousands of
/// searches are many.
fn search(
    table: &Arc<Table>,
    seed: u64,
    children: u64,
    pool: Option<(PathBuf, Pool)>,
) -> Result<Vec<Record>> {
    let config = SearchConfig {
        iterations: usize::MAX,
        temperature: serde_json::from_str(r#"{ "initial": 0.01, "final": 0.01 }"#)?,
        ..SearchConfig::default()
    };
    let surrogate = LstmConfig {
        embedding: 16,
        hidden: 16,
        epochs: 5,
        ..LstmConfig::default()
    };
    let surrogate = Lstm::new(&surrogate, table.space(), split(seed, "surrogate"))?;
    let (folder, pool) = pool.unzip();
    let strategy = Progressive::new(table.space().clone(), config, surrogate, seed);
    let mut strategy = strategy.learning_from(pool);
    let mut evaluator = TableEvaluator::new(Arc::clone(table), split(seed, "table"));
    let driver = Driver {
        folder,
        space: table.space().clone(),
        policy: HistoryPolicy::Best,
        seed,
        settings: String::new(),
        budget: Budget::children(children),
        stop: None,
    };
    let outcome = driver.run(&mut evaluator, &mut strategy, &mut Silent)?;
    let records = outcome.history.records().iter().cloned();
    Ok(records.map(with_epochs).collect())
}

/// The folder of a search, and what it learns from besides its own children.
fn pool(folder: &FleetFolder, replica: Replica, all: &[Replica]) -> Result<(PathBuf, Pool)> {
    let run = folder.replica(replica.number);
    make_dir(run.dir())?;
    let others = all.iter().filter(|other| other.number != replica.number);
    let histories = others.map(|other| folder.replica(other.number).history());
    Ok((run.dir().to_owned(), Pool::open(run.pool(), histories)?))
}

/// As long as the record of a child that was trained for three epochs.
fn with_epochs(record: Record) -> Record {
    let epoch = |epoch: usize| EpochReport {
        epoch,
        loss: 2.0 / (epoch as f64 + 0.123_456_789),
        accuracy: record.estimate.unwrap_or(0.0),
        seconds: 12.345_678_901 + epoch as f64,
    };
    Record {
        epochs: (1..=3).map(epoch).collect(),
        ..record
    }
}

/// As a search leaves them.
fn store(folder: &FleetFolder, number: usize, records: &[Record]) -> Result<()> {
    let replica = folder.replica(number);
    make_dir(replica.dir())?;
    // Which was kept at every child; the merge is timed with lines as long as those of trained children.
    remove_dir(&replica.dir().join("checkpoint"))?;
    let mut lines = String::new();
    for record in records {
        lines.push_str(&seal::json_line(record)?.content);
        lines.push('\n');
    }
    write_atomic(&replica.history(), lines.as_bytes())?;
    let ended = EndedSearch::of(&replica, false)?;
    Ok(ended.write(&folder.ended(number))?)
}

/// Points of accuracy that the best of so many searches, by mean accuracy over all recorded trainings, lacks to the best of the
/// table: of groups of searches, their mean and the largest.
fn regrets(table: &Table, merged: &Merged, first: usize) -> String {
    let mean = |arch| table.get(arch).map_or(0.0, epnas_search::Row::mean);
    let groups = merged.replicas.chunks_exact(first);
    let regrets: Vec<f64> = groups
        .map(|group| {
            let lists = group
                .iter()
                .flat_map(|replica| &replica.found.list.candidates);
            let found = lists
                .map(|candidate| mean(&candidate.arch))
                .fold(f64::MIN, f64::max);
            100.0 * (table.best() - found)
        })
        .collect();
    let largest = regrets.iter().copied().fold(0.0, f64::max);
    let average = regrets.iter().sum::<f64>() / regrets.len() as f64;
    format!(
        "{average:.3} points on average, {largest:.3} at most, over {} fleets of {first}",
        regrets.len()
    )
}
