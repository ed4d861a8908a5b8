//! `--precision bf16` on a CPU that has no instructions for it, which `EPNAS_SIMD=portable` makes of every CPU.

use crate::command::{Folder, Outcome, epnas, read, read_json, read_lines, run};

const WARNING: &str = "this CPU has no bfloat16 dot products (AVX512-BF16); training in f32";

/// Runs `epnas` as if the CPU had no bfloat16.
#[track_caller]
fn without(arguments: &[&str]) -> Outcome {
    let mut command = epnas();
    let command = command.env("EPNAS_SIMD", "portable").args(arguments);
    Outcome::from(command.output().expect("epnas starts"))
}

/// Fails unless the command warned, once.
#[track_caller]
fn warned(outcome: Outcome) -> Outcome {
    let outcome = outcome.ok();
    let lines = outcome.stderr.lines();
    let warnings: Vec<&str> = lines.filter(|line| line.contains("bfloat16")).collect();
    assert_eq!(warnings.len(), 1, "{}", outcome.stderr);
    assert!(warnings[0].ends_with(WARNING), "{}", warnings[0]);
    outcome
}

#[test]
fn a_search_without_instructions_warns_and_is_one_in_f32() {
    let folder = Folder::new();
    let (config, dir, single) = (
        folder.arg("tiny.toml"),
        folder.arg("run"),
        folder.arg("f32"),
    );
    let search = ["search", "--config", &config, "--json", "--out"];
    let asked = [&search[..], &[&dir, "--precision", "bf16"]].concat();
    let best = warned(without(&asked)).json();
    assert_eq!(best["precision"]["children"], "f32");
    assert_eq!(best["precision"]["retrained"], "f32");
    // What was asked for stays in the configuration, for all recipes.
    let stored = read(&folder.path("run").join("config.toml"));
    assert_eq!(
        stored.matches("precision = \"bf16\"").count(),
        2,
        "{stored}"
    );

    let expected = without(&[&search[..], &[&single]].concat()).ok();
    assert!(!expected.stderr.contains("bfloat16"), "{}", expected.stderr);
    let estimates = |run: &str| {
        let lines = read_lines(&folder.path(run).join("history.jsonl"));
        let of = |line: &serde_json::Value| (line["arch"].clone(), line["estimate"].clone());
        lines.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(estimates("run"), estimates("f32"));
    assert_eq!(best["top"], expected.json()["top"]);

    // The final training says it too, and its model.
    let report = warned(without(&["train", &dir, "--json"])).json();
    assert_eq!(report["precision"], "f32");
    let model = read_json(&folder.path("run/model/model.json"));
    assert_eq!(model["training"]["config"]["precision"], "f32");
    let select = [
        "select",
        &single,
        "--top",
        "1",
        "--precision",
        "bf16",
        "--json",
    ];
    // Retrained before, in the same precision.
    let selected = without(&select).ok().json();
    assert_eq!(selected["precision"]["retrained"], "f32");
}

#[test]
fn a_run_is_not_continued_in_another_precision() {
    let folder = Folder::new();
    let (config, dir) = (folder.arg("tiny.toml"), folder.arg("run"));
    let search = [
        "search",
        "--config",
        &config,
        "--out",
        &dir,
        "--precision",
        "bf16",
    ];
    without(&search).ok();
    let record = folder.path("run").join("precision.json");
    assert_eq!(read_json(&record)["children"], "f32");
    let resume = ["search", "--out", &dir, "--resume", "--quiet"];
    without(&resume).ok();
    // As if it had been begun on another CPU.
    crate::command::write_json(
        &record,
        &serde_json::json!({"children": "bf16", "device": "cpu"}),
    );
    let words = ["trained in bf16", "trained in f32"];
    without(&resume).fails(2, &words);
    // Asking for something else is refused as for every key that decides a search.
    let other = [&resume[..], &["--precision", "f32"]].concat();
    without(&other).fails(2, &["training.precision (stored \"bf16\", given \"f32\")"]);
}

#[test]
fn a_precision_that_does_not_exist_is_refused() {
    run(&["search", "--config", "demo", "--precision", "fp8"]).fails(2, &["fp8", "f32, bf16"]);
    let set = ["config", "--set", "training.precision=fp8"];
    run(&set).fails(2, &["training.precision", "fp8"]);
}
