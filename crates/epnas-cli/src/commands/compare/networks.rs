//! Strategies with networks that are trained, each search in a run folder of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use epnas_report::curves::{self, CurvePoint, Labels, Scale, Series};
use epnas_search::compare::{Point, Summary};
use epnas_search::{
    NetworkComparison, NetworkComparisonResult, Schedule, StrategyKind, TrialProgress, write_atomic,
};
use epnas_supernet::DeviceKind;
use indicatif::{ProgressBar, ProgressStyle};

use super::table::point;
use super::{Better, CompareArgs, against_random, few, folder};
use crate::arguments::Global;
use crate::failure::{self, usage};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, epochs, grouped};
use crate::progress::{duration, percent};

/// Trials of a strategy, which may take hours.
const TRIALS: u64 = 5;

/// Searches at a time unless told otherwise: each keeps its images in memory.
const SIDE_BY_SIDE: usize = 8;

/// Steps of the progress bar for a search.
const STEPS: f64 = 1000.0;

pub(super) fn run(args: &CompareArgs, global: &Global) -> anyhow::Result<()> {
    if args.config.settings.config.is_none() {
        return Err(usage(
            "name a table with --table, or a configuration whose networks are trained with --config, for example `--config \
             demo`",
        ));
    }
    let Some(out) = &args.out else {
        return Err(usage(
            "name a folder for the runs of the comparison with --out",
        ));
    };
    inputs::require_folder(out)?;
    let config = inputs::config(&args.precision.over(&args.config), global)?;
    let planned = Schedule::new(&config.space, &config.search).children();
    let compute = args.device.compute(None)?;
    let side_by_side = match (args.parallel, compute.kind()) {
        (Some(given), _) => usize::from(given),
        (None, DeviceKind::Cpu) => rayon::current_num_threads().min(SIDE_BY_SIDE),
        (None, DeviceKind::Cuda) => 1,
    };
    let trials = args.trials(TRIALS)?;
    let searches: u64 = trials.values().sum();
    let interrupt = Interrupt::catch()?;
    let comparison = NetworkComparison {
        config,
        trials,
        budgets: args.budgets(&[planned]),
        dir: out.clone(),
        compute,
        side_by_side,
        stop: interrupt.stop(),
    };
    comparison.validate().map_err(failure::of_search)?;
    folder(out)?;
    let bar = bar(global, searches)?;
    let shares: Mutex<BTreeMap<(StrategyKind, u64), f64>> = Mutex::default();
    let tell = |progress: TrialProgress| {
        let Ok(mut shares) = shares.lock() else {
            return;
        };
        shares.insert((progress.strategy, progress.seed), progress.share);
        bar.set_position((shares.values().sum::<f64>() * STEPS) as u64);
        let (name, seed) = (progress.strategy.name(), progress.seed);
        bar.set_message(format!("{name}-{seed} {:.0}%", 100.0 * progress.share));
    };
    let result = comparison.run(&tell);
    bar.finish_and_clear();
    let Some(result) = result.map_err(failure::of_search)? else {
        return Err(interrupt.end("every child is saved; the same command goes on"));
    };
    write(&result, out)?;
    output::print_as(global.format(), &result, |result| {
        let mut text = text(result);
        text.push_str(&format!("runs and drawings in {}\n", out.display()));
        text
    })
}

fn bar(global: &Global, searches: u64) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(searches * STEPS as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {percent}% of the searches, {eta} left; {msg}",
    )?);
    if global.quiet {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    Ok(bar)
}

/// `compare.json`, `compare.svg` and `compare-estimates.svg`.
fn write(result: &NetworkComparisonResult, out: &Path) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(result)? + "\n";
    write_atomic(&out.join("compare.json"), json.as_bytes())?;
    let retrained = result.strategies.iter().map(|(name, strategy)| Series {
        name: name.clone(),
        points: strategy.retrained.iter().map(summary).collect(),
    });
    draw(
        &out.join("compare.svg"),
        format!(
            "{}: networks found, retrained, mean and 95% interval",
            result.data
        ),
        "validation accuracy after brief retraining, %",
        retrained.collect(),
    )?;
    let estimates = result.strategies.iter().map(|(name, strategy)| Series {
        name: name.clone(),
        points: strategy.curve.iter().map(in_percent).collect(),
    });
    draw(
        &out.join("compare-estimates.svg"),
        format!(
            "{}: best estimate so far, mean and 95% interval",
            result.data
        ),
        "estimate with each search's own shared weights, %",
        estimates.collect(),
    )
}

fn draw(path: &Path, title: String, y: &str, mut series: Vec<Series>) -> anyhow::Result<()> {
    // Without a point it would be a name in the legend alone.
    series.retain(|series| !series.points.is_empty());
    let labels = Labels {
        title,
        x: "training spent, in average networks".to_owned(),
        y: y.to_owned(),
    };
    match curves::lines(&labels, Scale::Linear, &series) {
        // A budget that is too small for any full-length network.
        Err(curves::DrawError::Empty) => Ok(()),
        svg => Ok(write_atomic(path, svg?.as_bytes())?),
    }
}

fn in_percent(of: &Point) -> CurvePoint {
    let CurvePoint { x, mean, low, high } = point(of);
    CurvePoint {
        x,
        mean: 100.0 * mean,
        low: 100.0 * low,
        high: 100.0 * high,
    }
}

fn summary((&budget, summary): (&u64, &Summary)) -> CurvePoint {
    let mean = 100.0 * summary.mean;
    let [low, high] = summary
        .ci95
        .map_or([mean, mean], |ends| ends.map(|end| 100.0 * end));
    CurvePoint {
        x: budget as f64,
        mean,
        low,
        high,
    }
}

fn text(result: &NetworkComparisonResult) -> String {
    let mut text = format!(
        "{}: validation accuracy of the best of {} by estimate, after {} from scratch; seeds from {}\na budget of 1 is {} \
         multiply-accumulates of training, those of an average network\n",
        result.data,
        result.retrained_top,
        epochs(result.retrained_epochs),
        result.seed,
        grouped(result.network_macs)
    );
    let header = [
        "strategy",
        "budget",
        "children",
        "retrained",
        "95% interval",
        "against random",
        "estimate",
        "trials",
        "a trial",
    ];
    let mut rows = Vec::new();
    for (name, strategy) in &result.strategies {
        for (budget, retrained) in &strategy.retrained {
            let dash = || "-".to_owned();
            rows.push(vec![
                name.clone(),
                budget.to_string(),
                format!("{:.0}", strategy.children[budget]),
                percent(retrained.mean),
                retrained.ci95.map_or_else(dash, |[low, high]| {
                    format!("{} to {}", percent(low), percent(high))
                }),
                against_random(retrained, Better::More),
                percent(strategy.estimate[budget].mean),
                strategy.trials.to_string(),
                duration(Duration::from_secs_f64(strategy.seconds_per_trial)),
            ]);
        }
    }
    text.push_str(&output::table(&header, &rows));
    for (name, strategy) in &result.strategies {
        for &budget in strategy.retrained.keys() {
            let found = strategy
                .searches
                .iter()
                .filter_map(|search| search.found.get(&budget));
            let short = found
                .filter(|found| found.architecture.len() < result.levels)
                .count();
            if short > 0 {
                text.push_str(&format!(
                    "{name}: at a budget of {budget}, {short} of {} searches had no network of all {} levels yet; what is told is \
                     the best of the longest\n",
                    strategy.trials, result.levels
                ));
            }
        }
    }
    text.push_str(&few(result.strategies.values().map(|one| one.trials)));
    text
}
