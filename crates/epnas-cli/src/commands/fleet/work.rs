//! `epnas fleet work`: what a job of Slurm runs.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use epnas_fleet::slurm::{self, Requeue, Share};
use epnas_fleet::{Ended, Stage};

use super::crew::{Crew, Logs, Slot};
use super::{epnas, open};
use crate::arguments::{Global, Place, parse_device};
use crate::failure;
use crate::interrupt::Interrupt;
use crate::output;

/// Of the notice before a time limit, so much is kept to go back to the queue.
const TO_LEAVE: Duration = Duration::from_secs(20);

/// How long Slurm may take to end a job that goes back to the queue.
const UNTIL_ENDED: Duration = Duration::from_mins(1);

/// Do a job's share of a fleet's work; the scripts in FLEET/slurm run it.
///
/// First of all it does what an earlier stage has left undone. At SIGUSR1, which Slurm sends
/// before the time limit, it saves what it has and puts its job back into the queue.
#[derive(Debug, Args)]
#[command(hide = true, verbatim_doc_comment)]
pub(crate) struct WorkArgs {
    /// Folder of the fleet.
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,

    /// The stage.
    #[arg(long)]
    stage: Stage,

    /// Which of the jobs that share the stage, from 0.
    #[arg(long, default_value_t = 0)]
    task: usize,

    /// How many jobs share it.
    #[arg(long, default_value_t = 1)]
    tasks: usize,

    /// Throw a training with other settings away.
    #[arg(long)]
    restart: bool,

    /// Where networks are trained.
    #[arg(long, value_name = "cpu|cuda|cuda:N", default_value = "cpu", value_parser = parse_device)]
    device: Place,

    /// Seconds between SIGUSR1 and the time limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    notice: u64,
}

pub(crate) fn run(args: &WorkArgs, global: &Global) -> anyhow::Result<()> {
    let fleet = open(&args.fleet)?;
    let interrupt = Interrupt::catch()?;
    let notice = interrupt.on_notice()?;
    let share = Share {
        stage: args.stage,
        task: args.task,
        tasks: args.tasks,
    };
    let slot = Slot {
        device: args.device.to_string(),
        threads: global.threads.map(usize::from),
    };
    let crew = Crew {
        fleet: &fleet,
        program: epnas()?,
        restart: args.restart,
        slots: vec![slot],
        logs: Logs::Inherited,
        stop: interrupt.stop(),
        grace: Some(Duration::from_secs(args.notice).saturating_sub(TO_LEAVE)),
        global,
    };
    if work(&crew, share)? == Ended::Done {
        return Ok(());
    }
    // A job that is cancelled within its notice stays out of the queue.
    if !notice.load(Ordering::Relaxed) || interrupt.is_by_signal() {
        return Err(interrupt.end("everything is saved"));
    }
    output::stderr_line(
        "the time limit is near; everything is saved, and the job goes back to the queue",
    );
    match slurm::requeue(&fleet, share).map_err(failure::of_slurm)? {
        Requeue::Queued => {
            std::thread::sleep(UNTIL_ENDED);
            Err(anyhow::anyhow!(
                "Slurm has not ended a job that goes back to the queue"
            ))
        }
        Requeue::InVain => {
            let slurm = &fleet.config().fleet.slurm;
            Err(anyhow::anyhow!(
                "the time limit has ended this job several times before anything was done: a child, or a candidate of the \
                 selection, takes longer than fleet.slurm.time ({}) less fleet.slurm.notice ({})",
                slurm.time.as_deref().unwrap_or("that of the partition"),
                slurm.notice
            ))
        }
    }
}

fn work(crew: &Crew<'_>, share: Share) -> anyhow::Result<Ended> {
    // Jobs of theirs may have been killed.
    for &before in share.before() {
        let missing = crew.fleet.missing(before).map_err(failure::of_fleet)?;
        if !missing.is_empty() {
            output::stderr_line(&format!(
                "{} pieces of the stage {before} were left undone",
                missing.len()
            ));
        }
        if crew.run(before, &missing)? == Ended::Stopped {
            return Ok(Ended::Stopped);
        }
    }
    let own = share.missing(crew.fleet).map_err(failure::of_fleet)?;
    crew.run(share.stage, &own)
}
