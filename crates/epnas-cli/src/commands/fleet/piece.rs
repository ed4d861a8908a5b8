//! `epnas fleet piece`: one piece of a fleet's work, in a process of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use epnas_fleet::{Ended, Fleet, FleetError, Stage, Worker, merge};
use epnas_search::{SearchError, Which};
use epnas_supernet::{Difference, SupernetError};

use super::open;
use crate::arguments::{DeviceArgs, Global};
use crate::commands::train::clear;
use crate::commands::{report, run};
use crate::failure::{self, Exit};
use crate::handover::Failed;
use crate::interrupt::Interrupt;
use crate::output;
use crate::watcher::Watcher;

/// Exit code of a piece that was asked to end early: EX_TEMPFAIL of sysexits.h.
pub(super) const STOPPED: u8 = 75;

/// Exit code of a search that has to wait for another to come further.
pub(super) const BEHIND: u8 = 76;

/// Another process may hold a folder for so long after its end: file systems of clusters learn late that a node is lost.
const PATIENCE: Duration = Duration::from_mins(5);

/// Do one piece of a fleet's work; `epnas fleet run` and jobs start it.
///
/// It ends early and in order when its standard input ends.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct PieceArgs {
    /// Folder of the fleet.
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,

    /// The stage.
    #[arg(long)]
    stage: Stage,

    /// The piece, from 0.
    #[arg(long)]
    number: usize,

    #[command(flatten)]
    device: DeviceArgs,

    /// Throw a training with other settings away.
    #[arg(long)]
    restart: bool,
}

pub(crate) fn run(args: &PieceArgs, global: &Global) -> anyhow::Result<()> {
    let fleet = open(&args.fleet)?;
    // First: another program may take over here.
    let compute = args.device.compute(None)?;
    let interrupt = Interrupt::catch()?;
    interrupt.at_end_of_input();
    let worker = Worker::new(&fleet, compute, interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let begun = Instant::now();
    let ended = loop {
        let ended = match args.stage {
            Stage::Search => worker.search(args.number, &mut watcher),
            Stage::Merge => fleet.lock().and_then(|_held| {
                merge(&fleet, false)?;
                Ok(Ended::Done)
            }),
            Stage::Select => worker.select(args.number, &mut watcher),
            Stage::Train => match fleet.lock() {
                Ok(_held) => break train(&fleet, &worker, args.restart, &mut watcher)?,
                Err(error) => Err(error),
            },
        };
        match ended {
            Err(error)
                if error.is_in_use() && begun.elapsed() < PATIENCE && !interrupt.is_set() =>
            {
                std::thread::sleep(Duration::from_secs(1));
            }
            Err(FleetError::Search(error)) if error.waits_for_another() => {
                output::stderr_line(&format!("error: {error}"));
                return Err(Exit(BEHIND).into());
            }
            ended => break ended.map_err(failure::of_fleet)?,
        }
    };
    match ended {
        Ended::Done => Ok(()),
        Ended::Stopped => Err(Exit(STOPPED).into()),
    }
}

/// Chooses the best of all, trains it and reports.
fn train(
    fleet: &Fleet,
    worker: &Worker<'_>,
    restart: bool,
    watcher: &mut Watcher,
) -> anyhow::Result<Ended> {
    let best = worker.conclude(false).map_err(failure::of_fleet)?;
    let folder = fleet.folder().run();
    if fleet.config().fleet.train {
        let session = worker.session().map_err(failure::of_fleet)?;
        let mut trained = run::train_best(&session, folder, &best, watcher);
        if let Err(Failed::Training(error)) = &trained
            && let Some(differences) = other_training(error)
        {
            let is_other = differences.iter().any(|of| of.key == "architecture");
            if is_other || restart {
                watcher.note(match is_other {
                    true => "another network is the best now: its training begins",
                    false => "the training begins anew, as it is to be now",
                });
                clear(&folder.training(Which::Found), fleet.config())?;
                trained = run::train_best(&session, folder, &best, watcher);
            }
        }
        match trained {
            Err(Failed::Training(SearchError::Stopped { .. })) => return Ok(Ended::Stopped),
            Err(Failed::Training(error)) => return Err(failure::of_search(error)),
            Err(Failed::Handover(error)) => return Err(error),
            Ok(_) => {}
        }
    }
    report::of_run(folder.dir())?;
    fleet
        .note_done(best.architecture.to_string())
        .map_err(failure::of_fleet)?;
    Ok(Ended::Done)
}

/// What a training that is there differs in from the one that is to be.
fn other_training(error: &SearchError) -> Option<&[Difference]> {
    match error {
        SearchError::TrainingCheckpoint { source, .. } => match source.as_ref() {
            SupernetError::OtherTraining(differences) => Some(differences),
            _ => None,
        },
        _ => None,
    }
}
