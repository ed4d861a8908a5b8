//! Strategies on a table of known accuracies.

use std::path::Path;
use std::sync::Arc;

use epnas_report::curves::{self, CurvePoint, Labels, Scale, Series};
use epnas_search::compare::Point;
use epnas_search::compare::table::StrategyResult;
use epnas_search::{
    ComparisonResult, SearchConfig, StrategyKind, Table, compare_on_table, write_atomic,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Better, CompareArgs, against_random, few, folder};
use crate::arguments::{Global, SettingsArgs};
use crate::failure::{self, OrUsage, usage};
use crate::inputs;
use crate::output;

/// How strategies search unless told otherwise.
const PRESET: &str = "table";

/// Trials of a strategy, which take milliseconds.
const TRIALS: u64 = 100;

/// Numbers of children.
const BUDGETS: [u64; 2] = [100, 300];

/// What a surrogate must be asked about: architectures of every length.
fn require_prefixes(
    table: &Table,
    mut strategies: impl Iterator<Item = StrategyKind>,
) -> anyhow::Result<()> {
    let progressive = strategies.find(|kind| kind.is_progressive());
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

/// What a search of a table does not look at.
fn refuse_untimed(search: &SearchConfig) -> anyhow::Result<()> {
    let expected = "none: --budget counts the children of searches on a table";
    for (key, value) in [
        ("search.budget", search.budget.clone()),
        ("search.children", search.children.map(|n| n.to_string())),
    ] {
        if let Some(value) = value {
            return Err(usage(format_args!("{key} is {value}, expected {expected}")));
        }
    }
    Ok(())
}

pub(super) fn run(args: &CompareArgs, table: &Path, global: &Global) -> anyhow::Result<()> {
    let settings = SettingsArgs {
        config: Some(
            args.config
                .settings
                .config
                .clone()
                .unwrap_or_else(|| PRESET.to_owned()),
        ),
        ..args.config.settings.clone()
    };
    let config = inputs::settings(&settings, global)?;
    let table = Arc::new(Table::read(table).or_usage()?);
    refuse_untimed(&config.search)?;
    let mut trials = args.trials(TRIALS)?;
    if args.strategy.is_empty() && !table.knows_prefixes() {
        trials.retain(|kind, _| !kind.is_progressive());
        if !global.quiet {
            output::stderr_line(
                "epnas and pnas are left out: they grow architectures level by level, and the table has no shorter ones \
                 (docs/tables.md)",
            );
        }
    }
    require_prefixes(&table, trials.keys().copied())?;
    let bar = ProgressBar::new(trials.values().sum());
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} searches, {eta} left",
    )?);
    if global.quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let result = compare_on_table(&config, &table, trials, args.budgets(&BUDGETS), &|_| {
        bar.inc(1)
    });
    bar.finish_and_clear();
    let result = result.map_err(failure::of_search)?;
    if let Some(out) = &args.out {
        write(&result, out)?;
    }
    output::print_as(global.format(), &result, text)
}

/// `compare.json` and `compare.svg`.
fn write(result: &ComparisonResult, out: &Path) -> anyhow::Result<()> {
    folder(out)?;
    let json = serde_json::to_string_pretty(result)? + "\n";
    write_atomic(&out.join("compare.json"), json.as_bytes())?;
    let series = |(name, strategy): (&String, &StrategyResult)| {
        // The first few children, of progressive searches above all, are so bad that nothing else could be seen.
        let last = strategy.curve.last().map_or(0, |point| point.budget);
        let shown = strategy
            .curve
            .iter()
            .filter(|point| 10 * point.budget >= last);
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

pub(super) fn point(point: &Point) -> CurvePoint {
    CurvePoint {
        x: point.budget as f64,
        mean: point.mean,
        low: point.low,
        high: point.high,
    }
}

fn text(result: &ComparisonResult) -> String {
    let within = match result.limits.is_unlimited() {
        true => "",
        false => " within the limits",
    };
    let mut text = format!(
        "{}: {} architectures, the best{within} {:.2}%; seed {}\n",
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
                against_random(regret, Better::Less),
                strategy.trials.to_string(),
                format!("{:.3}", strategy.seconds_per_trial),
            ]);
        }
    }
    text.push_str(&output::table(&header, &rows));
    text.push_str(&few(result.strategies.values().map(|one| one.trials)));
    text
}
