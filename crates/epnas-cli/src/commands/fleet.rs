//! `epnas fleet`: many searches as one.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use epnas_fleet::Fleet;
use epnas_fleet::slurm::{self, SlurmError};
use epnas_search::{Config, RunFolder, Which, run_device};
use epnas_supernet::DeviceKind;

use crate::arguments::{ConfigArgs, Global, PrecisionArgs};
use crate::commands::train::make_room;
use crate::failure::{self, OrUsage, usage};
use crate::inputs;

mod board;
mod cancel;
mod collect;
mod crew;
mod local;
mod piece;
mod plan;
mod status;
mod submit;
mod work;

/// Many searches as one: on the GPUs or cores of this machine, or as jobs of Slurm.
///
/// A fleet runs the same search from several seeds (its replicas), retrains the best of all
/// briefly, trains the best of those from scratch and reports. Its folder is all that its
/// processes share: whatever is killed goes on where it was, and the result is the same.
/// The section `fleet` of the configuration says how many replicas there are and what each job
/// asks for (`epnas config keys fleet`).
///
/// Examples:
///   epnas fleet plan --config demo --replicas 8
///   epnas fleet run --config demo --replicas 2 --out fleets/demo
///   epnas fleet submit --config my.toml --replicas 64 --out /shared/fleets/mine
///   epnas fleet status /shared/fleets/mine
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, arg_required_else_help = true)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    Plan(plan::PlanArgs),
    Run(local::LocalArgs),
    Submit(submit::SubmitArgs),
    Status(status::StatusArgs),
    Collect(collect::CollectArgs),
    Cancel(cancel::CancelArgs),
    Work(work::WorkArgs),
    Piece(piece::PieceArgs),
}

pub(crate) fn run(args: &FleetArgs, global: &Global) -> anyhow::Result<()> {
    match &args.command {
        FleetCommand::Plan(args) => plan::run(args, global),
        FleetCommand::Run(args) => local::run(args, global),
        FleetCommand::Submit(args) => submit::run(args, global),
        FleetCommand::Status(args) => status::run(args, global),
        FleetCommand::Collect(args) => collect::run(args, global),
        FleetCommand::Cancel(args) => cancel::run(args, global),
        FleetCommand::Work(args) => work::run(args, global),
        FleetCommand::Piece(args) => piece::run(args, global),
    }
}

/// A fleet that may be new.
#[derive(Debug, Clone, Args)]
struct NewFleetArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// How many searches [default: `fleet.replicas`, 4]. A fleet can get more of them later.
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,

    /// Let each search end after this much time: 90s, 45m, "2h 30m" [default: `search.budget`, none].
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,

    #[command(flatten)]
    precision: PrecisionArgs,

    /// Throw the training of a network that is no longer the best, or of other settings, away; its model stays until the new
    /// one is there.
    #[arg(long)]
    restart: bool,
}

impl NewFleetArgs {
    /// The configuration: that of the fleet in `out` with changes, where there is one.
    fn config(&self, out: Option<&Path>, global: &Global) -> anyhow::Result<Config> {
        let mut given = self.precision.over(&self.config);
        let set = &mut given.settings.set;
        set.extend(self.replicas.map(|n| format!("fleet.replicas={n}")));
        let stored = match (&given.settings.config, out) {
            (None, Some(out)) => inputs::run_config(out)?,
            _ => None,
        };
        let mut config = match stored {
            Some(stored) => inputs::adjusted(stored, &given, global)?,
            None if given.settings.config.is_none() => {
                return Err(usage(
                    "name a configuration with --config, for example `--config demo`",
                ));
            }
            None => inputs::config(&given, global)?,
        };
        if let Some(budget) = &self.budget {
            config.search.budget = Some(budget.clone());
            config.validate().or_usage()?;
        }
        // Jobs may run elsewhere.
        if let Some(dir) = &config.data.dir {
            config.data.dir = Some(std::path::absolute(dir)?);
        }
        Ok(config)
    }

    /// Makes the fleet, or opens it.
    fn fleet(
        &self,
        out: &Path,
        device: Option<DeviceKind>,
        global: &Global,
    ) -> anyhow::Result<Fleet> {
        inputs::require_folder(out)?;
        let config = self.config(Some(out), global)?;
        let folder = RunFolder::new(out);
        let begun_on = match (folder.fleet().exists(), folder.is_fleet()) {
            (true, _) => {
                let begun = open(out)?;
                require_idle(&begun)?;
                Some(begun.device())
            }
            // Its description is lost, but not its first search.
            (false, true) => Some(run_device(&folder.replica(0)).map_err(failure::of_search)?),
            (false, false) => None,
        };
        let by_config = match config.fleet.slurm.gpus {
            0 => DeviceKind::Cpu,
            _ => DeviceKind::Cuda,
        };
        let device = device.or(begun_on).unwrap_or(by_config);
        let fleet = Fleet::create(out, config, device).map_err(failure::of_fleet)?;
        if self.restart {
            let run = fleet.folder().run();
            make_room(true, run, &run.training(Which::Found), fleet.config())?;
        }
        Ok(fleet)
    }
}

/// Fails while jobs are in the queue that would read other settings when they begin. From where no jobs are submitted, none
/// can be asked about.
fn require_idle(fleet: &Fleet) -> anyhow::Result<()> {
    match slurm::require_idle(fleet) {
        Err(SlurmError::Absent { .. }) => Ok(()),
        idle => idle.map_err(failure::of_slurm),
    }
}

fn open(dir: &Path) -> anyhow::Result<Fleet> {
    inputs::require_folder(dir)?;
    Fleet::open(dir).map_err(failure::of_fleet)
}

/// This program, as processes of a fleet start it.
fn epnas() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?)
}
