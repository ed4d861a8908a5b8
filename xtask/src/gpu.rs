//! Everything there is to know about a GPU, in one command: does it compute what the CPU computes, and how fast.
//!
//! `pack` gathers the binaries on a machine with Rust; the machine with the GPU needs none. There, parts run one after
//! the other, each with a time limit, and a part that fails stops no other. The report is written after every part.

#[cfg(all(test, unix))]
mod fakes;
mod libraries;
mod limit;
mod machine;
mod operator_times;
mod outcomes;
mod pack;
mod page;
mod parts;
mod report;
mod search;
mod steps;
mod turns;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use limit::Runner;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    run: RunFlags,
}

#[derive(Subcommand)]
enum Task {
    /// Build what the machine with the GPU needs, and gather it in one folder.
    Pack(pack::Flags),
    /// Check and time everything; also what happens when no task is named. Exits with 1 when a part fails or runs out
    /// of time.
    Run(RunFlags),
    /// Show a report as a table; without one, or where a part is missing, figures are `not measured`.
    Table(TableFlags),
}

#[derive(Args)]
struct RunFlags {
    /// The folder that `pack` made [default: pack now].
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Where the report goes [default: a file beside the binaries, named after the GPU].
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = PossibleValuesParser::new(parts::names()))]
    only: Vec<String>,
    /// A Python with torch, for the comparison; CUDA's libraries are taken from it too where the system has none.
    #[arg(long, value_name = "PY", default_value = "python3")]
    python: PathBuf,
    /// Time for all parts together; their limits are in proportion.
    #[arg(long, value_name = "N", default_value_t = parts::MINUTES, value_parser = clap::value_parser!(u32).range(1..=600))]
    minutes: u32,
    /// Print the report instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct TableFlags {
    /// A report.
    #[arg(value_name = "FILE.json")]
    report: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    match &flags.task {
        None => measure(root, &flags.run),
        Some(Task::Run(flags)) => measure(root, flags),
        Some(Task::Pack(flags)) => pack::run(root, flags).map(|_| ()),
        Some(Task::Table(flags)) => show(flags.report.as_deref()),
    }
}

fn show(report: Option<&Path>) -> Result<()> {
    let report = match report {
        Some(file) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            report::parse(&text).with_context(|| format!("{} is no report", file.display()))?
        }
        None => Value::Null,
    };
    print!("{}", page::render(&report));
    Ok(())
}

fn measure(root: &Path, flags: &RunFlags) -> Result<()> {
    let runner = Runner::new(stop_at_signals()?)?;
    // Before anything is built: without a GPU there is nothing to do.
    let gpu = machine::gpu(&runner)?;
    let (folder, toolkit) = match &flags.binaries {
        Some(folder) => (std::path::absolute(folder)?, None),
        None => {
            let packed = pack::run(root, &pack::Flags::default())?;
            (packed.folder, Some(packed.libraries))
        }
    };
    ensure!(
        folder.is_dir(),
        "--binaries {}: no such folder; `cargo xtask gpu pack` makes one",
        folder.display()
    );
    let out = match &flags.out {
        Some(out) => out.clone(),
        None => folder.join(machine::file_name(&gpu)),
    };
    let stage = parts::Stage::new(folder, &flags.python, toolkit, gpu, runner)?;
    let report = parts::run_all(&parts::PARTS, &stage, &flags.only, flags.minutes, &out)?;
    match flags.json {
        true => println!("{report:#}"),
        false => print!("{}", page::render(&report)),
    }
    eprintln!("report: {}", out.display());
    let troubled = report::troubled(&report);
    ensure!(
        troubled.is_empty(),
        "not everything passed: {}",
        troubled.join(", ")
    );
    Ok(())
}

/// Becomes true at SIGINT or SIGTERM. Programs run in groups of their own, which Ctrl-C does not reach: one that was left
/// behind would keep the GPU.
fn stop_at_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    Ok(stop)
}
