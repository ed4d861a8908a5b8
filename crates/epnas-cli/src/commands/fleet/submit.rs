//! `epnas fleet submit`: a fleet as jobs of Slurm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use epnas_fleet::slurm::{self, Job, SlurmError};
use epnas_fleet::{Fleet, Progress};
use epnas_search::{Config, RunFolder};
use epnas_supernet::DeviceKind;
use serde::Serialize;

use super::{NewFleetArgs, collect, epnas, open};
use crate::arguments::{DeviceArgs, Global};
use crate::failure::{self, usage};
use crate::interrupt::Interrupt;
use crate::output;
use crate::progress::Style;

/// How often --wait asks Slurm.
const POLL: Duration = Duration::from_secs(5);

/// Submit a fleet to Slurm: jobs that search, merge, select and train.
///
/// One array searches, a job for each replica; one merges; one array retrains the candidates;
/// one trains the best and reports. What each job asks for is in the section `fleet.slurm` of
/// the configuration. FLEET must lie where every node sees it, and so must this program and the
/// images. A job that is killed, loses its node or meets its time limit goes on from its last
/// child; where jobs are lost for good, the same command submits what is not done.
///
/// Examples:
///   epnas fleet submit --config my.toml --replicas 64 --out /shared/fleets/mine
///   epnas fleet submit --config my.toml --out fleets/mine --set fleet.slurm.partition=gpu \
///     --set fleet.slurm.gpus=1 --set 'fleet.slurm.time="4:00:00"'
///   epnas fleet submit --out fleets/mine --wait
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    new: NewFleetArgs,

    /// Folder of the fleet, seen by every node.
    #[arg(short, long, value_name = "FLEET")]
    out: PathBuf,

    /// Who runs the jobs.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,

    #[command(flatten)]
    device: DeviceArgs,

    /// Throw a training of the best with other settings away; its model stays until the new one is there. Where another network
    /// is the best now, that happens anyway.
    #[arg(long)]
    restart: bool,

    /// Wait until all is done, and print the result. Jobs that were submitted before are waited for.
    #[arg(long)]
    wait: bool,
}

/// Who runs a fleet's jobs.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Engine {
    /// Slurm, by its commands sbatch, squeue, scontrol and scancel.
    #[default]
    Slurm,
}

/// What `epnas fleet submit --json` prints.
#[derive(Debug, Serialize)]
struct Submitted {
    fleet: PathBuf,
    replicas: usize,
    /// None when everything is done.
    jobs: Vec<Job>,
}

pub(crate) fn run(args: &SubmitArgs, global: &Global) -> anyhow::Result<()> {
    let Engine::Slurm = args.engine;
    // Before a folder is made.
    slurm::require().map_err(failure::of_slurm)?;
    let config = args.new.config(Some(&args.out), global)?;
    let gpus = config.fleet.slurm.gpus;
    match args.device.kind() {
        Some(DeviceKind::Cuda) if gpus == 0 => {
            return Err(usage(
                "--device cuda, but jobs ask for no GPU: set fleet.slurm.gpus to 1",
            ));
        }
        Some(DeviceKind::Cpu) if gpus > 0 => {
            return Err(usage(
                "--device cpu, but jobs ask for a GPU: set fleet.slurm.gpus to 0",
            ));
        }
        _ => {}
    }
    if args.wait && !args.restart && is_under_way(&args.out, &config)? {
        return wait(&open(&args.out)?, global);
    }
    let fleet = args.new.fleet(&args.out, args.device.kind(), global)?;
    let jobs = slurm::submit(&fleet, &epnas()?, args.restart).map_err(failure::of_slurm)?;
    let submitted = Submitted {
        fleet: args.out.clone(),
        replicas: fleet.replicas().len(),
        jobs,
    };
    if args.wait {
        for line in text(&submitted).lines() {
            Style::choose(global).note(line);
        }
        return wait(&fleet, global);
    }
    output::print_as(global.format(), &submitted, text)
}

/// Whether jobs of this very fleet are in the queue.
fn is_under_way(out: &Path, config: &Config) -> anyhow::Result<bool> {
    if !RunFolder::new(out).fleet().exists() {
        return Ok(false);
    }
    let fleet = open(out)?;
    let queue = slurm::queue(&fleet).map_err(failure::of_slurm)?;
    Ok(!queue.is_empty() && fleet.config() == config)
}

fn text(submitted: &Submitted) -> String {
    let (word, dir) = (output::word(&submitted.fleet), submitted.fleet.display());
    if submitted.jobs.is_empty() {
        return format!("everything is done\nnext          epnas fleet collect {word}\n");
    }
    let mut text = String::new();
    for job in &submitted.jobs {
        let many = match job.tasks {
            1 => String::new(),
            tasks => format!(", an array of {tasks}"),
        };
        text.push_str(&format!("{:<14}job {}{many}\n", job.stage.name(), job.id));
    }
    text.push_str(&format!(
        "fleet         {dir}\nnext          epnas fleet status {word}\n"
    ));
    text
}

/// Waits until no job is left, and prints what they have made.
fn wait(fleet: &Fleet, global: &Global) -> anyhow::Result<()> {
    let interrupt = Interrupt::catch()?;
    let style = Style::choose(global);
    let mut shown = String::new();
    loop {
        let queue = match slurm::queue(fleet) {
            // A controller that is busy or being restarted answers later.
            Err(error @ SlurmError::Failed { .. }) if !interrupt.is_set() => {
                tracing::warn!("{error}; asking again");
                std::thread::sleep(POLL);
                continue;
            }
            queue => queue.map_err(failure::of_slurm)?,
        };
        let progress = Progress::of(fleet).map_err(failure::of_fleet)?;
        let line = super::status::line(&progress, &queue);
        if line != shown {
            style.note(&line);
            shown = line;
        }
        if queue.is_empty() {
            // Asked again: the last job may have ended between the two.
            let progress = Progress::of(fleet).map_err(failure::of_fleet)?;
            if !progress.is_done() {
                let dir = fleet.folder().dir();
                let (word, dir) = (output::word(dir), dir.display());
                return Err(anyhow::anyhow!(
                    "no job is left in the queue, but not everything is done ({line}); why is in {dir}/slurm, and \
                     `epnas fleet submit --out {word}` goes on",
                    line = super::status::line(&progress, &queue)
                ));
            }
            return collect::print(fleet, global);
        }
        for _ in 0..10 {
            if interrupt.is_set() {
                return Err(interrupt
                    .end("the jobs go on; `epnas fleet cancel` takes them out of the queue"));
            }
            std::thread::sleep(POLL / 10);
        }
    }
}
