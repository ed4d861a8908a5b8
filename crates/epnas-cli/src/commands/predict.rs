//! `epnas predict`: the classes of images.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use epnas_supernet::ModelInfo;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::{Exit, FAILURE, USAGE};
use crate::inputs;
use crate::output;

/// Say what is on images, with a trained network.
///
/// Images are PNG or JPEG files of any size; their central square is resized to what the
/// network takes. A file that cannot be read is named on standard error and the others are
/// still predicted; the exit code is 1 then, or 2 when none could be read.
///
/// Examples:
///   epnas predict cat.png --model runs/demo
///   epnas predict photos/*.jpg --model runs/demo/model --top 1 --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PredictArgs {
    /// Image files.
    #[arg(value_name = "IMAGE", required = true)]
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
    image: &'a PathBuf,
    classes: Vec<Class<'a>>,
}

#[derive(Debug, Serialize)]
struct Class<'a> {
    class: &'a str,
    probability: f32,
}

pub(crate) fn run(args: &PredictArgs, global: &Global) -> anyhow::Result<()> {
    let model = inputs::model(&args.model, inputs::Which::Best)?;
    let info = model.info();
    let mut images = Vec::with_capacity(args.images.len());
    let mut pixels = Vec::with_capacity(args.images.len());
    for path in &args.images {
        match decode(path, info) {
            Ok(decoded) => {
                images.push(path);
                pixels.push(decoded);
            }
            Err(reason) => output::stderr_line(&format!("error: {reason}")),
        }
    }
    if images.is_empty() {
        return Err(Exit(USAGE).into());
    }
    let probabilities = model.predict(&pixels)?;
    let predictions: Vec<Prediction<'_>> = images
        .iter()
        .zip(&probabilities)
        .map(|(image, row)| {
            let mut classes: Vec<Class<'_>> = info
                .classes
                .iter()
                .zip(row)
                .map(|(class, &probability)| Class { class, probability })
                .collect();
            classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            classes.truncate(args.top);
            Prediction { image, classes }
        })
        .collect();
    output::print_as(global.format(), &predictions, |predictions| {
        let line = |prediction: &Prediction<'_>| {
            let classes: Vec<String> = prediction
                .classes
                .iter()
                .map(|c| format!("{} {:.1}%", c.class, 100.0 * c.probability))
                .collect();
            format!("{}: {}\n", prediction.image.display(), classes.join(", "))
        };
        predictions.iter().map(line).collect()
    })?;
    if images.len() < args.images.len() {
        return Err(Exit(FAILURE).into());
    }
    Ok(())
}

/// The pixels of an image as the network takes them; the error says in one line what is wrong with which file.
fn decode(path: &Path, info: &ModelInfo) -> Result<Vec<u8>, String> {
    const EXPECTED: &str = "expected a PNG or JPEG file";
    if path.is_dir() {
        return Err(format!("{}: a folder; {EXPECTED}", path.display()));
    }
    if !path.exists() {
        return Err(format!("{}: not found; {EXPECTED}", path.display()));
    }
    epnas_data::decode_image(path, info.height, info.channels).map_err(|error| error.to_string())
}
