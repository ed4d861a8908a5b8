//! `epnas train`: train a network from scratch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use epnas_arch::Design;
use epnas_search::{
    Best, Config, Run, RunFolder, SearchError, Session, Start, TrainReport, TrainingFolders, Which,
};
use serde::Serialize;

use crate::arguments::{ConfigArgs, DeviceArgs, Global, TrainingArgs};
use crate::failure::{self, OrUsage, usage};
use crate::handover::{self, Failed, Spread, accuracy};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, grouped, word};
use crate::progress::{duration, percent};
use crate::watcher::Watcher;

mod places;

use places::Places;

/// Train the network that a search found, or one of your own, from scratch and test it.
///
/// The section `train` of the configuration says how: preset (fast or paper), epochs, channels,
/// averaged weights, mixup, drop-path and more (`epnas config keys train`). The validation images
/// tell how it goes; with --all-data they train too. Test images never do. A training that was
/// interrupted goes on at the step where it was. RUN/train holds the learning curve and the
/// models of the best and the last epoch so far; RUN/model the trained network:
/// weights.safetensors, and model.json with architecture, normalization and class names, all
/// that `epnas predict` needs.
///
/// Examples:
///   epnas train runs/demo
///   epnas train runs/demo --seeds 3 --set train.epochs=60
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

    #[command(flatten)]
    training: TrainingArgs,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What `epnas train --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Share of test images recognized, 0 to 1; absent when the data set has none.
    test_accuracy: Option<f64>,
    /// The training of the first seed.
    #[serde(flatten)]
    train: TrainReport,
    /// All trainings, where there are several.
    seeds: Option<Seeds>,
}

/// Trainings from several seeds.
#[derive(Debug, Serialize)]
struct Seeds {
    #[serde(flatten)]
    spread: Spread,
    trainings: Vec<TrainReport>,
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
    let config = inputs::adjusted(stored, &args.training.over(&args.config), global)?;
    let folder = RunFolder::new(run);
    if !folder.best().is_file() {
        // In use by another process, perhaps, which has no result yet.
        drop(Run::open(run).map_err(|error| failure::of_search(error.into()))?);
        let is_given = folder.training(Which::Found).work.is_dir() && !folder.history().exists();
        let (word, run) = (word(run), run.display());
        if is_given {
            return Err(usage(format_args!(
                "{run} holds a training of an architecture that was given; `epnas train --arch ARCH --out {word}` goes on \
                 with it, `epnas eval {word}` tests what it has"
            )));
        }
        let finish = match folder.is_fleet() {
            true => format!("epnas fleet run --out {word}"),
            false => format!("epnas search --out {word} --resume"),
        };
        return Err(usage(format_args!(
            "{run} has no result yet; finish it with `{finish}`"
        )));
    }
    let which = match args.random {
        true => Which::Random,
        false => Which::Found,
    };
    let folders = folder.training(which);
    let best = Best::read(&folder.best()).map_err(failure::of_search)?;
    if args.random && best.random.is_none() {
        return Err(usage(format_args!(
            "{} has no random baseline; search with baseline.kind = \"random\"",
            run.display()
        )));
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(run))?);
    session.dataset().map_err(failure::of_search)?;
    make_room(args.training.restart, &folder, &folders, session.config())?;
    if which == Which::Found && !folders.has_begun() {
        // What `config.toml` says is what the training in the folder is of; what `epnas run` made of another, is gone.
        let run = Run::open(run).map_err(|error| failure::of_search(error.into()))?;
        let text = session.config().to_toml().or_usage()?;
        run.store_config(&text)
            .map_err(|error| failure::of_search(error.into()))?;
        for stale in [folder.onnx(), folder.summary()] {
            remove(&stale)?;
        }
    }
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let (design, folders) = session.found(run, which).map_err(failure::of_search)?;
    let _run = Run::open(run).map_err(|error| failure::of_search(error.into()))?;
    let train = handover::train(
        &session,
        Some((&best, which)),
        &design,
        &folders,
        &mut watcher,
    );
    drop(watcher);
    let train = finished(train, args, &interrupt)?;
    let next = format!(
        "epnas eval {}{}",
        word(run),
        if args.random { " --random" } else { "" }
    );
    print(train, &next, global)
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
        Some(stored) => inputs::adjusted(stored, &args.training.over(&args.config), global)?,
        None => inputs::config(&args.training.over(&args.config), global)?,
    };
    match &design {
        Design::Arch(arch) => config.space.check(arch).or_usage()?,
        Design::HandMade(network) => network.check().or_usage()?,
    }
    let folders = folder.training(Which::Found);
    if !folder.config().exists() {
        for places in places(&folders, &config) {
            places.require_ours()?;
        }
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(out))?);
    session.dataset().map_err(failure::of_search)?;
    session.check_design(&design).map_err(failure::of_search)?;
    make_room(args.training.restart, &folder, &folders, session.config())?;
    let _run = begin(args, out, session.config())?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let train = handover::train(&session, None, &design, &folders, &mut watcher);
    drop(watcher);
    let train = finished(train, args, &interrupt)?;
    print(train, &format!("epnas eval {}", word(out)), global)
}

/// The places of the trainings from each seed.
fn places(folders: &TrainingFolders, config: &Config) -> Vec<Places> {
    let numbers = 1..=config.train.network.seeds;
    numbers
        .map(|number| Places(folders.of_seed(number)))
        .collect()
}

/// Makes room for a training: with `--restart` by deleting an earlier one, whose model stays until there is a new one,
/// otherwise by refusing to touch a model without its training. The data and the configuration have been read and are
/// valid by now.
pub(crate) fn make_room(
    restart: bool,
    folder: &RunFolder,
    folders: &TrainingFolders,
    config: &Config,
) -> anyhow::Result<()> {
    if !restart {
        return places(folders, config)
            .iter()
            .try_for_each(Places::require_room);
    }
    // Not under the hands of another process.
    let _lock = match folder.config().exists() {
        true => Some(Run::open(folder.dir()).map_err(|error| failure::of_search(error.into()))?),
        false => None,
    };
    clear(folders, config)
}

/// Deletes a training from each seed; the models stay until there are new ones.
pub(crate) fn clear(folders: &TrainingFolders, config: &Config) -> anyhow::Result<()> {
    let places = places(folders, config);
    places.iter().try_for_each(Places::clear)?;
    // What more seeds left behind is of the training before.
    (places.len() + 1..)
        .map(|number| Places(folders.of_seed(number)))
        .take_while(|places| places.exist())
        .try_for_each(|places| places.clear_all())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(anyhow::anyhow!("cannot remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The report of a training that ended by itself. One that a signal stopped says how it goes on.
fn finished(
    train: Result<Vec<TrainReport>, Failed>,
    args: &TrainArgs,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<TrainReport>> {
    match train {
        Err(Failed::Training(SearchError::Stopped { done, total, .. })) if interrupt.is_set() => {
            let how = args.training.same_command();
            Err(interrupt.end(&format!(
                "{done} of {total} epochs and the steps since are saved; {how}"
            )))
        }
        Err(Failed::Training(error)) => Err(failure::of_search(error)),
        Err(Failed::Handover(error)) => Err(error),
        Ok(train) => Ok(train),
    }
}

/// Makes the folder a run that holds nothing but a training: locked, with its configuration, so that `eval` finds the
/// images. Sections that a training does not read may have changed since an earlier one.
fn begin(args: &TrainArgs, out: &Path, config: &Config) -> anyhow::Result<Run> {
    const UNREAD: [&str; 6] = [
        "search.",
        "surrogate.",
        "training.",
        "baseline.",
        "select.",
        "train.seeds",
    ];
    if args.training.restart && RunFolder::new(out).config().exists() {
        let config = RunFolder::new(out).config();
        // Only what is a configuration of ours: this fails on any other file of that name.
        inputs::run_config(out)?;
        std::fs::remove_file(&config)
            .map_err(|e| anyhow::anyhow!("cannot remove {}: {e}", config.display()))?;
    }
    let text = config.to_toml().or_usage()?;
    Run::begin(out, &text, &UNREAD, Start::Resume).map_err(|error| failure::of_search(error.into()))
}

fn print(trainings: Vec<TrainReport>, next: &str, global: &Global) -> anyhow::Result<()> {
    let Some(train) = trainings.first().cloned() else {
        return Ok(());
    };
    let report = Report {
        test_accuracy: train.test.as_ref().map(|test| test.accuracy),
        train,
        seeds: Spread::of(&trainings).map(|spread| Seeds { spread, trainings }),
    };
    output::print_as(global.format(), &report, |report| {
        let train = &report.train;
        let mut text = format!("architecture  {}\n", train.architecture);
        let (params, macs) = (grouped(train.params), grouped(train.macs));
        text.push_str(&format!(
            "size          {params} parameters, {macs} multiply-accumulates per image\n"
        ));
        if let Some(accuracy) = train.validation_accuracy {
            let kept = match train.kept_epoch == train.epochs {
                true => String::new(),
                false => format!(" (epoch {}, whose weights are kept)", train.kept_epoch),
            };
            text.push_str(&format!("validation    {}{kept}\n", percent(accuracy)));
        }
        if let Some(accuracy) = report.test_accuracy {
            text.push_str(&format!("test          {}\n", percent(accuracy)));
        }
        if let Some(seeds) = &report.seeds {
            let each = seeds.trainings.iter().filter_map(accuracy).map(percent);
            text.push_str(&format!(
                "seeds         {} +- {:.1} ({})\n",
                percent(seeds.spread.mean),
                100.0 * seeds.spread.deviation,
                each.collect::<Vec<_>>().join(", ")
            ));
        }
        let time = duration(Duration::from_secs_f64(train.seconds.max(0.0)));
        text.push_str(&format!(
            "cost          {}, {time}\n",
            output::epochs(train.epochs)
        ));
        text.push_str(&format!(
            "model         {}\nnext          {next}\n",
            train.model.display()
        ));
        text
    })
}
