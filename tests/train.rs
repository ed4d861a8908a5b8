//! Training an architecture that the user names.

use crate::command::{Folder, run};

#[test]
fn a_given_architecture_is_trained() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("mine"));
    let arguments = [
        "train",
        "--arch",
        "macro:c3.0/d3.1/mp.1+2",
        "--config",
        &config,
        "--out",
        &out,
        "--json",
    ];
    let report = run(&arguments).ok().json();
    assert_eq!(report["architecture"], "macro:c3.0/d3.1/mp.1+2");
    assert!(report["test_accuracy"].is_number(), "{report:#}");
    let eval = run(&["eval", &out, "--json"]).ok().json();
    assert_eq!(eval["accuracy"], report["test_accuracy"]);
    assert_eq!(
        run(&["show", &out, "--json"]).ok().json()["text"],
        report["architecture"]
    );
    // Alone, the model does not say where its images were.
    let moved = folder.arg("moved");
    std::fs::rename(folder.path("mine").join("model"), &moved).expect("renamed");
    run(&["eval", &moved]).fails(2, &["--config or --data"]);
    assert_eq!(
        run(&["eval", &moved, "--config", &config, "--json"])
            .ok()
            .json()["accuracy"],
        eval["accuracy"]
    );
    std::fs::rename(&moved, folder.path("mine").join("model")).expect("renamed");

    // Repeated, it is done already; with another network or recipe it is refused, not overwritten.
    assert_eq!(
        run(&arguments).ok().json()["test_accuracy"],
        report["test_accuracy"]
    );
    let others = arguments.map(|argument| {
        argument
            .replace("macro:c3.0", "macro:c5.0")
            .replace("--json", "--quiet")
    });
    run(&others).fails(2, &["macro:c5.0/d3.1/mp.1+2"]);
    let mut more = arguments.to_vec();
    more.extend(["--set", "train.epochs=3", "--quiet"]);
    run(&more).fails(2, &["train.epochs (stored 2, given 3)"]);
    // Without --config the stored configuration holds, and --set changes one key of it.
    let stored = ["train", "--arch", arguments[2], "--out", &out];
    run(&stored).ok();
    let line =
        run(&[&stored[..], &["--set", "train.epochs=3"]].concat()).fails(2, &["train.epochs"]);
    assert_eq!(
        line.matches("stored").count(),
        1,
        "compared with the defaults: {line}"
    );
    more.push("--restart");
    assert_eq!(run(&more).ok().json()["epochs"], 3);
    run(&[
        "train",
        "--arch",
        "micro:c3.-2+mp.-1",
        "--config",
        &config,
        "--out",
        &folder.arg("x"),
    ])
    .fails(2, &["micro"]);
    assert_eq!(
        run(&[
            "train",
            "--arch",
            "macro:c3.0/d3.1/x",
            "--out",
            &folder.arg("x")
        ])
        .code,
        Some(2)
    );
}
