//! The command line: global flags, the list of commands and the groups of flags that several commands share.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};
use epnas_search::{RunFolder, run_device};
use epnas_supernet::{Compute, DeviceKind};

use crate::commands::{
    compare, completions, config, data, devices, eval, export, fleet, man, predict, rank, report,
    run, search, select, show, space, train, watch,
};
use crate::failure;
use crate::output::{self, Format};

/// Efficient progressive neural architecture search.
///
/// Searches a convolutional network for your images: children share one set of weights, a small
/// LSTM predicts which candidates are worth training, and a temperature decides how far to
/// trust it. All at once, or step by step:
///
///   epnas run --data ~/photos --out runs/photos    from a folder of images to a network
///
///   epnas search --config demo --out runs/demo     find an architecture
///   epnas select runs/demo                         retrain the best few briefly, pick one
///   epnas train  runs/demo                         train it from scratch
///   epnas eval   runs/demo                         test accuracy
///   epnas predict cat.png --model runs/demo        use it
///
/// Results go to standard output; progress and logs go to standard error (see EPNAS_LOG). Exit
/// codes: 0 success, 1 failure, 2 bad input. Ctrl-C and SIGTERM end run, search, select, rank,
/// train and fleet run after the piece of work in progress, which can then go on (exit codes 130,
/// 143); a second one ends them at once.
#[derive(Debug, Parser)]
#[command(
    name = "epnas",
    version,
    verbatim_doc_comment,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print the result as one JSON document.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    /// Threads to compute with; the results are the same for any number [default: all cores].
    // The upper end is more than machines have: a mistyped number would only grind.
    #[arg(long, global = true, value_name = "N", help_heading = "Global options",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,

    /// Root seed: every random choice derives from it [default: the configuration's `seed`].
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    pub(crate) seed: Option<u64>,

    /// Say more: -v information (and, where standard error is no terminal, a line per child and epoch), -vv debugging,
    /// -vvv everything. EPNAS_LOG takes precedence for logs (e.g. `epnas_search=debug`).
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = "Global options")]
    pub(crate) verbose: u8,

    /// No progress, and no logs below errors.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

impl Global {
    /// What to print results as.
    pub(crate) fn format(&self) -> Format {
        if self.json {
            Format::Json
        } else {
            Format::Text
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    Search(search::SearchArgs),
    Select(select::SelectArgs),
    Compare(compare::CompareArgs),
    Rank(rank::RankArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Predict(predict::PredictArgs),
    Export(export::ExportArgs),
    Fleet(fleet::FleetArgs),
    Show(show::ShowArgs),
    Report(report::ReportArgs),
    Watch(watch::WatchArgs),
    Space(space::SpaceArgs),
    Data(data::DataArgs),
    Devices(devices::DevicesArgs),
    Config(config::ConfigCommandArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Where the configuration comes from. Later ones win: defaults, `--config`, `--set`, the flags of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct SettingsArgs {
    /// A TOML file, or the name of a preset: demo, folder, cifar10-quick-macro, cifar10-quick-micro, cifar10-macro,
    /// cifar10-micro, table [default: the defaults that `epnas config` prints].
    #[arg(short, long, value_name = "FILE|PRESET")]
    pub(crate) config: Option<String>,

    /// Change one key, e.g. `--set search.iterations=2`; repeat for more. `epnas config keys` lists them all.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A configuration and where its images are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    /// Folder of the images: overrides `data.dir`, and `data.source` too when that is "synthetic".
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// What convolutions multiply in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PrecisionArgs {
    /// Train with the convolutions' products in this precision: sets `training.precision` and `train.precision`. bf16 is for
    /// GPUs and for CPUs with AVX512-BF16 [default: that of the configuration, f32].
    #[arg(long, value_name = "f32|bf16", value_parser = ["f32", "bf16"])]
    precision: Option<String>,
}

impl PrecisionArgs {
    /// The same as assignments of `--set`.
    pub(crate) fn assignments(&self) -> Vec<String> {
        let recipes = ["training", "train"];
        let of = |word: &String| recipes.map(|recipe| format!("{recipe}.precision={word}"));
        self.precision.iter().flat_map(of).collect()
    }

    /// `config` with these assignments after its own.
    pub(crate) fn over(&self, config: &ConfigArgs) -> ConfigArgs {
        let mut config = config.clone();
        config.settings.set.extend(self.assignments());
        config
    }
}

/// How the final network is trained, where not as the configuration says.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrainingArgs {
    /// Train on the validation images as well; nothing is left to validate on.
    #[arg(long)]
    all_data: bool,

    /// Train so many times from different seeds, for mean and spread; from the second on into
    /// RUN/model-seed-2 and so on [default: `train.seeds`, 1].
    #[arg(long, value_name = "N")]
    seeds: Option<usize>,

    /// Throw an earlier or unfinished training away and begin anew, as with other settings of `train`; its model stays
    /// until the new one is there.
    #[arg(long)]
    pub(crate) restart: bool,

    #[command(flatten)]
    precision: PrecisionArgs,
}

impl TrainingArgs {
    /// `config` with what these flags are short for after its own assignments.
    pub(crate) fn over(&self, config: &ConfigArgs) -> ConfigArgs {
        let mut config = self.precision.over(config);
        let set = &mut config.settings.set;
        if self.all_data {
            set.push("train.images=all".to_owned());
        }
        set.extend(self.seeds.map(|seeds| format!("train.seeds={seeds}")));
        config
    }

    /// How the command that goes on differs from the one that was stopped.
    pub(crate) fn same_command(&self) -> &'static str {
        match self.restart {
            true => "the same command without --restart goes on",
            false => "the same command goes on",
        }
    }
}

/// Where networks are trained.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DeviceArgs {
    /// Train networks on the CPU or on an NVIDIA GPU; `epnas devices` lists what there is [default: what the run was
    /// begun on, cpu for a new one].
    #[arg(long, value_name = "cpu|cuda|cuda:N", value_parser = parse_device)]
    device: Option<Place>,
}

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// By its number.
    Cuda(usize),
}

impl Place {
    pub(crate) fn kind(self) -> DeviceKind {
        match self {
            Place::Cpu => DeviceKind::Cpu,
            Place::Cuda(_) => DeviceKind::Cuda,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Cpu => f.write_str("cpu"),
            Place::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

pub(crate) fn parse_device(text: &str) -> Result<Place, String> {
    let number = |text: &str| text.parse().map(Place::Cuda).ok();
    let place = match text.split_once(':') {
        None if text == "cpu" => Some(Place::Cpu),
        None if text == "cuda" => Some(Place::Cuda(0)),
        Some(("cuda", ordinal)) => number(ordinal),
        _ => None,
    };
    place.ok_or_else(|| "expected cpu, cuda or cuda:N with the number of a GPU".to_owned())
}

impl DeviceArgs {
    /// What was asked for, if anything.
    pub(crate) fn kind(&self) -> Option<DeviceKind> {
        self.device.map(Place::kind)
    }

    /// The device, for the run in a folder if there is one.
    pub(crate) fn compute(&self, run: Option<&Path>) -> anyhow::Result<Compute> {
        let place = match (self.device, run) {
            (Some(place), _) => place,
            (None, None) => Place::Cpu,
            (None, Some(run)) => {
                match run_device(&RunFolder::new(run)).map_err(failure::of_search)? {
                    DeviceKind::Cpu => Place::Cpu,
                    DeviceKind::Cuda => Place::Cuda(0),
                }
            }
        };
        match place {
            Place::Cpu => Ok(Compute::cpu()),
            Place::Cuda(ordinal) => gpu(ordinal).with_context(|| match self.device {
                Some(_) => format!("--device cuda:{ordinal}"),
                None => "the run was begun on a GPU".to_owned(),
            }),
        }
    }
}

#[cfg(feature = "cuda")]
fn gpu(ordinal: usize) -> anyhow::Result<Compute> {
    Ok(Compute::gpu(ordinal)?)
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: usize) -> anyhow::Result<Compute> {
    Err(crate::companion::hand_over())
}

/// Ends a command line that clap did not take: help and version as they are, an error in one line as all other errors.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed pipe is no reason to say more.
        let _ = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    output::stderr_line(&one_line(&error.render().to_string()));
    ExitCode::from(2)
}

/// The message and the tips, without the usage.
fn one_line(rendered: &str) -> String {
    let paragraphs = rendered.split("\n\n");
    let told =
        paragraphs.filter(|text| !text.starts_with("Usage:") && !text.starts_with("For more"));
    let words: Vec<&str> = told.flat_map(str::split_whitespace).collect();
    format!("{} (see --help)", words.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::{Cli, Place, parse_device};

    /// Texts with examples keep their lines: those that the terminal would break leave orphans. Other texts are wrapped.
    fn check_widths(command: &Command) -> usize {
        const WIDEST: usize = 96;
        let text = command.get_long_about().map(ToString::to_string);
        let text = text.filter(|text| text.contains("\n  epnas "));
        for line in text.iter().flat_map(|text| text.lines()) {
            let width = line.chars().count();
            let name = command.get_name();
            assert!(width <= WIDEST, "{name}: {width} characters: {line}");
        }
        let below: usize = command.get_subcommands().map(check_widths).sum();
        below + usize::from(text.is_some())
    }

    #[test]
    fn help_fits_a_terminal_of_100_columns() {
        assert_eq!(check_widths(&Cli::command()), 26, "texts with examples");
    }

    #[test]
    fn devices_have_names() {
        assert_eq!(parse_device("cpu"), Ok(Place::Cpu));
        assert_eq!(parse_device("cuda"), Ok(Place::Cuda(0)));
        assert_eq!(parse_device("cuda:3"), Ok(Place::Cuda(3)));
        for wrong in ["", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(parse_device(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
