//! What goes with a trained network: the model card, its learning curve, and what it costs to use.

use std::path::Path;

use anyhow::Context;
use epnas_arch::{Design, Space};
use epnas_report::curves::{self, CurvePoint, Labels, Scale, Series};
use epnas_report::{card, diagram};
use epnas_search::{
    Best, Config, SearchError, Session, Start, TrainReport, TrainingFolders, Which, read_curve,
    write_atomic,
};
use epnas_supernet::{
    Compute, Model, PrecisionKind, TrainConfig, TrainerReport, WEIGHTS_FILE, latencies,
};
use serde::Serialize;

use crate::failure;
use crate::progress::shortened;
use crate::watcher::Watcher;

/// The model card in a model folder.
pub(crate) const CARD_FILE: &str = "README.md";
/// The network drawn, in a model folder.
pub(crate) const DIAGRAM_FILE: &str = "network.svg";
/// The drawing of the learning curve beside its numbers.
pub(crate) const CURVE_DRAWING: &str = "curve.svg";

/// How large a network is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Size {
    /// Trainable parameters.
    pub(crate) params: u64,
    /// Multiply-accumulates per image.
    pub(crate) macs: u64,
    /// The file of the weights, in bytes.
    pub(crate) bytes: u64,
}

impl Size {
    /// That of the model that lies in `dir`.
    pub(crate) fn of(model: &Model, dir: &Path) -> Self {
        Self {
            params: model.network().params(),
            macs: model.network().macs(),
            bytes: std::fs::metadata(dir.join(WEIGHTS_FILE)).map_or(0, |file| file.len()),
        }
    }
}

/// Seconds of one image through the network, on the CPU: so many of a hundred passes took no longer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

impl Latency {
    pub(crate) fn of(model: &Model) -> anyhow::Result<Self> {
        const PASSES: usize = 100;
        let precision = PrecisionKind::F32;
        let seconds = latencies(model.network(), &Compute::cpu(), precision, PASSES)?;
        Ok(Self {
            p50: seconds[PASSES / 2 - 1],
            p90: seconds[PASSES * 9 / 10 - 1],
            p99: seconds[PASSES * 99 / 100 - 1],
        })
    }
}

/// Accuracies of trainings from several seeds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    /// Mean of the accuracies on the test images, or without those on the validation images.
    pub(crate) mean: f64,
    /// Their standard deviation, with n - 1 in the denominator.
    pub(crate) deviation: f64,
}

impl Spread {
    /// That of several trainings; none of a single one, or when nothing was measured.
    pub(crate) fn of(trainings: &[TrainReport]) -> Option<Self> {
        let accuracies: Option<Vec<f64>> = trainings.iter().map(accuracy).collect();
        let accuracies = accuracies?;
        Some(Self {
            mean: epnas_search::statistics::mean(&accuracies)?,
            deviation: epnas_search::statistics::deviation(&accuracies)?,
        })
    }
}

/// On the test images or, without those, on the validation images.
pub(crate) fn accuracy(train: &TrainReport) -> Option<f64> {
    let test = train.test.as_ref().map(|test| test.accuracy);
    test.or(train.validation_accuracy)
}

/// Trains a network from each of the seeds. As soon as one is trained, it is handed over; at the end once more, when all are
/// known.
pub(crate) fn train(
    session: &Session,
    found: Option<(&Best, Which)>,
    design: &Design,
    folders: &TrainingFolders,
    watcher: &mut Watcher,
) -> Result<Vec<TrainReport>, Failed> {
    let mut trainings = Vec::new();
    let seeds = session.config().train.network.seeds;
    for number in 1..=seeds {
        if seeds > 1 {
            watcher.note(&format!("seed {number} of {seeds}"));
        }
        let training = session.train_seed(design, number, folders, Start::Resume, watcher);
        trainings.push(training.map_err(Failed::Training)?);
        write(session, found, folders, &trainings).map_err(Failed::Handover)?;
    }
    Ok(trainings)
}

/// Why a network was not trained or not handed over.
#[derive(Debug)]
pub(crate) enum Failed {
    Training(SearchError),
    Handover(anyhow::Error),
}

/// Writes the card of each trained network into its folder, and its learning curve where it was trained. `found` is the
/// search that they come from, if any.
fn write(
    session: &Session,
    found: Option<(&Best, Which)>,
    folders: &TrainingFolders,
    trainings: &[TrainReport],
) -> anyhow::Result<()> {
    for (training, number) in trainings.iter().zip(1..) {
        let work = folders.of_seed(number).work;
        let drawing = curve(training, &read_curve(&work).map_err(failure::of_search)?)?;
        write_atomic(&work.join(CURVE_DRAWING), drawing.as_bytes())?;
        let model = Model::load(&training.model).context("the trained network")?;
        let diagram = training.model.join(DIAGRAM_FILE);
        match &training.architecture {
            Design::Arch(arch) => {
                write_atomic(&diagram, diagram::svg(arch, model.network()).as_bytes())?;
            }
            // One of the network before, if any.
            Design::HandMade(_) => drop(std::fs::remove_file(&diagram)),
        }
        let card = card(session, found, (training, &model), trainings)?;
        let path = training.model.join(CARD_FILE);
        write_atomic(&path, card.markdown().as_bytes())?;
    }
    Ok(())
}

/// Accuracy in training and validation, epoch by epoch.
fn curve(training: &TrainReport, epochs: &[TrainerReport]) -> anyhow::Result<String> {
    let series = |name: &str, accuracy: &dyn Fn(&TrainerReport) -> Option<f64>| {
        let point = |epoch: &TrainerReport| {
            let mean = accuracy(epoch)?;
            Some(CurvePoint {
                x: epoch.epoch as f64,
                mean,
                low: mean,
                high: mean,
            })
        };
        Series {
            name: name.to_owned(),
            points: epochs.iter().filter_map(point).collect(),
        }
    };
    let mut lines = vec![
        series("validation", &|epoch| epoch.validation_accuracy),
        series("training, augmented", &|epoch| {
            Some(epoch.training_accuracy)
        }),
    ];
    lines.retain(|line| !line.points.is_empty());
    let labels = Labels {
        title: shortened(&training.architecture.to_string(), 80),
        x: "epoch".to_owned(),
        y: "accuracy".to_owned(),
    };
    Ok(curves::lines(&labels, Scale::Linear, &lines)?)
}

fn card(
    session: &Session,
    found: Option<(&Best, Which)>,
    (training, model): (&TrainReport, &Model),
    all: &[TrainReport],
) -> anyhow::Result<card::Card> {
    let dataset = session.dataset().map_err(failure::of_search)?;
    let (config, info) = (session.config(), model.info());
    let mut images = vec![0u64; dataset.classes.len()];
    for label in &dataset.train.labels {
        images[*label as usize] += 1;
    }
    let size = Size::of(model, &training.model);
    let classes = info.classes.iter().zip(images).enumerate();
    Ok(card::Card {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        data: dataset.name.clone(),
        image: [info.height, info.width, info.channels],
        classes: classes
            .map(|(class, (name, images))| card::Class {
                name: name.clone(),
                images,
                test: training.test.as_ref().map(|test| {
                    let class = &test.per_class[class];
                    (class.images, class.accuracy.unwrap_or(0.0))
                }),
            })
            .collect(),
        architecture: info.architecture.clone(),
        drawing: matches!(training.architecture, Design::Arch(_)).then(|| DIAGRAM_FILE.to_owned()),
        found: found.map(|(best, which)| found_by(config, best, which)),
        training: card::Training {
            recipe: word(&config.train.preset),
            epochs: [training.epochs, training.kept_epoch],
            images: info.training.images,
            seed: training.seed,
            seconds: training.seconds,
            device: training.device.clone(),
            extras: extras(config),
        },
        validation: training.validation_accuracy,
        test: training.test.as_ref().map(|test| card::Test {
            images: test.images,
            accuracy: test.accuracy,
            calibration_error: test.calibration_error,
            confusions: confusions(&test.confusion, &info.classes),
        }),
        seeds: Spread::of(all).map(|spread| card::Seeds {
            count: all.len(),
            number: 1 + all
                .iter()
                .take_while(|other| other.seed != training.seed)
                .count(),
            mean: spread.mean,
            deviation: spread.deviation,
        }),
        cost: card::Cost {
            params: size.params,
            macs: size.macs,
            bytes: size.bytes,
            milliseconds: 1e3 * Latency::of(model)?.p50,
        },
    })
}

fn found_by(config: &Config, best: &Best, which: Which) -> card::Found {
    let space = match &config.space {
        Space::Macro(space) => format!("the macro space of {} layers", space.layers),
        Space::Micro(space) => format!("the micro space of {} blocks", space.blocks),
        Space::Choices(_) => "a space of plain choices".to_owned(),
    };
    let of_search = card::Estimates {
        estimate: best.estimate,
        retrained: best.retrained_accuracy,
    };
    let random = best.random.as_ref();
    let of_random = random.map(|random| card::Estimates {
        estimate: random.estimate,
        retrained: random.retrained_accuracy,
    });
    let (strategy, cost, result, random) = match (which, random, of_random) {
        (Which::Random, Some(random), Some(estimates)) => {
            ("random search".to_owned(), random.cost, estimates, None)
        }
        _ => {
            let strategy = word(&config.search.strategy).replace('_', " ");
            (
                format!("{strategy} search"),
                best.cost,
                of_search,
                of_random,
            )
        }
    };
    card::Found {
        strategy,
        space,
        seed: config.seed,
        notes: best.notes.clone(),
        children: cost.children,
        seconds: cost.seconds,
        result,
        random,
    }
}

/// A word of the configuration.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What is beyond a plain recipe, in words.
fn extras(config: &Config) -> Vec<String> {
    let (recipe, more) = (&config.train.recipe, config.refinements());
    let named = [
        ("label smoothing", recipe.label_smoothing),
        ("cutout", recipe.augment.cutout as f64),
        ("averaged weights", more.ema),
        ("mixup", more.mixup),
        ("drop-path", more.drop_path),
        ("an auxiliary head of weight", more.auxiliary_head),
    ];
    let mut words: Vec<String> = named
        .iter()
        .filter(|(_, value)| *value > 0.0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let changed = changed(config);
    if !changed.is_empty() {
        words.push(format!("changed: {}", changed.join(", ")));
    }
    words
}

/// Keys of the recipe that are not as the preset has them, with their values.
fn changed(config: &Config) -> Vec<String> {
    let table = |recipe: &TrainConfig| match serde_json::to_value(recipe) {
        Ok(serde_json::Value::Object(table)) => table,
        _ => serde_json::Map::new(),
    };
    let preset = table(&config.train.preset.recipe());
    table(&config.train.recipe)
        .into_iter()
        .filter(|(key, value)| preset.get(key) != Some(value))
        .map(|(key, value)| match value {
            serde_json::Value::String(word) => format!("{key} {word}"),
            value => format!("{key} {value}"),
        })
        .collect()
}

/// The commonest five, most first.
fn confusions(counts: &[Vec<u64>], classes: &[String]) -> Vec<(String, String, u64)> {
    let mut pairs: Vec<(usize, usize, u64)> = Vec::new();
    for (of, row) in counts.iter().enumerate() {
        let wrong = row.iter().enumerate().filter(|(taken, _)| *taken != of);
        pairs.extend(wrong.map(|(taken, images)| (of, taken, *images)));
    }
    pairs.retain(|(_, _, images)| *images > 0);
    pairs.sort_by_key(|(of, taken, images)| (std::cmp::Reverse(*images), *of, *taken));
    pairs.truncate(5);
    pairs
        .into_iter()
        .map(|(of, taken, images)| (classes[of].clone(), classes[taken].clone(), images))
        .collect()
}
