//! `epnas compare`: strategies on tables, and strategies of a search.

use serde_json::Value;

use crate::command::{Folder, read, read_json, read_lines, run};

/// A JSON table of three levels of three choices, where each level adds a few points.
fn table(folder: &Folder, extra: &str) -> String {
    let rows = (0..27).map(|number| {
        let digits = [number % 3, number / 3 % 3, number / 9];
        let accuracy = 0.6 + 0.03 * f64::from(digits.iter().sum::<i32>());
        let digits = digits.map(|digit| digit.to_string()).join(",");
        format!(
            "{{\"arch\": [{digits}], \"accuracy\": [{accuracy}, {}]}}",
            accuracy + 0.001
        )
    });
    let rows = rows.collect::<Vec<_>>().join(",\n");
    folder.write("table.json", format!("{{{extra}\"rows\": [{rows}]}}"))
}

#[test]
fn regret_is_told_as_json_and_drawn() {
    let folder = Folder::new();
    let table = table(&folder, "\"name\": \"sums\", \"padding\": 0, ");
    let out = folder.arg("out");
    let outcome = run(&[
        "compare",
        "--table",
        &table,
        "--strategy",
        "random,regularized_evolution,epnas",
        "--budget",
        "5,12",
        "--trials",
        "30,epnas=4",
        "--seed",
        "9",
        "--out",
        &out,
        "--json",
    ]);
    let json = outcome.ok().json();
    assert_eq!(read_json(&folder.path("out/compare.json")), json);
    assert_eq!((&json["seed"], &json["table"]), (&9.into(), &"sums".into()));
    for (name, trials) in [("random", 30), ("regularized_evolution", 30), ("epnas", 4)] {
        let strategy = &json["strategies"][name];
        assert_eq!(strategy["trials"], trials);
        for budget in ["5", "12"] {
            let regret = &strategy["regret"][budget];
            let mean = regret["mean"].as_f64().expect("a mean");
            let [low, high] = [0, 1].map(|end| regret["ci95"][end].as_f64().expect("an end"));
            assert!(
                low <= mean && mean <= high && (0.0..=18.0).contains(&mean),
                "{regret}"
            );
            assert_eq!(
                regret["vs_random_p"].is_null(),
                name == "random",
                "{regret}"
            );
        }
    }
    let drawing = read(&folder.path("out/compare.svg"));
    assert!(drawing.contains("regularized_evolution") && drawing.contains("sums"));
}

#[test]
fn the_text_says_what_the_json_says() {
    let folder = Folder::new();
    let table = table(&folder, "\"padding\": 0, ");
    let line = [
        "compare",
        "--table",
        &table,
        "--strategy",
        "random",
        "--budget",
        "27",
        "--trials",
        "10",
    ];
    let text = run(&line).ok().stdout;
    assert!(text.contains("27 architectures, the best 78.05%"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("random") && line.contains(" 27 ")),
        "{text}"
    );
    assert_eq!(
        run(&line).ok().stdout.split("  ").next(),
        text.split("  ").next()
    );
}

/// A comparison of searches that train networks, with all that does not measure time.
fn trained(folder: &Folder, out: &str, more: &[&str]) -> Value {
    let (config, out) = (folder.arg("tiny.toml"), folder.arg(out));
    let mut line = vec!["compare", "--config", &config, "--out", &out, "--json"];
    line.extend(more);
    let mut json = run(&line).ok().json();
    for (_, strategy) in json["strategies"].as_object_mut().expect("strategies") {
        strategy["seconds_per_trial"] = Value::Null;
        for search in strategy["searches"].as_array_mut().expect("searches") {
            search["seconds"] = Value::Null;
        }
    }
    json
}

#[test]
fn searches_that_train_spend_the_same_and_go_on() {
    let folder = Folder::new();
    let of = ["--strategy", "random,epnas", "--trials", "3,epnas=2"];
    let direct = [
        &of[..],
        &["--budget", "2,4", "--parallel", "2", "--threads", "3"],
    ]
    .concat();
    let direct = trained(&folder, "direct", &direct);
    for name in ["compare.svg", "compare-estimates.svg", "random-3/best.json"] {
        assert!(folder.path("direct").join(name).is_file(), "{name}");
    }
    let unit = direct["network_macs"].as_f64().expect("a unit");
    for (run, trials, seed) in [("random-3", 3, 3), ("random-5", 3, 5), ("epnas-4", 2, 4)] {
        let name = run.split('-').next().expect("a name");
        let strategy = &direct["strategies"][name];
        assert_eq!(strategy["trials"], trials);
        let search = &strategy["searches"][seed - 3];
        assert_eq!(search["seed"], seed);
        let records = read_lines(&folder.path("direct").join(run).join("history.jsonl"));
        let macs = |record: &Value| {
            record["macs"].as_f64().expect("macs") * record["images"].as_f64().expect("images")
        };
        // The child that reaches a budget is the last.
        for (budget, times) in [("2", 2.0), ("4", 4.0)] {
            let found = &search["found"][budget];
            let children = found["children"].as_u64().expect("children") as usize;
            let spent: f64 = records[..children].iter().map(macs).sum();
            let before = spent - macs(&records[children - 1]);
            assert!(
                before < times * unit && times * unit <= spent,
                "{run}: {before} {spent}"
            );
            assert!(found["retrained_accuracy"].is_f64(), "{found}");
            if budget == "4" {
                assert_eq!(children, records.len());
            }
        }
    }
    let random = &direct["strategies"]["random"]["retrained"]["4"];
    assert!(random["vs_random_p"].is_null() && random["ci95"].is_array());
    assert!(direct["strategies"]["epnas"]["retrained"]["4"]["vs_random_p"].is_f64());

    // One search at a time, first with less, is the same in the end.
    trained(
        &folder,
        "steps",
        &[&of[..], &["--budget", "2", "--parallel", "1"]].concat(),
    );
    let budgets = [&of[..], &["--budget", "4,2", "--parallel", "1"]].concat();
    assert_eq!(trained(&folder, "steps", &budgets), direct);
}

#[test]
fn a_comparison_that_trains_says_what_it_needs() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let out = folder.arg("out");
    run(&["compare"]).fails(2, &["--table", "--config"]);
    run(&["compare", "--config", &config]).fails(2, &["--out"]);
    let line = ["compare", "--config", &config, "--out", &out];
    let with = |more: &[&str]| run(&[&line[..], more].concat());
    with(&["--set", "search.budget=1h"]).fails(2, &["search.budget", "1h", "none"]);
    with(&["--set", "select.top=0"]).fails(2, &["select.top", "at least 1"]);
    with(&["--table", &config, "--parallel", "2"]).fails(2, &["--parallel", "--table"]);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = Folder::new();
    let unpadded = table(&folder, "");
    run(&[
        "compare",
        "--table",
        &unpadded,
        "--strategy",
        "random,epnas",
    ])
    .fails(2, &["epnas grows architectures level by level", "padding"]);
    run(&["compare", "--table", &unpadded, "--strategy", "rnadom"])
        .fails(2, &["rnadom", "regularized_evolution"]);
    run(&["compare", "--table", &unpadded, "--trials", "epnas=0"])
        .fails(2, &["epnas=0", "1000000"]);
    run(&["compare", "--table", &folder.arg("none.json")]).fails(2, &["none.json"]);
    let wrong = folder.write("wrong.csv", "arch,accuracy\nchoices:0,93.1\n");
    run(&["compare", "--table", &wrong, "--strategy", "random"]).fails(
        2,
        &[
            "wrong.csv",
            "choices:0 has the accuracy 93.1, expected 0 to 1",
        ],
    );
}
