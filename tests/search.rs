//! The whole way from a search to a prediction, in both spaces.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{
    Folder, TINY_CHILDREN, epnas, line, read, read_json, read_lines, repository, run,
};

/// The fields that the tables of a section of docs/run-folder.md list, by the title of their first column.
fn documented_fields(section: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&repository().join("docs/run-folder.md"));
    let (_, text) = text.split_once(section).expect("the section");
    let (text, _) = text.split_once("\n## ").unwrap_or((text, ""));
    let mut tables = BTreeMap::<String, BTreeSet<String>>::new();
    let mut title = String::new();
    for row in text.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cell = row.split(" |").next().unwrap_or_default();
        match cell
            .strip_prefix('`')
            .and_then(|cell| cell.strip_suffix('`'))
        {
            Some(field) => {
                let fields = tables.entry(title.clone()).or_default();
                assert!(fields.insert(field.to_owned()), "{field} stands twice");
            }
            None => title = cell.to_owned(),
        }
    }
    tables
}

fn fields(object: &Value) -> BTreeSet<String> {
    object
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn search_select_train_eval_predict() {
    let folder = Folder::new();
    let found = folder.search("run", &["--json"]).ok();
    let best = found.json();
    let (dir, run_path) = (folder.arg("run"), folder.path("run"));

    // What was printed is what is stored.
    assert_eq!(best, read_json(&run_path.join("best.json")));
    for field in [
        "architecture",
        "estimate",
        "retrained_accuracy",
        "random",
        "cost",
        "seed",
        "machine",
        "precision",
        "pareto",
        "versions",
    ] {
        assert!(!best[field].is_null(), "best.json has no {field}: {best:#}");
    }
    for cost in ["params", "macs"] {
        let front = best["pareto"][cost].as_array().expect("a front");
        assert!(!front.is_empty() && front.iter().all(|found| found[cost].is_u64()));
        let drawing = std::fs::read_to_string(run_path.join(format!("pareto-{cost}.svg")));
        assert!(
            drawing
                .expect("a drawing")
                .contains("estimate (shared weights)")
        );
    }
    let arch = best["architecture"].as_str().expect("a text");
    assert!(
        arch.starts_with("macro:") && arch.matches('/').count() == 2,
        "{arch} has not three layers"
    );
    assert!(
        best["random"]["architecture"]
            .as_str()
            .is_some_and(|arch| arch.starts_with("macro:"))
    );
    assert!(
        best["estimate"]
            .as_f64()
            .is_some_and(|estimate| (0.0..=1.0).contains(&estimate))
    );

    let history = read_lines(&run_path.join("history.jsonl"));
    assert_eq!(history.len(), TINY_CHILDREN);
    let documented = documented_fields("## A line of `history.jsonl`");
    for (index, line) in history.iter().enumerate() {
        // Gained or lost: docs/run-folder.md must say so.
        assert_eq!(fields(line), documented["field"], "line {index}");
        for epoch in line["epochs"].as_array().expect("epochs") {
            assert_eq!(fields(epoch), documented["field of `epochs`"], "{epoch}");
        }
        assert_eq!(line["index"], index);
        assert_eq!(line["status"], "ok");
        assert!(
            line["arch"]
                .as_str()
                .is_some_and(|arch| arch.starts_with("macro:")),
            "{line}"
        );
        assert!(
            line["params"].as_u64().is_some_and(|params| params > 0),
            "{line}"
        );
    }
    // The first step trains all six layers, unpredicted; later ones are drawn.
    assert_eq!(history.iter().filter(|line| line["step"] == 1).count(), 6);
    assert!(history[0]["predicted"].is_null());
    assert!(
        history[9]["predicted"]
            .as_f64()
            .is_some_and(|p| (0.0..=1.0).contains(&p)),
        "{}",
        history[9]
    );

    // The stored configuration is the effective one.
    let config = read(&run_path.join("config.toml"));
    assert!(
        config.contains("children_per_step = 2") && config.contains("weight_decay"),
        "{config}"
    );
    assert!(run_path.join("checkpoint").is_dir());
    assert_eq!(
        read_lines(&run_path.join("selection.jsonl")).len(),
        4,
        "two candidates of each search"
    );
    assert!(!read_lines(&run_path.join("random").join("history.jsonl")).is_empty());

    // Selection may be repeated with more candidates.
    let again = run(&["select", &dir, "--top", "3", "--json"]).ok().json();
    assert!(again["retrained_accuracy"].is_number(), "{again:#}");
    let text = run(&["select", &dir, "--top", "3"]).ok().stdout;
    let (lines, table) = text.split_once("\n\n").expect("a table below the lines");
    assert!(lines.contains("\nnext  "), "{text}");
    let rows: Vec<&str> = table.lines().skip(1).collect();
    let top = again["top"].as_array().map_or(0, Vec::len);
    assert_eq!(rows.len(), top + 1, "random search's is the last: {text}");
    for (row, name, architecture) in [
        (rows[0], "chosen ", &again["architecture"]),
        (rows[top], "random ", &again["random"]["architecture"]),
    ] {
        let architecture = architecture.as_str().expect("a text");
        assert!(
            row.starts_with(name) && row.ends_with(architecture),
            "{text}"
        );
    }

    // Not trained yet: nothing to evaluate.
    run(&["eval", &dir]).fails(2, &["no trained model", "epnas train"]);
    run(&["train", &dir]).ok();
    run(&["train", &dir, "--random"]).ok();
    for model in ["model", "model-random"] {
        for file in ["weights.safetensors", "model.json"] {
            assert!(run_path.join(model).join(file).is_file(), "{model}/{file}");
        }
    }

    let eval = run(&["eval", &dir, "--json"]).ok().json();
    assert_eq!(eval["images"], 40);
    assert_eq!(eval["per_class"].as_array().map(Vec::len), Some(10));
    let confusion: u64 = eval["confusion"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| row.as_array().expect("columns"))
        .map(|count| count.as_u64().expect("a count"))
        .sum();
    assert_eq!(confusion, 40);
    assert_eq!(eval["test_accuracy"], eval["accuracy"]);
    let text = run(&["eval", &dir]).ok().stdout;
    assert!(
        text.contains("test accuracy") && text.contains("confusion"),
        "{text}"
    );
    run(&["eval", &dir, "--random"]).ok();
    // A model folder alone needs to be told where the images are, unless it lies in its run.
    assert_eq!(
        run(&["eval", &folder.arg("run/model"), "--json"])
            .ok()
            .json()["accuracy"],
        eval["accuracy"]
    );

    let images = folder.arg("images");
    line(&format!(
        "data synthetic {images} --train 10 --test 10 --image-size 20"
    ))
    .ok();
    let image = first_image(&folder.path("images").join("test"));
    let predicted = run(&[
        "predict", &image, &image, "--model", &dir, "--top", "2", "--json",
    ])
    .ok()
    .json();
    assert_eq!(predicted.as_array().map(Vec::len), Some(2));
    assert_eq!(predicted[0]["classes"], predicted[1]["classes"]);
    assert_eq!(predicted[0]["classes"].as_array().map(Vec::len), Some(2));
    let all = run(&[
        "predict",
        &image,
        "--model",
        &folder.arg("run/model"),
        "--top",
        "10",
        "--json",
    ])
    .ok()
    .json();
    let sum: f64 = all[0]["classes"]
        .as_array()
        .expect("classes")
        .iter()
        .filter_map(|c| c["probability"].as_f64())
        .sum();
    assert!((sum - 1.0).abs() < 1e-4, "probabilities sum to {sum}");
    assert!(
        run(&["predict", &image, "--model", &dir])
            .ok()
            .stdout
            .contains('%')
    );

    let broken = folder.write("broken.png", b"\x89PNG\r\n\x1a\nnot an image");
    let (none, is_folder) = (folder.arg("none.png"), folder.arg("images"));
    // The bad ones are named, and hide nothing of the others.
    let some = run(&["predict", &broken, &image, &none, "--model", &dir]);
    assert_eq!(some.code, Some(1), "{}", some.stderr);
    assert_eq!(
        some.stdout,
        run(&["predict", &image, "--model", &dir]).ok().stdout
    );
    let lines: Vec<&str> = some.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", some.stderr);
    for (line, words) in lines
        .iter()
        .zip([["error: ", "broken.png"], ["none.png", "not found"]])
    {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
        assert!(!line.contains("data.unreadable"), "{line}");
    }
    run(&["predict", &broken, "--model", &dir]).fails(2, &["broken.png"]);
    run(&["predict", &none, "--model", &dir]).fails(2, &["none.png", "not found"]);
    let empty = folder.arg("nothing");
    std::fs::create_dir(&empty).expect("a folder");
    run(&["predict", &empty, "--model", &dir]).fails(2, &["nothing: a folder without images"]);

    // A folder is all images in it and below; a list on standard input is the same.
    let inside = run(&["predict", &is_folder, "--model", &dir]).ok().stdout;
    assert_eq!(inside.lines().count(), 20, "{inside}");
    let named: Vec<&str> = inside
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    let mut listing = epnas();
    let listing = listing.args(["predict", "-", "--model", &dir]);
    let mut listing = listing
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("epnas starts");
    let mut list = listing.stdin.take().expect("standard input");
    write!(list, "{}\n\n", named.join("\n")).expect("written");
    drop(list);
    let listed = listing.wait_with_output().expect("epnas ends");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), inside);

    // Images of another kind than the run's: its own test images as a folder, whose classes are in another order.
    let same = folder.arg("same");
    line(&format!(
        "data synthetic {same} --train 160 --test 40 --image-size 16"
    ))
    .ok();
    let elsewhere = run(&["eval", &dir, "--data", &same, "--json"]).ok().json();
    assert_eq!(elsewhere["images"], 40);
    assert_eq!(elsewhere["confusion"], eval["confusion"]);
    // Other classes.
    let cifar = folder.cifar10("cifar");
    run(&["eval", &dir, "--data", &cifar]).fails(2, &["cifar10", "airplane", "model"]);

    // The run can be shown, and is not overwritten.
    assert_eq!(
        run(&["show", &dir, "--json"]).ok().json()["text"],
        again["architecture"]
    );
    let before = read(&run_path.join("history.jsonl"));
    folder
        .search("run", &[])
        .fails(2, &["already holds a run", "--resume"]);
    folder
        .search("run", &["--resume", "--set", "network.channels=6"])
        .fails(2, &["network.channels"]);
    assert_eq!(read(&run_path.join("history.jsonl")), before);

    // A damaged model is recognized, and a damaged result: no mistake of the command line.
    let weights = run_path.join("model").join("weights.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    run(&["eval", &dir]).fails(1, &["weights.safetensors"]);
    std::fs::write(run_path.join("best.json"), "{").expect("written");
    for command in ["show", "train"] {
        run(&[command, &dir]).fails(1, &["best.json", "damaged"]);
    }
}

fn first_image(dir: &std::path::Path) -> String {
    let class = std::fs::read_dir(dir)
        .expect("classes")
        .next()
        .expect("a class")
        .expect("an entry")
        .path();
    let mut images = std::fs::read_dir(class).expect("images");
    let image = images.next().map(|image| image.expect("an entry").path());
    image.expect("an image").to_str().expect("UTF-8").to_owned()
}

#[test]
fn micro_search_and_training_of_its_cell() {
    let folder = Folder::new();
    let config = folder.write(
        "micro.toml",
        crate::command::TINY
            .replace(
                "kind = \"macro\"\nlayers = 3",
                "kind = \"micro\"\nblocks = 1",
            )
            .replace("kind = \"random\"", "kind = \"none\"")
            .replace("image_size = 16", "image_size = 8")
            .replace("synthetic.train = 160", "synthetic.train = 72"),
    );
    let out = folder.arg("run");
    let sets = [
        "--set",
        "network.cells_per_stage=1",
        "--set",
        "train.cells_per_stage=1",
        "--set",
        "search.iterations=1",
    ];
    let mut arguments = vec!["search", "--config", &config, "--out", &out, "--json"];
    arguments.extend(sets);
    let best = run(&arguments).ok().json();
    assert!(
        best["architecture"]
            .as_str()
            .is_some_and(|arch| arch.starts_with("micro:")),
        "{best:#}"
    );
    assert!(best["random"].is_null());
    // All 105 cells of one block, unordered.
    assert_eq!(
        read_lines(&folder.path("run").join("history.jsonl")).len(),
        105
    );
    run(&["train", &out]).ok();
    assert_eq!(run(&["eval", &out, "--json"]).ok().json()["images"], 40);
    run(&["train", &out, "--random"]).fails(2, &["run", "random"]);
}

/// A mistyped `--out` does not put a run among somebody's files.
#[test]
fn a_folder_with_other_things_is_not_searched_into() {
    let folder = Folder::new();
    let out = folder.path("run");
    std::fs::create_dir(&out).expect("created");
    std::fs::write(out.join("cat.png"), "an image").expect("written");
    folder
        .search("run", &[])
        .fails(2, &["run is not empty", "cat.png", "new folder"]);
    let names: Vec<_> = std::fs::read_dir(&out)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["cat.png"]);
}
