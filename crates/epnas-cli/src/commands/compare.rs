//! `epnas compare`: strategies side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use epnas_report::curves::{self, CurvePoint, Labels, Scale, Series};
use epnas_search::compare::{Point, StrategyResult};
use epnas_search::{ComparisonResult, StrategyKind, Table, compare_on_table, write_atomic};
use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{Global, SettingsArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::output;

/// How strategies search unless told otherwise.
const PRESET: &str = "table";

/// Compare strategies on a table of known accuracies.
///
/// Every strategy searches the table many times, each time as if it could train every network
/// once. Told is the regret: how many points of accuracy the network that looked best is worse
/// than the best of the table, both by mean accuracy over the recorded trainings; with its 95%
/// interval, and the probability of such a difference from random search by chance. The table is
/// NAS-Bench-Macro's JSON file, or one of your own (docs/tables.md). How strategies search is the
/// preset `table`, unless --config says otherwise.
///
/// Examples:
///   epnas compare --table nas-bench-macro_cifar10.json
///   epnas compare --table own.csv --strategy epnas,random --budget 50,200 --trials 500 --json
///   epnas compare --table own.csv --set search.temperature.final=1 --out comparison
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompareArgs {
    /// Table of known accuracies: .json or .csv.
    #[arg(long, value_name = "FILE")]
    table: PathBuf,

    /// Strategies: epnas, pnas, random, regularized_evolution, local_search, enas [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    strategy: Vec<StrategyKind>,

    /// Numbers of children after which to tell the regret.
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "100,300",
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    budget: Vec<u64>,

    /// Searches of each strategy; `NAME=N` sets that of one, e.g. `1000,epnas=100`.
    #[arg(long, value_name = "N,NAME=N,..", value_delimiter = ',', default_value = "100", value_parser = parse_trials)]
    trials: Vec<Trials>,

    #[command(flatten)]
    settings: SettingsArgs,

    /// Write compare.json and compare.svg to this folder too.
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

/// What a surrogate must be asked about: architectures of every length.
fn require_prefixes(table: &Table, strategies: &[StrategyKind]) -> anyhow::Result<()> {
    let progressive = strategies.iter().find(|kind| kind.is_progressive());
    match progressive.filter(|_| !table.knows_prefixes()) {
        None => Ok(()),
        Some(kind) => Err(usage(format_args!(
            "{} grows architectures level by level, but {} has no shorter ones; give them rows of their own, or the \
             table a `padding`",
            kind.name(),
            table.name()
        ))),
    }
}

pub(crate) fn run(args: &CompareArgs, global: &Global) -> anyhow::Result<()> {
    let mut settings = args.settings.clone();
    let preset = || PRESET.to_owned();
    settings.config.get_or_insert_with(preset);
    let config = inputs::settings(&settings, global)?;
    let table = Arc::new(Table::read(&args.table).or_usage()?);
    let strategies = match &args.strategy[..] {
        [] => StrategyKind::ALL.to_vec(),
        given => given.to_vec(),
    };
    require_prefixes(&table, &strategies)?;
    let number = |kind: StrategyKind| {
        let own = args.trials.iter().rfind(|trials| trials.of == Some(kind));
        let all = args.trials.iter().rfind(|trials| trials.of.is_none());
        own.or(all).map_or(100, |trials| trials.number)
    };
    let trials: BTreeMap<StrategyKind, u64> = strategies
        .into_iter()
        .map(|kind| (kind, number(kind)))
        .collect();
    let bar = ProgressBar::new(trials.values().sum());
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} searches, {eta} left",
    )?);
    if global.quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let budgets = args.budget.clone();
    let result = compare_on_table(&config, &table, trials, budgets, &|_| bar.inc(1));
    bar.finish_and_clear();
    let result = result.map_err(failure::of_search)?;
    if let Some(out) = &args.out {
        write(&result, out)?;
    }
    output::print_as(global.format(), &result, text)
}

/// `compare.json` and `compare.svg`.
fn write(result: &ComparisonResult, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let json = serde_json::to_string_pretty(result)? + "\n";
    write_atomic(&out.join("compare.json"), json.as_bytes())?;
    let series = |(name, strategy): (&String, &StrategyResult)| {
        // The first few children, of progressive searches above all, are so bad that nothing else could be seen.
        let last = strategy.curve.last().map_or(0, |point| point.children);
        let shown = strategy
            .curve
            .iter()
            .filter(|point| 10 * point.children >= last);
        Series {
            name: name.clone(),
            points: shown.map(point).collect(),
        }
    };
    let series: Vec<Series> = result.strategies.iter().map(series).collect();
    let labels = Labels {
        title: format!("{}: regret, mean and 95% interval", result.table),
        x: "children".to_owned(),
        y: "points of accuracy below the best".to_owned(),
    };
    let svg = curves::lines(&labels, Scale::Log, &series)?;
    Ok(write_atomic(&out.join("compare.svg"), svg.as_bytes())?)
}

fn point(point: &Point) -> CurvePoint {
    CurvePoint {
        x: point.children as f64,
        mean: point.mean,
        low: point.low,
        high: point.high,
    }
}

fn text(result: &ComparisonResult) -> String {
    let mut text = format!(
        "{}: {} architectures, the best {:.2}%; seed {}\n",
        result.table,
        output::grouped(result.architectures),
        100.0 * result.best_accuracy,
        result.seed
    );
    let header = [
        "strategy",
        "children",
        "regret",
        "95% interval",
        "against random",
        "trials",
        "s/trial",
    ];
    let mut rows = Vec::new();
    for (name, strategy) in &result.strategies {
        for (children, regret) in &strategy.regret {
            rows.push(vec![
                name.clone(),
                children.to_string(),
                format!("{:.3}", regret.mean),
                regret.ci95.map_or_else(
                    || "-".to_owned(),
                    |[low, high]| format!("{low:.3} to {high:.3}"),
                ),
                regret
                    .vs_random_p
                    .map_or_else(|| "-".to_owned(), |p| format!("p = {p:.4}")),
                strategy.trials.to_string(),
                format!("{:.3}", strategy.seconds_per_trial),
            ]);
        }
    }
    text.push_str(&output::table(&header, &rows));
    text
}
