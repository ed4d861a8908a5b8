//! `epnas fleet collect`: what a fleet found.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use epnas_fleet::{Fleet, FleetError, ReplicaOutcome, Stage, Worker, merge, read_outcomes};
use epnas_search::{Best, SearchError, TrainReport, Which, read_training, statistics};
use epnas_supernet::Compute;
use serde::Serialize;
use serde_json::Value;

use super::open;
use crate::arguments::Global;
use crate::commands::report;
use crate::failure::{self, usage};
use crate::output::{self, grouped, table_with};
use crate::progress::{duration, percent};

/// Replicas that are shown one by one.
const SHOWN: usize = 32;

/// Print what a fleet found, from all of its searches or, with --partial, from those that are done.
///
/// Nothing is trained here; what is done is merged, chosen among and written, if it is not yet.
/// FLEET is a run folder too: `epnas eval FLEET`, `epnas predict PICTURE --model FLEET`, `epnas
/// export --model FLEET` and `epnas show FLEET` take it. children.jsonl has the children of all
/// searches, replicas.json what each found, report.html shows both.
///
/// Examples:
///   epnas fleet collect fleets/mine
///   epnas fleet collect fleets/mine --partial
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CollectArgs {
    /// Folder of the fleet.
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,

    /// Take what is done: searches that have ended, candidates that are retrained.
    #[arg(long)]
    partial: bool,
}

/// What `epnas fleet collect --json` prints.
#[derive(Debug, Serialize)]
struct Collected {
    fleet: PathBuf,
    best: Best,
    replicas: Vec<ReplicaOutcome>,
    /// As `epnas run` writes it, once the best is trained.
    summary: Option<Value>,
    /// Children of all searches.
    children: PathBuf,
    report: PathBuf,
    /// Of the network that was found.
    #[serde(skip)]
    training: Option<TrainReport>,
    /// Whether the fleet trains its best.
    #[serde(skip)]
    trains: bool,
}

pub(crate) fn run(args: &CollectArgs, global: &Global) -> anyhow::Result<()> {
    let fleet = open(&args.fleet)?;
    let is_done = fleet
        .missing(Stage::Train)
        .map_err(failure::of_fleet)?
        .is_empty();
    if !is_done {
        conclude(&fleet, args.partial)?;
    }
    print(&fleet, global)
}

/// Merges and chooses, without training anything.
fn conclude(fleet: &Fleet, partial: bool) -> anyhow::Result<()> {
    let _held = match fleet.lock() {
        // The best is being trained: it is chosen.
        Err(error) if error.is_in_use() && fleet.folder().outcomes().exists() => {
            tracing::warn!("{error}: this is what has been chosen so far");
            return Ok(());
        }
        held => held.map_err(failure::of_fleet)?,
    };
    let concluded = (|| {
        if fleet.merged()?.is_none() {
            merge(fleet, partial)?;
        }
        Worker::new(fleet, Compute::cpu(), Arc::default()).conclude(partial)
    })();
    match concluded {
        Err(error @ FleetError::Unfinished { .. }) => {
            let dir = output::word(fleet.folder().dir());
            Err(anyhow::anyhow!(
                "{error}; `epnas fleet status {dir}` shows more, --partial takes what is done"
            ))
        }
        // Not yet: nothing was asked for in the wrong way.
        Err(FleetError::Search(error)) if matches!(*error, SearchError::Nothing { .. }) => {
            Err((*error).into())
        }
        Err(error) => Err(failure::of_fleet(error)),
        Ok(_) => report::of_run(fleet.folder().dir()),
    }
}

/// Prints what was found.
pub(super) fn print(fleet: &Fleet, global: &Global) -> anyhow::Result<()> {
    let folder = fleet.folder();
    if !folder.run().best().exists() {
        return Err(usage(format_args!(
            "{} has no result yet; `epnas fleet status {}` shows how far it is",
            folder.dir().display(),
            output::word(folder.dir())
        )));
    }
    let best = Best::read(&folder.run().best()).map_err(failure::of_search)?;
    let (trains, is_trained) = (fleet.config().fleet.train, is_trained(fleet)?);
    // One that is damaged is made again with the rest.
    let training = read_training(&folder.run().training(Which::Found).work).ok();
    let training = training.flatten().filter(|training| {
        // A fleet that trains nothing may have been trained by hand.
        is_trained || !trains && training.architecture == best.architecture.clone().into()
    });
    let collected = Collected {
        fleet: folder.dir().to_owned(),
        best,
        replicas: read_outcomes(folder).map_err(failure::of_fleet)?,
        summary: match is_trained {
            true => Some(summary(&folder.run().summary())?),
            false => None,
        },
        training,
        trains,
        children: folder.children(),
        report: folder.run().report(),
    };
    output::print_as(global.format(), &collected, text)
}

/// Whether the network in the folder is the one that was chosen, trained as the settings say.
fn is_trained(fleet: &Fleet) -> anyhow::Result<bool> {
    let missing = fleet.missing(Stage::Train).map_err(failure::of_fleet)?;
    Ok(fleet.config().fleet.train && missing.is_empty())
}

fn summary(path: &Path) -> anyhow::Result<Value> {
    let read = std::fs::read(path).map_err(anyhow::Error::from);
    read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
        .with_context(|| format!("{}", path.display()))
}

fn text(collected: &Collected) -> String {
    let Collected {
        fleet,
        best,
        replicas,
        summary,
        children,
        report,
        training,
        trains,
        ..
    } = collected;
    let mut text = format!(
        "architecture  {}\nestimate      {} (shared weights; ranks only)\n",
        best.architecture,
        percent(best.estimate)
    );
    if let Some(accuracy) = best.retrained_accuracy {
        text.push_str(&format!(
            "retrained     {} (briefly, on validation images)\n",
            percent(accuracy)
        ));
    }
    if let Some(random) = &best.random {
        let retrained = random
            .retrained_accuracy
            .map_or_else(String::new, |accuracy| {
                format!(", retrained {}", percent(accuracy))
            });
        text.push_str(&format!(
            "random        estimate {}{retrained} ({})\n",
            percent(random.estimate),
            random.architecture
        ));
    }
    let tested = training
        .as_ref()
        .and_then(|training| training.test.as_ref());
    for (name, accuracy) in [
        (
            "validation",
            training
                .as_ref()
                .and_then(|training| training.validation_accuracy),
        ),
        ("test", tested.map(|test| test.accuracy)),
    ] {
        if let Some(accuracy) = accuracy {
            text.push_str(&format!("{name:<14}{}\n", percent(accuracy)));
        }
    }
    for note in &best.notes {
        text.push_str(&format!("note          {note}\n"));
    }
    // Of all seeds, if there are several.
    let of_all = summary
        .as_ref()
        .and_then(|summary| summary.get("train_seconds")?.as_f64());
    let seconds = of_all.or(training.as_ref().map(|training| training.seconds));
    let time = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(0.0)));
    text.push_str(&format!(
        "cost          {} searches, {} children, {}; selection {}{}\n",
        replicas.len(),
        grouped(best.cost.children),
        time(best.cost.seconds),
        time(best.selection_cost.seconds),
        seconds.map_or_else(String::new, |seconds| format!(
            "; training {}",
            time(seconds)
        ))
    ));
    text.push_str(&format!(
        "children      {}\nreport        {}\n",
        children.display(),
        report.display()
    ));
    let next = match training {
        Some(_) => format!("epnas predict PICTURE --model {}", output::word(fleet)),
        None if *trains => format!("epnas fleet run --out {}", output::word(fleet)),
        None => format!("epnas train {}", output::word(fleet)),
    };
    text.push_str(&format!("next          {next}\n"));
    text.push_str(&each(replicas));
    text
}

/// Search by search, with the spread of what they found.
fn each(replicas: &[ReplicaOutcome]) -> String {
    let or_dash = |accuracy: Option<f64>| accuracy.map_or_else(|| "-".to_owned(), percent);
    let rows: Vec<Vec<String>> = replicas
        .iter()
        .take(SHOWN)
        .map(|replica| {
            let network = &replica.found.network;
            let random = replica.random.as_ref();
            vec![
                replica.replica.number.to_string(),
                grouped(replica.found.cost.children),
                percent(network.estimate),
                or_dash(network.retrained_accuracy),
                or_dash(random.and_then(|random| random.network.retrained_accuracy)),
            ]
        })
        .collect();
    let networks = replicas.iter().take(SHOWN);
    let networks = networks.map(|replica| replica.found.network.architecture.to_string());
    let header = ["replica", "children", "estimate", "retrained", "random"];
    let mut text = format!("\n{}", table_with(&header, &rows, "architecture", networks));
    if replicas.len() > SHOWN {
        text.push_str(&format!(
            "and {} more in replicas.json\n",
            replicas.len() - SHOWN
        ));
    }
    for (name, accuracies) in [
        (
            "retrained",
            retrained(replicas, |replica| replica.found.network.retrained_accuracy),
        ),
        (
            "random",
            retrained(replicas, |replica| {
                replica.random.as_ref()?.network.retrained_accuracy
            }),
        ),
    ] {
        if let (Some(mean), Some(deviation)) = (
            statistics::mean(&accuracies),
            statistics::deviation(&accuracies),
        ) {
            text.push_str(&format!(
                "{name}: {} +- {:.1} over {} searches\n",
                percent(mean),
                100.0 * deviation,
                accuracies.len()
            ));
        }
    }
    text
}

fn retrained(
    replicas: &[ReplicaOutcome],
    accuracy: impl Fn(&ReplicaOutcome) -> Option<f64>,
) -> Vec<f64> {
    replicas.iter().filter_map(accuracy).collect()
}
