//! `epnas fleet run`: a fleet on this machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use epnas_fleet::{Ended, Fleet, Stage};
use epnas_supernet::DeviceKind;

use super::crew::{Crew, Logs, Slot};
use super::{NewFleetArgs, collect, epnas, open};
use crate::arguments::{Global, Place, parse_device};
use crate::failure::{self, usage};
use crate::interrupt::Interrupt;

/// Run a fleet on this machine: a process for each search, as many at a time as there are devices.
///
/// With --devices each GPU that is named does one piece after another; without, the CPU's cores
/// are shared among the processes. The folder is that of `epnas fleet submit`, and so is the
/// result. Whatever interrupts it, the same command goes on where it was, and a second one beside
/// it takes the pieces that nobody has. What the processes say is in FLEET/logs.
///
/// Examples:
///   epnas fleet run --config demo --replicas 2 --out fleets/demo
///   epnas fleet run --config my.toml --replicas 8 --devices cuda:0,cuda:1 --out fleets/mine
///   epnas fleet run --out fleets/mine --replicas 12
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LocalArgs {
    #[command(flatten)]
    new: NewFleetArgs,

    /// Folder of the fleet.
    #[arg(short, long, value_name = "FLEET")]
    out: PathBuf,

    /// GPUs to compute on, such as cuda:0,cuda:1; one that is named twice does two pieces at a time [default: what the fleet
    /// was begun on, cpu for a new one].
    #[arg(long, alias = "device", value_name = "DEVICE,..", value_delimiter = ',', value_parser = parse_device)]
    devices: Vec<Place>,

    /// How many processes share the CPU [default: a core for each, or the number of searches if that is less]; --threads is of
    /// each.
    #[arg(long, value_name = "N", conflicts_with = "devices")]
    at_once: Option<NonZeroUsize>,

    /// Throw a training of the best with other settings away; its model stays until the new one is there. Where another network
    /// is the best now, that happens anyway.
    #[arg(long)]
    restart: bool,
}

pub(crate) fn run(args: &LocalArgs, global: &Global) -> anyhow::Result<()> {
    let kind = args.devices.first().map(|device| device.kind());
    if args
        .devices
        .iter()
        .any(|device| Some(device.kind()) != kind)
    {
        return Err(usage(
            "--devices: expected GPUs only, or cpu only: estimates of different devices are not mixed",
        ));
    }
    #[cfg(not(feature = "cuda"))]
    if kind == Some(DeviceKind::Cuda) {
        // Before a folder is made that is begun on what there is not.
        crate::companion::ask(&["--version"])?;
    }
    let program = epnas()?;
    args.new.fleet(&args.out, kind, global)?;
    let interrupt = Interrupt::catch()?;
    let mut before = None;
    loop {
        // Anew each time: it may have got more replicas, or other settings for what is to come.
        let fleet = open(&args.out)?;
        let Some((stage, missing)) = first_undone(&fleet)? else {
            return collect::print(&fleet, global);
        };
        let crew = Crew {
            fleet: &fleet,
            program: program.clone(),
            restart: args.restart,
            slots: slots(args, &fleet, global),
            logs: Logs::Files,
            stop: interrupt.stop(),
            grace: None,
            global,
        };
        if crew.run(stage, &missing)? == Ended::Stopped {
            return Err(interrupt.end("everything is saved; the same command goes on"));
        }
        let done = Some((stage, missing));
        if done == before {
            return Err(anyhow::anyhow!(
                "{}: the stage {stage} ended twice and is not done; what its processes say is in {}",
                args.out.display(),
                fleet.folder().log(stage, 0).display()
            ));
        }
        before = done;
    }
}

/// The first stage with something left to do, and what.
fn first_undone(fleet: &Fleet) -> anyhow::Result<Option<(Stage, Vec<usize>)>> {
    for stage in Stage::ALL {
        let missing = fleet.missing(stage).map_err(failure::of_fleet)?;
        if !missing.is_empty() {
            return Ok(Some((stage, missing)));
        }
    }
    Ok(None)
}

/// Where processes compute: on each device, or on shares of the CPU.
fn slots(args: &LocalArgs, fleet: &Fleet, global: &Global) -> Vec<Slot> {
    let given = global.threads.map(usize::from);
    if fleet.device() == DeviceKind::Cuda {
        let devices = match args.devices.is_empty() {
            true => vec![Place::Cuda(0)],
            false => args.devices.clone(),
        };
        let slot = |device: Place| Slot {
            device: device.to_string(),
            threads: given,
        };
        return devices.into_iter().map(slot).collect();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processes = match (args.at_once, args.devices.len()) {
        (Some(at_once), _) => at_once.get(),
        // cpu,cpu,cpu
        (None, devices @ 2..) => devices,
        (None, _) => cores.min(fleet.replicas().len()),
    };
    let slot = Slot {
        device: "cpu".to_owned(),
        threads: given.or(Some((cores / processes).max(1))),
    };
    vec![slot; processes]
}
