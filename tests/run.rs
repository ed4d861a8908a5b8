//! `epnas run`: from a folder of images to an exported network.

use std::fs;
use std::path::Path;

use crate::command::{Folder, Outcome, line, read, read_json, run};

/// A folder of pictures as people have them: 7 classes with 12 to 48 pictures of three sizes, no test part, some files
/// cut off, empty or no pictures at all.
fn pictures(folder: &Folder) -> String {
    let images = folder.path("pictures");
    for (number, size) in [20, 33, 47].into_iter().enumerate() {
        let part = folder.arg(&format!("size-{size}"));
        line(&format!(
            "data synthetic {part} --train 160 --test 10 --image-size {size} --seed {number}"
        ))
        .ok();
        let mut classes: Vec<_> = fs::read_dir(Path::new(&part).join("train"))
            .expect("classes")
            .map(|class| class.expect("a class").path())
            .collect();
        classes.sort();
        for (index, class) in classes.iter().take(7).enumerate() {
            let to = images.join(class.file_name().expect("a name"));
            fs::create_dir_all(&to).expect("a folder");
            let mut files: Vec<_> = fs::read_dir(class).expect("pictures").flatten().collect();
            files.sort_by_key(fs::DirEntry::path);
            for (file, _) in files.iter().zip(0..4 + 2 * index) {
                let name = format!("{size}-{}", file.file_name().display());
                fs::copy(file.path(), to.join(name)).expect("copied");
            }
            if index == number {
                let whole = fs::read(files[0].path()).expect("a picture");
                fs::write(to.join("cut off.png"), &whole[..whole.len() / 2]).expect("written");
                fs::write(to.join("empty.jpg"), b"").expect("written");
                fs::write(to.join("letter.jpg"), b"Dear all,").expect("written");
            }
        }
    }
    images.to_string_lossy().into_owned()
}

/// The preset for folders, made small enough for a test.
const SMALL: [&str; 9] = [
    "data.image_size=16",
    "network.channels=4",
    "space.layers=3",
    "search.iterations=1",
    "search.children_per_step=2",
    "select.top=2",
    "select.epochs=1",
    "train.epochs=4",
    "train.channels=6",
];

fn search_in(images: &str, out: &str, more: &[&str]) -> Outcome {
    let mut arguments = vec!["run", "--data", images, "--out", out];
    arguments.extend(SMALL.iter().flat_map(|set| ["--set", set]));
    arguments.extend(more);
    run(&arguments)
}

#[test]
fn a_folder_of_pictures_becomes_a_network() {
    let folder = Folder::new();
    let (images, out) = (pictures(&folder), folder.arg("out"));
    let outcome = search_in(&images, &out, &["--json"]).ok();
    let summary = outcome.json();
    assert!(outcome.stderr.contains("cut off.png"), "{}", outcome.stderr);
    for key in ["estimate", "validation_accuracy", "test_accuracy"] {
        let value = summary[key].as_f64();
        assert!(
            value.is_some_and(|value| (0.0..=1.0).contains(&value)),
            "{key}: {summary:#}"
        );
    }
    assert_eq!(read_json(&folder.path("out/summary.json")), summary);
    assert!(summary["seeds"].is_null());

    let file = |name: &str| fs::read(folder.path("out").join(name)).expect(name);
    let onnx = file("model.onnx");
    let exported = folder.arg("again.onnx");
    run(&[
        "export", "--model", &out, "--format", "onnx", "--out", &exported,
    ])
    .ok();
    assert!(
        onnx == fs::read(&exported).expect("exported"),
        "another export"
    );
    let card = read(&folder.path("out/model/README.md"));
    // 7 classes with 3 * (4 + 2 i) pictures, i from 0 to 6, less a fifth for the test of each, rounded.
    assert!(
        card.starts_with("# An image classifier of 7 classes: pictures\n"),
        "{card}"
    );
    let rows: Vec<&str> = card
        .lines()
        .filter(|row| row.matches(" | ").count() == 3)
        .collect();
    assert_eq!(rows.len(), 1 + 7, "{card}");
    // Each figure is the one it says it is.
    let percent = |key: &str| format!("{:.1}%", 100.0 * summary[key].as_f64().expect(key));
    for (begin, key) in [
        ("| estimate of the search | ", "estimate"),
        ("| brief retraining | ", "retrained_accuracy"),
        ("| validation images | ", "validation_accuracy"),
        ("| **test images** | **", "test_accuracy"),
    ] {
        let row = card
            .lines()
            .find(|row| row.starts_with(begin))
            .expect(begin);
        let rest = &row[begin.len()..];
        assert!(rest.starts_with(&percent(key)), "{key}: {row}, {summary:#}");
    }
    for part in [
        "label smoothing 0.1",
        "averaged weights 0.999",
        "changed: batch",
        "epochs",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    for part in ["shared among all children", "for 4 epochs", "## Limits"] {
        assert!(card.contains(part), "{part}: {card}");
    }

    let picture = folder.path("pictures");
    let class = fs::read_dir(&picture).expect("classes").flatten().next();
    let class = class.expect("a class").path();
    let predicted = run(&[
        "predict",
        &class.to_string_lossy(),
        "--model",
        &out,
        "--json",
    ]);
    assert!(
        predicted.stdout.contains("probability"),
        "{}",
        predicted.stdout
    );

    // Again: everything is there, and stays as it is.
    let weights = file("model/weights.safetensors");
    let before = read(&folder.path("out/history.jsonl"));
    search_in(&images, &out, &[]).ok();
    assert!(weights == file("model/weights.safetensors") && onnx == file("model.onnx"));
    assert_eq!(before, read(&folder.path("out/history.jsonl")));
    // Another training needs a word, and what is refused changes nothing; the search stays.
    let config = read(&folder.path("out/config.toml"));
    let refused = |set: &str, part: &str| {
        let refused = run(&["run", "--out", &out, "--set", set]);
        assert_eq!(refused.code, Some(2));
        for part in [part, "--restart"] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        assert_eq!(read(&folder.path("out/config.toml")), config);
    };
    refused("train.epochs=5", "train.epochs (stored 4, given 5)");
    refused("select.epochs=3", "select.epochs (stored 1, given 3)");
    // A training that fails leaves the network that there was.
    let wild = [
        "run",
        "--out",
        &out,
        "--restart",
        "--set",
        "train.learning_rate=1e30",
    ];
    let failed = run(&[&wild[..], &["--set", "train.clip=0"]].concat());
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(weights == file("model/weights.safetensors") && onnx == file("model.onnx"));
    // What was tried last is stored.
    let longer = ["--restart", "--set", "train.epochs=5"];
    let tame = ["--set", "train.learning_rate=0.1", "--set", "train.clip=5"];
    search_in(&images, &out, &[&longer[..], &tame].concat()).ok();
    assert!(weights != file("model/weights.safetensors") && onnx != file("model.onnx"));
    assert_eq!(before, read(&folder.path("out/history.jsonl")));
    // Trained by itself, the run's export would be of the network before.
    run(&["train", &out, "--restart", "--set", "train.epochs=4"]).ok();
    assert!(weights == file("model/weights.safetensors"));
    assert!(!folder.path("out/model.onnx").exists() && !folder.path("out/summary.json").exists());
    search_in(&images, &out, &[]).ok();
    assert!(onnx == file("model.onnx"));
    // The stored configuration serves, and more seeds are only added.
    let summary = run(&["run", "--out", &out, "--seeds", "2", "--json"])
        .ok()
        .json();
    assert!(summary["seeds"]["deviation"].is_f64(), "{summary:#}");
    assert!(weights == file("model/weights.safetensors"));
    assert!(weights != file("model-seed-2/weights.safetensors"));
    let card = read(&folder.path("out/model-seed-2/README.md"));
    assert!(card.contains("this is number 2"), "{card}");
    let text = run(&["run", "--out", &out, "--seeds", "2"]).ok().stdout;
    assert!(
        text.contains("seeds") && text.contains("+-") && text.contains("model.onnx"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_run_is_said_at_once() {
    let folder = Folder::new();
    let out = folder.arg("out");
    run(&["run", "--out", &out]).fails(2, &["--config", "--data"]);
    run(&["run", "--data", &folder.arg("nowhere"), "--out", &out])
        .fails(2, &["nowhere", "not found"]);
    let drop = [
        "run",
        "--config",
        "demo",
        "--out",
        &out,
        "--set",
        "train.drop_path=0.1",
    ];
    run(&drop).fails(2, &["train.drop_path", "no sums"]);
    assert!(!folder.path("out").exists());
    let (images, config) = (pictures(&folder), folder.arg("tiny.toml"));
    search_in(&images, &out, &[]).ok();
    run(&["run", "--config", &config, "--out", &out]).fails(2, &["other settings"]);
    // A budget is no setting that a network depends on: a longer one goes on, here to what there is.
    run(&["run", "--out", &out, "--budget", "2h"]).ok();
}

/// Whatever a run was doing when a signal came, the same command ends with the same network.
#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_to_the_same_network() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use crate::command::epnas;

    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let (whole, broken) = (folder.arg("whole"), folder.arg("broken"));
    let arguments = |out: &str| {
        let set = ["--set", "train.epochs=12", "--set", "train.batch=8"];
        let mut arguments = vec!["run", "--config", &config, "--out", out];
        arguments.extend(set);
        arguments
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let run_in = |out: &str| {
        let arguments = arguments(out);
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    run_in(&whole).ok();
    let mut stops = 0;
    for milliseconds in [150, 300, 450, 300, 300] {
        let child = epnas()
            .args(arguments(&broken))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("epnas starts");
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        let output = Outcome::from(child.wait_with_output().expect("it ends"));
        match output.code {
            Some(0) => break,
            // Before the signal was caught, or in order.
            None => {}
            Some(143) => {
                stops += 1;
                assert!(
                    output.stderr.contains("the same command"),
                    "{}",
                    output.stderr
                );
            }
            _ => panic!("{}", output.stderr),
        }
    }
    assert!(stops > 0, "never stopped in order");
    run_in(&broken).ok();
    for file in ["model.onnx", "model/weights.safetensors"] {
        let read = |out: &str| fs::read(folder.path(out).join(file)).expect(file);
        assert!(read("whole") == read("broken"), "{file}");
    }
    crate::resume::assert_same(&folder.path("whole"), &folder.path("broken"));
}
