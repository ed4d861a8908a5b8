//! What `epnas search --dry-run` prints.

use std::time::Duration;

use epnas_search::{Config, DryRun};

use crate::output::{grouped, table};
use crate::progress::duration;

pub(super) fn text(forecast: &DryRun, config: &Config) -> String {
    let size = forecast
        .cardinality
        .as_ref()
        .map_or_else(|| "more than 3e38".to_owned(), grouped);
    let mut text = format!(
        "{} space, {} levels: {size} architectures\n\n",
        config.space.kind(),
        config.space.levels()
    );
    let rows: Vec<Vec<String>> = forecast
        .steps
        .iter()
        .map(|step| {
            vec![
                format!("{}.{}", step.iteration + 1, step.step),
                step.length.to_string(),
                grouped(step.candidates),
                grouped(step.children),
            ]
        })
        .collect();
    text.push_str(&table(&["step", "levels", "candidates", "children"], &rows));
    text.push_str(&format!(
        "\n{} children of {} image passes each, {:.0} images/s for full-length ones\n\n",
        grouped(forecast.children),
        grouped(forecast.images_per_child),
        forecast.images_per_second
    ));
    if let Some(share) = forecast.within_limits {
        let latency = match config.search.limits.latency {
            None => "",
            Some(_) => "; latencies are not measured here",
        };
        text.push_str(&format!(
            "limits: {} of 1,000 networks drawn at random are within search.limits{latency}; candidates beyond are not drawn\n\n",
            grouped((1000.0 * share).round())
        ));
    }
    let seconds = &forecast.seconds;
    let time = |seconds: f64| duration(Duration::from_secs_f64(seconds.max(0.0)));
    let rows: Vec<Vec<String>> = [
        ("children", seconds.children),
        ("scoring", seconds.scoring),
        ("fitting", seconds.fitting),
        ("baseline", seconds.baseline),
        ("selection", seconds.selection),
        ("total", seconds.total),
    ]
    .map(|(part, seconds)| vec![part.to_owned(), time(seconds)])
    .to_vec();
    text.push_str(&table(&["part", "time"], &rows));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    text.push_str(&format!(
        "\nmemory: about {} MiB (images {} MiB, largest network {} MiB)\n",
        grouped(mib(forecast.bytes.total)),
        grouped(mib(forecast.bytes.images)),
        grouped(mib(forecast.bytes.network))
    ));
    text
}
