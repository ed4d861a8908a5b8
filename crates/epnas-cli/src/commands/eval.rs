//! `epnas eval`: accuracy of a trained network on the test images.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use epnas_data::{Channels, DataConfig, Source};
use epnas_search::Which;
use epnas_supernet::{EvalReport, Model};
use serde::Serialize;

use crate::arguments::{ConfigArgs, Global};
use crate::failure::usage;
use crate::handover::{Latency, Size};
use crate::inputs;
use crate::output::{self, grouped, table};
use crate::progress::percent;

mod images;

use images::Part;

/// Measure a trained network on the test images: accuracy, confusions, calibration, size, speed.
///
/// The images are those of the run's configuration, or of --config and --data. No search has
/// seen the test images. Of an image folder without a test part, these are the part that was set
/// apart for the training, as long as the folder has not changed since; of another such folder
/// they are all its images.
///
/// Examples:
///   epnas eval runs/demo
///   epnas eval runs/demo --random
///   epnas eval runs/demo/model --data ~/photos --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct EvalArgs {
    /// A run folder with a trained model in it, or a model folder.
    #[arg(value_name = "RUN|MODEL")]
    dir: PathBuf,

    /// Evaluate the baseline's network (RUN/model-random) instead.
    #[arg(long)]
    random: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// What `epnas eval --json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    model: &'a PathBuf,
    architecture: &'a str,
    data: &'a str,
    /// Which images of the data set these are.
    part: Part,
    /// Share of test images recognized, 0 to 1.
    test_accuracy: f64,
    classes: &'a [String],
    #[serde(flatten)]
    eval: &'a EvalReport,
    size: Size,
    latency: Latency,
}

pub(crate) fn run(args: &EvalArgs, global: &Global) -> anyhow::Result<()> {
    let which = if args.random {
        Which::Random
    } else {
        Which::Found
    };
    let dir = inputs::model_dir(&args.dir, which)?;
    let model = inputs::model(&args.dir, which)?;
    let config = config(args, global, &model)?;
    let (dataset, part) = images::read(&config, &dir)?;
    let info = model.info();
    let order = same_classes(&dataset.name, &dataset.classes, &info.classes)?;
    let test = dataset.test.filter(|test| !test.is_empty());
    let mut test =
        test.ok_or_else(|| usage(format_args!("{} has no test images", dataset.name)))?;
    for label in &mut test.labels {
        *label = order[*label as usize];
    }
    let eval = model
        .evaluate(&test)
        .with_context(|| dir.display().to_string())?;
    let report = Report {
        model: &dir,
        architecture: &info.architecture,
        data: &dataset.name,
        part,
        test_accuracy: eval.accuracy,
        classes: &info.classes,
        eval: &eval,
        size: Size::of(&model, &dir),
        latency: Latency::of(&model)?,
    };
    output::print_as(global.format(), &report, text)
}

/// Where the images are: `--config` and `--data`, or else the configuration of the run the model belongs to.
fn config(args: &EvalArgs, global: &Global, model: &Model) -> anyhow::Result<DataConfig> {
    let is_given = args.config.settings.config.is_some();
    let saved = if is_given {
        None
    } else {
        inputs::run_config_near(&args.dir)?
    };
    let mut config = match saved {
        Some(saved) => inputs::adjusted(saved, &args.config, global)?,
        None if is_given || args.config.data.is_some() => inputs::config(&args.config, global)?,
        None => {
            return Err(usage(format_args!(
                "{} is not in a run folder; name the images with --config or --data",
                args.dir.display()
            )));
        }
    }
    .data;
    if let (Some(dir), false) = (&args.config.data, args.names_source()) {
        config.source = source_of(dir, config.source);
    }
    let info = model.info();
    config.image_size = info.height;
    config.channels = if info.channels == 1 {
        Channels::Gray
    } else {
        Channels::Rgb
    };
    Ok(config)
}

fn text(report: &Report<'_>) -> String {
    let eval = report.eval;
    let (all, reason) = match report.part {
        Part::Test => ("", ""),
        Part::All => ("all ", ", a folder it was not trained on"),
    };
    let mut text = format!(
        "{}\ntest accuracy {} ({all}{} images of {}{reason}, loss {:.4}, calibration error {:.3})\n",
        report.architecture,
        percent(eval.accuracy),
        grouped(eval.images),
        report.data,
        eval.loss,
        eval.calibration_error
    );
    let (
        Size {
            params,
            macs,
            bytes,
        },
        Latency { p50, p90, p99 },
    ) = (&report.size, &report.latency);
    text.push_str(&format!(
        "{} parameters, {} multiply-accumulates per image, {} bytes\none image takes {:.2} ms (90% within {:.2} ms, 99% within \
         {:.2} ms)\n\n",
        grouped(*params),
        grouped(*macs),
        grouped(*bytes),
        1e3 * p50,
        1e3 * p90,
        1e3 * p99
    ));
    let rows: Vec<Vec<String>> = eval
        .per_class
        .iter()
        .map(|class| {
            let accuracy = class.accuracy.map_or_else(|| "-".to_owned(), percent);
            vec![
                class.class.clone(),
                grouped(class.images),
                grouped(class.correct),
                accuracy,
            ]
        })
        .collect();
    text.push_str(&table(&["class", "images", "correct", "accuracy"], &rows));
    // Beyond this the matrix fits no terminal; --json has it in full.
    const WIDEST: usize = 20;
    if report.classes.len() <= WIDEST {
        text.push_str("\nconfusion: a row per true class, a column per predicted one\n");
        let header: Vec<String> = std::iter::once(String::new())
            .chain((0..report.classes.len()).map(|class| class.to_string()))
            .collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let rows: Vec<Vec<String>> = eval
            .confusion
            .iter()
            .enumerate()
            .map(|(class, counts)| {
                let name = format!("{class} {}", report.classes[class]);
                std::iter::once(name)
                    .chain(counts.iter().map(u64::to_string))
                    .collect()
            })
            .collect();
        text.push_str(&table(&header, &rows));
    }
    text
}

impl EvalArgs {
    /// Whether the user said what kind of data set it is.
    fn names_source(&self) -> bool {
        let set = &self.config.settings.set;
        self.config.settings.config.is_some()
            || set
                .iter()
                .any(|set| set.trim_start().starts_with("data.source"))
    }
}

/// What kind of data set is in `dir`: what it looks like, or else what the run's own images were.
fn source_of(dir: &Path, stored: Source) -> Source {
    const MNIST: [Source; 2] = [Source::Mnist, Source::FashionMnist];
    match epnas_data::detect(dir) {
        // The files of these two have the same names.
        Ok(found) if MNIST.contains(&found) && MNIST.contains(&stored) => stored,
        Ok(found) => found,
        Err(_) => stored,
    }
}

/// Where each class of the images is among those of the model; refuses images whose classes are others.
fn same_classes(name: &str, found: &[String], expected: &[String]) -> anyhow::Result<Vec<u32>> {
    if found.len() != expected.len() {
        return Err(usage(format_args!(
            "{name} has {} classes ({}), expected the {} of the model ({})",
            found.len(),
            first_names(found),
            expected.len(),
            first_names(expected)
        )));
    }
    // Folders are in the order of their names, other sources in one of their own.
    let place = |class: &String| {
        let place = expected.iter().position(|other| other == class);
        place.map(|place| place as u32).ok_or_else(|| {
            usage(format_args!(
                "{name} has the class {class}, which is none of the model's ({})",
                first_names(expected)
            ))
        })
    };
    found.iter().map(place).collect()
}

fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let dots = if names.len() > SHOWN { ", ..." } else { "" };
    format!(
        "{}{dots}",
        names
            .iter()
            .take(SHOWN)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    )
}
