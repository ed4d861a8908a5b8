//! A whole run on a GPU, here through the CUDA kernels as they run on the CPU: repeated, interrupted, out of memory.
#![cfg(feature = "supernet")]

mod fakes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use epnas_ops::cuda_emulation::{self, Order, set_largest_allocation, set_order};
use epnas_search::{
    Best, Config, Event, Record, RunFolder, SearchError, Session, Silent, Start, Status, Which,
    read_history, run_device,
};
use epnas_supernet::{DeviceKind, PrecisionKind};

const CONFIG: &str = "
seed = 3
[data]
image_size = 8
validation = 20
[data.synthetic]
train = 80
test = 20
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
batch = 20
epochs = 1
precision = \"bf16\"
[select]
top = 1
epochs = 1
[train]
channels = 6
epochs = 2
batch = 20
precision = \"bf16\"
";

fn session() -> Session {
    let config = Config::from_toml(CONFIG).expect("a configuration");
    Session::new(config).expect("a session")
}

fn timeless(folder: &Path) -> Vec<Record> {
    let records = read_history(&folder.join("history.jsonl")).expect("a history");
    records.iter().map(Record::timeless).collect()
}

/// Runs `body` with the kernels in place of the CPU's operators, if there are any.
fn on_gpu(body: impl FnOnce()) {
    match cuda_emulation::AVAILABLE {
        true => cuda_emulation::run(body),
        false => println!("skipped: no C++ compiler"),
    }
}

#[test]
fn an_interrupted_search_ends_as_the_whole_one_and_is_not_for_the_cpu() {
    let folder = fakes::folder();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    on_gpu(|| {
        let best = session().search(&whole, Start::New, &mut Silent);
        let best = best.expect("a search");
        assert_eq!(best.cost.children, 9);
        assert_eq!(best.precision.children, "bf16");
        assert_eq!(best.precision.retrained, "bf16");

        let stop = Arc::new(AtomicBool::new(false));
        let mut children = 0;
        let mut observer = |event: Event| {
            if matches!(event, Event::ChildFinished { .. }) {
                children += 1;
                stop.store(children == 4, Ordering::Relaxed);
            }
        };
        set_order(Order::LastToFirst);
        let stopped = session().with_stop(stop.clone());
        stopped
            .search(&cut, Start::New, &mut observer)
            .expect("a part of a search");
        assert_eq!(timeless(&cut).len(), 4);
        let resumed = session().search(&cut, Start::Resume, &mut Silent);
        assert_eq!(resumed.expect("the rest").top, best.top);
        assert_eq!(timeless(&cut), timeless(&whole));

        let report = session().train(&cut, Which::Found, Start::New, &mut Silent);
        let report = report.expect("a training");
        assert_eq!(report[0].precision, PrecisionKind::Bf16);
        let test = report[0].test.clone().expect("test images");
        assert!((0.0..=1.0).contains(&test.accuracy));
    });
    if cuda_emulation::AVAILABLE {
        let device = run_device(&RunFolder::new(&cut)).expect("a record");
        assert_eq!(device, DeviceKind::Cuda);
        let error = session().search(&cut, Start::Resume, &mut Silent);
        let error = error.expect_err("another device");
        assert!(matches!(error, SearchError::OtherComputation { .. }));
        assert!(error.to_string().contains("bf16 on cuda"), "{error}");
        // What was retrained on a GPU is not what a CPU would have made of it: it retrains.
        let retrained = || {
            let lines = std::fs::read_to_string(cut.join("selection.jsonl"));
            lines.expect("a selection").lines().count()
        };
        let before = retrained();
        session().select(&cut, &mut Silent).expect("a selection");
        assert_eq!(retrained(), 2 * before);
    }
}

#[test]
fn children_that_do_not_fit_fail_and_the_search_goes_on() {
    let folder = fakes::folder();
    let dir = folder.path().join("run");
    on_gpu(|| {
        // Buffers of a batch are 20 x 8 x 8 x 4 numbers of two bytes; evaluation and retraining take no more. Wider ones
        // do not fit: those of the final training.
        set_largest_allocation(10_240);
        let best = session().search(&dir, Start::New, &mut Silent);
        best.expect("all children fit");
        let error = session().train(&dir, Which::Found, Start::New, &mut Silent);
        let error = error.expect_err("no room").to_string();
        assert!(error.contains("not enough memory"), "{error}");
        assert!(
            error.contains("batches of 20 images of 8 x 8 x 3"),
            "{error}"
        );

        set_largest_allocation(10_000);
        let none = folder.path().join("none");
        let error = session().search(&none, Start::New, &mut Silent);
        set_largest_allocation(u64::MAX);
        error.expect_err("not one child fits");
        let records = timeless(&none);
        assert!(!records.is_empty());
        for record in records {
            assert_eq!(record.status, Status::Failed);
            let reason = record.reason.expect("a reason");
            assert!(reason.contains("not enough memory"), "{reason}");
        }
    });
    if cuda_emulation::AVAILABLE {
        Best::read(&dir.join("best.json")).expect("the result of the search");
    }
}
