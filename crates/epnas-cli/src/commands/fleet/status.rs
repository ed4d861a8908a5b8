//! `epnas fleet status`: how far a fleet is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use epnas_fleet::slurm::{self, Entry, SlurmError};
use epnas_fleet::{Fleet, Progress, Stage};
use serde::Serialize;

use super::open;
use crate::arguments::Global;
use crate::failure;
use crate::output::{self, grouped, table};
use crate::progress::shortened;

/// Replicas that are shown one by one.
const SHOWN: usize = 32;

/// Letters of Slurm's reasons; --json has all of them.
const REASON: usize = 40;

/// Show how far a fleet is: pieces and children done, pieces that run, jobs in the queue.
///
/// What is done is read from the folder, what runs from its locks; where jobs were submitted,
/// Slurm is asked why the rest waits, and whether none is left although not everything is done.
///
/// Examples:
///   epnas fleet status fleets/mine
///   epnas fleet status fleets/mine --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {
    /// Folder of the fleet.
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,
}

/// What `epnas fleet status --json` prints.
#[derive(Debug, Serialize)]
struct Status {
    fleet: PathBuf,
    replicas: usize,
    done: bool,
    #[serde(flatten)]
    progress: Progress,
    /// Jobs in the queue, those of arrays one by one; `None` where Slurm cannot be asked.
    queue: Option<Vec<Entry>>,
    /// Whether jobs were submitted of which none is left although not everything is done.
    lost: bool,
}

pub(crate) fn run(args: &StatusArgs, global: &Global) -> anyhow::Result<()> {
    let fleet = open(&args.fleet)?;
    let jobs = slurm::jobs(&fleet).map_err(failure::of_slurm)?;
    let queue = match slurm::queue(&fleet) {
        // The folder may be looked at from where no jobs are submitted.
        Err(SlurmError::Absent { program }) => {
            tracing::warn!("there is no `{program}` here: jobs are not shown");
            None
        }
        Err(error @ SlurmError::Failed { .. }) => {
            tracing::warn!("{error}: jobs are not shown");
            None
        }
        queue => Some(queue.map_err(failure::of_slurm)?),
    };
    let is_empty = queue.as_ref().is_some_and(Vec::is_empty);
    let progress = Progress::of(&fleet).map_err(failure::of_fleet)?;
    let status = Status {
        fleet: args.fleet.clone(),
        replicas: fleet.replicas().len(),
        done: progress.is_done(),
        lost: !jobs.is_empty() && is_empty && !progress.is_done(),
        progress,
        queue,
    };
    output::print_as(global.format(), &status, |status| text(status, &fleet))
}

/// What the jobs of a stage do: `2 running, 1 pending (Resources)`.
fn jobs(stage: Stage, queue: &[Entry]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in queue.iter().filter(|entry| entry.stage == stage) {
        let state = entry.state.to_lowercase();
        let what = match (entry.state.as_str(), entry.reason.as_str()) {
            ("PENDING", reason) if reason != "None" => {
                format!("{state} ({})", shortened(reason, REASON))
            }
            _ => state,
        };
        *counts.entry(what).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    counts.join(", ")
}

/// In one line.
pub(super) fn line(progress: &Progress, queue: &[Entry]) -> String {
    let stages = progress.stages.iter().map(|stage| {
        let done = stage.pieces - stage.missing.len();
        format!("{} {done}/{}", stage.stage, stage.pieces)
    });
    let running = queue
        .iter()
        .filter(|entry| entry.state == "RUNNING")
        .count();
    format!(
        "{}; {} children; {} jobs, {running} running",
        stages.collect::<Vec<_>>().join(", "),
        grouped(progress.children.iter().sum::<usize>()),
        queue.len()
    )
}

fn text(status: &Status, fleet: &Fleet) -> String {
    let progress = &status.progress;
    let queue = status.queue.as_deref();
    let entries = queue.unwrap_or_default();
    let rows: Vec<Vec<String>> = progress
        .stages
        .iter()
        .map(|stage| {
            vec![
                match stage.stage {
                    Stage::Train if !fleet.config().fleet.train => "choose".to_owned(),
                    stage => stage.name().to_owned(),
                },
                grouped(stage.pieces - stage.missing.len()),
                grouped(stage.pieces),
                match stage.running.len() {
                    0 => String::new(),
                    running => grouped(running),
                },
                jobs(stage.stage, entries),
            ]
        })
        .collect();
    let has_jobs = !entries.is_empty();
    let header = ["stage", "done", "of", "running", "jobs"];
    let columns = header.len() - usize::from(!has_jobs);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row[..columns].to_vec())
        .collect();
    let mut text = table(&header[..columns], &rows);
    let children: usize = progress.children.iter().sum();
    let planned = progress.planned * progress.children.len() as u64;
    let random: usize = progress.random.iter().sum();
    let random = match progress.random.is_empty() {
        true => String::new(),
        false => format!(", and {} of random search beside them", grouped(random)),
    };
    text.push_str(&format!(
        "\n{} of {} children{random}\n",
        grouped(children),
        grouped(planned)
    ));
    if progress.children.len() <= SHOWN {
        let is_left = |number| progress.stages[0].missing.contains(&number);
        for (replica, children) in fleet.replicas().iter().zip(&progress.children) {
            let task = slurm::task_of(fleet, replica.number);
            let entry = entries.iter().find(|entry| {
                entry.stage == Stage::Search && entry.task == Some(task) && is_left(replica.number)
            });
            let local = match progress.stages[0].running.contains(&replica.number) {
                true => "  running".to_owned(),
                false => String::new(),
            };
            let doing = entry.map_or(local, |entry| match entry.state.as_str() {
                "RUNNING" => format!("  running on {} for {}", entry.node, entry.time),
                state => format!(
                    "  {} ({})",
                    state.to_lowercase(),
                    shortened(&entry.reason, REASON)
                ),
            });
            text.push_str(&format!(
                "replica {:<4} seed {:<19} {:>6} children{doing}\n",
                replica.number, replica.seed, children
            ));
        }
    }
    let (word, dir) = (output::word(&status.fleet), status.fleet.display());
    text.push_str(&match (status.done, status.lost) {
        (true, _) => format!("next          epnas fleet collect {word}\n"),
        (false, _) if progress.is_running() => String::new(),
        (false, true) => format!(
            "no job is left in the queue; what they said is in {dir}/slurm/*.log\nnext          epnas fleet submit --out {word}\n"
        ),
        (false, false) if queue.is_some_and(<[Entry]>::is_empty) => {
            format!("next          epnas fleet run --out {word}\n")
        }
        (false, false) => String::new(),
    });
    text
}
