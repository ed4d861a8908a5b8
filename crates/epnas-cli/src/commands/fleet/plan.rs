//! `epnas fleet plan`: what a fleet will take.

use std::time::Duration;

use clap::Args;
use epnas_fleet::plan::Plan;
use epnas_search::Session;
use epnas_supernet::DeviceKind;

use super::NewFleetArgs;
use crate::arguments::{DeviceArgs, Global};
use crate::failure;
use crate::output::{self, grouped, table};
use crate::progress::{Style, duration};

/// Forecast what a fleet will take: device hours, wall time by how much runs at a time, disk.
///
/// A few training steps of a child, a candidate and the final network are measured on this
/// machine, on the device that is named; nothing is written.
///
/// Examples:
///   epnas fleet plan --config demo --replicas 8
///   epnas fleet plan --config my.toml --replicas 64 --device cuda
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    new: NewFleetArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: &PlanArgs, global: &Global) -> anyhow::Result<()> {
    let config = args.new.config(None, global)?;
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(None)?);
    let style = Style::choose(global);
    let begin = |what: &str| style.note(&format!("measuring {what}"));
    let plan = Plan::of(&session, begin).map_err(failure::of_fleet)?;
    let unit = match args.device.kind() {
        Some(DeviceKind::Cuda) => "GPU hours",
        _ => "hours of this CPU",
    };
    output::print_as(global.format(), &plan, |plan| text(plan, unit))
}

fn rounded(hours: f64) -> String {
    match hours {
        0.05.. => format!("{hours:.2}"),
        _ => format!("{hours:.4}"),
    }
}

fn text(plan: &Plan, unit: &str) -> String {
    let time = |hours: f64| duration(Duration::from_secs_f64(3600.0 * hours.max(0.0)));
    let row = |stage: &str, pieces: usize, hours: f64| {
        vec![
            stage.to_owned(),
            grouped(pieces),
            time(hours / pieces.max(1) as f64),
            rounded(hours),
        ]
    };
    let rows = [
        row("search", plan.replicas, plan.search_hours),
        row("select", plan.candidates, plan.select_hours),
        row("train", plan.trainings, plan.train_hours),
    ];
    let mut text = format!(
        "{} searches of {} children; measured on {}\n\n{}\nin all {} {unit}\n\n",
        grouped(plan.replicas),
        grouped(plan.children_per_replica),
        plan.device,
        table(&["stage", "pieces", "each", unit], &rows),
        rounded(plan.device_hours)
    );
    let rows: Vec<Vec<String>> = plan
        .wall
        .iter()
        .map(|wall| vec![grouped(wall.at_once), time(wall.hours)])
        .collect();
    text.push_str(&table(&["at a time", "wall time"], &rows));
    text.push_str("each with a GPU, or all the cores of a machine, like the one measured on: alone, this machine takes what the first row says\n");
    let mib = |bytes: u64| grouped(bytes.div_ceil(1 << 20));
    text.push_str(&format!(
        "\nmemory: about {} MiB for each piece; disk: about {} MiB for children, and weights of each search\n",
        mib(plan.bytes),
        mib(plan.disk_bytes)
    ));
    text
}
