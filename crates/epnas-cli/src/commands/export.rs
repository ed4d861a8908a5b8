//! `epnas export`: a trained network for other programs.

mod check;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use epnas_arch::{Arch, Design};
use epnas_export::{Normalizing, Trained};
use epnas_search::Which;
use epnas_supernet::Model;
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::{OrUsage, usage};
use crate::inputs;
use crate::output::{self, grouped};

use check::Agreement;

/// Write a trained network as ONNX, safetensors, a PyTorch module or a genotype.
///
/// onnx         for any runtime of the format (operators of version 17); batch norms are part of
///              the convolutions, the batch is of any size, metadata name the classes
/// safetensors  the weights by PyTorch's names and in its layout
/// pytorch      a Python file with the network as a module, and its weights beside it
/// genotype     the architecture of a micro network in the notation of DARTS
///
/// The exported network takes images as [batch, channels, height, width] with values from 0 to 1
/// and gives logits, [batch, classes]. With --check it is read back and compared with ours; that
/// runs ONNX in onnxruntime and a module in torch, which a Python must have (--python).
///
/// Examples:
///   epnas export --model runs/demo --format onnx --out flowers.onnx --check
///   epnas export --model runs/demo/model --format pytorch --out flowers.py
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExportArgs {
    /// Model folder, or run folder with a trained model.
    #[arg(short, long, value_name = "DIR|RUN")]
    model: PathBuf,

    /// What to write.
    #[arg(short, long, value_enum)]
    format: Format,

    /// The file to write; one that is there is replaced.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Read the file back and compare its logits with ours on 64 random images.
    #[arg(long)]
    check: bool,

    /// The Python for --check: with numpy, and onnxruntime for ONNX, or torch and safetensors for a PyTorch module.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,

    /// Where pixel values are normalized: in the exported ONNX network, or by whoever calls it.
    #[arg(long, value_enum, default_value_t = Place::Inside)]
    normalize: Place,

    /// Export the baseline's network of a run instead.
    #[arg(long)]
    random: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    Onnx,
    Safetensors,
    Pytorch,
    Genotype,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    Inside,
    Outside,
}

/// What `epnas export --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    architecture: String,
    format: Format,
    /// Every file that was written.
    files: Vec<PathBuf>,
    /// Sizes in bytes.
    bytes: Vec<u64>,
    /// How the exported network agrees with ours; null without --check.
    check: Option<Agreement>,
}

pub(crate) fn run(args: &ExportArgs, global: &Global) -> anyhow::Result<()> {
    if args.normalize == Place::Outside && args.format != Format::Onnx {
        return Err(usage("--normalize outside is for --format onnx"));
    }
    if args.out.is_dir() {
        return Err(usage(format_args!(
            "--out {} is a folder; expected a file",
            args.out.display()
        )));
    }
    let which = if args.random {
        Which::Random
    } else {
        Which::Found
    };
    let model = inputs::model(&args.model, which)?;
    let files = files(args, &model)?;
    for (path, bytes) in &files {
        output::write_file(path, bytes)?;
    }
    let check = match args.check {
        true => Some(check::check(args, &model)?),
        false => None,
    };
    let report = Report {
        architecture: model.info().architecture.clone(),
        format: args.format,
        bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).collect(),
        files: files.into_iter().map(|(path, _)| path).collect(),
        check,
    };
    output::print_as(global.format(), &report, text)
}

/// The files of a format with their contents.
fn files(args: &ExportArgs, model: &Model) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let out = args.out.clone();
    if args.format == Format::Genotype {
        return Ok(vec![(out, genotype(model)?.into_bytes())]);
    }
    with_parts(model, |trained| {
        Ok(match args.format {
            Format::Onnx => vec![(out, epnas_export::onnx(trained, normalizing(args))?)],
            Format::Safetensors => vec![(out, epnas_export::safetensors(trained)?)],
            _ => {
                let weights = out.with_extension("safetensors");
                if weights == out {
                    return Err(usage(
                        "--out must not end in .safetensors: the weights get that name",
                    ));
                }
                let name = weights
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let module = epnas_export::pytorch(trained, &name)?;
                // Weights first: a module is there with what it loads.
                vec![(weights, module.weights), (out, module.source.into_bytes())]
            }
        })
    })
}

fn normalizing(args: &ExportArgs) -> Normalizing {
    match args.normalize {
        Place::Inside => Normalizing::Inside,
        Place::Outside => Normalizing::Outside,
    }
}

fn genotype(model: &Model) -> anyhow::Result<String> {
    let architecture = &model.info().architecture;
    match architecture.parse::<Design>().or_usage()? {
        Design::Arch(Arch::Micro(cell)) => Ok(epnas_arch::genotype(&cell) + "\n"),
        _ => Err(usage(format_args!(
            "{architecture} is no micro network; a genotype describes a cell. Other forms: `epnas show`"
        ))),
    }
}

/// The parts of a model that the exports are made of.
pub(super) fn with_parts<T>(
    model: &Model,
    export: impl FnOnce(&Trained<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let info = model.info();
    export(&Trained {
        network: model.network(),
        architecture: &info.architecture,
        classes: &info.classes,
        mean: &info.normalization.mean,
        std: &info.normalization.std,
        weights: &|path| model.values(path),
    })
}

fn text(report: &Report) -> String {
    let mut text = format!("architecture  {}\n", report.architecture);
    for (path, bytes) in report.files.iter().zip(&report.bytes) {
        text.push_str(&format!(
            "written       {} ({} bytes)\n",
            path.display(),
            grouped(*bytes)
        ));
    }
    if let Some(check) = &report.check {
        text.push_str(&format!("checked       {check}\n"));
    }
    text
}

/// What was written, for the check.
fn read_back(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
