//! `epnas run`: from images to a trained and exported network in one command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use epnas_arch::{NetworkError, Space};
use epnas_export::Normalizing;
use epnas_search::{
    Best, Config, Run, RunError, RunFolder, SearchError, Session, Start, TrainReport,
    TrainingFolders, Which, write_atomic,
};
use epnas_supernet::{Model, SupernetError};
use serde::Serialize;

use crate::arguments::{ConfigArgs, DeviceArgs, Global, TrainingArgs};
use crate::failure::{self, OrUsage, usage};
use crate::handover::{self, CARD_FILE, Failed, Size, Spread};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, grouped, word};
use crate::progress::{duration, percent};
use crate::watcher::Watcher;

use super::export::with_parts;
use super::search::{finished, top};
use super::train::make_room;

/// The configuration for images of one's own.
const FOLDER_PRESET: &str = "folder";

/// From images to a network: search, select, train, evaluate and export in one command.
///
/// The run folder gets all that `epnas search` and `epnas train` write, and
///
///   model/         the trained network, with a model card in model/README.md
///   model.onnx     the same for any runtime of ONNX, pixel values from 0 to 1 in, logits out
///   report.html    all of it as a page to look at
///   summary.json   what is printed here
///
/// Whatever interrupts it, the same command goes on where it was. Without --config, --data is
/// searched by the preset `folder`: a folder with a folder of pictures for each class.
///
/// Examples:
///   epnas run --data ~/photos --out runs/photos
///   epnas run --config demo --out runs/demo
///   epnas run --config my.toml --data ~/photos --out runs/photos --budget 2h --seeds 3
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Run folder.
    #[arg(short, long, value_name = "RUN")]
    out: PathBuf,

    /// Stop searching after this much time with the best so far: 90s, 45m, "2h 30m"; training comes after.
    /// The same command with a longer one searches on, and with --restart trains what it finds then
    /// [default: `search.budget`, none].
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,

    #[command(flatten)]
    training: TrainingArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What `epnas run --json` prints, and `summary.json`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    architecture: String,
    /// With shared weights, 0 to 1; ranks only.
    estimate: f64,
    /// After brief retraining, on the validation images.
    retrained_accuracy: Option<f64>,
    /// Of the trained network.
    validation_accuracy: Option<f64>,
    /// Share of test images recognized, 0 to 1; absent when the data set has none.
    test_accuracy: Option<f64>,
    /// Over several seeds.
    seeds: Option<Spread>,
    size: Size,
    /// What the search says of itself, as that it was cut short.
    notes: Vec<String>,
    search_seconds: f64,
    train_seconds: f64,
    model: PathBuf,
    onnx: PathBuf,
    card: PathBuf,
    report: PathBuf,
}

pub(crate) fn run(args: &RunArgs, global: &Global) -> anyhow::Result<()> {
    let out = args.out.as_path();
    inputs::require_folder(out)?;
    let folder = RunFolder::new(out);
    folder.require_single().or_usage()?;
    let config = args.config(global)?;
    if let Space::Macro(space) = &config.space {
        // Now rather than after the search.
        let refinements = config.refinements();
        if refinements.drop_path > 0.0 {
            return Err(SupernetError::NoBranches)
                .context("train.drop_path")
                .or_usage();
        }
        if refinements.auxiliary_head > 0.0 && space.layers < 2 {
            return Err(NetworkError::NoAuxiliaryHead)
                .context("train.auxiliary_head")
                .or_usage();
        }
    }
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(out))?);
    // Read before the folder is made, so that images that are not there leave nothing behind.
    session.dataset().map_err(failure::of_search)?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let folders = folder.training(Which::Found);
    if !args.training.restart {
        require_same(&folder, &folders, session.config())?;
    }
    let restart = args.training.restart;
    if !restart {
        make_room(false, &folder, &folders, session.config())?;
    }
    let stopped = || {
        let how = args.training.same_command();
        Err(interrupt.end(&format!("everything is saved; {how}")))
    };
    let mut watcher = Watcher::new(global, &interrupt);
    let best = session.search(out, Start::Resume, &mut watcher);
    let best = finished(best, out, global)?;
    if interrupt.is_set() {
        return stopped();
    }
    if restart {
        // Only now: a search that cannot go on takes no training with it.
        make_room(true, &folder, &folders, session.config())?;
    }
    let _run = Run::open(out).map_err(|error| failure::of_search(error.into()))?;
    let summary = train_best(&session, &folder, &best, &mut watcher);
    drop(watcher);
    let summary = match summary {
        Err(Failed::Training(SearchError::Stopped { .. })) if interrupt.is_set() => {
            return stopped();
        }
        Err(Failed::Training(error)) => return Err(failure::of_search(error)),
        Err(Failed::Handover(error)) => return Err(error),
        Ok(summary) => summary,
    };
    super::report::of_run(out)?;
    output::print_as(global.format(), &summary, |summary| {
        text(summary, &best, out)
    })
}

/// Trains what was found from scratch, or goes on with that, exports it and writes down what there is.
pub(super) fn train_best(
    session: &Session,
    folder: &RunFolder,
    best: &Best,
    watcher: &mut Watcher,
) -> Result<Summary, Failed> {
    let found = Some((best, Which::Found));
    let design = best.architecture.clone().into();
    let folders = folder.training(Which::Found);
    let trainings = handover::train(session, found, &design, &folders, watcher)?;
    let written = summary(folder, best, &trainings).and_then(|summary| {
        write_atomic(&folder.summary(), &serde_json::to_vec_pretty(&summary)?)?;
        Ok(summary)
    });
    written.map_err(Failed::Handover)
}

impl RunArgs {
    fn config(&self, global: &Global) -> anyhow::Result<Config> {
        let mut given = self.training.over(&self.config);
        let stored = match given.settings.config {
            Some(_) => None,
            None => inputs::run_config(&self.out)?,
        };
        let mut config = match (stored, &given.settings.config, &given.data) {
            (Some(stored), ..) => inputs::adjusted(stored, &given, global)?,
            (None, None, None) => {
                return Err(usage(
                    "name a configuration with --config, for example `--config demo`, or a folder of images with --data",
                ));
            }
            (None, None, Some(_)) => {
                given.settings.config = Some(FOLDER_PRESET.to_owned());
                inputs::config(&given, global)?
            }
            (None, Some(_), _) => inputs::config(&given, global)?,
        };
        if let Some(budget) = &self.budget {
            config.search.budget = Some(budget.clone());
            config.validate().or_usage()?;
        }
        Ok(config)
    }
}

/// Refuses other settings than those that a run was trained with, before anything is changed.
fn require_same(
    folder: &RunFolder,
    folders: &TrainingFolders,
    config: &Config,
) -> anyhow::Result<()> {
    if !folders.has_checkpoint() || !folder.config().is_file() {
        return Ok(());
    }
    let of_run = |error: RunError| failure::of_search(error.into());
    let run = Run::open(folder.dir()).map_err(of_run)?;
    let same = run.require_settings(
        &config.to_toml().or_usage()?,
        &["data.dir", "train.seeds", "search.budget"],
    );
    let of_what_follows = |key: &String| {
        let sections = ["train.", "select.", "baseline."];
        sections.iter().any(|section| key.starts_with(section))
    };
    same.map_err(|error| match &error {
        RunError::Differs { differences, .. } if differences.iter().all(of_what_follows) => usage(
            format_args!("{error}; --restart goes on with these and trains anew"),
        ),
        _ => of_run(error),
    })
}

/// Exports the network of the first seed and says what there is.
fn summary(folder: &RunFolder, best: &Best, trainings: &[TrainReport]) -> anyhow::Result<Summary> {
    let first = trainings
        .first()
        .ok_or_else(|| anyhow::anyhow!("no network was trained"))?;
    let model = Model::load(&first.model)?;
    let onnx = folder.onnx();
    let bytes = with_parts(&model, |trained| {
        Ok(epnas_export::onnx(trained, Normalizing::Inside)?)
    })?;
    write_atomic(&onnx, &bytes)?;
    Ok(Summary {
        architecture: first.architecture.to_string(),
        estimate: best.estimate,
        retrained_accuracy: best.retrained_accuracy,
        validation_accuracy: first.validation_accuracy,
        test_accuracy: first.test.as_ref().map(|test| test.accuracy),
        seeds: Spread::of(trainings),
        size: Size::of(&model, &first.model),
        notes: best.notes.clone(),
        search_seconds: best.cost.seconds,
        train_seconds: trainings.iter().map(|training| training.seconds).sum(),
        card: first.model.join(CARD_FILE),
        model: first.model.clone(),
        onnx,
        report: folder.report(),
    })
}

fn text(summary: &Summary, best: &Best, out: &Path) -> String {
    let Size {
        params,
        macs,
        bytes,
    } = summary.size;
    let mut text = format!(
        "architecture  {}\nsize          {} parameters, {} multiply-accumulates per image, {} bytes\n",
        summary.architecture,
        grouped(params),
        grouped(macs),
        grouped(bytes)
    );
    text.push_str(&format!(
        "estimate      {} (shared weights; ranks only)\n",
        percent(summary.estimate)
    ));
    if let Some(retrained) = summary.retrained_accuracy {
        text.push_str(&format!(
            "retrained     {} (briefly, on validation images)\n",
            percent(retrained)
        ));
    }
    for (name, accuracy) in [
        ("validation", summary.validation_accuracy),
        ("test", summary.test_accuracy),
    ] {
        if let Some(accuracy) = accuracy {
            text.push_str(&format!("{name:<14}{}\n", percent(accuracy)));
        }
    }
    if let Some(Spread { mean, deviation }) = summary.seeds {
        text.push_str(&format!(
            "seeds         {} +- {:.1}\n",
            percent(mean),
            100.0 * deviation
        ));
    }
    for note in &summary.notes {
        text.push_str(&format!("note          {note}\n"));
    }
    let time = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(0.0)));
    text.push_str(&format!(
        "cost          {} of search, {} of training\nmodel         {}\nonnx          {}\ncard          {}\nreport        {}\n\
         next          epnas predict PICTURE --model {}\n",
        time(summary.search_seconds),
        time(summary.train_seconds),
        summary.model.display(),
        summary.onnx.display(),
        summary.card.display(),
        summary.report.display(),
        word(out)
    ));
    if let Some(table) = top::text(best) {
        text.push_str(&format!("\nin the search, before training:\n{table}"));
    }
    text
}
