//! `epnas show`: what an architecture is, as text, JSON, genotype or a drawing.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use epnas_arch::{Arch, Network, NetworkConfig, Shape, Space, genotype};
use epnas_report::raster::{self, Theme};
use epnas_report::{Part, diagram, dot, parts, text};
use epnas_search::{Config, RunFolder, Which, run_images};
use epnas_supernet::{MODEL_FILE, StepProfile, TrainConfig};
use serde::Serialize;

use crate::arguments::{Global, SettingsArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::output;

/// Show an architecture: operations, shapes, parameters, multiply-accumulates.
///
/// The architecture is given in its text form, as a file (text, JSON or DARTS-style genotype),
/// or as a run folder, whose best one is shown. The text form of a macro network lists layers
/// as OPERATION.SOURCES with 0 for the stem; that of a cell lists blocks as
/// OPERATION.SOURCE+OPERATION.SOURCE with -2 and -1 for the two cells before:
///
///   macro:c3.0/c5.1/d3.1+2     micro:c3.-2+mp.-1/d5.-1+id.0
///
/// Operations: mp ap (max, average pool 3x3), c3 c5 (convolutions), d3 d5 d7 (depthwise
/// convolutions), id (identity).
///
/// Examples:
///   epnas show macro:c3.0/c5.1/d3.1+2 --channels 200
///   epnas show runs/demo --format svg > best.svg
///   epnas show runs/demo --format png --dark --scale 2 > slide.png
///   epnas show micro:c3.-2+mp.-1/d5.-1+id.0 --format genotype
///   epnas show macro:c3.0/c5.1/d3.1+2 --plan --threads 1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ShowArgs {
    /// An architecture, a file that holds one, or a run folder.
    #[arg(value_name = "ARCH|FILE|RUN")]
    arch: String,

    /// How to show it [default: text, or json with --json].
    #[arg(short, long, value_enum)]
    format: Option<ShowFormat>,

    /// Draw light on dark, for --format png; a drawing in SVG follows its reader's mode.
    #[arg(long)]
    dark: bool,

    /// Pixels for each of the drawing's, for --format png [default: 2].
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f32>,

    /// Train the network on noise for a few seconds and print the plan of a training step: every operator with the
    /// bytes it moves, its multiply-accumulates, its time, and how near that is to what this machine can do.
    #[arg(long, conflicts_with = "format")]
    plan: bool,

    /// Images in a batch, for --plan [default: `training.batch`, 128].
    #[arg(long, value_name = "N", requires = "plan",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=65536))]
    batch: Option<usize>,

    /// Channels [default: `network.channels`, 24].
    #[arg(long, value_name = "N")]
    channels: Option<usize>,

    /// Cells per stage of a micro network [default: `network.cells_per_stage`, 2].
    #[arg(long, value_name = "N")]
    cells: Option<usize>,

    /// Layers of a full-length macro network: they fix where the resolution halves [default: those of the
    /// architecture, or `space.layers` where a configuration is given].
    #[arg(long, value_name = "N")]
    layers: Option<usize>,

    /// Height and width of an image [default: that of the run, or `data.image_size`, 32].
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Number of classes [default: that of the run or model, else 10].
    #[arg(long, value_name = "N")]
    classes: Option<usize>,

    #[command(flatten)]
    settings: SettingsArgs,
}

/// How long `--plan` trains.
const MEASURED: Duration = Duration::from_secs(4);

/// A form of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    /// A table with shapes, parameters and multiply-accumulates.
    Text,
    /// The same as JSON.
    Json,
    /// DARTS-style genotype (cells only).
    Genotype,
    /// A drawing, for browsers and papers: layers, skips, resolutions or blocks, with parameters and operations.
    Svg,
    /// The same as pixels, for documents that take no SVG.
    Png,
    /// The architecture as a graph for Graphviz.
    Dot,
    /// Every operation of the network as a graph for Graphviz.
    DotNetwork,
}

pub(crate) fn run(args: &ShowArgs, global: &Global) -> anyhow::Result<()> {
    let path = Path::new(&args.arch);
    let (arch, place) = if path.is_dir() {
        (inputs::best_arch(path)?, Place::of_folder(path)?)
    } else {
        (inputs::arch(&args.arch)?, None)
    };
    let place = match place {
        Some(_) if args.settings.config.is_some() || !args.settings.set.is_empty() => {
            return Err(usage(format_args!(
                "{} has settings of its own; --config and --set are for architectures",
                args.arch
            )));
        }
        Some(place) => place,
        None => Place::of_settings(&args.settings, global)?,
    };
    let format = args.format.unwrap_or(if global.json {
        ShowFormat::Json
    } else {
        ShowFormat::Text
    });
    if format == ShowFormat::Png {
        if global.json {
            return Err(usage("a PNG is no text; leave --json out"));
        }
        if std::io::stdout().is_terminal() {
            return Err(usage(
                "a PNG is nothing for a terminal; write it to a file with `> best.png`",
            ));
        }
    } else if args.dark || args.scale.is_some() {
        return Err(usage("--dark and --scale are for --format png"));
    }
    let print_source =
        |name: &str, text: &str| output::print_source(global.format(), "format", name, text);
    if format == ShowFormat::Genotype {
        return match &arch {
            Arch::Micro(cell) => print_source("genotype", &genotype(cell)),
            _ => Err(usage(format_args!(
                "{arch} is no cell; only cells have a genotype"
            ))),
        };
    }
    let recipe = place.recipe.clone();
    let network = build(args, &arch, place)?;
    if args.plan {
        let batch = args.batch.unwrap_or(recipe.batch);
        let profile = StepProfile::measure(&network, batch, &recipe, MEASURED)?;
        return output::print_as(global.format(), &profile, ToString::to_string);
    }
    match format {
        ShowFormat::Text | ShowFormat::Genotype => {
            print_source("text", &text::describe(&arch, &network))
        }
        ShowFormat::Json => output::print_json(&Report::new(&arch, &network)),
        ShowFormat::Svg => print_source("svg", &diagram::svg(&arch, &network)),
        ShowFormat::Png => {
            let theme = match args.dark {
                true => Theme::Dark,
                false => Theme::Light,
            };
            let svg = diagram::svg(&arch, &network);
            output::write_bytes(&raster::png(&svg, theme, args.scale.unwrap_or(2.0)).or_usage()?)
        }
        ShowFormat::Dot => print_source("dot", &dot::architecture(&arch)),
        ShowFormat::DotNetwork => print_source("dot-network", &dot::network(&network)),
    }
}

/// What `epnas show --format json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// The architecture in its text form.
    text: String,
    /// The same as JSON, with `space` and `layers` or `blocks`.
    architecture: &'a Arch,
    /// Trainable parameters.
    params: u64,
    /// Multiply-accumulates per image.
    macs: u64,
    input: Shape,
    classes: usize,
    /// Stem, layers or cells, head.
    parts: Vec<Part>,
}

impl<'a> Report<'a> {
    fn new(architecture: &'a Arch, network: &Network) -> Self {
        Report {
            text: architecture.to_string(),
            architecture,
            params: network.params(),
            macs: network.macs(),
            input: network.input,
            classes: network.classes,
            parts: parts(architecture, network),
        }
    }
}

/// What decides the network of an architecture, where flags do not.
struct Place {
    network: NetworkConfig,
    input: Shape,
    classes: usize,
    /// Layers of a full-length macro network, if the architecture may be shorter.
    layers: Option<usize>,
    /// How children are trained.
    recipe: TrainConfig,
}

impl Place {
    fn of_config(config: &Config) -> Self {
        let size = config.data.image_size;
        Place {
            network: config.network.clone(),
            input: Shape::new(size, size, config.data.channels.count(config.data.source)),
            classes: 10,
            layers: match &config.space {
                Space::Macro(space) => Some(space.layers),
                _ => None,
            },
            recipe: config.training.recipe.clone(),
        }
    }

    fn of_settings(args: &SettingsArgs, global: &Global) -> anyhow::Result<Self> {
        let mut place = Place::of_config(&inputs::settings(args, global)?);
        if args.config.is_none() && args.set.is_empty() {
            place.layers = None;
        }
        Ok(place)
    }

    /// That of the model or the search in a folder; `None` when the folder does not say.
    fn of_folder(dir: &Path) -> anyhow::Result<Option<Self>> {
        if dir.join(MODEL_FILE).is_file() {
            let model = inputs::model(dir, Which::Found)?;
            let info = model.info();
            return Ok(Some(Place {
                network: info.network.clone(),
                input: model.network().input,
                classes: info.classes.len(),
                layers: Some(info.space_len),
                recipe: TrainConfig::fast(),
            }));
        }
        let Some(config) = inputs::run_config(dir)? else {
            return Ok(None);
        };
        let mut place = Place::of_config(&config);
        if let Some(images) = run_images(&RunFolder::new(dir)).map_err(failure::of_search)? {
            place.input = images.image_shape();
            place.classes = images.classes().len();
        }
        Ok(Some(place))
    }
}

/// The network of `arch` under the flags.
fn build(args: &ShowArgs, arch: &Arch, place: Place) -> anyhow::Result<Network> {
    let network = NetworkConfig {
        channels: args.channels.unwrap_or(place.network.channels),
        cells_per_stage: args.cells.unwrap_or(place.network.cells_per_stage),
        ..place.network
    };
    let input = match args.image_size {
        Some(size) => Shape::new(size, size, place.input.channels),
        None => place.input,
    };
    let full = match (args.layers, place.layers) {
        (Some(layers), _) => layers,
        (None, Some(layers)) => layers.max(arch.len()),
        (None, None) => arch.len(),
    };
    let classes = args.classes.unwrap_or(place.classes);
    Network::build(arch, full, &network, input, classes)
        .with_context(|| format!("cannot build {arch}"))
        .or_usage()
}
