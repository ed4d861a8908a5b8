//! `epnas compare`: strategies on tables, and strategies of a search.

use crate::command::{Folder, read, read_json, run};

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
