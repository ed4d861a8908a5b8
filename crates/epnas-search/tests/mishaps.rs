//! What may happen to a composed run: a stop on request, other images, a selection that fails, other settings.
#![cfg(feature = "supernet")]

mod fakes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epnas_arch::{Arch, Cost, EvaluateError, Evaluator, Job, Measurement, Progress};
use epnas_search::{
    Best, Budget, Config, Driver, Event, Progressive, Record, SearchError, Session, Silent, Start,
    TrainReport, TrainingFolders, Which, read_history,
};
use epnas_supernet::{Supernet, SupernetConfig, TrainingData};

const CONFIG: &str = "
seed = 3
[data]
image_size = 8
validation = 20
[data.synthetic]
train = 100
test = 20
[space]
layers = 2
[network]
channels = 4
[search]
iterations = 1
children_per_step = 2
[surrogate]
epochs = 2
[training]
batch = 40
epochs = 1
[select]
top = 2
epochs = 1
[train]
channels = 4
epochs = 3
batch = 40
";

fn config(sets: &[(&str, &str)]) -> Config {
    let mut config = Config::from_toml(CONFIG).expect("a configuration");
    for (key, value) in sets {
        config.set(key, value).expect("a setting");
    }
    config
}

fn session(sets: &[(&str, &str)]) -> Session {
    Session::new(config(sets)).expect("a session")
}

fn timeless(folder: &Path) -> Vec<Record> {
    let records = read_history(&folder.join("history.jsonl")).expect("a history");
    records.iter().map(Record::timeless).collect()
}

/// Searches in `dir` and asks for a stop at the first event that `at` is true for.
fn stopped(dir: &Path, start: Start, at: impl Fn(&Event<'_>) -> bool) -> Best {
    let flag = Arc::new(AtomicBool::new(false));
    let mut observer = |event: Event<'_>| {
        if at(&event) {
            flag.store(true, Ordering::Relaxed);
        }
    };
    session(&[("baseline.kind", "random")])
        .with_stop(Arc::clone(&flag))
        .search(dir, start, &mut observer)
        .expect("a result")
}

/// A supernet in which the training of one architecture goes wrong in the middle of an epoch.
struct Fragile {
    supernet: Supernet,
    bad: Arch,
    /// Or it is refused before anything is trained.
    refused: bool,
}

impl Evaluator for Fragile {
    fn evaluate(&mut self, job: Job<'_>) -> Result<Measurement, EvaluateError> {
        if *job.arch != self.bad {
            return self.supernet.evaluate(job);
        }
        if self.refused {
            return Err(EvaluateError::child("refused"));
        }
        let mut steps = 0;
        let mut progress = |_: Progress| {
            steps += 1;
            assert!(steps < 2, "an operator is wrong in step {steps}");
        };
        self.supernet.evaluate(Job {
            progress: &mut progress,
            ..job
        })
    }

    fn cost(&self, arch: &Arch) -> Option<Cost> {
        self.supernet.cost(arch)
    }

    fn snapshot(&self) -> Result<Vec<u8>, EvaluateError> {
        self.supernet.snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), EvaluateError> {
        self.supernet.restore(bytes)
    }

    fn reset(&mut self, seed: u64) -> Result<(), EvaluateError> {
        self.supernet.reset(seed)
    }
}

/// Half-trained weights of a child that panicked reach no other child: all that follows is as if it had been refused.
#[test]
fn a_panic_in_the_middle_of_a_training_leaves_no_trace() {
    let config = config(&[]);
    let dataset = epnas_data::load(&config.data).expect("images");
    let split = epnas_data::split(&dataset, &config.data, 3).expect("a split");
    let data = Arc::new(TrainingData::from_dataset(&dataset, &split).expect("images"));
    let mut ends = Vec::new();
    for refused in [true, false] {
        let folder = fakes::folder();
        let supernet = SupernetConfig {
            space: config.space.clone(),
            network: config.network.clone(),
            training: config.training.recipe.clone(),
        };
        let mut evaluator = Fragile {
            supernet: Supernet::new(supernet, Arc::clone(&data), 3).expect("a supernet"),
            bad: "macro:d3.0".parse().expect("an architecture"),
            refused,
        };
        let driver = Driver {
            folder: Some(folder.path().to_owned()),
            space: config.space.clone(),
            policy: config.search.history,
            seed: 3,
            settings: String::new(),
            budget: Budget::children(10),
            stop: None,
        };
        let mut strategy = Progressive::new(
            config.space.clone(),
            config.search.clone(),
            fakes::Linear::new(&config.space),
            3,
        );
        let outcome = driver.run(&mut evaluator, &mut strategy, &mut Silent);
        let outcome = outcome.expect("a search");
        let records = outcome.history.records();
        let reasons: Vec<_> = records
            .iter()
            .filter_map(|record| record.reason.clone())
            .collect();
        let reason = match refused {
            true => "refused",
            false => "panic: an operator is wrong in step 2",
        };
        assert_eq!(reasons, [reason]);
        let rest: Vec<Record> = records
            .iter()
            .map(|record| Record {
                reason: None,
                ..record.timeless()
            })
            .collect();
        ends.push((rest, evaluator.snapshot().expect("weights")));
    }
    assert!(ends[0].0.len() > 6, "children follow it");
    assert_eq!(ends[0].0, ends[1].0);
    assert!(ends[0].1 == ends[1].1, "other weights");
}

#[test]
fn a_search_that_was_asked_to_stop_goes_on_to_the_same_end() {
    let folder = fakes::folder();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let expected = session(&[("baseline.kind", "random")])
        .search(&whole, Start::New, &mut Silent)
        .expect("a search");

    let third = |event: &Event<'_>| matches!(event, Event::ChildStarted { index: 2, .. });
    let best = stopped(&broken, Start::New, third);
    assert_eq!(best.cost.children, 3, "the child in progress is finished");
    assert_eq!((best.retrained_accuracy, &best.random), (None, &None));
    let note = "the search was stopped on request; --resume continues it";
    assert!(best.notes.iter().any(|n| n == note), "{:?}", best.notes);
    assert_eq!(
        Best::read(&broken.join("best.json")).expect("a result"),
        best
    );

    let retraining = |event: &Event<'_>| matches!(event, Event::CandidateStarted { .. });
    let best = stopped(&broken, Start::Resume, retraining);
    assert_eq!(best.selection_cost.children, 1);
    assert!(best.notes.iter().any(|note| note.contains("the selection")));

    let best = stopped(&broken, Start::Resume, |_| false);
    assert_eq!((&best.top, &best.notes), (&expected.top, &Vec::new()));
    for part in ["", "random"] {
        assert_eq!(timeless(&broken.join(part)), timeless(&whole.join(part)));
    }
}

/// Stopped after every single step, a training ends with the bits of an uninterrupted one, whatever its recipe keeps from
/// step to step.
#[test]
fn a_training_that_was_asked_to_stop_goes_on_at_its_step() {
    let refined = [
        ("train.ema", "0.9"),
        ("train.mixup", "0.4"),
        ("train.auxiliary_head", "0.3"),
        ("train.score", "best_epoch"),
    ];
    for sets in [&[][..], &refined] {
        let folder = fakes::folder();
        let arch = "macro:c3.0/d5.0+1".parse().expect("an architecture");
        let place = |name: &str| TrainingFolders {
            work: folder.path().join(name),
            model: folder.path().join(format!("{name}-model")),
        };
        let whole = place("whole");
        let expected = session(sets).train_design(&arch, &whole, Start::New, &mut Silent);
        let expected = expected.expect("a training");
        let broken = place("broken");
        let flag = Arc::new(AtomicBool::new(true));
        let session = session(sets).with_stop(Arc::clone(&flag));
        let mut stops = 0;
        let reports = loop {
            let start = if stops == 0 {
                Start::New
            } else {
                Start::Resume
            };
            match session.train_design(&arch, &broken, start, &mut Silent) {
                Err(SearchError::Stopped { total: 3, done, .. }) => {
                    stops += 1;
                    assert!(done < 3);
                }
                result => break result.expect("the rest"),
            }
        };
        // Asked for during the last step, there is nothing to stop.
        let steps = expected[0].epochs * 2;
        assert!(stops + 1 >= steps, "{stops} stops");
        let timeless = |report: &TrainReport| TrainReport {
            seconds: 0.0,
            model: PathBuf::new(),
            ..report.clone()
        };
        assert_eq!(timeless(&reports[0]), timeless(&expected[0]));
        for file in ["weights.safetensors", "model.json"] {
            let read = |dir: &Path| std::fs::read(dir.join(file)).expect(file);
            assert_eq!(read(&broken.model), read(&whole.model), "{file}");
        }
    }
}

/// An MNIST of 8 x 8 pixels with `train` images for training; `shade` is added to every pixel.
fn write_mnist(dir: &Path, train: usize, shade: u8) {
    std::fs::create_dir_all(dir).expect("a folder");
    for (part, count) in [("train", train), ("t10k", 10)] {
        let words = |words: &[u32]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_be_bytes()).collect()
        };
        let mut images = words(&[0x0803, count as u32, 8, 8]);
        images.extend((0..count * 64).map(|i| (i * 7 % 251) as u8 ^ shade));
        let mut labels = words(&[0x0801, count as u32]);
        labels.extend((0..count).map(|i| (i % 10) as u8));
        std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).expect("images");
        std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).expect("labels");
    }
}

#[test]
fn other_images_are_noticed_and_a_moved_folder_is_not_minded() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let images = |name: &str| folder.path().join(name).display().to_string();
    write_mnist(Path::new(&images("a")), 100, 0);
    let on = |name: &str| session(&[("data.source", "mnist"), ("data.dir", &images(name))]);
    let best = on("a")
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");

    write_mnist(Path::new(&images("moved")), 100, 0);
    let resumed = on("moved")
        .search(&dir, Start::Resume, &mut Silent)
        .expect("the same images");
    assert_eq!(resumed.top, best.top);

    write_mnist(Path::new(&images("fewer")), 97, 0);
    let error = on("fewer").search(&dir, Start::Resume, &mut Silent);
    let error = error.expect_err("fewer images").to_string();
    assert!(
        error
            .ends_with("begun with other images: number of training images (stored 100, given 97)"),
        "{error}"
    );
    write_mnist(Path::new(&images("darker")), 100, 1);
    for error in [
        on("darker")
            .search(&dir, Start::Resume, &mut Silent)
            .expect_err("other pixels"),
        on("darker")
            .select(&dir, &mut Silent)
            .expect_err("other pixels"),
        on("darker")
            .train(&dir, Which::Found, Start::New, &mut Silent)
            .expect_err("other pixels"),
    ] {
        let error = error.to_string();
        assert!(
            error.contains("content of the training images (stored CRC-32 "),
            "{error}"
        );
    }
}

#[test]
fn a_selection_without_success_is_an_error_that_keeps_the_result() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let wild = [("select.learning_rate", "1e30"), ("training.clip", "0")];
    let error = session(&wild)
        .search(&dir, Start::New, &mut Silent)
        .expect_err("no retraining can succeed");
    assert!(
        matches!(&error, SearchError::Selection { reason, .. } if reason.contains("diverged")),
        "{error}"
    );
    let best = Best::read(&dir.join("best.json")).expect("the estimates");
    assert_eq!((best.retrained_accuracy, best.top.len()), (None, 2));
    assert!(best.notes[0].starts_with("no candidate could be retrained: "));
    // Other settings for the selection mend it.
    let best = session(&[("training.clip", "0")])
        .search(&dir, Start::Resume, &mut Silent)
        .expect("a selection");
    assert!(best.retrained_accuracy.is_some() && best.notes.is_empty());
}

#[test]
fn retrained_accuracies_are_not_erased() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let best = session(&[])
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");
    assert!(best.retrained_accuracy.is_some());
    let nothing = session(&[("select.top", "0")]);
    let error = nothing
        .select(&dir, &mut Silent)
        .expect_err("nothing to do");
    assert_eq!(
        error.to_string(),
        "`select.top` is 0, expected at least 1 (`--set select.top=1`): without a candidate there is nothing to select"
    );
    let stored = || Best::read(&dir.join("best.json")).expect("a result");
    assert_eq!(stored(), best);
    let resumed = nothing
        .search(&dir, Start::Resume, &mut Silent)
        .expect("nothing to do");
    assert_eq!(
        (&resumed.top, resumed.retrained_accuracy),
        (&best.top, best.retrained_accuracy)
    );
}

#[test]
fn a_checkpoint_of_another_training_is_named_with_what_differs() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    session(&[])
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");
    session(&[])
        .with_stop(Arc::new(AtomicBool::new(true)))
        .train(&dir, Which::Found, Start::New, &mut Silent)
        .expect_err("stopped after a step");
    let changed = [
        ("train.epochs", "9"),
        ("train.channels", "5"),
        ("train.images", "all"),
    ];
    let error = session(&changed)
        .train(&dir, Which::Found, Start::Resume, &mut Silent)
        .expect_err("another training")
        .to_string();
    let path = dir.join("train").join("checkpoint.bin");
    assert_eq!(
        error,
        format!(
            "{}: the checkpoint was begun with other settings: train.channels (stored 4, given 5), \
             train.images (stored training, given all), train.epochs (stored 3, given 9); \
             --restart replaces it",
            path.display()
        )
    );
}
