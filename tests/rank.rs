//! `epnas rank`: the estimates of a run against retraining, resumed, extended and stopped.

use serde_json::Value;

use crate::command::{Folder, read_json, read_lines, run};

/// A small run with full-length children of its own.
fn searched() -> (Folder, String) {
    let folder = Folder::new();
    let sets = [
        "--set",
        "baseline.kind=none",
        "--set",
        "search.children_per_step=4",
    ];
    folder.search("run", &sets).ok();
    let dir = folder.arg("run");
    (folder, dir)
}

/// Lines without what depends on the clock.
fn timeless(lines: Vec<Value>) -> Vec<Value> {
    let strip = |mut line: Value| {
        let object = line.as_object_mut().expect("an object");
        object.remove("seconds");
        object.remove("estimate_seconds");
        for epoch in object["epochs"].as_array_mut().expect("epochs") {
            epoch.as_object_mut().expect("an epoch").remove("seconds");
        }
        line
    };
    lines.into_iter().map(strip).collect()
}

#[test]
fn estimates_are_compared_with_retraining() {
    let (folder, dir) = searched();
    let report = run(&["rank", &dir, "-n", "6", "--json"]).ok().json();
    let path = |name: &str| folder.path(&format!("run/{name}"));
    assert_eq!(report, read_json(&path("rank.json")));
    assert_eq!(
        (&report["architectures"], &report["failed"]),
        (&6.into(), &0.into())
    );
    assert_eq!(report["search_estimate"], "trained_running");
    assert_eq!(report["seed"], 3);
    assert_eq!(report["retrained"]["epochs"], 1);
    assert_eq!(
        report["notes"],
        serde_json::json!(["of fewer than 10 architectures the intervals are too narrow"])
    );
    let all = report["all"].as_array().expect("scores");
    let names: Vec<&str> = all
        .iter()
        .filter_map(|scores| scores["predictor"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "recorded",
            "trained_running",
            "trained_recalibrated",
            "trained_batch",
            "inherited_running",
            "inherited_recalibrated",
            "inherited_batch",
            "surrogate",
            "macs",
            "params",
        ]
    );
    let counts: Vec<&Value> = all.iter().map(|scores| &scores["architectures"]).collect();
    assert_eq!(counts[0], 3);
    assert!(counts[1..].iter().all(|count| **count == 6), "{counts:?}");

    let lines = read_lines(&path("rank.jsonl"));
    let history = read_lines(&path("history.jsonl"));
    for (index, line) in lines.iter().enumerate() {
        let estimates = line["estimates"].as_object().expect("estimates");
        let origin = ["run", "space"][index % 2];
        assert_eq!(
            (&line["origin"], &line["status"]),
            (&origin.into(), &"ok".into())
        );
        // The retrained network is the same here, and so are its costs.
        assert_eq!(estimates["macs"].as_f64(), line["macs"].as_f64());
        assert_eq!(estimates["params"].as_f64(), line["params"].as_f64());
        let recorded: Vec<&Value> = history
            .iter()
            .filter(|child| child["arch"] == line["arch"])
            .map(|child| &child["estimate"])
            .collect();
        match estimates.get("recorded") {
            Some(estimate) => assert!(recorded.contains(&estimate), "{line}"),
            None => assert_eq!(origin, "space"),
        }
    }
    // A circle per architecture and one per row of the legend.
    let svg = std::fs::read_to_string(path("rank.svg")).expect("a drawing");
    assert_eq!(svg.matches("<circle").count(), 6 + 2);

    let text = run(&["rank", &dir, "-n", "6"]).ok().stdout;
    for words in [
        "Kendall tau",
        "inherited, recalibrated",
        "MACs",
        "6 architectures",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_ranking_grows_and_depends_on_nothing_but_seed_and_settings() {
    let (folder, dir) = searched();
    let other = folder.arg("copy");
    let copied = std::process::Command::new("cp")
        .args(["-r", &dir, &other])
        .status();
    assert!(copied.expect("cp runs").success());
    let lines = |name: &str| timeless(read_lines(&folder.path(&format!("{name}/rank.jsonl"))));
    run(&["rank", &dir, "-n", "3"]).ok();
    assert_eq!(lines("run").len(), 3);
    run(&["rank", &dir, "-n", "5", "--threads", "1"]).ok();
    run(&["rank", &other, "-n", "5", "--threads", "2"]).ok();
    assert_eq!(lines("run").len(), 5);
    assert_eq!(lines("run"), lines("copy"));

    // The accuracy after retraining is the one that the selection measures.
    let selected = run(&["select", &dir, "--top", "20", "--json"]).ok().json();
    let mut compared = 0;
    for line in lines("run") {
        let top = selected["top"].as_array().expect("candidates");
        let found = top.iter().find(|one| one["architecture"] == line["arch"]);
        if let Some(candidate) = found {
            assert_eq!(candidate["retrained_accuracy"], line["retrained_accuracy"]);
            compared += 1;
        }
    }
    assert!(compared >= 3, "{compared}");

    // Other settings and seeds are kept apart.
    let longer = run(&["rank", &dir, "-n", "3", "--epochs", "2", "--json"])
        .ok()
        .json();
    assert_eq!(longer["retrained"]["epochs"], 2);
    assert_eq!(longer["architectures"], 3);
    assert_eq!(lines("run").len(), 8);
    let reseeded = run(&["rank", &dir, "-n", "2", "--seed", "9", "--json"])
        .ok()
        .json();
    assert_eq!(
        (&reseeded["seed"], &reseeded["architectures"]),
        (&9.into(), &2.into())
    );
    assert_eq!(lines("run").len(), 10);
}

#[test]
fn what_cannot_be_ranked_is_named() {
    let (folder, dir) = searched();
    run(&["rank", &dir, "-n", "1"]).fails(2, &["1", "2.."]);
    run(&["rank", &dir, "--epochs", "0"]).fails(2, &["select.epochs", "0"]);
    let nowhere = folder.arg("nowhere");
    run(&["rank", &nowhere]).fails(2, &["nowhere", "holds no run"]);
    let checkpoint = folder.path("run/checkpoint");
    std::fs::write(checkpoint.join("state.json"), "{").expect("written");
    run(&["rank", &dir]).fails(1, &["state.json", "damaged"]);
    std::fs::remove_dir_all(checkpoint).expect("removed");
    run(&["rank", &dir]).fails(2, &["run", "no checkpoint"]);
    assert!(!folder.path("run/rank.json").exists());
}

#[test]
fn a_run_of_random_search_has_no_surrogate() {
    let folder = Folder::new();
    let sets = [
        "--set",
        "baseline.kind=none",
        "--set",
        "search.strategy=random",
    ];
    folder.search("run", &sets).ok();
    let report = run(&["rank", &folder.arg("run"), "-n", "2", "--json"])
        .ok()
        .json();
    let text = report["all"].to_string();
    assert!(
        text.contains("trained_batch") && !text.contains("surrogate"),
        "{text}"
    );
}

#[test]
fn where_nothing_is_shared_nothing_is_inherited() {
    let folder = Folder::new();
    let sets = [
        "--set",
        "baseline.kind=none",
        "--set",
        "search.sharing=none",
    ];
    folder.search("run", &sets).ok();
    let report = run(&["rank", &folder.arg("run"), "-n", "4", "--json"]);
    let report = report.ok().json();
    let all = report["all"].as_array().expect("scores");
    let names: Vec<&str> = all
        .iter()
        .filter_map(|scores| scores["predictor"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "recorded",
            "trained_running",
            "trained_recalibrated",
            "trained_batch",
            "surrogate",
            "macs",
            "params",
        ]
    );
}
