//! `epnas space`: how much there is to search.

use clap::Args;
use epnas_arch::Encoding;
use epnas_search::{Config, PlannedStep, Schedule, SearchConfig, StrategyKind};
use serde::Serialize;

use crate::arguments::{ConfigArgs, Global};
use crate::failure::OrUsage;
use crate::inputs;
use crate::output::{self, grouped, table};

/// Print the size of a search space and the candidates of every step.
///
/// Elements are the layers or blocks possible at a level, architectures those of exactly that
/// many levels, and candidates those that the surrogate scores in that step of an iteration.
///
/// Examples:
///   epnas space --config cifar10-macro
///   epnas space --set space.kind=micro --set space.ops=eight --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct SpaceArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What `epnas space --json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// `macro` or `micro`.
    space: &'static str,
    /// Full-length architectures, exactly, in decimal; absent when there are more than 128 bits count.
    cardinality: Option<String>,
    /// Its decimal logarithm.
    log10_cardinality: f64,
    /// Names of the operations.
    operations: Vec<&'static str>,
    /// Features per level that the surrogate reads.
    features: usize,
    /// One entry per layer or block.
    levels: Vec<Level>,
    /// Children that the search trains: in the first iteration, and in all.
    children_first_iteration: u64,
    /// Children of all iterations.
    children: u64,
}

/// A layer of the macro space or a block of the micro space.
#[derive(Debug, Serialize)]
struct Level {
    /// From 1.
    level: usize,
    /// Layers or blocks possible at this level.
    elements: u64,
    /// Architectures of exactly this many levels, in decimal.
    architectures: Option<String>,
    /// Candidates of this step, with `search.children_per_step` parents.
    candidates: u64,
    /// Children trained in this step of the first iteration.
    children: u64,
}

pub(crate) fn run(args: &SpaceArgs, global: &Global) -> anyhow::Result<()> {
    let config = inputs::config(&args.config, global)?;
    config.space.validate().or_usage()?;
    output::print_as(global.format(), &report(&config), text)
}

fn report(config: &Config) -> Report {
    let space = &config.space;
    let progressive = SearchConfig {
        strategy: StrategyKind::Epnas,
        ..config.search.clone()
    };
    let schedule = Schedule::new(space, &progressive);
    let first: Vec<_> = schedule
        .steps
        .iter()
        .filter(|step| step.iteration == 0)
        .collect();
    let level = |step: &&PlannedStep| Level {
        level: step.step,
        elements: space.level_len(step.step),
        architectures: space
            .cumulative(step.step)
            .ok()
            .map(|count| count.to_string()),
        candidates: step.candidates,
        children: step.children,
    };
    Report {
        space: space.kind(),
        cardinality: space.cardinality().ok().map(|count| count.to_string()),
        log10_cardinality: space.log10_cumulative(space.levels()),
        operations: space.ops().iter().map(|op| op.name()).collect(),
        features: space.features(Encoding::OneHot),
        levels: first.iter().map(level).collect(),
        children_first_iteration: first.iter().map(|step| step.children).sum(),
        children: schedule.children(),
    }
}

fn text(report: &Report) -> String {
    let about = |log10: f64| format!("about {:.3}e{}", 10f64.powf(log10.fract()), log10.trunc());
    let exact = report
        .cardinality
        .as_ref()
        .map_or_else(|| about(report.log10_cardinality), grouped);
    let mut text = format!(
        "{} space: {exact} architectures of {} levels\noperations: {}\n\n",
        report.space,
        report.levels.len(),
        report.operations.join(", ")
    );
    let rows: Vec<Vec<String>> = report
        .levels
        .iter()
        .map(|level| {
            vec![
                level.level.to_string(),
                grouped(level.elements),
                level
                    .architectures
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), grouped),
                grouped(level.candidates),
                grouped(level.children),
            ]
        })
        .collect();
    text.push_str(&table(
        &[
            "level",
            "elements",
            "architectures",
            "candidates",
            "children",
        ],
        &rows,
    ));
    text.push_str(&format!(
        "\nchildren: {} in the first iteration, {} in all\n",
        grouped(report.children_first_iteration),
        grouped(report.children)
    ));
    text
}
