//! `epnas show`: what an architecture is, as text, JSON, genotype or a drawing.

use std::path::Path;

use anyhow::Context;
use clap::{Args, ValueEnum};
use epnas_arch::{Arch, Network, NetworkConfig, Shape, genotype};
use epnas_report::{Part, dot, parts, text};
use epnas_search::Config;
use serde::Serialize;

use crate::arguments::{Global, SettingsArgs};
use crate::failure::{OrUsage, usage};
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
///   epnas show runs/demo --format dot | dot -Tsvg > best.svg
///   epnas show micro:c3.-2+mp.-1/d5.-1+id.0 --format genotype
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ShowArgs {
    /// An architecture, a file that holds one, or a run folder.
    #[arg(value_name = "ARCH|FILE|RUN")]
    arch: String,

    /// How to show it [default: text, or json with --json].
    #[arg(short, long, value_enum)]
    format: Option<ShowFormat>,

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

    /// Height and width of an image [default: `data.image_size`, 32].
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,

    /// Number of classes.
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,

    #[command(flatten)]
    settings: SettingsArgs,
}

/// A form of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    /// A table with shapes, parameters and multiply-accumulates.
    Text,
    /// The same as JSON.
    Json,
    /// DARTS-style genotype (cells only).
    Genotype,
    /// The architecture as a graph for Graphviz.
    Dot,
    /// Every operation of the network as a graph for Graphviz.
    DotNetwork,
}

pub(crate) fn run(args: &ShowArgs, global: &Global) -> anyhow::Result<()> {
    let path = Path::new(&args.arch);
    let mut config = inputs::settings(&args.settings, global)?;
    let mut is_configured = args.settings.config.is_some() || !args.settings.set.is_empty();
    let arch = if path.is_dir() {
        if let Some(saved) = inputs::run_config_near(path)? {
            config = saved;
            is_configured = true;
        }
        inputs::best_arch(path)?
    } else {
        inputs::arch(&args.arch)?
    };
    let format = args.format.unwrap_or(if global.json {
        ShowFormat::Json
    } else {
        ShowFormat::Text
    });
    let print_source =
        |name: &str, text: &str| output::print_source(global.format(), "format", name, text);
    if format == ShowFormat::Genotype {
        return match &arch {
            Arch::Micro(cell) => print_source("genotype", &genotype(cell)),
            Arch::Macro(_) => Err(usage(format_args!(
                "{arch} is a macro network; only cells have a genotype"
            ))),
        };
    }
    let network = build(args, &arch, &config, is_configured)?;
    match format {
        ShowFormat::Text | ShowFormat::Genotype => {
            print_source("text", &text::describe(&arch, &network))
        }
        ShowFormat::Json => output::print_json(&Report::new(&arch, &network)),
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

/// The network of `arch` under the flags.
fn build(
    args: &ShowArgs,
    arch: &Arch,
    config: &Config,
    is_configured: bool,
) -> anyhow::Result<Network> {
    let network = NetworkConfig {
        channels: args.channels.unwrap_or(config.network.channels),
        cells_per_stage: args.cells.unwrap_or(config.network.cells_per_stage),
        ..config.network.clone()
    };
    let size = args.image_size.unwrap_or(config.data.image_size);
    let input = Shape::new(size, size, config.data.channels.count(config.data.source));
    let full = match (args.layers, &config.space) {
        (Some(layers), _) => layers,
        (None, epnas_arch::Space::Macro(space)) if is_configured => space.layers.max(arch.len()),
        _ => arch.len(),
    };
    Network::build(arch, full, &network, input, args.classes)
        .with_context(|| format!("cannot build {arch}"))
        .or_usage()
}
