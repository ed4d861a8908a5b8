//! `epnas predict`: the classes of images.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use epnas_data::image_files;
use epnas_supernet::{Model, ModelInfo};
use rayon::prelude::*;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::{Exit, FAILURE, OrUsage, USAGE, usage};
use crate::inputs;
use crate::output::{self, Format, grouped};

/// Images that are read and predicted at a time.
const BATCH: usize = 250;

/// Say what is on images, with a trained network.
///
/// Images are PNG or JPEG files of any size; their central square is resized to what the
/// network takes. Of a folder, all in it and below are taken; `-` reads paths from standard
/// input, one a line. A file that cannot be read is named on standard error and the others are
/// still predicted; the exit code is 1 then, or 2 when none could be read.
///
/// Examples:
///   epnas predict cat.png --model runs/demo
///   epnas predict photos --model runs/demo/model --top 1 --json
///   find / -name '*.jpg' | epnas predict - --model runs/demo
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PredictArgs {
    /// Image files, folders of images, or - for a list of them on standard input.
    #[arg(value_name = "IMAGE|FOLDER|-", required = true)]
    images: Vec<PathBuf>,

    /// A model folder, or a run folder with a trained model in it.
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,

    /// How many classes to name per image, most probable first.
    #[arg(
        short = 'k',
        long,
        value_name = "K",
        default_value_t = 3,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000)
    )]
    top: usize,
}

/// What is said of an image.
#[derive(Debug, Serialize)]
struct Prediction<'a> {
    image: &'a Path,
    classes: Vec<Class<'a>>,
}

#[derive(Debug, Serialize)]
struct Class<'a> {
    class: &'a str,
    probability: f32,
}

pub(crate) fn run(args: &PredictArgs, global: &Global) -> anyhow::Result<()> {
    let model = inputs::model(&args.model, epnas_search::Which::Found)?;
    let paths = paths(&args.images)?;
    let clock = Instant::now();
    let mut all = Vec::new();
    let mut predicted = 0;
    for paths in paths.chunks(BATCH) {
        let predictions = predict(&model, paths, args.top)?;
        predicted += predictions.len();
        match global.format() {
            // A line is there as soon as it is known.
            Format::Text => predictions
                .iter()
                .try_for_each(|p| output::print(&line(p)))?,
            Format::Json => all.extend(predictions),
        }
    }
    if predicted == 0 {
        return Err(Exit(USAGE).into());
    }
    if global.format() == Format::Json {
        output::print_json(&all)?;
    }
    if predicted > BATCH && !global.quiet {
        let seconds = clock.elapsed().as_secs_f64();
        let (images, rate) = (grouped(predicted as u64), predicted as f64 / seconds);
        output::stderr_line(&format!(
            "{images} images, {rate:.0} images/s with reading the files"
        ));
    }
    if predicted < paths.len() {
        return Err(Exit(FAILURE).into());
    }
    Ok(())
}

/// The files that the arguments name, folders and lists opened.
fn paths(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in given {
        if path.as_os_str() == "-" {
            for line in std::io::stdin().lock().lines() {
                let line = line.context("standard input").or_usage()?;
                if !line.trim().is_empty() {
                    paths.extend(opened(Path::new(line.trim()))?);
                }
            }
        } else {
            paths.extend(opened(path)?);
        }
    }
    if paths.is_empty() {
        return Err(usage("standard input names no image"));
    }
    Ok(paths)
}

/// The images of a folder, or the file itself. A folder without images stays, to be named as one that cannot be read.
fn opened(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let inside = match path.is_dir() {
        true => image_files(path).or_usage()?,
        false => vec![],
    };
    Ok(match inside.is_empty() {
        true => vec![path.to_owned()],
        false => inside,
    })
}

fn predict<'a>(
    model: &'a Model,
    paths: &'a [PathBuf],
    top: usize,
) -> anyhow::Result<Vec<Prediction<'a>>> {
    let info = model.info();
    let decoded: Vec<_> = paths.par_iter().map(|path| decode(path, info)).collect();
    let (mut images, mut pixels) = (Vec::new(), Vec::new());
    for (path, decoded) in paths.iter().zip(decoded) {
        match decoded {
            Ok(decoded) => {
                images.push(path.as_path());
                pixels.push(decoded);
            }
            Err(reason) => output::stderr_line(&format!("error: {reason}")),
        }
    }
    let probabilities = model.predict(&pixels)?;
    let predictions = images.into_iter().zip(probabilities).map(|(image, row)| {
        let named = info.classes.iter().zip(row);
        let mut classes: Vec<Class<'_>> = named
            .map(|(class, probability)| Class { class, probability })
            .collect();
        classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        classes.truncate(top);
        Prediction { image, classes }
    });
    Ok(predictions.collect())
}

fn line(prediction: &Prediction<'_>) -> String {
    let class = |c: &Class<'_>| format!("{} {:.1}%", c.class, 100.0 * c.probability);
    let classes: Vec<String> = prediction.classes.iter().map(class).collect();
    format!("{}: {}", prediction.image.display(), classes.join(", "))
}

/// The pixels of an image as the network takes them; the error says in one line what is wrong with which file.
fn decode(path: &Path, info: &ModelInfo) -> Result<Vec<u8>, String> {
    const EXPECTED: &str = "expected a PNG or JPEG file";
    if path.is_dir() {
        return Err(format!(
            "{}: a folder without images; {EXPECTED}",
            path.display()
        ));
    }
    if !path.exists() {
        return Err(format!("{}: not found; {EXPECTED}", path.display()));
    }
    epnas_data::decode_image(path, info.height, info.channels).map_err(|error| error.to_string())
}
