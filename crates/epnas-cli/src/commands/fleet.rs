//! `epnas fleet`: many searches as one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use epnas_fleet::Fleet;
use epnas_fleet::slurm::{self, SlurmError};
use epnas_search::{Config, RunFolder, run_device, settings};
use epnas_supernet::DeviceKind;

use crate::arguments::{ConfigArgs, Global, PrecisionArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::progress::Style;

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

/// The key of how many searches there are.
const REPLICAS: &str = "fleet.replicas";

/// How long a folder may be in use before that is an error.
const PATIENCE: Duration = Duration::from_secs(10);

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
///   epnas fleet collect /shared/fleets/mine
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

    /// How many searches [default: as many as the fleet has, or `fleet.replicas`, 4]. A fleet can get more of them later.
    #[arg(long, value_name = "N")]
    replicas: Option<usize>,

    /// Let each search end after this much time: 90s, 45m, "2h 30m" [default: `search.budget`, none].
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,

    #[command(flatten)]
    precision: PrecisionArgs,
}

impl NewFleetArgs {
    /// The configuration: that of the fleet in `out` with changes, where there is one.
    fn config(&self, out: Option<&Path>, global: &Global) -> anyhow::Result<Config> {
        let mut given = self.precision.over(&self.config);
        let set = &mut given.settings.set;
        set.extend(self.replicas.map(|n| format!("fleet.replicas={n}")));
        let stored = match out {
            Some(out) => inputs::run_config(out)?,
            None => None,
        };
        let has = stored.as_ref().map_or(0, |stored| stored.fleet.replicas);
        let mut config = match (stored, &given.settings.config) {
            (Some(stored), None) => inputs::adjusted(stored, &given, global)?,
            (None, None) => {
                return Err(usage(
                    "name a configuration with --config, for example `--config demo`",
                ));
            }
            (_, Some(_)) => inputs::config(&given, global)?,
        };
        // A file that names no number, or fewer than there are by now, asks for none.
        let is_named = inputs::is_named(&given.settings, REPLICAS)?;
        let is_asked =
            inputs::is_set(&given.settings, REPLICAS)? || is_named && config.fleet.replicas > has;
        if has > 0 && !is_asked {
            config.fleet.replicas = has;
        }
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
        let stored = inputs::run_config(out)?;
        if folder.fleet().exists() && stored.as_ref() == Some(&config) && begun_on == Some(device) {
            // Nothing to write, and others may be at work.
            let fleet = open(out)?;
            if fleet.replicas().len() == config.fleet.replicas {
                return Ok(fleet);
            }
        }
        let begun = Instant::now();
        let fleet = loop {
            match Fleet::create(out, config.clone(), device) {
                // Of a process that was killed, one that it watched over may still end.
                Err(error) if error.is_in_use() && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                made => break made.map_err(failure::of_fleet)?,
            }
        };
        if let Some(stored) = stored.filter(|stored| *stored != config) {
            let changes = changes(&stored, &config)?;
            Style::choose(global).note(&format!("settings that change: {changes}"));
        }
        Ok(fleet)
    }
}

/// Settings that differ, as `key (stored, given)`.
fn changes(stored: &Config, given: &Config) -> anyhow::Result<String> {
    let leaves = |config: &Config| {
        let table = settings::parse_table(&config.to_toml().or_usage()?).or_usage()?;
        anyhow::Ok(settings::leaves(&table))
    };
    let (stored, given) = (leaves(stored)?, leaves(given)?);
    let keys: BTreeSet<&String> = stored.keys().chain(given.keys()).collect();
    let value = |leaves: &BTreeMap<String, String>, key: &String| {
        leaves.get(key).map_or("none", String::as_str).to_owned()
    };
    let changed = keys
        .into_iter()
        .filter(|key| stored.get(*key) != given.get(*key));
    let changed: Vec<String> = changed
        .map(|key| {
            format!(
                "{key} (stored {}, given {})",
                value(&stored, key),
                value(&given, key)
            )
        })
        .collect();
    Ok(changed.join(", "))
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
