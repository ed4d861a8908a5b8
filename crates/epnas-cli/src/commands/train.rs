//! `epnas train`: train a network from scratch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use epnas_arch::Design;
use epnas_search::{Best, Config, Run, RunFolder, SearchError, Session, Start, TrainReport, Which};
use serde::Serialize;

use crate::arguments::{ConfigArgs, DeviceArgs, Global, PrecisionArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, grouped};
use crate::progress::{duration, percent};
use crate::watcher::Watcher;

mod places;

use places::Places;

/// Train the network that a search found, or one of your own, from scratch and test it.
///
/// The section `train` of the configuration says how: epochs, channels, recipe. A training that
/// was interrupted goes on after its last finished epoch. The model goes to RUN/model:
/// weights.safetensors, and model.json with architecture, normalization and class names, all
/// that `epnas predict` needs.
///
/// Examples:
///   epnas train runs/demo
///   epnas train runs/demo --random
///   epnas train --arch macro:c3.0/c5.1/d3.1+2 --config demo --out runs/mine
///   epnas train --arch resnet:20 --config demo --out runs/resnet
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TrainArgs {
    /// Run folder whose best architecture is trained.
    #[arg(
        value_name = "RUN",
        required_unless_present = "arch",
        conflicts_with = "arch"
    )]
    run: Option<PathBuf>,

    /// Train the best architecture of the random baseline instead, into RUN/model-random.
    #[arg(long, conflicts_with = "arch")]
    random: bool,

    /// An architecture, or a file that holds one, to train instead of a run's; or a network made
    /// by hand, to compare with: resnet:20, resnet:20x4, densenet:40k12, densenet-bc:100k12.
    #[arg(long, value_name = "ARCH|FILE", requires = "out")]
    arch: Option<String>,

    /// Folder for the model of --arch.
    #[arg(
        short,
        long,
        value_name = "DIR",
        requires = "arch",
        conflicts_with = "run"
    )]
    out: Option<PathBuf>,

    /// Throw an earlier or unfinished training of the same network away and begin anew.
    #[arg(long)]
    restart: bool,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What `epnas train --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Folder of the model.
    model: PathBuf,
    /// Share of test images recognized, 0 to 1; absent when the data set has none.
    test_accuracy: Option<f64>,
    #[serde(flatten)]
    train: TrainReport,
}

pub(crate) fn run(args: &TrainArgs, global: &Global) -> anyhow::Result<()> {
    match (&args.run, &args.arch, &args.out) {
        (Some(run), _, _) => found(args, run, global),
        (None, Some(arch), Some(out)) => given(args, arch, out, global),
        _ => Err(usage(
            "name a run folder, or an architecture with --arch and a folder with --out",
        )),
    }
}

/// Trains the best architecture of a run.
fn found(args: &TrainArgs, run: &Path, global: &Global) -> anyhow::Result<()> {
    if args.config.settings.config.is_some() {
        return Err(usage(
            "a run keeps its own configuration; change single keys of it with --set train.KEY=VALUE",
        ));
    }
    let stored = inputs::run_config(run)?;
    let stored = stored.ok_or_else(|| usage(format_args!("{} holds no run", run.display())))?;
    let config = inputs::adjusted(stored, &args.precision.over(&args.config), global)?;
    let folder = RunFolder::new(run);
    if !folder.best().is_file() {
        let run = run.display();
        return Err(usage(format_args!(
            "{run} has no result yet; finish it with `epnas search --out {run} --resume`"
        )));
    }
    let (which, work, model) = if args.random {
        (Which::Random, folder.train_random(), folder.model_random())
    } else {
        (Which::Found, folder.train(), folder.model())
    };
    if args.random
        && Best::read(&folder.best())
            .map_err(failure::of_search)?
            .random
            .is_none()
    {
        return Err(usage(format_args!(
            "{} has no random baseline; search with baseline.kind = \"random\"",
            run.display()
        )));
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(run))?);
    session.dataset().map_err(failure::of_search)?;
    make_room(
        args,
        &folder,
        &Places {
            work,
            model: model.clone(),
        },
    )?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let train = session.train(run, which, Start::Resume, &mut watcher);
    drop(watcher);
    let train = finished(train, args, &interrupt)?;
    let next = format!(
        "epnas eval {}{}",
        run.display(),
        if args.random { " --random" } else { "" }
    );
    print(train, model, &next, global)
}

/// Trains the network of `--arch`.
fn given(args: &TrainArgs, arch: &str, out: &Path, global: &Global) -> anyhow::Result<()> {
    let design = inputs::design(arch)?;
    inputs::require_folder(out)?;
    let folder = RunFolder::new(out);
    if folder.history().exists() || folder.best().exists() {
        return Err(usage(format_args!(
            "{} holds a search; name another folder",
            out.display()
        )));
    }
    let stored = match args.config.settings.config {
        Some(_) => None,
        None => inputs::run_config(out)?,
    };
    let config = match stored {
        Some(stored) => inputs::adjusted(stored, &args.precision.over(&args.config), global)?,
        None => inputs::config(&args.precision.over(&args.config), global)?,
    };
    match &design {
        Design::Arch(arch) => config.space.check(arch).or_usage()?,
        Design::HandMade(network) => network.check().or_usage()?,
    }
    let places = Places {
        work: folder.train(),
        model: folder.model(),
    };
    if !folder.config().exists() {
        places.require_ours()?;
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(out))?);
    session.dataset().map_err(failure::of_search)?;
    make_room(args, &folder, &places)?;
    let _run = begin(args, out, session.config())?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let train = session.train_design(
        &design,
        &places.work,
        &places.model,
        Start::Resume,
        &mut watcher,
    );
    drop(watcher);
    let train = finished(train, args, &interrupt)?;
    print(
        train,
        folder.model(),
        &format!("epnas eval {}", out.display()),
        global,
    )
}

/// Makes room for a training: with `--restart` by deleting an earlier one, otherwise by refusing to touch a model
/// without its training. The data and the configuration have been read and are valid by now.
fn make_room(args: &TrainArgs, folder: &RunFolder, places: &Places) -> anyhow::Result<()> {
    if !args.restart {
        return places.require_room();
    }
    // Not under the hands of another process.
    let _lock = match folder.config().exists() {
        true => Some(Run::open(folder.dir()).map_err(|error| failure::of_search(error.into()))?),
        false => None,
    };
    places.clear()
}

/// The report of a training that ended by itself. One that a signal stopped says how it goes on.
fn finished(
    train: Result<TrainReport, SearchError>,
    args: &TrainArgs,
    interrupt: &Interrupt,
) -> anyhow::Result<TrainReport> {
    match train {
        Err(SearchError::Stopped { done, total, .. }) if interrupt.is_set() => {
            let without = if args.restart {
                " without --restart"
            } else {
                ""
            };
            Err(interrupt.end(&format!(
                "{done} of {total} epochs are saved; the same command{without} goes on"
            )))
        }
        train => train.map_err(failure::of_search),
    }
}

/// Makes the folder a run that holds nothing but a training: locked, with its configuration, so that `eval` finds the
/// images. Sections that a training does not read may have changed since an earlier one.
fn begin(args: &TrainArgs, out: &Path, config: &Config) -> anyhow::Result<Run> {
    const UNREAD: [&str; 5] = ["search.", "surrogate.", "training.", "baseline.", "select."];
    if args.restart && RunFolder::new(out).config().exists() {
        let config = RunFolder::new(out).config();
        // Only what is a configuration of ours: this fails on any other file of that name.
        inputs::run_config(out)?;
        std::fs::remove_file(&config)
            .map_err(|e| anyhow::anyhow!("cannot remove {}: {e}", config.display()))?;
    }
    let text = config.to_toml().or_usage()?;
    Run::begin(out, &text, &UNREAD, Start::Resume).map_err(|error| failure::of_search(error.into()))
}

fn print(train: TrainReport, model: PathBuf, next: &str, global: &Global) -> anyhow::Result<()> {
    let report = Report {
        model,
        test_accuracy: train.test.as_ref().map(|test| test.accuracy),
        train,
    };
    output::print_as(global.format(), &report, |report| {
        let train = &report.train;
        let mut text = format!("architecture  {}\n", train.architecture);
        let (params, macs) = (grouped(train.params), grouped(train.macs));
        text.push_str(&format!(
            "size          {params} parameters, {macs} multiply-accumulates per image\n"
        ));
        if let Some(accuracy) = train.validation_accuracy {
            text.push_str(&format!("validation    {}\n", percent(accuracy)));
        }
        if let Some(accuracy) = report.test_accuracy {
            text.push_str(&format!("test          {}\n", percent(accuracy)));
        }
        let time = duration(Duration::from_secs_f64(train.seconds.max(0.0)));
        text.push_str(&format!(
            "cost          {}, {time}\n",
            output::epochs(train.epochs)
        ));
        text.push_str(&format!(
            "model         {}\nnext          {next}\n",
            report.model.display()
        ));
        text
    })
}
