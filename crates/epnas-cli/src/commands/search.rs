//! `epnas search`: find an architecture.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use epnas_search::diagnostics::Agreement;
use epnas_search::{Best, Config, RunFolder, SearchError, Session, Start};

use crate::arguments::{ConfigArgs, DeviceArgs, Global, PrecisionArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, Format, grouped, word};
use crate::progress::{duration, percent};
use crate::watcher::Watcher;

mod forecast;
mod pareto;
pub(crate) mod top;

/// Search for an architecture, compare with random search if asked to, retrain the best few.
///
/// Everything goes to the run folder: config.toml (what is in force), history.jsonl (a line per
/// child, written at once), checkpoint/ (after every child: `--resume` continues after any
/// interruption, Ctrl-C among them), selection.jsonl, best.json. The result is printed;
/// estimates come from shared weights and rank architectures, they are not final accuracies.
///
/// Examples:
///   epnas search --config demo --out runs/demo
///   epnas search --config cifar10-quick-macro --data ~/cifar-10-batches-bin --budget 2h
///   epnas search --config my.toml --set search.iterations=2 --dry-run
///   epnas search --out runs/demo --resume
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Run folder [default: runs/ and the name of the configuration].
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,

    /// Continue the run in the folder, with its stored configuration unless --config is given.
    #[arg(long)]
    resume: bool,

    /// Stop after this much time with the best so far: 90s, 45m, "2h 30m" [default: `search.budget`, none].
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print steps, candidates and children with a measured forecast of time and memory; write nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &SearchArgs, global: &Global) -> anyhow::Result<()> {
    let out = out(args)?;
    inputs::require_folder(&out)?;
    RunFolder::new(&out).require_single().or_usage()?;
    let config = config(args, global, &out)?;
    let start = if args.resume {
        Start::Resume
    } else {
        Start::New
    };
    let run = args.resume.then_some(out.as_path());
    if args.dry_run {
        let session = Session::new(config).map_err(failure::of_search)?;
        let session = session.with_compute(args.device.compute(run)?);
        let forecast = session.dry_run().map_err(failure::of_search)?;
        return output::print_as(global.format(), &forecast, |f| {
            forecast::text(f, session.config())
        });
    }
    if start == Start::New && RunFolder::new(&out).holds_run() {
        let out = out.display();
        return Err(usage(format_args!(
            "{out} already holds a run; continue it with --resume, or name another folder"
        )));
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(run)?);
    // Read before the folder is made, so that images that are not there leave nothing behind.
    session.dataset().map_err(failure::of_search)?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let best = session.search(&out, start, &mut watcher);
    drop(watcher);
    let best = finished(best, &out, global)?;
    if interrupt.is_set() {
        let next = format!("epnas search --out {} --resume", word(&out));
        // A reader that has gone is no reason to end otherwise.
        let _ = print_best(&best, &out, &next, global.format());
        return Err(interrupt.end(&format!("everything is saved; `{next}` goes on")));
    }
    print_best(&best, &out, &training_of(&out), global.format())
}

/// The result of a search or selection in `dir`. Where no candidate could be retrained there is one by estimates, which
/// is printed before that ends the command.
pub(crate) fn finished(
    best: Result<Best, SearchError>,
    dir: &Path,
    global: &Global,
) -> anyhow::Result<Best> {
    if let Err(SearchError::Selection { .. }) = &best {
        let stored = Best::read(&RunFolder::new(dir).best()).map_err(failure::of_search)?;
        print_best(&stored, dir, &training_of(dir), global.format())?;
    }
    let best = best.map_err(failure::of_search)?;
    if let Some(config) = inputs::run_config(dir)? {
        pareto::draw(dir, &config, &best)?;
    }
    Ok(best)
}

/// The run folder: that of the flag, or `runs/` and the configuration's name.
fn out(args: &SearchArgs) -> anyhow::Result<PathBuf> {
    if let Some(out) = &args.out {
        return Ok(out.clone());
    }
    let Some(config) = &args.config.settings.config else {
        return Err(usage(
            "name a configuration with --config, for example `--config demo`, or a run folder with --out",
        ));
    };
    let name = Path::new(config).file_stem().unwrap_or(config.as_ref());
    Ok(Path::new("runs").join(name))
}

fn config(args: &SearchArgs, global: &Global, out: &Path) -> anyhow::Result<Config> {
    let given = args.precision.over(&args.config);
    let is_given = given.settings.config.is_some();
    let stored = if args.resume && !is_given {
        inputs::run_config(out)?
    } else {
        None
    };
    let mut config = match stored {
        Some(stored) => inputs::adjusted(stored, &given, global)?,
        None if args.resume && !is_given => {
            return Err(usage(format_args!(
                "{} holds no run to resume",
                out.display()
            )));
        }
        None => inputs::config(&given, global)?,
    };
    if let Some(budget) = &args.budget {
        config.search.budget = Some(budget.clone());
        config.validate().or_usage()?;
    }
    Ok(config)
}

/// The command that follows a search or selection in `dir`.
pub(crate) fn training_of(dir: &Path) -> String {
    format!("epnas train {}", word(dir))
}

/// Prints the result of a search or selection in `dir`, and the command to run `next`.
pub(crate) fn print_best(
    best: &Best,
    dir: &Path,
    next: &str,
    format: Format,
) -> anyhow::Result<()> {
    output::print_as(format, best, |best| {
        let mut text = format!("architecture  {}\n", best.architecture);
        text.push_str(&format!(
            "estimate      {} (shared weights; ranks only)\n",
            percent(best.estimate)
        ));
        if let (Some(accuracy), Some(epochs)) = (best.retrained_accuracy, best.retrained_epochs) {
            text.push_str(&format!(
                "retrained     {} (validation, {} from scratch)\n",
                percent(accuracy),
                output::epochs(epochs)
            ));
        }
        text.push_str(&format!(
            "cost          {}\n",
            cost(best.cost.children, best.cost.seconds)
        ));
        if let Some(Agreement {
            children,
            kendall_tau: Some(tau),
            error,
            ..
        }) = best.surrogate.as_ref().map(|surrogate| &surrogate.overall)
        {
            text.push_str(&format!(
                "surrogate     tau {tau:.2} to the estimates, off by {:.1} points ({children} predictions)\n",
                100.0 * error
            ));
        }
        if let Some(random) = &best.random {
            text.push_str(&format!("random        {}\n", random.architecture));
            let retrained = random
                .retrained_accuracy
                .map_or_else(String::new, |a| format!(", retrained {}", percent(a)));
            let cost = cost(random.cost.children, random.cost.seconds);
            text.push_str(&format!(
                "              estimate {}{retrained}; {cost}\n",
                percent(random.estimate)
            ));
        }
        text.push_str(&format!(
            "pareto        {} networks by parameters, {} by multiply-accumulates: best.json, pareto-params.svg, \
             pareto-macs.svg\n",
            best.pareto.params.len(),
            best.pareto.macs.len()
        ));
        for note in &best.notes {
            text.push_str(&format!("note          {note}\n"));
        }
        let (word, dir) = (word(dir), dir.display());
        text.push_str(&format!(
            "run           {dir}\npage          epnas report {word}\nnext          {next}\n"
        ));
        if let Some(table) = top::text(best) {
            text.push_str(&format!("\n{table}"));
        }
        text
    })
}

fn cost(children: u64, seconds: f64) -> String {
    format!(
        "{} children, {}",
        grouped(children),
        duration(Duration::from_secs_f64(seconds.max(0.0)))
    )
}
