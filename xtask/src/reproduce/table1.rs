//! Table 1: errors, sizes and costs of networks that were made by hand, found by others, and found here.

use anyhow::{Context, Result};
use serde_json::Value;

use super::lab::Lab;
use super::page::{Page, spread, time};
use super::scale::{Kind, Scale};

/// A row of the paper's table.
struct Cited {
    method: &'static str,
    gpus: &'static str,
    days: &'static str,
    params: &'static str,
    error: &'static str,
}

const fn cited(
    method: &'static str,
    gpus: &'static str,
    days: &'static str,
    params: &'static str,
    error: &'static str,
) -> Cited {
    Cited {
        method,
        gpus,
        days,
        params,
        error,
    }
}

/// As printed in the paper.
const CITED: [Cited; 15] = [
    cited("ResNet", "-", "-", "1.7", "6.43"),
    cited("DenseNet", "-", "-", "25.6", "3.46"),
    cited("Super Nets", "-", "-", "-", "9.21"),
    cited("ConvFabrics", "-", "-", "21.2", "7.43"),
    cited("SMASH", "1", "1.5", "16.0", "4.03"),
    cited("QNAS", "10", "10", "11.2", "6.92"),
    cited("NAS", "800", "28", "37.4", "3.65"),
    cited("ENAS macro", "1", "0.32", "21.3", "4.23"),
    cited("EPNAS macro", "1", "1.2", "5.9", "5.14"),
    cited("EPNAS macro, more channels", "1", "1.2", "38.8", "4.01"),
    cited("NASNet micro", "450", "4", "3.3", "3.41"),
    cited("ENAS micro", "1", "0.45", "4.6", "3.54"),
    cited("PNAS micro", "100", "1.5", "3.2", "3.63"),
    cited("EPNAS micro", "1", "1.8", "1.6", "5.69"),
    cited("EPNAS micro, more channels", "1", "1.8", "6.6", "3.71"),
];

/// What a row of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    HandMade(&'static str),
    /// A found network with so many channels.
    Found(Kind, usize),
}

/// Whether a row of the paper's is trained here too: the folder's name and the network.
fn ours(method: &str, scale: Scale) -> Option<(&'static str, Ours)> {
    let [resnet, densenet] = scale.hand_made();
    let channels = |kind, which: usize| Ours::Found(kind, scale.channels(kind)[which]);
    Some(match method {
        "ResNet" => ("resnet", Ours::HandMade(resnet)),
        "DenseNet" => ("densenet", Ours::HandMade(densenet)),
        "EPNAS macro" => ("macro-trained", channels(Kind::Macro, 0)),
        "EPNAS macro, more channels" => ("macro-wider", channels(Kind::Macro, 1)),
        "EPNAS micro" => ("micro-trained", channels(Kind::Micro, 0)),
        "EPNAS micro, more channels" => ("micro-wider", channels(Kind::Micro, 1)),
        _ => return None,
    })
}

/// A network that was trained with one seed.
struct Trained {
    method: &'static str,
    seed: u64,
    network: String,
    params: f64,
    error: f64,
    epochs: f64,
    seconds: f64,
    /// Of the search that found it.
    search_seconds: Option<f64>,
    device: String,
}

impl Trained {
    fn new(
        method: &'static str,
        seed: u64,
        report: &Value,
        search_seconds: Option<f64>,
    ) -> Result<Trained> {
        let number = |key: &str| {
            report[key]
                .as_f64()
                .with_context(|| format!("{method}, seed {seed}: `epnas train` reports no {key}"))
        };
        Ok(Trained {
            method,
            seed,
            network: report["architecture"].as_str().unwrap_or("?").to_owned(),
            params: number("params")?,
            error: 100.0 * (1.0 - number("test_accuracy")?),
            epochs: number("epochs")?,
            seconds: number("seconds")?,
            search_seconds,
            device: report["device"].as_str().unwrap_or("?").to_owned(),
        })
    }
}

pub(super) fn page(lab: &mut Lab) -> Result<Page> {
    let mut page = Page::new("Table 1: architecture search on CIFAR-10");
    let mut searches = Vec::new();
    for kind in [Kind::Macro, Kind::Micro] {
        for seed in 1..=lab.seeds {
            let (_, best) = lab.search(kind, seed)?;
            page.machine(machine(&best));
            searches.push((kind, seed, best));
        }
    }
    let mut trained = Vec::new();
    for row in &CITED {
        let Some((name, what)) = ours(row.method, lab.scale) else {
            continue;
        };
        for seed in 1..=lab.seeds {
            trained.push(train(lab, row.method, name, what, seed, &searches)?);
        }
    }
    if lab.scale == Scale::Smoke {
        page.paragraph(
            "**The networks of this page were trained on a few built-in synthetic images. Its errors show that everything runs; they \
             are no results on CIFAR-10.**",
        );
    }
    page.paragraph(
        "Left, what the paper prints; the figures of other methods are cited from it and were not measured here. Right, what was \
         found and trained here: test error of the last epoch, mean and sample standard deviation over seeds.",
    );
    page.table(&compared(&trained));
    page.heading("Searches");
    page.paragraph(
        "An estimate is a validation accuracy measured with weights shared among all children. It ranks networks; it is not the \
         accuracy of any of them.",
    );
    page.table(&searched(&searches));
    page.heading("Trainings from scratch");
    page.table(&each(&trained));
    page.deviations(&[
        "Errors here are test errors after the last epoch; the paper's caption calls its own validation errors, beside others' \
         test errors.",
        "Which network is trained is decided by brief retraining of the best few by estimate; the paper takes the best by estimate.",
        "NASNet's recipe is used without its auxiliary head and scheduled drop-path.",
        "ResNet and DenseNet are trained by the recipe of the found networks, not by their authors'. The ResNet's shortcuts are \
         option B, the DenseNet pools 3x3 in transitions.",
        "The paper's micro rows, 1.6 M parameters at 96 channels and 6.6 M at 128, cannot be one cell: the channels allow a factor \
         of 1.78 at most. Both of ours are one cell.",
        "The paper does not say over how many runs its figures are, nor what they spread.",
        "PNAS takes 100 GPUs for 2 days in the paper's introduction, 1.5 in its table.",
    ]);
    page.deviations(lab.scale.deviations());
    Ok(page)
}

fn train(
    lab: &mut Lab,
    method: &'static str,
    name: &str,
    what: Ours,
    seed: u64,
    searches: &[(Kind, u64, Value)],
) -> Result<Trained> {
    match what {
        Ours::HandMade(network) => {
            let report = lab.train(name, network, Kind::Macro, None, seed)?;
            Trained::new(method, seed, &report, None)
        }
        Ours::Found(kind, channels) => {
            let found = searches.iter().find(|(k, s, _)| (*k, *s) == (kind, seed));
            let (_, _, best) = found.context("every space is searched with every seed")?;
            let network = best["architecture"]
                .as_str()
                .context("best.json names no architecture")?;
            let report = lab.train(name, network, kind, Some(channels), seed)?;
            Trained::new(method, seed, &report, Some(search_seconds(best)))
        }
    }
}

/// The paper's rows with ours beside them.
fn compared(trained: &[Trained]) -> Vec<Vec<String>> {
    let mut rows = vec![
        [
            "method",
            "GPUs",
            "days",
            "parameters (M)",
            "error (%)",
            "here: parameters (M)",
            "here: test error (%)",
            "here: search",
            "here: training",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for row in &CITED {
        let mine: Vec<&Trained> = trained.iter().filter(|t| t.method == row.method).collect();
        let mean = |values: Vec<f64>| match values.len() {
            0 => "-".to_owned(),
            n => time(values.iter().sum::<f64>() / n as f64),
        };
        let of = |f: &dyn Fn(&Trained) -> f64| mine.iter().map(|t| f(t)).collect::<Vec<f64>>();
        let (sizes, errors) = (of(&|t| t.params / 1e6), of(&|t| t.error));
        let searches = mine.iter().filter_map(|t| t.search_seconds).collect();
        let mut cells = [row.method, row.gpus, row.days, row.params, row.error]
            .map(str::to_owned)
            .to_vec();
        cells.extend([
            range(&sizes),
            spread(&errors, 2, ""),
            mean(searches),
            mean(of(&|t| t.seconds)),
        ]);
        rows.push(cells);
    }
    rows
}

/// Sizes that need not be the same for every seed.
fn range(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let digits = if greatest < 0.1 { 4 } else { 2 };
    let [least, greatest] = [least, greatest].map(|v| format!("{v:.digits$}"));
    match values {
        [] => "-".to_owned(),
        _ if least == greatest => least,
        _ => format!("{least} to {greatest}"),
    }
}

fn searched(searches: &[(Kind, u64, Value)]) -> Vec<Vec<String>> {
    let mut rows = vec![
        [
            "space",
            "seed",
            "found",
            "estimate, shared weights",
            "validation accuracy, retrained briefly",
            "children",
            "search",
            "selection",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |v| format!("{v:.3}"));
    for (kind, seed, best) in searches {
        rows.push(vec![
            kind.name().to_owned(),
            seed.to_string(),
            format!("`{}`", best["architecture"].as_str().unwrap_or("?")),
            number(&best["estimate"]),
            format!(
                "{} (epochs: {})",
                number(&best["retrained_accuracy"]),
                best["retrained_epochs"]
            ),
            best["cost"]["children"].to_string(),
            time(best["cost"]["seconds"].as_f64().unwrap_or(f64::NAN)),
            time(
                best["selection_cost"]["seconds"]
                    .as_f64()
                    .unwrap_or(f64::NAN),
            ),
        ]);
    }
    rows
}

fn each(trained: &[Trained]) -> Vec<Vec<String>> {
    let head = [
        "row",
        "seed",
        "network",
        "parameters",
        "test error (%)",
        "epochs",
        "time",
        "device",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for t in trained {
        rows.push(vec![
            t.method.to_owned(),
            t.seed.to_string(),
            format!("`{}`", t.network),
            t.params.to_string(),
            format!("{:.2}", t.error),
            t.epochs.to_string(),
            time(t.seconds),
            t.device.clone(),
        ]);
    }
    rows
}

/// Seconds of search and selection.
fn search_seconds(best: &Value) -> f64 {
    ["cost", "selection_cost"]
        .iter()
        .filter_map(|cost| best[cost]["seconds"].as_f64())
        .sum()
}

/// The machine of a search.
pub(super) fn machine(best: &Value) -> String {
    let machine = &best["machine"];
    let text = |key: &str| machine[key].as_str().unwrap_or("?").to_owned();
    format!(
        "{} of {}, {}; trained on {}",
        machine["cores"],
        text("cpu"),
        text("os"),
        text("device")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::lab::tests::finished;
    use super::*;

    fn best(architecture: &str) -> Value {
        json!({
            "architecture": architecture, "estimate": 0.25, "retrained_accuracy": 0.5, "retrained_epochs": 1,
            "cost": { "children": 9, "seconds": 100.0 }, "selection_cost": { "seconds": 20.0 },
            "machine": { "cpu": "a CPU", "cores": 2, "os": "linux", "device": "cpu" },
        })
    }

    fn report(network: &str, test_accuracy: f64) -> Value {
        json!({ "network": network, "report": {
            "architecture": network, "params": 1_730_714, "test_accuracy": test_accuracy, "epochs": 4,
            "seconds": 60.0, "device": "cpu",
        } })
    }

    #[test]
    fn our_figures_stand_beside_the_papers() {
        let mut files = Vec::new();
        for seed in ["1", "2"] {
            let error = if seed == "1" { 0.04 } else { 0.06 };
            for (space, network) in [("macro", "macro:c3.0"), ("micro", "micro:c3.-2+c3.-1")] {
                files.push((format!("{space}-{seed}.json"), best(network)));
                for name in ["trained", "wider"] {
                    let file = format!("{space}-{name}-{seed}.json");
                    files.push((file, report(network, 1.0 - error)));
                }
            }
            for (name, network) in [("resnet", "resnet:8"), ("densenet", "densenet:13k8")] {
                files.push((format!("{name}-{seed}.json"), report(network, 1.0 - error)));
            }
        }
        let files: Vec<(&str, Value)> =
            files.iter().map(|(f, v)| (f.as_str(), v.clone())).collect();
        let mut lab = finished("table1", &files);
        let text = page(&mut lab).unwrap().finish("table1", &lab);
        for line in [
            "| ResNet | - | - | 1.7 | 6.43 | 1.73 | 5.00 ± 1.41 (2 seeds) | - | 60 s |",
            "| EPNAS macro | 1 | 1.2 | 5.9 | 5.14 | 1.73 | 5.00 ± 1.41 (2 seeds) | 2 min | 60 s |",
            "| ENAS micro | 1 | 0.45 | 4.6 | 3.54 | - | - | - | - |",
            "| macro | 1 | `macro:c3.0` | 0.250 | 0.500 (epochs: 1) | 9 | 100 s | 20 s |",
            "| DenseNet | 2 | `densenet:13k8` | 1730714 | 6.00 | 4 | 60 s | cpu |",
            "they are no results on CIFAR-10",
            "- machine: 2 of a CPU, linux; trained on cpu",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        // Two searches and six trainings, those of the first seed, as one would type them.
        assert_eq!(lab.commands.len(), 8);
        std::fs::remove_dir_all(&lab.dir).unwrap();
    }

    #[test]
    fn a_training_without_test_images_is_an_error() {
        let report = json!({ "params": 1, "epochs": 1, "seconds": 1.0, "test_accuracy": null });
        let error = Trained::new("ResNet", 1, &report, None)
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "ResNet, seed 1: `epnas train` reports no test_accuracy"
        );
    }
}
