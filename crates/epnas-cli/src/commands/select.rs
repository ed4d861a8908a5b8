//! `epnas select`: retrain the best few of a search and pick one.

use std::path::PathBuf;

use clap::Args;
use epnas_search::Session;

use crate::arguments::{ConfigArgs, DeviceArgs, Global, PrecisionArgs};
use crate::commands::search::{finished, print_best, training_of};
use crate::failure::{self, usage};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::watcher::Watcher;

/// Retrain the best few of a search from scratch, briefly, and pick the best of them.
///
/// `epnas search` ends with this; the command repeats it with other settings or more
/// candidates, or makes up for it after an interruption. The baseline's best few are retrained
/// too. What was retrained with the same settings is not retrained again.
///
/// Examples:
///   epnas select runs/demo --top 10
///   epnas select runs/demo --epochs 20 --set select.channels=32
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SelectArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// How many of the best by estimate [default: `select.top` of the run].
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// Epochs of each retraining [default: `select.epochs` of the run].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Change one key of the run's configuration, e.g. `--set select.channels=32`; repeat for more.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Folder of the images, if they have moved since.
    #[arg(short, long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(crate) fn run(args: &SelectArgs, global: &Global) -> anyhow::Result<()> {
    let stored = inputs::run_config(&args.run)?;
    let stored =
        stored.ok_or_else(|| usage(format_args!("{} holds no run", args.run.display())))?;
    let mut changes = ConfigArgs {
        data: args.data.clone(),
        ..ConfigArgs::default()
    };
    changes.settings.set = args.set.clone();
    changes
        .settings
        .set
        .extend(args.top.map(|top| format!("select.top={top}")));
    changes
        .settings
        .set
        .extend(args.epochs.map(|epochs| format!("select.epochs={epochs}")));
    changes.settings.set.extend(args.precision.assignments());
    let config = inputs::adjusted(stored, &changes, global)?;
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(&args.run))?);
    session.dataset().map_err(failure::of_search)?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let best = session.select(&args.run, &mut watcher);
    drop(watcher);
    let best = finished(best, &args.run, global)?;
    if interrupt.is_set() {
        // A reader that has gone is no reason to end otherwise.
        let _ = print_best(&best, &args.run, "the same command", global.format());
        return Err(interrupt.end("what was retrained is saved; the same command goes on"));
    }
    print_best(&best, &args.run, &training_of(&args.run), global.format())
}
