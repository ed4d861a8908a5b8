//! `epnas fleet cancel`: takes a fleet's jobs out of the queue.

use std::path::PathBuf;

use clap::Args;
use epnas_fleet::slurm;
use serde::Serialize;

use super::open;
use crate::arguments::Global;
use crate::failure;
use crate::output;

/// Take a fleet's jobs out of Slurm's queue, running ones too.
///
/// What they have done stays; `epnas fleet submit --out FLEET` goes on with it.
///
/// Examples:
///   epnas fleet cancel /shared/fleets/mine
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CancelArgs {
    /// Folder of the fleet.
    #[arg(value_name = "FLEET")]
    fleet: PathBuf,
}

/// What `epnas fleet cancel --json` prints.
#[derive(Debug, Serialize)]
struct Cancelled {
    /// Jobs that were in the queue, those of arrays one by one.
    jobs: usize,
}

pub(crate) fn run(args: &CancelArgs, global: &Global) -> anyhow::Result<()> {
    let fleet = open(&args.fleet)?;
    let jobs = slurm::cancel(&fleet).map_err(failure::of_slurm)?;
    output::print_as(global.format(), &Cancelled { jobs }, |cancelled| {
        let dir = output::word(&args.fleet);
        match cancelled.jobs {
            0 => "no job is in the queue\n".to_owned(),
            jobs => format!(
                "{jobs} jobs taken out of the queue\nnext          epnas fleet submit --out {dir}\n"
            ),
        }
    })
}
