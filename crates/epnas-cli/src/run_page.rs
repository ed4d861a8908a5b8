//! A run folder as a page shows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use epnas_arch::Shape;
use epnas_fleet::{Fleet, Replica, ReplicaOutcome, read_outcomes};
use epnas_report::page::{ChildNetwork, Epoch, RunPage, Tested, Trained, Training};
use epnas_search::select::read_selection;
use epnas_search::{
    Best, Config, Record, RunFolder, TrainReport, TrainingFolders, Which, read_curve,
    read_training, run_history, run_images, settings,
};
use epnas_supernet::{ClassAccuracy, TrainerReport};

use crate::failure::{self, OrUsage, usage};
use crate::inputs;

/// Searches of a fleet that a page shows.
const REPLICAS: usize = 16;

/// Reads all that a page shows of what is in `dir`: a run, or a fleet with its searches.
pub(crate) fn read_all(dir: &Path, name: &str) -> anyhow::Result<Vec<RunPage>> {
    match RunFolder::new(dir).is_fleet() {
        true => fleet(dir, name),
        false => Ok(vec![read(dir, name.to_owned())?]),
    }
}

/// The best of a fleet and its training, then the searches; where there are many, those that found the best.
fn fleet(dir: &Path, name: &str) -> anyhow::Result<Vec<RunPage>> {
    let fleet = Fleet::open(dir).map_err(failure::of_fleet)?;
    let outcomes = match fleet.folder().outcomes().exists() {
        true => read_outcomes(fleet.folder()).map_err(failure::of_fleet)?,
        false => Vec::new(),
    };
    let outcome = |replica: &Replica| outcomes.iter().find(|outcome| outcome.replica == *replica);
    let accuracy = |replica: &Replica| {
        let network = outcome(replica).map(|outcome| &outcome.found.network);
        let accuracy = network.and_then(|network| network.retrained_accuracy);
        accuracy.unwrap_or(f64::NEG_INFINITY)
    };
    let mut shown: Vec<Replica> = fleet.replicas().to_vec();
    // Stable: of equals the earlier.
    shown.sort_by(|a, b| accuracy(b).total_cmp(&accuracy(a)));
    shown.truncate(REPLICAS);
    shown.sort_by_key(|replica| replica.number);
    let mut whole = without_children(dir, name.to_owned())?;
    let searches = match (fleet.replicas().len(), shown.len()) {
        (all, some) if all == some => all.to_string(),
        (all, some) => format!("{all}, of which {some} are shown: those that found the best"),
    };
    whole.facts.push(("searches".to_owned(), searches));
    let mut pages = vec![whole];
    for replica in shown {
        let folder = fleet.folder().replica(replica.number);
        if folder.config().is_file() {
            let mut page = read(folder.dir(), format!("{name}, replica {}", replica.number))?;
            if let (Some(best), Some(outcome)) = (&mut page.best, outcome(&replica)) {
                as_retrained(best, outcome);
            }
            pages.push(page);
        }
    }
    Ok(pages)
}

/// A search's result as the fleet's retraining sees it.
fn as_retrained(best: &mut Best, outcome: &ReplicaOutcome) {
    let network = &outcome.found.network;
    best.architecture = network.architecture.clone();
    best.estimate = network.estimate;
    best.retrained_accuracy = network.retrained_accuracy;
    best.top = vec![network.clone()];
    if let (Some(random), Some(outcome)) = (&mut best.random, &outcome.random) {
        let network = &outcome.network;
        random.architecture = network.architecture.clone();
        random.estimate = network.estimate;
        random.retrained_accuracy = network.retrained_accuracy;
        random.top = vec![network.clone()];
    }
}

/// Reads all that a page shows of the run in `dir`.
pub(crate) fn read(dir: &Path, name: String) -> anyhow::Result<RunPage> {
    let mut page = without_children(dir, name)?;
    let folder = RunFolder::new(dir);
    page.children = children(folder.dir())?;
    page.random = children(&folder.random())?;
    Ok(page)
}

/// The children of random search in a run folder.
pub(crate) fn random_history(folder: &RunFolder) -> PathBuf {
    RunFolder::new(folder.random()).history()
}

/// The same but for the children, which a page that follows a run reads as they come.
pub(crate) fn without_children(dir: &Path, name: String) -> anyhow::Result<RunPage> {
    let folder = RunFolder::new(dir);
    let Some(config) = inputs::run_config(dir)? else {
        return Err(no_run(dir));
    };
    let text = folder
        .config_text()
        .map_err(|error| failure::of_search(error.into()))?;
    let images = run_images(&folder).map_err(failure::of_search)?;
    let network = ChildNetwork {
        config: config.network.clone(),
        input: images.as_ref().map_or_else(
            || {
                let size = config.data.image_size;
                Shape::new(size, size, config.data.channels.count(config.data.source))
            },
            |images| images.image_shape(),
        ),
        classes: images.as_ref().map_or(10, |images| images.classes().len()),
    };
    let mut facts = vec![("folder".to_owned(), dir.display().to_string())];
    facts.push(("images".to_owned(), source(&config)));
    if let Some(images) = &images {
        facts.push(("image size".to_owned(), images.image_shape().to_string()));
        facts.push(("classes".to_owned(), images.classes().join(", ")));
    }
    Ok(RunPage {
        name,
        settings: leaves(&text)?,
        config: text,
        space: config.space.clone(),
        policy: config.search.history,
        network,
        children: Vec::new(),
        random: Vec::new(),
        selection: read_selection(&folder.selection()).map_err(failure::of_search)?,
        best: match folder.best().is_file() {
            true => Some(Best::read(&folder.best()).map_err(failure::of_search)?),
            false => None,
        },
        trainings: trainings(&folder)?,
        facts,
        is_fleet: folder.is_fleet(),
    })
}

/// Why `dir` is no run; a folder of runs, such as `epnas compare` writes, is not far from one.
fn no_run(dir: &Path) -> anyhow::Error {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| RunFolder::new(entry.path()).config().is_file());
    let dir = dir.display();
    match inner.count() {
        0 => usage(format_args!(
            "{dir} holds no run (there is no config.toml in it); expected a folder that `epnas search` or `epnas run` wrote"
        )),
        runs => usage(format_args!(
            "{dir} holds no run, but {runs} folders that do; name those, as in {dir}/*"
        )),
    }
}

fn source(config: &Config) -> String {
    let source = serde_json::to_value(config.data.source).ok();
    let source = source.as_ref().and_then(|source| source.as_str());
    let source = source.unwrap_or_default().to_owned();
    match &config.data.dir {
        Some(dir) => format!("{source}, {}", dir.display()),
        None => source,
    }
}

fn leaves(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(settings::leaves(&settings::parse_table(text).or_usage()?))
}

/// The children of the search in a folder; none when it has not begun.
fn children(folder: &Path) -> anyhow::Result<Vec<Record>> {
    if !folder.join("history.jsonl").is_file() && !folder.join("checkpoint").is_dir() {
        return Ok(Vec::new());
    }
    run_history(folder).map_err(failure::of_search)
}

/// The final trainings that have begun: of the network found, from each seed, and of random search's.
fn trainings(folder: &RunFolder) -> anyhow::Result<Vec<Training>> {
    let mut trainings = Vec::new();
    for (which, name) in [(Which::Found, "found"), (Which::Random, "random search")] {
        let folders = folder.training(which);
        let places = (1..).map(|number| (number, folders.of_seed(number)));
        for (number, place) in places.take_while(|(_, place)| place.work.is_dir()) {
            let name = match number {
                1 => name.to_owned(),
                _ => format!("{name}, seed {number}"),
            };
            trainings.push(training(name, &place)?);
        }
    }
    Ok(trainings)
}

fn training(name: String, folders: &TrainingFolders) -> anyhow::Result<Training> {
    let result = read_training(&folders.work).map_err(failure::of_search)?;
    let epochs = read_curve(&folders.work).map_err(failure::of_search)?;
    let epoch = |report: &TrainerReport| Epoch {
        epoch: report.epoch,
        loss: report.loss,
        training_accuracy: report.training_accuracy,
        validation_accuracy: report.validation_accuracy,
        validation_loss: report.validation_loss,
        learning_rate: report.learning_rate,
        seconds: report.seconds,
        images: report.images,
    };
    Ok(Training {
        name,
        architecture: result
            .as_ref()
            .map(|result| result.architecture.to_string()),
        epochs: epochs.iter().map(epoch).collect(),
        result: result.map(trained),
    })
}

fn trained(report: TrainReport) -> Trained {
    let class = |class: ClassAccuracy| (class.class, class.images, class.accuracy);
    Trained {
        params: report.params,
        macs: report.macs,
        validation_accuracy: report.validation_accuracy,
        tested: report.test.map(|test| Tested {
            images: test.images,
            accuracy: test.accuracy,
            classes: test.per_class.into_iter().map(class).collect(),
        }),
    }
}

/// What a page calls the runs in these folders: by their last part, or where two have the same, by all of it.
pub(crate) fn names(dirs: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let absolute = |dir: &PathBuf| dir.canonicalize().unwrap_or_else(|_| dir.clone());
    let places: Vec<PathBuf> = dirs.iter().map(absolute).collect();
    for (index, place) in places.iter().enumerate() {
        if places[..index].contains(place) {
            return Err(usage(format_args!(
                "{} is named twice",
                dirs[index].display()
            )));
        }
    }
    let short = |place: &PathBuf| {
        let last = place.file_name().unwrap_or(place.as_os_str());
        last.to_string_lossy().into_owned()
    };
    let shorts: Vec<String> = places.iter().map(short).collect();
    let is_unique = |name: &String| shorts.iter().filter(|other| *other == name).count() == 1;
    let mut names: Vec<String> = Vec::new();
    for (name, dir) in shorts.iter().zip(dirs) {
        let name = match is_unique(name) {
            true => name.clone(),
            false => dir.display().to_string(),
        };
        // Names that are not UTF-8 may look the same.
        names.push(unused(name, &names));
    }
    Ok(names)
}

/// The name, with a number where it is taken.
pub(crate) fn unused(name: String, taken: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let free = numbered
        .take_while(|_| taken.contains(&name))
        .find(|name| !taken.contains(name));
    free.unwrap_or(name)
}
