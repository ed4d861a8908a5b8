//! The whole composition on a tiny synthetic set: search, baseline, selection, training, resuming.
#![cfg(feature = "supernet")]

mod fakes;

use std::path::Path;

use epnas_arch::{Network, Shape};
use epnas_search::{
    Best, Config, Event, LatencyRecord, Record, SearchError, Session, Silent, Start,
    TrainingFolders, Which, read_history,
};
use epnas_supernet::Model;

const CONFIG: &str = "
seed = 3
[data]
image_size = 8
validation = 40
[data.synthetic]
train = 200
test = 40
[space]
kind = \"macro\"
layers = 2
[network]
channels = 4
[search]
iterations = 1
children_per_step = 3
[surrogate]
epochs = 5
[training]
batch = 40
epochs = 1
[baseline]
kind = \"random\"
[select]
top = 2
epochs = 2
[train]
channels = 6
epochs = 2
batch = 40
";

fn session(sets: &[(&str, &str)]) -> Session {
    let mut config = Config::from_toml(CONFIG).expect("a configuration");
    for (key, value) in sets {
        config.set(key, value).expect("a setting");
    }
    Session::new(config).expect("a session")
}

fn timeless(folder: &Path) -> Vec<Record> {
    let records = read_history(&folder.join("history.jsonl")).expect("a history");
    records.iter().map(Record::timeless).collect()
}

/// Weights and surrogate of a checkpoint, by name.
fn blobs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder.join("checkpoint")).expect("a checkpoint");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .filter(|(name, _)| name.ends_with(".bin"))
        .map(|(name, path)| (name, std::fs::read(path).expect("bytes")))
        .collect();
    files.sort();
    files
}

#[test]
fn search_selection_and_training() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let session = session(&[]);
    let best = session
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");

    // 6 of one layer and 3 of two.
    assert_eq!(best.cost.children, 9);
    // 160 training images, one epoch each.
    assert_eq!(best.cost.images, 9 * 160);
    assert_eq!(best.top.len(), 2);
    assert_eq!(best.top[0].architecture, best.architecture);
    assert!(best.top[0].retrained_accuracy >= best.top[1].retrained_accuracy);
    assert!(
        best.retrained_accuracy
            .is_some_and(|accuracy| (0.0..=1.0).contains(&accuracy))
    );
    assert_eq!(best.retrained_epochs, Some(2));
    assert_eq!(best.notes, Vec::<String>::new());
    let random = best.random.as_ref().expect("a baseline");
    assert!(random.cost.macs >= best.cost.macs);
    assert!(random.top.len() <= 2 && random.retrained_accuracy.is_some());
    assert_eq!(Best::read(&dir.join("best.json")).expect("a result"), best);
    let stored = std::fs::read_to_string(dir.join("config.toml")).expect("a configuration");
    assert_eq!(
        Config::from_toml(&stored).expect("valid"),
        *session.config()
    );

    // Again: refused, or nothing to do.
    let again = session
        .search(&dir, Start::New, &mut Silent)
        .expect_err("there is a run");
    assert!(matches!(again, SearchError::Run(_)), "{again}");
    let mut children = 0;
    let mut count = |event: Event<'_>| {
        children += usize::from(matches!(
            event,
            Event::ChildStarted { .. } | Event::CandidateStarted { .. }
        ));
    };
    let resumed = session
        .search(&dir, Start::Resume, &mut count)
        .expect("nothing to do");
    assert_eq!(
        (children, &resumed.top, resumed.cost.children),
        (0, &best.top, 9)
    );
    let selected = session.select(&dir, &mut Silent).expect("a selection");
    assert_eq!(selected.top, best.top);
    assert_eq!(selected.random.expect("a baseline").top, random.top);

    let mut epochs = Vec::new();
    let mut observer = |event: Event<'_>| {
        if let Event::Epoch { epoch, .. } = event {
            epochs.push(epoch);
        }
    };
    let reports = session
        .train(&dir, Which::Found, Start::New, &mut observer)
        .expect("a training");
    assert_eq!(epochs, [1, 2]);
    let [report] = reports.try_into().expect("one seed");
    assert_eq!(
        (report.epochs, &report.architecture),
        (2, &best.architecture.clone().into())
    );
    let test = report.test.clone().expect("test images");
    assert_eq!(test.images, 40);
    let model = Model::load(&dir.join("model")).expect("a model");
    let images = session
        .dataset()
        .expect("images")
        .test
        .as_ref()
        .expect("a test part");
    assert_eq!(model.evaluate(images).expect("an evaluation"), test);
    let curve = std::fs::read_to_string(dir.join("train/curve.jsonl")).expect("a curve");
    assert_eq!(curve.lines().count(), 2);
    assert!(
        session
            .train(&dir, Which::Found, Start::New, &mut Silent)
            .is_err(),
        "a model is not overwritten"
    );
    // From two seeds: the first is that of a single training.
    let twice = self::session(&[("train.seeds", "2")]);
    let reports = twice.train(&dir, Which::Found, Start::Resume, &mut Silent);
    let [first, second] = reports.expect("trainings").try_into().expect("two seeds");
    assert_eq!((&first.test, first.seed), (&report.test, report.seed));
    assert_ne!(second.seed, first.seed);
    assert_eq!(second.model, dir.join("model-seed-2"));
    let weights = |dir: &Path| std::fs::read(dir.join("weights.safetensors")).expect("weights");
    assert_ne!(weights(&first.model), weights(&second.model));

    session
        .train(&dir, Which::Random, Start::New, &mut Silent)
        .expect("the baseline's training");
    assert!(dir.join("model-random/model.json").is_file());
}

#[test]
fn one_thread_and_three_give_the_same_bytes() {
    let folder = fakes::folder();
    let run = |threads: usize| {
        let dir = folder.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        let best = pool.install(|| session(&[]).search(&dir, Start::New, &mut Silent));
        (best.expect("a search").top, timeless(&dir), blobs(&dir))
    };
    assert!(run(1) == run(3), "results depend on the number of threads");
}

#[test]
fn a_micro_search_refines_and_keeps_the_latest() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let session = session(&[
        ("space.kind", "micro"),
        ("space.blocks", "2"),
        ("network.cells_per_stage", "1"),
        ("search.strategy", "epnas"),
        ("search.iterations", "2"),
        ("search.children_per_step", "2"),
        ("search.continuation", "refine"),
        ("search.history", "latest"),
        ("baseline.kind", "none"),
        ("select.top", "1"),
        ("data.synthetic.train", "100"),
    ]);
    let best = session
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");
    // 105 cells of one block, 2 of two, and 2 refinements of each of two blocks.
    assert_eq!(best.cost.children, 105 + 2 + 2 + 2);
    assert_eq!(best.architecture.len(), 2);
    assert!(best.random.is_none() && best.retrained_accuracy.is_some());
}

/// An observer that ends the thread's work in the middle of a child, as a kill would.
fn killed_at(session: &Session, dir: &Path, start: Start, event_number: usize) {
    let mut events = 0;
    let mut observer = |_: Event<'_>| {
        events += 1;
        assert!(events != event_number, "killed");
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.search(dir, start, &mut observer).map(|_| ())
    }));
    assert!(result.is_err(), "the run ended before event {event_number}");
}

#[test]
fn a_killed_run_ends_as_the_uninterrupted_one() {
    let folder = fakes::folder();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let session = session(&[]);
    let expected = session
        .search(&whole, Start::New, &mut Silent)
        .expect("a search");
    for (attempt, event) in [7, 23, 41, 30, 40].into_iter().enumerate() {
        let start = if attempt == 0 {
            Start::New
        } else {
            Start::Resume
        };
        killed_at(&session, &broken, start, event);
    }
    let resumed = session
        .search(&broken, Start::Resume, &mut Silent)
        .expect("the rest");
    for part in ["", "random"] {
        assert_eq!(timeless(&broken.join(part)), timeless(&whole.join(part)));
        assert_eq!(blobs(&broken.join(part)), blobs(&whole.join(part)));
    }
    assert_eq!(resumed.top, expected.top);
    assert_eq!(
        resumed.random.map(|random| random.top),
        expected.random.map(|random| random.top)
    );
}

#[test]
fn a_killed_training_ends_as_the_uninterrupted_one() {
    let folder = fakes::folder();
    let session = session(&[("train.epochs", "3")]);
    let arch = "macro:c3.0/d5.0+1".parse().expect("an architecture");
    let place = |name: &str| TrainingFolders {
        work: folder.path().join(name),
        model: folder.path().join(format!("{name}-model")),
    };
    let whole = place("whole");
    session
        .train_design(&arch, &whole, Start::New, &mut Silent)
        .expect("a training");
    let broken = place("broken");
    for epochs in [1, 2] {
        let mut observer = |event: Event<'_>| {
            assert!(
                !matches!(event, Event::Epoch { epoch, .. } if epoch == epochs),
                "killed"
            );
        };
        let start = if epochs == 1 {
            Start::New
        } else {
            Start::Resume
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            session
                .train_design(&arch, &broken, start, &mut observer)
                .map(|_| ())
        }));
        assert!(result.is_err());
    }
    let refused = session.train_design(&arch, &broken, Start::New, &mut Silent);
    assert!(
        refused.is_err(),
        "a training in progress is not overwritten"
    );
    session
        .train_design(&arch, &broken, Start::Resume, &mut Silent)
        .expect("the rest");
    let weights = |dir: &Path| std::fs::read(dir.join("weights.safetensors")).expect("weights");
    let models =
        |folders: &TrainingFolders| [folders.model.clone(), folders.best(), folders.last()];
    for (broken, whole) in models(&broken).iter().zip(models(&whole)) {
        assert_eq!(weights(broken), weights(&whole));
    }
}

#[test]
fn other_settings_are_refused_and_a_budget_is_not() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let short = session(&[("search.budget", "1ms"), ("baseline.kind", "none")]);
    let best = short
        .search(&dir, Start::New, &mut Silent)
        .expect("a short search");
    assert_eq!((best.cost.children, best.retrained_accuracy), (1, None));
    assert!(
        best.notes
            .iter()
            .any(|note| note.contains("time budget of 1ms")),
        "{:?}",
        best.notes
    );
    assert!(
        best.notes
            .iter()
            .any(|note| note.contains("the best of 1 of 2 levels")),
        "{:?}",
        best.notes
    );
    let other = session(&[("seed", "4"), ("network.channels", "5")]);
    let error = other
        .search(&dir, Start::Resume, &mut Silent)
        .expect_err("other settings")
        .to_string();
    assert!(
        error.contains("network.channels (stored 4, given 5), seed (stored 3, given 4)"),
        "{error}"
    );
    let longer = session(&[("search.budget", "10h")]);
    let best = longer
        .search(&dir, Start::Resume, &mut Silent)
        .expect("the rest");
    assert_eq!((best.cost.children, best.notes), (9, Vec::new()));
    assert!(best.random.is_some());
}

#[test]
fn images_that_cannot_be_read_leave_no_run_behind() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    let nowhere = session(&[("data.source", "folder"), ("data.dir", "/nowhere/at/all")]);
    assert!(nowhere.search(&dir, Start::New, &mut Silent).is_err());
    session(&[])
        .search(&dir, Start::New, &mut Silent)
        .expect("the folder is free");
}

#[test]
fn search_and_baseline_stay_within_the_limits() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    session(&[])
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");
    let largest = |folder: &Path| {
        let records = read_history(&folder.join("history.jsonl")).expect("a history");
        let params = records.iter().filter_map(|record| record.params);
        params.max().expect("children")
    };
    let limit = largest(&dir).min(largest(&dir.join("random"))) - 1;
    let limited = session(&[
        ("search.limits.params", &limit.to_string()),
        ("search.limits.latency", "\"1m\""),
    ]);
    let dir = folder.path().join("limited");
    let best = limited
        .search(&dir, Start::New, &mut Silent)
        .expect("a search");
    assert!(largest(&dir) <= limit && largest(&dir.join("random")) <= limit);
    assert!(
        best.pareto
            .params
            .iter()
            .all(|found| found.params <= Some(limit))
    );
    assert!(!best.pareto.macs.is_empty());

    // All children have been timed, and each once.
    let lines = std::fs::read_to_string(dir.join("latency.jsonl")).expect("latencies");
    let timed: Vec<LatencyRecord> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a latency"))
        .collect();
    assert!(timed.iter().all(|record| record.seconds > 0.0));
    let names: std::collections::BTreeSet<&String> =
        timed.iter().map(|record| &record.arch).collect();
    assert_eq!(names.len(), timed.len());
    for record in timeless(&dir).iter().chain(&timeless(&dir.join("random"))) {
        assert!(names.contains(&record.arch.to_string()), "{}", record.arch);
    }
}

#[test]
fn limits_hold_for_the_network_that_they_are_set_for() {
    // With 4 channels every network of two layers has less, with 12 only poolings do.
    let sets = [
        ("search.limits.params", "1500"),
        ("train.channels", "12"),
        ("baseline.kind", "none"),
        ("select.top", "0"),
    ];
    let params = |network: &str| -> (Vec<u64>, Vec<u64>) {
        let folder = fakes::folder();
        let session = session(&[&sets[..], &[("search.limits.network", network)]].concat());
        session
            .search(folder.path(), Start::New, &mut Silent)
            .expect("a search");
        let records = read_history(&folder.path().join("history.jsonl")).expect("a history");
        let config = session.config().final_network();
        let input = Shape {
            height: 8,
            width: 8,
            channels: 3,
        };
        let of = |record: &Record| {
            let network = Network::build(&record.arch, 2, &config, input, 10);
            network.expect("a network").params()
        };
        let in_search = records.iter().map(|record| record.params.expect("params"));
        (in_search.collect(), records.iter().map(of).collect())
    };
    let (search, train) = params("search");
    assert!(search.iter().all(|&params| params <= 1500), "{search:?}");
    assert!(train.iter().any(|&params| params > 1500), "{train:?}");
    let (search, train) = params("train");
    assert!(train.iter().all(|&params| params <= 1500), "{train:?}");
    assert!(!search.is_empty());
}

#[test]
fn limits_that_nothing_is_within_leave_the_folder_free() {
    let folder = fakes::folder();
    let impossible = session(&[("search.limits.params", "1")]);
    let error = impossible
        .search(folder.path(), Start::New, &mut Silent)
        .expect_err("nothing is within");
    assert!(
        error.to_string().contains("search.limits.params = 1"),
        "{error}"
    );
    session(&[])
        .search(folder.path(), Start::New, &mut Silent)
        .expect("the folder holds no run");
}

#[test]
fn a_dry_run_counts_and_forecasts() {
    let plan = session(&[]).dry_run().expect("a forecast");
    assert_eq!((plan.children, plan.candidates), (9, 72));
    // 6 * 12 architectures of two layers.
    assert_eq!(plan.cardinality.as_deref(), Some("72"));
    assert_eq!(plan.images_per_child, 160);
    let seconds = plan.seconds;
    for part in [
        seconds.children,
        seconds.scoring,
        seconds.fitting,
        seconds.baseline,
        seconds.selection,
    ] {
        assert!(part > 0.0, "{seconds:?}");
    }
    assert!((plan.hours * 3600.0 - seconds.total).abs() < 1e-9);
    // 200 images of 8 x 8 x 3 bytes and 4 bytes of label.
    assert_eq!(plan.bytes.images, 200 * (8 * 8 * 3 + 4));
    assert!(plan.bytes.network > 0);
}
