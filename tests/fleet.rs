//! Many searches as one: processes on this machine that are killed, merged, chosen among.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use epnas_search::Best;
use epnas_search::run::lock_file;
use serde_json::Value;

use crate::command::{Folder, Outcome, epnas, line, read_json, read_lines, run};
use crate::resume::timeless_lines;

/// Longer than the tiny run, so that it can be killed in its middle.
const LONGER: [&str; 4] = ["--set", "network.channels=8", "--set", "training.epochs=3"];

/// Children that a replica has trained so far.
pub(crate) fn children(fleet: &Path, replica: usize) -> usize {
    let history = fleet.join(format!("replica-{replica:04}/history.jsonl"));
    std::fs::read_to_string(history).map_or(0, |text| text.lines().count())
}

fn arguments(folder: &Folder, out: &str, more: &[&str]) -> Vec<String> {
    let config = folder.arg("tiny.toml");
    let mut all: Vec<String> = [
        "fleet",
        "run",
        "--config",
        &config,
        "--out",
        &folder.arg(out),
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend(more.iter().map(|word| (*word).to_owned()));
    all
}

pub(crate) fn fleet(folder: &Folder, out: &str, more: &[&str]) -> Outcome {
    run(&arguments(folder, out, more))
}

/// A document without times and checksums.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(key, _)| {
                !["seconds", "search_seconds", "train_seconds", "crc32"].contains(&key.as_str())
            });
            Value::Object(
                kept.map(|(key, value)| (key.clone(), timeless(value)))
                    .collect(),
            )
        }
        Value::Array(values) => values.iter().map(timeless).collect(),
        other => other.clone(),
    }
}

/// Panics unless two fleets ended alike, to the last byte of what they hand over.
#[track_caller]
pub(crate) fn assert_same_fleet(expected: &Path, found: &Path) {
    assert_eq!(
        timeless_lines(&expected.join("children.jsonl")),
        timeless_lines(&found.join("children.jsonl"))
    );
    assert_eq!(
        timeless_lines(&expected.join("selection.jsonl")),
        timeless_lines(&found.join("selection.jsonl"))
    );
    for name in ["merged.json", "replicas.json", "best.json"] {
        let of = |fleet: &Path| timeless(&read_json(&fleet.join(name)));
        assert_eq!(of(expected), of(found), "{name}");
    }
    for name in ["model/weights.safetensors", "model.onnx"] {
        let of = |fleet: &Path| {
            std::fs::read(fleet.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        assert!(of(expected) == of(found), "{name} differs");
    }
    let tested = |fleet: &Path| read_json(&fleet.join("summary.json"))["test_accuracy"].clone();
    assert_eq!(tested(expected), tested(found));
}

#[test]
fn a_fleet_ends_with_the_best_of_all_trained() {
    let folder = Folder::new();
    let collected = fleet(&folder, "fleet", &["--replicas", "3", "--json"])
        .ok()
        .json();
    let path = folder.path("fleet");
    let replicas = collected["replicas"].as_array().expect("replicas");
    assert_eq!(replicas.len(), 3);
    // Each is the run that its seed gives by itself.
    for replica in replicas {
        let (number, seed) = (
            replica["number"].as_u64().expect("a number"),
            replica["seed"].as_u64().expect("a seed"),
        );
        let alone = folder.arg(&format!("alone-{number}"));
        folder
            .search(
                &format!("alone-{number}"),
                &["--seed", &seed.to_string(), "--set", "select.top=0"],
            )
            .ok();
        for part in ["", "random"] {
            assert_eq!(
                timeless_lines(&Path::new(&alone).join(part).join("history.jsonl")),
                timeless_lines(
                    &path
                        .join(format!("replica-{number:04}"))
                        .join(part)
                        .join("history.jsonl")
                ),
            );
        }
    }
    // All children are in one file, in order.
    let children = read_lines(&path.join("children.jsonl"));
    let place = |child: &Value| {
        (
            child["replica"].as_u64(),
            child["random"].as_bool(),
            child["index"].as_u64(),
        )
    };
    let places: Vec<_> = children.iter().map(place).collect();
    assert!(places.is_sorted());
    let cost = |of: &Value| of["cost"]["children"].as_u64().expect("a number");
    let (found, random) = (cost(&collected["best"]), cost(&collected["best"]["random"]));
    assert_eq!(children.len() as u64, found + random);
    assert_eq!(found, 30);
    // The best of all by retraining won, and each search is told by its own.
    let accuracy = |of: &Value| of["retrained_accuracy"].as_f64().expect("an accuracy");
    let selection = read_lines(&path.join("selection.jsonl"));
    let of_searches: Vec<f64> = replicas
        .iter()
        .map(|replica| accuracy(&replica["found"]))
        .collect();
    let highest = of_searches.iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(accuracy(&collected["best"]), highest);
    assert!(
        selection.len() <= 12 && selection.len() >= 3,
        "{}",
        selection.len()
    );
    // It is trained, and the folder is as good as a run's.
    assert_eq!(
        collected["summary"]["architecture"],
        collected["best"]["architecture"]
    );
    let out = folder.arg("fleet");
    let tested = line(&format!("eval {out} --json")).ok().json();
    assert_eq!(tested["accuracy"], collected["summary"]["test_accuracy"]);
    line(&format!("show {out}")).ok();
    // A fleet's page shows its searches, and the fleet as what came of them.
    let page = std::fs::read_to_string(path.join("report.html")).expect("a page");
    assert!(page.contains("over 3 runs: their mean"), "runs of a page");
    let whole = page.split("<details class=\"run\">").nth(1);
    let whole = whole.expect("a part about the fleet");
    assert!(
        whole.contains("the searches") && whole.contains("their random searches"),
        "{whole}"
    );
    assert!(!whole.contains("Nothing to show"), "{whole}");
    // Once done, nothing is done again.
    let before = std::fs::metadata(path.join("merged.json"))
        .and_then(|meta| meta.modified())
        .expect("a time");
    let again = line(&format!("fleet run --out {out} --json")).ok().json();
    assert_eq!(again, collected);
    assert_eq!(
        std::fs::metadata(path.join("merged.json"))
            .and_then(|meta| meta.modified())
            .expect("a time"),
        before
    );
    // It is no run to search on.
    for command in ["search --resume --out", "select", "rank"] {
        line(&format!("{command} {out}")).fails(2, &["holds a fleet", "epnas fleet"]);
    }
    line(&format!("run --config demo --out {out}")).fails(2, &["holds a fleet"]);
}

#[test]
fn a_fleet_gets_more_replicas_and_never_fewer() {
    let folder = Folder::new();
    let none = ["--set", "fleet.train=false", "--replicas"];
    fleet(&folder, "grown", &[none.as_slice(), &["1"]].concat()).ok();
    let grown = folder.path("grown");
    let read = |names: &[String]| -> Vec<Vec<u8>> {
        let read = |name| std::fs::read(grown.join(name)).expect("a candidate");
        names.iter().map(read).collect()
    };
    let first = candidates(&grown);
    let retrained = read(&first);
    fleet(&folder, "grown", &[none.as_slice(), &["2"]].concat()).ok();
    // Times are in it.
    assert!(read(&first) == retrained, "candidates were retrained again");
    assert!(candidates(&grown).len() > first.len());
    fleet(&folder, "whole", &[none.as_slice(), &["2"]].concat()).ok();
    for name in ["merged.json", "replicas.json", "best.json"] {
        let of = |fleet: &str| timeless(&read_json(&folder.path(fleet).join(name)));
        assert_eq!(of("grown"), of("whole"), "{name}");
    }
    let error = fleet(&folder, "grown", &[none.as_slice(), &["1"]].concat());
    error.fails(2, &["has 2 replicas and not 1"]);
    let error = fleet(
        &folder,
        "grown",
        &["--replicas", "2", "--set", "search.iterations=2"],
    );
    error.fails(2, &["search.iterations (stored 1, given 2)"]);
    let error = fleet(&folder, "grown", &["--replicas", "2", "--seed", "9"]);
    error.fails(2, &["seed (stored 3, given 9)"]);
    // With a training: where the best is another network now, that is trained.
    let chosen = || read_json(&folder.path("trained/best.json"))["architecture"].clone();
    fleet(&folder, "trained", &["--replicas", "1"]).ok();
    let before = chosen();
    fleet(&folder, "trained", &["--replicas", "3"]).ok();
    assert_ne!(chosen(), before, "the test needs another winner");
    // As many as there are, unless others are asked for.
    let again = fleet(&folder, "trained", &["--json"]).ok().json();
    assert_eq!(again["replicas"].as_array().map(Vec::len), Some(3));
    fleet(&folder, "trained", &["--set", "fleet.replicas=2"])
        .fails(2, &["has 3 replicas and not 2"]);
    // There is nothing to begin anew: neither a training with other settings, nor of another network.
    let checkpoint = folder.path("trained/train/checkpoint.bin");
    let written = || std::fs::metadata(&checkpoint).and_then(|meta| meta.modified());
    let kept = written().expect("a checkpoint");
    fleet(&folder, "trained", &["--restart"]).ok();
    assert_eq!(written().expect("a checkpoint"), kept);
    let whole = fleet(&folder, "all-at-once", &["--replicas", "3"]);
    whole.ok();
    assert_same_fleet(&folder.path("all-at-once"), &folder.path("trained"));
    // Those that learn from one another as well, one that has not ended among them.
    let pooled = [
        "--set",
        "fleet.pooled=true",
        "--set",
        "fleet.train=false",
        "--replicas",
    ];
    fleet(&folder, "pooled", &[pooled.as_slice(), &["1"]].concat()).ok();
    fleet(&folder, "pooled", &[pooled.as_slice(), &["2"]].concat()).ok();
    std::fs::remove_file(folder.path("pooled/replica-0001/ended.json")).expect("removed");
    fleet(&folder, "pooled", &[pooled.as_slice(), &["3"]].concat()).ok();
}

#[test]
fn what_another_process_has_is_left_to_it() {
    let folder = Folder::new();
    let more = ["--replicas", "2", "--set", "fleet.train=false"];
    fleet(
        &folder,
        "whole",
        &["--replicas", "3", "--set", "fleet.train=false"],
    )
    .ok();
    let path = folder.path("shared");
    let out = folder.arg("shared");
    std::fs::create_dir_all(path.join("replica-0000")).expect("a folder");
    let held = lock_file(&path.join("replica-0000/lock"), &path).expect("a lock");
    let mut crew = start(&arguments(
        &folder,
        "shared",
        &[&more[..], &["--at-once", "1"]].concat(),
    ));
    let begun = Instant::now();
    while !path.join("replica-0001/ended.json").exists() {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "it waits for what another has"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = line(&format!("fleet status {out} --json")).ok().json();
    assert_eq!(status["stages"][0]["running"], serde_json::json!([0]));
    assert!(!path.join("replica-0000/history.jsonl").exists());
    // A fleet may grow while it is at work; whoever comes first to the end of a search does what is left.
    let mut grown = start(&arguments(
        &folder,
        "shared",
        &["--replicas", "3", "--set", "fleet.train=false"],
    ));
    while read_json(&path.join("fleet.json"))["replicas"]
        .as_array()
        .map(Vec::len)
        != Some(3)
    {
        assert!(begun.elapsed() < Duration::from_mins(1), "it does not grow");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    assert!(crew.wait().expect("a status").success());
    assert!(grown.wait().expect("a status").success());
    // Who asks for nothing new waits for the one that concludes.
    std::fs::remove_file(path.join("done.json")).expect("removed");
    let held = lock_file(&path.join("lock"), &path).expect("a lock");
    let mut second = start(&["fleet", "run", "--out", &out].map(str::to_owned));
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        second.try_wait().expect("a status").is_none(),
        "it did not wait"
    );
    drop(held);
    assert!(second.wait().expect("a status").success());
    for name in ["merged.json", "replicas.json", "best.json"] {
        let of = |fleet: &str| timeless(&read_json(&folder.path(fleet).join(name)));
        assert_eq!(of("shared"), of("whole"), "{name}");
    }
}

/// Kills a fleet and all of its processes at once, as a machine that loses power does.
fn kill(mut child: Child) {
    let group = child.id();
    let status = std::process::Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .status();
    assert!(status.expect("kill runs").success());
    child.wait().expect("it ends");
}

fn start(arguments: &[String]) -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = epnas();
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command.spawn().expect("epnas starts")
}

#[test]
fn fleets_killed_at_random_moments_end_as_if_nothing_had_happened() {
    let folder = Folder::new();
    let more = [&["--replicas", "3"], LONGER.as_slice()].concat();
    let clock = Instant::now();
    fleet(
        &folder,
        "whole",
        &[more.as_slice(), &["--at-once", "2"]].concat(),
    )
    .ok();
    let whole = clock.elapsed();
    let mut state = crate::resume::seed("EPNAS_KILL_SEED");
    for round in 0..2 * crate::faults::torture() {
        let out = format!("killed-{round}");
        // On another number of processes and threads.
        let arguments = arguments(
            &folder,
            &out,
            &[more.as_slice(), &["--at-once", "3", "--threads", "1"]].concat(),
        );
        for _ in 0..4 {
            let mut child = start(&arguments);
            let share = crate::resume::next(&mut state) % 1000;
            let until = Instant::now() + whole.mul_f64(share as f64 / 1500.0);
            while Instant::now() < until && child.try_wait().expect("a status").is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            if child.try_wait().expect("a status").is_none() {
                kill(child);
            }
        }
        run(&arguments).ok();
        assert_same_fleet(&folder.path("whole"), &folder.path(&out));
    }
}

#[test]
fn a_fleet_may_have_a_name_like_a_flag() {
    let folder = Folder::new();
    let mut command = epnas();
    command.args(["fleet", "run", "--config", "tiny.toml", "--out=-x"]);
    command.args(["--replicas", "1", "--set", "fleet.train=false"]);
    command.current_dir(folder.path(""));
    let ended = Outcome::from(command.output().expect("epnas starts")).ok();
    assert!(
        ended.stdout.contains("next          epnas train ./-x\n"),
        "{}",
        ended.stdout
    );
    let out = folder.arg("-x");
    line(&format!("watch {out} --port 0")).fails(2, &["replica-0000", "epnas fleet status"]);
}

/// `collect` is for any machine, such as one without the GPU that everything was trained on.
#[test]
fn a_result_names_the_machine_of_the_searches() {
    let folder = Folder::new();
    let more = ["--replicas", "1", "--set", "fleet.train=false"];
    fleet(&folder, "fleet", &more).ok();
    let path = folder.path("fleet");
    let searched = path.join("replica-0000/best.json");
    let mut best = Best::read(&searched).expect("a result");
    best.machine.device = "another device".to_owned();
    best.write(&searched).expect("written");
    std::fs::remove_file(path.join("best.json")).expect("removed");
    let out = folder.arg("fleet");
    let collected = line(&format!("fleet collect {out} --json")).ok().json();
    assert_eq!(collected["best"]["machine"]["device"], "another device");
}

/// The candidates that are retrained, as paths in the fleet's folder.
pub(crate) fn candidates(fleet: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(fleet.join("selection")).expect("candidates");
    let names = entries.map(|entry| {
        let name = entry.expect("an entry").file_name();
        format!("selection/{}", name.to_string_lossy())
    });
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    names
}

/// A folder with the searches of a fleet and no description is neither a run nor taken for an empty fleet.
#[track_caller]
fn what_needs_a_description_is_refused(fleet: &str) {
    let page = Path::new(fleet).join("report.html");
    let before = std::fs::read(&page).expect("a page");
    for command in ["fleet status", "fleet collect", "report"] {
        line(&format!("{command} {fleet}"))
            .fails(2, &["no fleet.json", "`epnas fleet run` or `submit`"]);
    }
    line(&format!("search --resume --out {fleet}")).fails(2, &["holds a fleet"]);
    line(&format!("fleet run --out {fleet} --replicas 1")).fails(2, &["has 2 replicas and not 1"]);
    assert!(
        std::fs::read(&page).expect("a page") == before,
        "the page was lost"
    );
}

#[test]
fn processes_that_die_at_any_write_and_files_that_are_damaged_change_nothing() {
    if !cfg!(debug_assertions) {
        eprintln!("skipped: faults are for builds with debug assertions");
        return;
    }
    let folder = Folder::new();
    let more = ["--replicas", "2", "--at-once", "2"];
    fleet(&folder, "whole", &more).ok();
    let all = arguments(&folder, "faults", &more);
    let mut struck = 0;
    // Each process dies at that write of its own, and so do those that replace it.
    let mut point = 0;
    while point < 400 {
        let mut command = epnas();
        command
            .args(&all)
            .env("EPNAS_FAULT", format!("kill:{point}"));
        let outcome = Outcome::from(command.output().expect("epnas starts"));
        struck += usize::from(outcome.code != Some(0));
        point = point * 2 + 3;
    }
    assert!(struck > 2, "{struck} fleets were stopped");
    run(&all).ok();
    assert_same_fleet(&folder.path("whole"), &folder.path("faults"));

    // Whatever is made of other files is made again.
    let path = folder.path("faults");
    let candidate = candidates(&path).swap_remove(0);
    // Files that are written whole or not at all, after a file system lost their content.
    for name in [
        "summary.json",
        "report.html",
        "selection.jsonl",
        "train/result.json",
    ] {
        std::fs::write(path.join(name), "").expect("written");
        run(&all).ok();
        assert_same_fleet(&folder.path("whole"), &path);
        assert!(std::fs::metadata(path.join(name)).is_ok_and(|meta| meta.len() > 0));
    }
    for name in [
        "best.json",
        "replicas.json",
        "merged.json",
        &candidate,
        "replica-0001/ended.json",
        "done.json",
    ] {
        let file = path.join(name);
        let text = std::fs::read_to_string(&file).expect("a file");
        std::fs::write(&file, text.replacen('1', "2", 1)).expect("written");
        let again = run(&all).ok();
        assert!(
            again.stderr.contains(name) && again.stderr.contains("is made again"),
            "{name}: {}",
            again.stderr
        );
        assert_same_fleet(&folder.path("whole"), &path);
    }
    // And so is what was taken away.
    for name in [
        "best.json",
        "replicas.json",
        "children.jsonl",
        "fleet.json",
        &candidate,
    ] {
        std::fs::remove_file(path.join(name)).expect("removed");
        if name == "fleet.json" {
            what_needs_a_description_is_refused(&folder.arg("faults"));
        }
        run(&all).ok();
        assert_same_fleet(&folder.path("whole"), &path);
    }
    // Another training of the same network is not begun over the one that is there, unless it is asked for; until then the
    // accuracies of the old one are not told.
    let changed = |more: &[&str]| {
        let more = more.iter().map(|word| (*word).to_owned());
        all.iter().cloned().chain(more).collect::<Vec<String>>()
    };
    let longer = changed(&["--set", "train.epochs=3"]);
    run(&longer).fails(1, &["train.epochs (stored 2, given 3)", "--restart"]);
    let out = folder.arg("faults");
    let stale = line(&format!("fleet collect {out} --json")).ok().json();
    assert_eq!(stale["summary"], Value::Null);
    run(&changed(&["--set", "train.epochs=3", "--restart"])).ok();
    let anew = line(&format!("fleet collect {out} --json")).ok().json();
    assert_eq!(
        anew["summary"]["architecture"],
        anew["best"]["architecture"]
    );
    // A training by itself leaves no summary and no ONNX: the fleet makes them.
    line(&format!("train {out} --restart")).ok();
    run(&longer).ok();
    assert!(path.join("model.onnx").exists() && path.join("summary.json").exists());
    // Histories are what all of it is made of: others are not taken for those that a search ended with.
    let history = path.join("replica-0001/history.jsonl");
    let lines = std::fs::read_to_string(&history).expect("a history");
    let half = lines.lines().take(4).map(|line| format!("{line}\n"));
    std::fs::write(&history, half.collect::<String>()).expect("written");
    std::fs::remove_dir_all(path.join("replica-0001/checkpoint")).expect("removed");
    std::fs::remove_file(path.join("merged.json")).expect("removed");
    run(&longer).fails(
        1,
        &[
            "history.jsonl",
            "holds 4 children, expected the 10",
            "put it back from a copy, or delete",
            "replica-0001 with what is left",
        ],
    );
    std::fs::remove_dir_all(path.join("replica-0001")).expect("removed");
    run(&longer).ok();
    assert_eq!(
        timeless_lines(&folder.path("whole/children.jsonl")),
        timeless_lines(&path.join("children.jsonl"))
    );
    // What nothing can make again is named.
    let description = path.join("fleet.json");
    let text = std::fs::read_to_string(&description).expect("a file");
    std::fs::write(&description, text.replacen("\"seed\": ", "\"seed\": 1", 1)).expect("written");
    run(&all).fails(1, &["fleet.json", "CRC-32", "delete it"]);
}

/// The processes that do pieces of a fleet.
fn pieces(out: &Path) -> Vec<u32> {
    let of = |entry: std::fs::DirEntry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let is_ours = words.contains(" fleet piece ") && words.contains(&*out.to_string_lossy());
        is_ours.then(|| entry.file_name().to_string_lossy().parse().ok())?
    };
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(of)
        .collect()
}

#[test]
fn a_process_that_is_killed_is_replaced_and_one_that_is_left_alone_ends() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: no /proc");
        return;
    }
    let folder = Folder::new();
    let more = [&["--replicas", "2", "--at-once", "2"], LONGER.as_slice()].concat();
    fleet(&folder, "whole", &more).ok();
    let all = arguments(&folder, "troubled", &more);
    let path = folder.path("troubled");
    let wait = |what: &str, is_true: &dyn Fn() -> bool| {
        let clock = Instant::now();
        while !is_true() {
            assert!(
                clock.elapsed() < Duration::from_secs(60),
                "waited in vain for {what}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // One process is killed, as the kernel does where memory is short: the fleet goes on by itself.
    let mut child = start(&all);
    wait("a child", &|| children(&path, 0) > 1);
    let killed = pieces(&path);
    let status = std::process::Command::new("kill")
        .args(["-KILL", &killed[0].to_string()])
        .status();
    assert!(status.expect("kill runs").success());
    assert!(child.wait().expect("it ends").success());
    assert_same_fleet(&folder.path("whole"), &path);
    // Whoever watches is killed: the processes do not go on for ever.
    std::fs::remove_dir_all(&path).expect("removed");
    let mut child = start(&all);
    wait("a child", &|| children(&path, 0) > 0);
    let status = std::process::Command::new("kill")
        .args(["-KILL", &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
    child.wait().expect("it ends");
    wait("the processes' end", &|| pieces(&path).is_empty());
    run(&all).ok();
    assert_same_fleet(&folder.path("whole"), &path);
    // A signal ends all in order.
    std::fs::remove_dir_all(&path).expect("removed");
    let mut child = start(&all);
    wait("a child", &|| children(&path, 0) > 0);
    let status = std::process::Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert!(pieces(&path).is_empty());
    run(&all).ok();
    assert_same_fleet(&folder.path("whole"), &path);
}

#[test]
fn what_has_ended_is_collected_before_the_rest() {
    let folder = Folder::new();
    fleet(
        &folder,
        "fleet",
        &["--replicas", "2", "--set", "fleet.train=false"],
    )
    .ok();
    let out = folder.arg("fleet");
    let whole = timeless(&read_json(&folder.path("fleet/best.json")));
    // A third search, of which nothing is there yet.
    let more = ["fleet", "run", "--out", &out, "--replicas", "3"];
    std::fs::create_dir(folder.path("fleet/replica-0002")).expect("a folder");
    folder.write("fleet/replica-0002/stranger", "in the way");
    let failed = run(&more);
    failed.fails(1, &["search 2", "replica-0002 is not empty", "stranger"]);
    let error = line(&format!("fleet collect {out}"));
    error.fails(
        1,
        &[
            "1 of 3 pieces of the stage search are not done (2)",
            "--partial",
        ],
    );
    let partial = line(&format!("fleet collect {out} --partial --json"))
        .ok()
        .json();
    assert_eq!(partial["replicas"].as_array().map(Vec::len), Some(2));
    let notes = partial["best"]["notes"].as_array().expect("notes");
    assert!(
        notes
            .iter()
            .any(|note| note == "1 of 3 searches have not ended and are not in it"),
        "{notes:?}"
    );
    assert_eq!(partial["best"]["architecture"], whole["architecture"]);
    // It is not taken for the whole: not by itself, and not by the jobs that follow.
    line(&format!("fleet collect {out}")).fails(1, &["1 of 3 pieces of the stage search"]);
    let job = line(&format!("fleet work {out} --stage train"));
    assert_eq!(job.code, Some(1));
    assert!(
        job.stderr.contains("replica-0002 is not empty"),
        "{}",
        job.stderr
    );
    assert!(!folder.path("fleet/done.json").exists());
    let status = line(&format!("fleet status {out} --json")).ok().json();
    let missing = |stage: usize| status["stages"][stage]["missing"].as_array().map(Vec::len);
    assert!((0..4).all(|stage| missing(stage) > Some(0)), "{status}");
    // And then all of it.
    std::fs::remove_dir_all(folder.path("fleet/replica-0002")).expect("removed");
    run(&more).ok();
    let done = line(&format!("fleet collect {out} --json")).ok().json();
    assert_eq!(done["replicas"].as_array().map(Vec::len), Some(3));
    assert_eq!(done["best"]["notes"], Value::Array(vec![]));
}

#[test]
fn what_is_no_fleet_is_refused() {
    let folder = Folder::new();
    folder.search("run", &[]).ok();
    let out = folder.arg("run");
    for command in ["status", "collect", "cancel"] {
        line(&format!("fleet {command} {out}")).fails(2, &["holds no fleet"]);
    }
    fleet(&folder, "run", &[]).fails(2, &["holds a run, not a fleet"]);
    line(&format!("fleet run --out {}", folder.arg("new"))).fails(2, &["--config"]);
    fleet(&folder, "new", &["--replicas", "0"]).fails(2, &["fleet.replicas", "1 to 100000"]);
    fleet(&folder, "new", &["--devices", "cpu,cuda:0"]).fails(2, &["--devices"]);
    fleet(&folder, "new", &["--set", "fleet.slurm.notice=1s"])
        .fails(2, &["fleet.slurm.notice", "30s"]);
    fleet(&folder, "new", &["--set", "fleet.slurm.partition=a b"])
        .fails(2, &["fleet.slurm.partition", "without spaces"]);
    fleet(
        &folder,
        "new",
        &["--set", "fleet.slurm.options=[\"account\"]"],
    )
    .fails(2, &["fleet.slurm.options", "dash"]);
    assert!(!folder.path("new").exists());
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        let mut command = epnas();
        command.args(["fleet", "run", "--config", "demo", "--out"]);
        command.arg(std::ffi::OsStr::from_bytes(b"runs/\xff"));
        let refused = Outcome::from(command.output().expect("epnas starts"));
        refused.fails(2, &["expected a path of UTF-8"]);
    }
    // A piece that is not there.
    fleet(
        &folder,
        "fleet",
        &["--replicas", "1", "--set", "fleet.train=false"],
    )
    .ok();
    let out = folder.arg("fleet");
    line(&format!("fleet piece {out} --stage search --number 7")).fails(2, &["no piece 7"]);
    line(&format!("fleet piece {out} --stage select --number 7")).fails(2, &["no piece 7"]);
}

#[test]
fn a_plan_multiplies_what_is_measured() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let plan = line(&format!("fleet plan --config {config} --replicas 6 --json"))
        .ok()
        .json();
    assert_eq!(plan["replicas"], 6);
    assert_eq!(plan["children_per_replica"], 10);
    // Two of each search and two of each baseline.
    assert_eq!(plan["candidates"], 24);
    let hours = |key: &str| plan[key].as_f64().expect("a number");
    let sum = hours("search_hours") + hours("select_hours") + hours("train_hours");
    assert!((hours("device_hours") - sum).abs() < 1e-12 && sum > 0.0);
    let wall = plan["wall"].as_array().expect("a list");
    let at = |at_once: u64| {
        wall.iter()
            .find(|wall| wall["at_once"] == at_once)
            .and_then(|wall| wall["hours"].as_f64())
            .expect("hours")
    };
    assert!((at(1) - sum).abs() < 1e-12);
    let six = hours("search_hours") / 6.0 + hours("select_hours") / 6.0 + hours("train_hours");
    assert!((at(6) - six).abs() < 1e-12);
    let text = line(&format!("fleet plan --config {config} --replicas 6"))
        .ok()
        .stdout;
    assert!(text.contains("6 searches of 10 children"), "{text}");
}
