//! `epnas compare`: strategies side by side.

mod networks;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use epnas_search::StrategyKind;
use epnas_search::compare::Summary;

use crate::arguments::{ConfigArgs, DeviceArgs, Global, PrecisionArgs};
use crate::failure::usage;

/// Compare strategies with each other and with random search, over many trials.
///
/// On a table of known accuracies (--table: NAS-Bench-Macro's JSON file, or one of your own,
/// docs/tables.md) every strategy searches many times, each time as if it could train every network
/// once. Told is the regret: how many points of accuracy the network that looked best is worse than
/// the best of the table, both by mean accuracy over the recorded trainings. How strategies search
/// is the preset `table`, unless --config says otherwise.
///
/// Without a table every search trains networks on images, in a run folder of its own under --out.
/// A budget of N is as much training as N average networks of the space take, so all strategies
/// spend the same. Told is the validation accuracy of what each search found, after brief
/// retraining from scratch (`[select]`); estimates of different searches do not compare. The same
/// command goes on after an interruption, and with more trials or budgets adds to what there is.
///
/// With each mean come its 95% interval, and the probability that chance alone makes such a
/// difference from random search.
///
/// Examples:
///   epnas compare --table nas-bench-macro_cifar10.json
///   epnas compare --table own.csv --strategy epnas,random --budget 50,200 --trials 500 --json
///   epnas compare --table own.csv --set search.temperature.final=1 --out comparison
///   epnas compare --config demo --strategy epnas,random --budget 20 --trials 5 --out comparison
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompareArgs {
    /// Table of known accuracies: .json or .csv [default: none, networks are trained].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "device", "precision", "parallel"])]
    table: Option<PathBuf>,

    /// Strategies: epnas, pnas, random, regularized_evolution, local_search, enas [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    strategy: Vec<StrategyKind>,

    /// After how much of a search to tell its result: numbers of children on a table [default: 100,300], else of average
    /// networks whose training is spent [default: the children that the configuration plans].
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=100_000))]
    budget: Vec<u64>,

    /// Searches of each strategy; `NAME=N` sets that of one, e.g. `1000,epnas=100` [default: 100 on a table, else 5].
    #[arg(long, value_name = "N,NAME=N,..", value_delimiter = ',', value_parser = parse_trials)]
    trials: Vec<Trials>,

    /// Searches at a time, when networks are trained; results are the same for any number [default: as many as there are
    /// threads, at most 8; on a GPU 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: Option<u16>,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    precision: PrecisionArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Folder for compare.json and the drawings; where networks are trained, of their runs too.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A number of trials, of one strategy or of those that have none of their own.
#[derive(Debug, Clone, Copy)]
struct Trials {
    of: Option<StrategyKind>,
    number: u64,
}

fn parse_trials(text: &str) -> Result<Trials, String> {
    let (of, number) = match text.split_once('=') {
        Some((name, number)) => (Some(name.parse()?), number),
        None => (None, text),
    };
    let parsed = number
        .parse()
        .ok()
        .filter(|number| (1..=1_000_000).contains(number));
    let number = parsed.ok_or("expected a whole number from 1 to 1000000, or NAME=N")?;
    Ok(Trials { of, number })
}

impl CompareArgs {
    /// Every strategy with its number of trials.
    fn trials(&self, default: u64) -> anyhow::Result<BTreeMap<StrategyKind, u64>> {
        let strategies = match &self.strategy[..] {
            [] => &StrategyKind::ALL,
            given => given,
        };
        for kind in self.trials.iter().filter_map(|trials| trials.of) {
            if !strategies.contains(&kind) {
                let name = kind.name();
                return Err(usage(format_args!(
                    "--trials {name}=..: {name} is not among the strategies of --strategy"
                )));
            }
        }
        if self
            .trials
            .iter()
            .filter(|trials| trials.of.is_none())
            .count()
            > 1
        {
            return Err(usage(
                "--trials takes one number for all strategies, and NAME=N for single ones",
            ));
        }
        let number = |kind: StrategyKind| {
            let own = self.trials.iter().rfind(|trials| trials.of == Some(kind));
            let all = self.trials.iter().rfind(|trials| trials.of.is_none());
            own.or(all).map_or(default, |trials| trials.number)
        };
        Ok(strategies
            .iter()
            .map(|&kind| (kind, number(kind)))
            .collect())
    }

    /// Ascending, each once.
    fn budgets(&self, default: &[u64]) -> Vec<u64> {
        let mut budgets = match &self.budget[..] {
            [] => default.to_vec(),
            given => given.to_vec(),
        };
        budgets.sort_unstable();
        budgets.dedup();
        budgets
    }
}

pub(crate) fn run(args: &CompareArgs, global: &Global) -> anyhow::Result<()> {
    match &args.table {
        Some(table) => table::run(args, table, global),
        None => networks::run(args, global),
    }
}

/// Which of two numbers is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// On which side of random search a mean lies, and how likely so by chance.
fn against_random(summary: &Summary, better: Better) -> String {
    let (Some(p), Some(less)) = (summary.vs_random_p, summary.less_random) else {
        return "-".to_owned();
    };
    let side = match (less < 0.0, less > 0.0, better) {
        (false, false, _) => "equal",
        (true, _, Better::Less) | (_, true, Better::More) => "better",
        _ => "worse",
    };
    format!("{side}, p = {p:.4}")
}

/// A line on what few trials cannot tell.
fn few(trials: impl Iterator<Item = u64>) -> String {
    const FEW: u64 = 5;
    match trials.min() {
        Some(least) if least < FEW => format!(
            "with fewer than {FEW} trials, intervals are too narrow, and no difference is unlikely by chance\n"
        ),
        _ => String::new(),
    }
}

/// Makes the folder of the results.
fn folder(out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))
}
