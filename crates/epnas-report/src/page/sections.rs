//! The parts of a page: runs, best networks, figures, cost, environment, and the frame of the table.

use epnas_search::select::SelectionRecord;
use epnas_search::statistics::{deviation, mean};
use epnas_search::{RankedCandidate, Record, TotalCost};
use maud::{Markup, PreEscaped, html};

use super::chart::{Chart, large};
use super::drawing;
use super::figures::{self, Figure};
use super::run::{RunPage, Training};
use super::together;
use crate::text::grouped;

/// Networks drawn of the only run of a page, and of each of several.
const DRAWN: usize = 3;
const DRAWN_OF_SEVERAL: usize = 1;

/// All that stands above the table.
pub(super) fn all(runs: &[RunPage]) -> Markup {
    let is_alone = runs.len() == 1;
    html! {
        (overview(runs))
        (trained(runs))
        section aria-labelledby="best-networks" {
            h2 #best-networks { "Best networks" }
            @for run in runs {
                @if !is_alone { h3 { (run.name) } }
                (best(run, if is_alone { DRAWN } else { DRAWN_OF_SEVERAL }))
            }
        }
        @if !is_alone {
            section aria-labelledby="together" {
                h2 #together { "Runs together" }
                @if runs.iter().any(|run| (&run.space, run.network.input) != (&runs[0].space, runs[0].network.input)) {
                    p.note { "These runs searched different spaces, or on images of different sizes: their estimates do not compare." }
                }
                (summary(runs))
                div.figures { @for one in together::figures(runs) { (figure("all", &one)) } }
            }
        }
        @for (number, run) in runs.iter().enumerate() {
            (of_run(number, run, is_alone))
        }
    }
}

/// The networks that were trained from scratch: what a user keeps.
fn trained(runs: &[RunPage]) -> Markup {
    let trained = runs
        .iter()
        .flat_map(|run| run.trainings.iter().map(move |training| (run, training)));
    let trained: Vec<_> = trained
        .filter_map(|(run, training)| Some((run, training, training.result.as_ref()?)))
        .collect();
    html! {
        @if !trained.is_empty() {
            section aria-labelledby="trained" {
                h2 #trained { "Trained networks" }
                div.scroll tabindex="0" {
                    table {
                        thead {
                            tr {
                                @for title in ["run", "network", "epochs", "parameters", "MACs", "validation", "test", "test images"] {
                                    th scope="col" { (title) }
                                }
                            }
                        }
                        tbody {
                            @for (run, training, result) in &trained {
                                tr {
                                    th scope="row" { (run.name) ": " (training.name) }
                                    td { code { (training.architecture.as_deref().unwrap_or("-")) } }
                                    td.number { (training.epochs.len()) }
                                    td.number { (grouped(result.params)) }
                                    td.number { (grouped(result.macs)) }
                                    td.number { (percent(result.validation_accuracy)) }
                                    td.number { (percent(training.test_accuracy())) }
                                    td.number { (count(result.tested.as_ref().map(|tested| tested.images))) }
                                }
                            }
                        }
                    }
                }
                p.note {
                    "From scratch, with as many channels as final training asks for: they are larger than the networks of the same \
                     architecture in the search."
                }
                @for (run, training, result) in &trained {
                    @if let Some(tested) = &result.tested {
                        details {
                            summary { (run.name) ": " (training.name) ", class by class" }
                            table {
                                thead { tr { th scope="col" { "class" } th scope="col" { "test images" } th scope="col" { "recognized" } } }
                                tbody {
                                    @for (class, images, accuracy) in &tested.classes {
                                        tr {
                                            th scope="row" { (class) }
                                            td.number { (grouped(*images)) }
                                            td.number { (percent(*accuracy)) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What repetitions came to: mean and spread over seeds.
fn summary(runs: &[RunPage]) -> Markup {
    let kinds = together::kinds(runs);
    let spread = |values: Vec<f64>| match (mean(&values), deviation(&values)) {
        (None, _) => "-".to_owned(),
        (Some(mean), None) => percent(Some(mean)),
        (Some(mean), Some(off)) => format!(
            "{:.2} ± {:.2}% ({})",
            100.0 * mean,
            100.0 * off,
            values.len()
        ),
    };
    let found = |run: &&RunPage| run.trainings.iter().find_map(Training::test_accuracy);
    html! {
        div.scroll tabindex="0" {
            table {
                thead {
                    tr {
                        @for title in ["searches", "runs", "estimate of the chosen", "retrained briefly", "tested after training",
                            "random: retrained"] {
                            th scope="col" { (title) }
                        }
                    }
                }
                tbody {
                    @for kind in &kinds {
                        @let best = || kind.runs.iter().filter_map(|run| run.best.as_ref());
                        tr {
                            th scope="row" { (kind.name) }
                            td.number { (kind.runs.len()) }
                            td.number { (spread(best().map(|best| best.estimate).collect())) }
                            td.number { (spread(best().filter_map(|best| best.retrained_accuracy).collect())) }
                            td.number { (spread(kind.runs.iter().filter_map(found).collect())) }
                            td.number { (spread(best().filter_map(|best| best.random.as_ref()?.retrained_accuracy).collect())) }
                        }
                    }
                }
            }
        }
        p.note { "Means over runs of the same settings, with the standard deviation between runs and how many they are." }
    }
}

fn of_run(number: usize, run: &RunPage, is_alone: bool) -> Markup {
    let mut shown = figures::figures(number, run);
    if run.is_fleet {
        // Its children are on the page of each search.
        shown.retain(|figure| figure.charts.iter().any(|chart| chart.svg().is_some()));
    }
    let inside = html! {
        div.figures {
            @for one in shown { (figure(&number.to_string(), &one)) }
        }
        (cost(run))
        (environment(run))
    };
    html! {
        @if is_alone {
            section aria-labelledby="search" { h2 #search { "The search" } (inside) }
        } @else {
            details.run { summary { h2 { (run.name) } } (inside) }
        }
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}%", 100.0 * value))
}

fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), grouped)
}

fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, rest) => format!("{minutes} min {rest} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn overview(runs: &[RunPage]) -> Markup {
    let value = |run: &RunPage, key: &str| {
        let text = run.settings.get(key).map_or("", String::as_str);
        text.trim_matches('"').to_owned()
    };
    let has_random = runs.iter().any(|run| !run.random.is_empty());
    let mut titles = vec![
        "run",
        "strategy",
        "seed",
        "children",
        "estimate of the chosen",
        "retrained briefly",
        "tested after training",
    ];
    if has_random {
        titles.extend(["random: estimate of the chosen", "random: retrained"]);
    }
    html! {
        section aria-labelledby="overview" {
            h2 #overview { "Result" }
            div.scroll tabindex="0" {
                table {
                    thead {
                        tr {
                            @for title in titles { th scope="col" { (title) } }
                        }
                    }
                    tbody {
                        @for run in runs {
                            @let top = run.top(1);
                            @let random = run.best.as_ref().and_then(|best| best.random.as_ref());
                            tr {
                                th scope="row" { (run.name) }
                                td { (value(run, "search.strategy")) }
                                td.number { (run.seed()) }
                                td.number { (grouped(children(run))) }
                                td.number { (percent(top.first().map(|found| found.estimate))) }
                                td.number { (percent(top.first().and_then(|found| found.retrained_accuracy))) }
                                td.number { (tests(run)) }
                                @if has_random {
                                    td.number { (percent(random.map(|random| random.estimate))) }
                                    td.number { (percent(random.and_then(|random| random.retrained_accuracy))) }
                                }
                            }
                        }
                    }
                }
            }
            @if runs.iter().any(|run| !run.selection.is_empty()) {
                p.note {
                    "The network chosen is the one that did best when the best few were retrained briefly: its estimate need not be \
                     the highest."
                }
            }
            @for run in runs {
                @for note in run.best.iter().flat_map(|best| &best.notes) {
                    p.note { (run.name) ": " (note) }
                }
                @if let Some(doing) = doing(run) { p.note { (run.name) ": " (doing) } }
            }
        }
    }
}

/// What a run without all its results has come to; nothing is said of one that is finished.
fn doing(run: &RunPage) -> Option<String> {
    let training = run
        .trainings
        .iter()
        .find(|training| training.result.is_none());
    match (&run.best, training) {
        (Some(_), None) => None,
        (Some(_), Some(training)) => Some(format!(
            "final training ({}) has come to the end of epoch {}.",
            training.name,
            training.epochs.len()
        )),
        (None, _) if !run.selection.is_empty() => Some(format!(
            "no result yet; of the best few, {} have been retrained.",
            run.selection.len()
        )),
        (None, _) if run.is_fleet => Some("no result yet.".to_owned()),
        (None, _) if !run.random.is_empty() => Some(format!(
            "no result yet; random search has trained {} children beside the search's {}.",
            run.random.len(),
            run.children.len()
        )),
        (None, _) => Some(format!(
            "no result yet; the search has trained {} children.",
            run.children.len()
        )),
    }
}

/// Those of the page, or of all searches of a fleet.
fn children(run: &RunPage) -> u64 {
    match &run.best {
        Some(best) if run.is_fleet => best.cost.children,
        _ => run.children.len() as u64,
    }
}

/// The test accuracies of the trained networks.
fn tests(run: &RunPage) -> String {
    let tested = run.trainings.iter().filter_map(|training| {
        let accuracy = training.test_accuracy()?;
        Some(match training.name.as_str() {
            "found" => percent(Some(accuracy)),
            name => format!("{} ({name})", percent(Some(accuracy))),
        })
    });
    let tested: Vec<String> = tested.collect();
    match tested.is_empty() {
        true => "-".to_owned(),
        false => tested.join(", "),
    }
}

/// The best few drawn, and random search's winner.
fn best(run: &RunPage, drawn: usize) -> Markup {
    let top = run.top(drawn);
    let random = run.best.as_ref().and_then(|best| best.random.as_ref());
    let network = |title: &str, found: &RankedCandidate| {
        let picture = drawing(run, &found.architecture);
        html! {
            figure.network {
                figcaption {
                    strong { (title) } " "
                    "estimate " (percent(Some(found.estimate)))
                    @if let Some(retrained) = found.retrained_accuracy {
                        ", " (percent(Some(retrained))) " retrained briefly"
                    }
                    "; " (count(found.params)) " parameters, " (count(found.macs)) " MACs in the search."
                    br;
                    code { (found.architecture) }
                }
                @if let Some(picture) = picture {
                    div.scroll tabindex="0" { (PreEscaped(picture)) }
                }
            }
        }
    };
    html! {
        div.networks {
            @if top.is_empty() { p { "No child has an estimate yet." } }
            @for (rank, found) in (1..).zip(&top) {
                (network(&format!("{rank}."), found))
            }
            @if let Some(winner) = random.and_then(|random| random.top.first()) {
                (network("Random search:", winner))
            }
        }
    }
}

fn figure(prefix: &str, figure: &Figure) -> Markup {
    let id = format!("figure-{prefix}-{}", figure.id);
    // One legend for charts that share it.
    let shares = |chart: &Chart| figure.charts.first().map(Chart::legend) == Some(chart.legend());
    let is_shared = figure.charts.iter().all(shares);
    let drawn = figure.charts.iter().map(|chart| (chart, chart.svg()));
    let drawn: Vec<(&Chart, Option<String>)> = drawn.collect();
    let is_empty = drawn.iter().all(|(_, svg)| svg.is_none());
    html! {
        figure.chart.wide[figure.charts.len() > 1] id=(id) aria-labelledby=(format!("{id}-title")) data-charts=(drawn.len()) {
            h3 id=(format!("{id}-title")) { (figure.title) }
            @if is_empty { p.note { "Nothing to show." } }
            @if is_shared && !is_empty {
                @if let Some(first) = figure.charts.first() { (legend(first)) }
            }
            div.plots {
                @for (chart, svg) in &drawn {
                    @if let Some(svg) = svg {
                        div {
                            @if !is_shared { (legend(chart)) }
                            div.plot role="img" aria-label=(format!("{}: {} by {}", figure.title, chart.y.label, chart.x.label)) {
                                (PreEscaped(svg))
                            }
                        }
                    }
                }
            }
            figcaption { (figure.caption) }
        }
    }
}

fn legend(chart: &Chart) -> Markup {
    let names = chart.legend();
    html! {
        @if names.len() > 1 {
            ul.legend {
                @for (name, color, class) in names {
                    li { span class=(format!("key s{color} {class}")) {} (name) }
                }
            }
        }
    }
}

/// A row of the cost table.
struct Spent {
    what: String,
    cost: TotalCost,
}

fn spent(run: &RunPage) -> Vec<Spent> {
    let total = |records: &[Record]| TotalCost {
        children: records.len() as u64,
        images: records.iter().map(|record| record.images).sum(),
        macs: u64::try_from(records.iter().map(Record::training_macs).sum::<u128>())
            .unwrap_or(u64::MAX),
        seconds: records.iter().map(|record| record.seconds).sum(),
    };
    let none = TotalCost {
        children: 0,
        images: 0,
        macs: 0,
        seconds: 0.0,
    };
    let mut rows = Vec::new();
    let mut row = |what: &str, cost: TotalCost| {
        let what = what.to_owned();
        rows.push(Spent { what, cost });
    };
    match (&run.best, run.is_fleet) {
        (Some(best), true) => {
            row("the searches", best.cost);
            if let Some(random) = &best.random {
                row("their random searches", random.cost);
            }
        }
        (None, true) => {}
        (best, false) => {
            let children = total(&run.children);
            row("children of the search", children);
            if let Some(best) = best {
                let seconds = (best.cost.seconds - children.seconds).max(0.0);
                let what = "choosing them: surrogate, sampling, checkpoints";
                row(what, TotalCost { seconds, ..none });
            }
            if !run.random.is_empty() {
                row("random search", total(&run.random));
            }
        }
    }
    if !run.selection.is_empty() {
        let records: &[SelectionRecord] = &run.selection;
        rows.push(Spent {
            what: "brief retraining".to_owned(),
            cost: TotalCost::of_selection(records),
        });
    }
    for training in &run.trainings {
        let images = training.epochs.iter().map(|epoch| epoch.images).sum();
        rows.push(Spent {
            what: format!("final training: {}", training.name),
            cost: TotalCost {
                children: 1,
                images,
                macs: (training.result.as_ref())
                    .map_or(0, |result| result.macs.saturating_mul(images)),
                seconds: training.epochs.iter().map(|epoch| epoch.seconds).sum(),
            },
        });
    }
    rows
}

fn cost(run: &RunPage) -> Markup {
    let rows = spent(run);
    let whole: f64 = rows.iter().map(|row| row.cost.seconds).sum();
    let share = |seconds: f64| 100.0 * seconds / whole.max(f64::MIN_POSITIVE);
    let or_dash = |value: u64| match value {
        0 => "-".to_owned(),
        value => grouped(value),
    };
    html! {
        h3 { "Cost" }
        div.scroll tabindex="0" {
            table.cost {
                thead {
                    tr {
                        @for title in ["what", "networks", "image passes", "training MACs", "time", "share of the time"] {
                            th scope="col" { (title) }
                        }
                    }
                }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { (row.what) }
                            td.number { (or_dash(row.cost.children)) }
                            td.number { (or_dash(row.cost.images)) }
                            td.number { @if row.cost.macs == 0 { "-" } @else { (large(row.cost.macs as f64)) } }
                            td.number { (duration(row.cost.seconds)) }
                            td {
                                span.bar style=(format!("width:{:.2}%", 0.7 * share(row.cost.seconds))) {}
                                (format!("{:.1}%", share(row.cost.seconds)))
                            }
                        }
                    }
                }
            }
        }
        p.note {
            "Multiply-accumulates are those of forward passes over the images trained on. Total time: " (duration(whole)) "."
        }
    }
}

fn environment(run: &RunPage) -> Markup {
    let mut facts = run.facts.clone();
    if let Some(best) = &run.best {
        let machine = &best.machine;
        let more = [
            (
                "processor",
                format!("{}, {} cores", machine.cpu, machine.cores),
            ),
            ("trained on", machine.device.clone()),
            ("system", machine.os.clone()),
            (
                "products of convolutions",
                format!(
                    "{} for children, {} retrained",
                    best.precision.children, best.precision.retrained
                ),
            ),
            ("epnas", best.versions.epnas.clone()),
        ];
        facts.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    html! {
        h3 { "Environment" }
        dl.facts {
            @for (name, value) in &facts { div { dt { (name) } dd { (value) } } }
        }
        details.config {
            summary { "Configuration" }
            pre tabindex="0" { code { (run.config) } }
        }
    }
}

/// Columns of the table: key of the row, title, whether it is a number.
const COLUMNS: [(&str, &str, bool); 12] = [
    ("run", "run", false),
    ("origin", "drawn by", false),
    ("index", "child", true),
    ("iteration", "iteration", true),
    ("step", "step", true),
    ("arch", "network", false),
    ("estimate", "estimate", true),
    ("predicted", "predicted", true),
    ("probability", "probability", true),
    ("params", "parameters", true),
    ("macs", "MACs", true),
    ("seconds", "seconds", true),
];

/// The table's frame; the page's script fills it.
pub(super) fn table(runs: &[RunPage]) -> Markup {
    let columns = COLUMNS
        .iter()
        .filter(|(key, ..)| runs.len() > 1 || *key != "run");
    let choice = |id: &str, name: &str| {
        html! { label { (name) " " select id=(id) { option value="" { "all" } } } }
    };
    html! {
        section #children aria-labelledby="children-title" {
            h2 #children-title { "All children" }
            noscript { p { "The table needs JavaScript; the same data is in history.jsonl." } }
            form #filters role="search" aria-label="Filter children" {
                label { "Network contains " input #filter-arch type="search" placeholder="d5 or c3.0/c5.1" autocomplete="off"; }
                @if runs.len() > 1 { (choice("filter-run", "Run")) }
                (choice("filter-origin", "Drawn by"))
                (choice("filter-iteration", "Iteration"))
                (choice("filter-step", "Step"))
                label { "State " select #filter-state {
                    option value="" { "all" } option value="ok" { "measured" } option value="failed" { "failed" }
                } }
                label { "Estimate at least " input #filter-least type="number" min="0" max="100" step="any"; " %" }
                button type="reset" { "Clear" }
            }
            p.note {
                "In a strip, c3 and c5 are convolutions, d3, d5 and d7 depthwise ones, mp and ap pools, id the identity; arcs are what a \
                 layer reads beside the one before (0 is the stem). A click draws the whole network; titles of columns sort."
            }
            p #shown role="status" aria-live="polite" {}
            div.scroll tabindex="0" {
                table #table {
                    caption.hidden { "Children, with a button in each row that draws the network" }
                    thead {
                        tr {
                            @for (key, title, is_number) in columns {
                                th scope="col" data-key=(key) data-number[*is_number] aria-sort="none" {
                                    button type="button" { (title) }
                                }
                            }
                        }
                    }
                    tbody {}
                }
            }
            nav aria-label="Pages of the table" {
                button #previous type="button" { "Previous" }
                span #place {}
                button #next type="button" { "Next" }
                label { "Rows " select #size {
                    @for size in ["25", "100", "500"] { option value=(size) { (size) } }
                } }
            }
        }
    }
}
