//! `epnas report`: what runs look like, as one page.

use std::path::{Path, PathBuf};

use clap::Args;
use epnas_report::page::{self, Mode};
use epnas_search::RunFolder;
use serde::Serialize;

use crate::arguments::Global;
use crate::event_files::EventFiles;
use crate::failure::usage;
use crate::output::{self, grouped};
use crate::run_page;

/// Make a page of one or more runs: a single HTML file that needs nothing else.
///
/// The best networks drawn, the search against random search, what the surrogate predicted and
/// what came of it, which operations were tried where, cost, learning curves, configuration,
/// and every child in a table that sorts and filters, each with its drawing. Several runs are
/// shown side by side, repetitions (other seeds) as a mean with a band. It works on runs that
/// are finished, stopped or under way; `epnas watch` follows one that is.
///
/// Examples:
///   epnas report runs/demo
///   epnas report runs/seed-0 runs/seed-1 runs/seed-2 --out seeds.html
///   epnas report runs/demo --tensorboard logs && tensorboard --logdir logs
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ReportArgs {
    /// Run folders.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,

    /// The file to write [default: report.html in the run folder; needed for several runs].
    #[arg(short, long, value_name = "FILE.html")]
    out: Option<PathBuf>,

    /// Write event files for TensorBoard too, into a folder for each run: numbers of every child and epoch, histograms
    /// of predictions, the best networks as pictures.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

/// What `epnas report --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    report: String,
    bytes: usize,
    runs: Vec<String>,
    children: usize,
    /// Event files for TensorBoard.
    events: Vec<String>,
}

pub(crate) fn run(args: &ReportArgs, global: &Global) -> anyhow::Result<()> {
    let out = match (&args.out, args.runs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [run]) => RunFolder::new(run).report(),
        (None, _) => return Err(usage("name the file of a page of several runs with --out")),
    };
    if out.is_dir() {
        return Err(usage(format_args!(
            "{} is a folder; expected a file to write",
            out.display()
        )));
    }
    let report = write(args, &out)?;
    output::print_as(global.format(), &report, |report| {
        format!(
            "{}: {} children of {}, {} bytes\n{}",
            report.report,
            grouped(report.children),
            report.runs.join(", "),
            grouped(report.bytes),
            logs(args, report)
        )
    })
}

/// Writes the page of the run or fleet in `dir` into its folder.
pub(super) fn of_run(dir: &Path) -> anyhow::Result<()> {
    let names = run_page::names(&[dir.to_owned()])?;
    let name = names.concat();
    let html = page::html(&name, &run_page::read_all(dir, &name)?, &Mode::File);
    output::write_file(&RunFolder::new(dir).report(), html.as_bytes())
}

fn logs(args: &ReportArgs, report: &Report) -> String {
    match &args.tensorboard {
        Some(dir) => format!(
            "{}: {} event files; tensorboard --logdir {}\n",
            dir.display(),
            report.events.len(),
            dir.display()
        ),
        None => String::new(),
    }
}

/// Writes the page of the runs and, if asked to, their event files.
fn write(args: &ReportArgs, out: &Path) -> anyhow::Result<Report> {
    let dirs = &args.runs;
    let names = run_page::names(dirs)?;
    let mut runs = Vec::new();
    for (dir, name) in dirs.iter().zip(&names) {
        let pages = run_page::read_all(dir, name)?.into_iter();
        runs.extend(pages.map(|run| (run, dir)));
    }
    let (runs, dirs): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
    let html = page::html(&names.join(", "), &runs, &Mode::File);
    output::write_file(out, html.as_bytes())?;
    let mut events = Vec::new();
    if let Some(root) = &args.tensorboard {
        // Two names may have the same letters that a folder can have.
        let mut taken = Vec::new();
        for (run, dir) in runs.iter().zip(dirs) {
            let name = run_page::unused(EventFiles::folder(&run.name), &taken);
            let mut files = EventFiles::new(root, &name, dir);
            taken.push(name);
            files.update(run)?;
            let written = files.finish()?;
            events.extend(written.iter().map(|path| path.display().to_string()));
        }
    }
    Ok(Report {
        report: out.display().to_string(),
        bytes: html.len(),
        children: (runs.iter())
            .map(|run| run.children.len() + run.random.len())
            .sum(),
        runs: names,
        events,
    })
}
