//! Ctrl-C and SIGTERM: the work in progress is finished and saved, and a second signal does not wait for it.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Folder, Outcome, epnas, read_lines, run};

/// How long a child of the tiny search, or an epoch, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(arguments: &[&str]) -> Child {
    epnas()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("epnas starts")
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill")
        .args([format!("-{signal}"), child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Waits until `is_true`; panics after [`PATIENCE`].
fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let clock = Instant::now();
    while !is_true() {
        assert!(clock.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(child: Child) -> Outcome {
    let clock = Instant::now();
    let output: Output = child.wait_with_output().expect("it ends");
    assert!(clock.elapsed() < PATIENCE, "it took {:?}", clock.elapsed());
    Outcome::from(output)
}

#[test]
fn a_search_is_stopped_in_order_and_resumed_to_the_same_end() {
    let folder = Folder::new();
    let sets = [
        "--set",
        "search.iterations=3",
        "--set",
        "network.channels=8",
    ];
    folder.search("whole", &sets).ok();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (config, out) = (folder.arg("tiny.toml"), folder.arg(signal));
        let history = folder.path(signal).join("history.jsonl");
        let mut arguments = vec!["search", "--config", &config, "--out", &out, "--json"];
        arguments.extend(sets);
        let child = start(&arguments);
        wait_until("a child", || {
            std::fs::read_to_string(&history).is_ok_and(|text| text.contains('\n'))
        });
        send(signal, &child);
        let stopped = end(child);
        assert_eq!(stopped.code, Some(code), "{}", stopped.stderr);
        let last = stopped.stderr.lines().last().unwrap_or_default();
        assert!(
            last.contains(&format!("SIG{signal}"))
                && last.contains(&format!("epnas search --out {out} --resume")),
            "{}",
            stopped.stderr
        );
        // What is known is printed and stored, and less than the whole.
        let best = stopped.json();
        assert_eq!(
            best,
            crate::command::read_json(&folder.path(signal).join("best.json"))
        );
        assert!(best["notes"].to_string().contains("stopped"), "{best:#}");
        assert!(read_lines(&history).len() < read_lines(&folder.path("whole/history.jsonl")).len());

        run(&["search", "--out", &out, "--resume"]).ok();
        crate::resume::assert_same(&folder.path("whole"), &folder.path(signal));
    }
}

#[test]
fn a_training_is_stopped_after_a_step_and_goes_on_to_the_same_network() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let train = |out: &str| -> Vec<String> {
        let mut arguments = vec!["train", "--arch", "macro:c3.0/c5.1", "--config", &config];
        let sets = ["train.epochs=24", "train.channels=16", "train.batch=8"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        arguments.extend(["--out", out]);
        arguments.iter().map(ToString::to_string).collect()
    };
    let whole = train(&folder.arg("whole"));
    run(&whole.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let arguments = train(&folder.arg("mine"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (work, checkpoint) = (folder.path("mine/train"), "mine/train/checkpoint.bin");
    // `timeout` and some job schedulers send a signal twice at once; that is one request to stop.
    for (signal, code, times) in [("INT", 130, 1), ("TERM", 143, 2)] {
        let child = start(&arguments);
        wait_until("the training", || work.is_dir());
        std::thread::sleep(Duration::from_millis(150));
        for _ in 0..times {
            send(signal, &child);
        }
        let stopped = end(child);
        assert_eq!(stopped.code, Some(code), "{}", stopped.stderr);
        assert_eq!(stopped.stdout, "");
        let last = stopped.stderr.lines().last().unwrap_or_default();
        assert!(
            last.contains("of 24 epochs") && last.contains("same command"),
            "{}",
            stopped.stderr
        );
        assert!(folder.path(checkpoint).is_file());
    }
    run(&arguments).ok();
    for file in [
        "model/weights.safetensors",
        "train/best/weights.safetensors",
    ] {
        let read = |run: &str| std::fs::read(folder.path(run).join(file)).expect(file);
        assert!(read("mine") == read("whole"), "{file}");
    }
    assert_eq!(read_lines(&folder.path("mine/train/curve.jsonl")).len(), 24);
}

#[test]
fn a_ranking_is_stopped_after_an_architecture_and_goes_on() {
    let folder = Folder::new();
    let sets = [
        "baseline.kind=none",
        "search.children_per_step=6",
        "select.epochs=20",
        "select.top=0",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    folder.search("run", &sets).ok();
    let dir = folder.arg("run");
    let arguments = ["rank", &dir, "-n", "8", "--json"];
    let lines = folder.path("run/rank.jsonl");
    let child = start(&arguments);
    wait_until("an architecture", || {
        std::fs::read_to_string(&lines).is_ok_and(|text| text.contains('\n'))
    });
    send("INT", &child);
    let stopped = end(child);
    assert_eq!(stopped.code, Some(130), "{}", stopped.stderr);
    let done = read_lines(&lines).len();
    assert!((1..8).contains(&done), "{done} architectures");
    let report = stopped.json();
    assert_eq!(report["architectures"], done);
    assert!(
        report["notes"].to_string().contains("stopped"),
        "{report:#}"
    );
    let report = run(&arguments).ok().json();
    assert_eq!(
        (&report["architectures"], &report["notes"]),
        (
            &8.into(),
            &serde_json::json!(["of fewer than 10 architectures the intervals are too narrow"])
        )
    );
    assert_eq!(read_lines(&lines).len(), 8);
}

#[test]
fn a_second_signal_does_not_wait() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("mine"));
    // A child of minutes.
    let child = start(&[
        "search",
        "--config",
        &config,
        "--out",
        &out,
        "--set",
        "network.channels=128",
        "--set",
        "data.synthetic.train=20000",
    ]);
    let lock = folder.path("mine/precision.json");
    wait_until("the search", || lock.exists());
    std::thread::sleep(Duration::from_millis(300));
    send("INT", &child);
    std::thread::sleep(Duration::from_millis(1500));
    let clock = Instant::now();
    send("TERM", &child);
    let ended = end(child);
    assert!(
        clock.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        clock.elapsed()
    );
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
}

#[test]
fn commands_that_keep_nothing_end_at_the_first_signal() {
    let folder = Folder::new();
    let out = folder.arg("run");
    let config = folder.arg("tiny.toml");
    let child = start(&[
        "search",
        "--config",
        &config,
        "--out",
        &out,
        "--dry-run",
        "--set",
        "network.channels=512",
    ]);
    std::thread::sleep(Duration::from_millis(200));
    // Not INT, which is ignored by everything that a shell has put into the background.
    send("TERM", &child);
    // Killed by the signal itself: no exit code.
    assert_eq!(end(child).code, None);
    assert!(!folder.path("run").exists());
}
