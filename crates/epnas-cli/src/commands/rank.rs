//! `epnas rank`: how much a run's estimates tell.

mod drawing;

use std::path::{Path, PathBuf};

use clap::Args;
use epnas_search::rank::{PredictorScores, Score};
use epnas_search::{RankOptions, RankReport, Ranked, RunFolder, Session, write_atomic};

use crate::arguments::{ConfigArgs, DeviceArgs, Global};
use crate::failure::{self, usage};
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::output::{self, Format, table};
use crate::progress::percent;
use crate::watcher::Watcher;

/// Retrain some architectures from scratch and see how well the estimates of a run rank them.
///
/// Half of the architectures are children of the run, half are drawn from the space. Each is
/// estimated in every way there is: by a child's brief training on a copy of the run's last
/// shared weights, by those weights as they are (both with each kind of batch-norm statistics),
/// by the surrogate, and by size alone. Then it is retrained from scratch as `epnas select` does,
/// and the orders are compared; brackets hold 95% intervals over architectures.
///
/// The run folder gets rank.jsonl (a line per architecture, written at once), rank.json (the
/// result) and rank.svg (a drawing). The same command with a larger -n adds architectures to
/// those that it has.
///
/// Examples:
///   epnas rank runs/demo
///   epnas rank runs/demo -n 50 --epochs 20
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RankArgs {
    /// Run folder.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// How many architectures.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(2..=100_000))]
    architectures: u32,

    /// Epochs of each retraining [default: `select.epochs` of the run].
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    #[command(flatten)]
    device: DeviceArgs,

    /// Folder of the images, if they have moved since.
    #[arg(short, long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(crate) fn run(args: &RankArgs, global: &Global) -> anyhow::Result<()> {
    let stored = inputs::run_config(&args.run)?;
    let stored =
        stored.ok_or_else(|| usage(format_args!("{} holds no run", args.run.display())))?;
    let options = RankOptions {
        architectures: args.architectures as usize,
        seed: global.seed.unwrap_or(stored.seed),
    };
    let mut changes = ConfigArgs {
        data: args.data.clone(),
        ..ConfigArgs::default()
    };
    let epochs = args.epochs.map(|epochs| format!("select.epochs={epochs}"));
    changes.settings.set.extend(epochs);
    // Another seed would divide the images differently, and validate on what the shared weights have learnt.
    let own_seed = Global {
        seed: None,
        ..global.clone()
    };
    let config = inputs::adjusted(stored, &changes, &own_seed)?;
    let session = Session::new(config).map_err(failure::of_search)?;
    let session = session.with_compute(args.device.compute(Some(&args.run))?);
    session.dataset().map_err(failure::of_search)?;
    let interrupt = Interrupt::catch()?;
    let session = session.with_stop(interrupt.stop());
    let mut watcher = Watcher::new(global, &interrupt);
    let ranked = session.rank(&args.run, options, &mut watcher);
    drop(watcher);
    let ranked = ranked.map_err(failure::of_search)?;
    draw(&ranked, &args.run)?;
    let printed = print(&ranked.report, &args.run, global.format());
    if interrupt.is_set() {
        // A reader that has gone is no reason to end otherwise.
        return Err(interrupt.end("what was retrained is saved; the same command goes on"));
    }
    printed
}

/// Writes `rank.svg`, as far as there is something to draw.
fn draw(ranked: &Ranked, run: &Path) -> anyhow::Result<()> {
    let Some(svg) = drawing::svg(ranked)? else {
        return Ok(());
    };
    let path = RunFolder::new(run).rank_drawing();
    Ok(write_atomic(&path, svg.as_bytes())?)
}

fn print(report: &RankReport, run: &Path, format: Format) -> anyhow::Result<()> {
    output::print_as(format, report, |report| {
        let precision = format!("best {}", report.all.first().map_or(1, |scores| scores.k));
        let header = [
            "predictor",
            "Kendall tau",
            "Spearman",
            &precision,
            "tau, run",
            "tau, space",
            "each",
        ];
        let rows: Vec<Vec<String>> = report.all.iter().map(|row| cells(report, row)).collect();
        let mut text = table(&header, &rows);
        text.push('\n');
        if let Some(retrained) = &report.retrained {
            text.push_str(&format!(
                "retrained      {} architectures for {}, {:.1} s each: {} to {}, mean {}\n",
                report.architectures,
                output::epochs(retrained.epochs),
                retrained.seconds,
                percent(retrained.lowest),
                percent(retrained.highest),
                percent(retrained.mean),
            ));
        }
        if report.failed > 0 {
            text.push_str(&format!("failed         {}\n", report.failed));
        }
        text.push_str(&format!("search's own   {}\n", report.search_estimate));
        for note in &report.notes {
            text.push_str(&format!("note           {note}\n"));
        }
        let drawing = RunFolder::new(run).rank_drawing();
        text.push_str(&format!("drawing        {}\n", drawing.display()));
        text
    })
}

fn cells(report: &RankReport, row: &PredictorScores) -> Vec<String> {
    let among = |group: &[PredictorScores]| {
        let scores = group
            .iter()
            .find(|scores| scores.predictor == row.predictor);
        let tau = scores.and_then(|scores| scores.kendall_tau);
        tau.map_or_else(dash, |score| number(score.value))
    };
    vec![
        row.predictor.to_string(),
        row.kendall_tau.map_or_else(dash, with_interval),
        row.spearman.map_or_else(dash, with_interval),
        row.precision_at_k.map_or_else(dash, with_interval),
        among(&report.run),
        among(&report.space),
        row.seconds.map_or_else(dash, |seconds| match seconds {
            less if less < 0.01 => format!("{:.2} ms", seconds * 1e3),
            _ => format!("{seconds:.2} s"),
        }),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

fn number(value: f64) -> String {
    // Not "-0.00".
    format!("{:.2}", (value * 100.0).round() / 100.0 + 0.0)
}

fn with_interval(score: Score) -> String {
    let interval = score.ci95.map_or_else(dash, |(low, high)| {
        format!("[{}, {}]", number(low), number(high))
    });
    format!("{} {interval}", number(score.value))
}
