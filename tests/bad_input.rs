//! Every mistake gets one line that names it, and exit code 2.

use crate::command::{Folder, line, run};

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let folder = Folder::new();
    let file = folder.write("bad.toml", "[search]\niteratons = 2\n");
    for arguments in [
        &["space", "--config", &file][..],
        &["config", "check", &file],
        &["search", "--config", &file],
    ] {
        run(arguments).fails(
            2,
            &[
                "search.iteratons",
                "line 2",
                "did you mean `search.iterations`?",
                "bad.toml",
            ],
        );
    }
    run(&["space", "--set", "search.iteratons=2"]).fails(2, &["did you mean `search.iterations`?"]);
}

#[test]
fn bad_values_are_named_with_what_was_expected() {
    for (setting, words) in [
        (
            "search.iterations=0",
            &["search.iterations", "0", "1 to 1000"][..],
        ),
        (
            "search.iterations=many",
            &["search.iterations", "many", "a whole number"],
        ),
        (
            "search.limits.params=0",
            &["search.limits.params", "0", "at least 1"],
        ),
        (
            "search.limits.latency=fast",
            &["search.limits.latency", "fast", "20ms"],
        ),
        ("search.budget=soon", &["search.budget", "soon", "45m"]),
        ("space.kind=meso", &["space.kind", "meso", "macro", "micro"]),
        (
            "training.preset=slow",
            &["training.preset", "slow", "fast", "nasnet", "mfas"],
        ),
        (
            "training.learning_rate=-1",
            &["training.learning_rate", "-1", "above 0"],
        ),
        ("data.image_size=2", &["data.image_size", "2", "4 to 1024"]),
        ("network.channels=0", &["network.channels", "0"]),
        ("search", &["search", "key=value"]),
        ("seed=-1", &["seed", "-1"]),
    ] {
        run(&["space", "--set", setting]).fails(2, words);
    }
}

#[test]
fn broken_toml_says_where() {
    let folder = Folder::new();
    let file = folder.write("broken.toml", "seed = 1\n[search\n");
    run(&["config", "check", &file]).fails(2, &["broken.toml", "line 2"]);
    let binary = folder.write("binary.toml", [0xff, 0xfe, 0x00]);
    run(&["config", "check", &binary]).fails(2, &["binary.toml"]);
}

#[test]
fn unknown_presets_and_files_are_named() {
    run(&["search", "--config", "demmo"]).fails(2, &["demmo", "cifar10-quick-macro"]);
    run(&["space", "--config", "nowhere/my.toml"]).fails(2, &["nowhere/my.toml"]);
    run(&["space", "--config", "/"]).fails(2, &["/ is a folder"]);
    run(&["config", "presets", "demmo"]).fails(2, &["demmo"]);
}

#[test]
fn architectures_that_do_not_parse_show_where() {
    // The text is repeated with a caret under the offending character, so this error has three lines.
    let outcome = run(&["show", "macro:c3.0/c9.1"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let text = lines
        .iter()
        .position(|line| line.trim_start().starts_with("macro:c3.0/c9.1"));
    let text = text.unwrap_or_else(|| panic!("the text is not shown:\n{}", outcome.stderr));
    let column = lines[text].find("c9").expect("the text has it");
    let caret = lines[text + 1]
        .find('^')
        .unwrap_or_else(|| panic!("there is no caret:\n{}", outcome.stderr));
    assert!(
        caret == column || caret == column + 1,
        "the caret is elsewhere:\n{}",
        outcome.stderr
    );
    // Sources that do not exist yet, empty texts, other things entirely: the text, and a caret or none.
    for bad in [
        "macro:c3.1",
        "macro:",
        "micro:c3.-2",
        "",
        "nonsense",
        "micro:c3.-2+c3.3",
    ] {
        let outcome = run(&["show", bad]);
        assert_eq!(outcome.code, Some(2), "{bad}: {}", outcome.stderr);
        assert_eq!(outcome.stdout, "", "{bad}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(lines[0].starts_with("error: "), "{bad}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(bad), "{bad}: {}", outcome.stderr);
        let is_one_line = lines.len() == 1;
        let has_caret = lines.len() == 3 && lines[2].trim() == "^";
        assert!(is_one_line || has_caret, "{bad}: {}", outcome.stderr);
    }
    run(&["show", "macro:c3.0", "--format", "genotype"]).fails(2, &["macro:c3.0", "genotype"]);
    run(&["show", "macro:c3.0", "--channels", "0"]).fails(2, &["channels", "0"]);
}

#[test]
fn limits_that_nothing_is_within_are_named_with_the_smallest_seen() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    for (limit, words) in [
        (
            "params=10",
            ["search.limits.params = 10, the smallest seen is"],
        ),
        (
            "latency=1us",
            ["search.limits.latency = 1us, the smallest seen is"],
        ),
    ] {
        let limit = format!("search.limits.{limit}");
        let out = format!("{out}-{}", words[0].len());
        run(&[
            "search", "--quiet", "--config", &config, "--out", &out, "--set", &limit,
        ])
        .fails(2, &words);
    }
}

#[test]
fn missing_data_is_named() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let missing = folder.arg("no-images");
    let out = folder.arg("run");
    run(&[
        "search", "--config", &config, "--data", &missing, "--out", &out,
    ])
    .fails(2, &["no-images"]);
    line(&format!(
        "search --config cifar10-quick-macro --data {missing} --out {out}"
    ))
    .fails(2, &["no-images"]);
    run(&["data", "check", &missing]).fails(2, &["no-images"]);
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    run(&["data", "check", &folder.arg("empty")]).fails(2, &["empty: an empty folder"]);
    run(&[
        "search",
        "--config",
        "cifar10-quick-macro",
        "--data",
        &folder.arg("empty"),
        "--out",
        &out,
    ])
    .fails(2, &["empty", "data_batch_1.bin"]);
    assert!(!folder.path("run").join("history.jsonl").exists());
}

#[test]
fn truncated_cifar_files_are_named() {
    let folder = Folder::new();
    let cifar = folder.cifar10("cifar");
    folder.write("cifar/test_batch.bin", vec![0; 3000]);
    run(&["data", "info", "--data", &cifar]).fails(2, &["test_batch.bin", "3000"]);
}

/// What lies in a folder of images and is none: refused by whatever reads it, at once and before anything is written.
#[cfg(unix)]
#[test]
fn damaged_image_folders_are_named() {
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("run"));
    let images = folder.arg("images");
    line(&format!(
        "data synthetic {images} --train 40 --test 20 --image-size 16"
    ))
    .ok();
    let refused = |words: &[&str]| {
        run(&["data", "info", "--data", &images]).fails(2, words);
        run(&[
            "search", "--quiet", "--config", &config, "--data", &images, "--out", &out,
        ])
        .fails(2, words);
        assert!(!folder.path("run").join("history.jsonl").exists());
    };
    let train = folder.path("images").join("train");
    let link = train.join("eel");
    for (target, words) in [
        (
            "nowhere",
            ["eel: a link to nowhere", "expected a directory"],
        ),
        ("..", ["eel: a link to a folder that it is in", "directory"]),
    ] {
        std::os::unix::fs::symlink(target, &link).expect("a link");
        refused(&words);
        run(&["data", "check", &images]).fails(2, &words);
        std::fs::remove_file(&link).expect("removed");
    }
    // A device that never ends.
    let endless = train.join("striped_disc").join("endless.png");
    std::os::unix::fs::symlink("/dev/zero", &endless).expect("a link");
    refused(&[
        "endless.png: a pipe, a socket or a device",
        "expected a PNG",
    ]);
}

#[test]
fn missing_models_and_runs_are_named() {
    let folder = Folder::new();
    let image = folder.write("a.png", [0; 10]);
    let nowhere = folder.arg("nowhere");
    run(&["predict", &image, "--model", &nowhere]).fails(2, &["nowhere", "not found"]);
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    let empty = folder.arg("empty");
    run(&["predict", &image, "--model", &empty]).fails(2, &["empty", "model.json"]);
    run(&["eval", &empty]).fails(2, &["empty", "model.json"]);
    run(&["select", &empty]).fails(2, &["empty"]);
    run(&["train", &empty]).fails(2, &["empty"]);
    run(&["select", &nowhere]).fails(2, &["nowhere"]);
    run(&["train", &nowhere]).fails(2, &["nowhere"]);
    run(&["show", &empty]).fails(2, &["empty"]);
    assert_eq!(
        std::fs::read_dir(folder.path("empty"))
            .expect("a folder")
            .count(),
        0,
        "something was left behind"
    );
}

#[test]
fn flags_that_do_not_exist_or_do_not_fit() {
    for (arguments, words) in [
        (&["serach"][..], &["serach"][..]),
        (&["search", "--confg", "demo"], &["--confg"]),
        (
            &["space", "--threads", "0"],
            &["'0'", "--threads", "1..=1024"],
        ),
        (
            &["space", "--threads", "100000"],
            &["--threads", "1..=1024"],
        ),
        (&["space", "--seed", "-3"], &["-3"]),
        (&["space", "--seed", "x3"], &["'x3'", "--seed"]),
        (&["show"], &["required arguments"]),
        (&["space", "-v", "-q"], &["--verbose", "--quiet"]),
        (&["predict", "--model", "x"], &["required arguments"]),
        (
            &["predict", "a.png", "--model", "x", "-k", "0"],
            &["'0'", "--top"],
        ),
        (
            &["show", "macro:c3.0", "--format", "pdf"],
            &["'pdf'", "--format"],
        ),
        (&["train", "run", "--out", "z"], &["[RUN]", "--out"]),
        (&["train", "run", "--arch", "macro:c3.0"], &["--arch"]),
        (&["train"], &["required arguments"]),
    ] {
        run(arguments).fails(2, words);
    }
    assert!(
        run(&["serach"]).stderr.contains("'search'"),
        "no suggestion"
    );
}

#[test]
fn files_that_do_not_exist_are_no_architectures() {
    for missing in ["nope.json", "runs/nope", "./cell.txt"] {
        run(&["show", missing]).fails(2, &[missing, "no such file"]);
        run(&["train", "--arch", missing, "--out", "x"]).fails(2, &[missing, "no such file"]);
    }
    let folder = Folder::new();
    let empty = folder.arg("empty");
    std::fs::create_dir(&empty).expect("a folder");
    run(&["train", "--arch", &empty, "--out", "x"]).fails(2, &["empty is a folder"]);
    // Bad JSON is named: by the file, or by its beginning.
    let file = folder.write("cell.json", "{\"space\": 1}");
    run(&["show", &file]).fails(2, &["cell.json"]);
    run(&["show", "{\"space\":1}"]).fails(2, &["{\"space\":1}"]);
    run(&["show", "{not json"]).fails(2, &["{not json", "not an architecture in JSON"]);
}

#[test]
fn a_file_is_no_folder_to_write_to() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    let file = folder.write("a-file", "keep me");
    let below = folder.arg("a-file/run");
    for out in [&file, &below] {
        for command in [
            &["search", "--config", &config, "--out", out][..],
            &["search", "--resume", "--out", out],
            &[
                "train",
                "--arch",
                "macro:c3.0",
                "--config",
                &config,
                "--out",
                out,
            ],
            &["data", "synthetic", out],
        ] {
            run(command).fails(2, &["a-file", "expected a folder"]);
        }
    }
    assert_eq!(crate::command::read(&folder.path("a-file")), "keep me");
    // Nothing can be made in /proc, whoever asks.
    if cfg!(target_os = "linux") {
        run(&["search", "--config", &config, "--out", "/proc/epnas-run"])
            .fails(2, &["/proc/epnas-run", "expected a folder"]);
    }
}

#[test]
fn settings_can_be_checked_and_searched_without_a_file() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    run(&["config", "check", &config, "--set", "train.epochs=9"]).ok();
    run(&["config", "check", &config, "--set", "train.epochs=many"])
        .fails(2, &["train.epochs", "many"]);
    // As the help says, the defaults apply where no configuration is named.
    let out = folder.arg("run");
    let mut arguments = vec!["search", "--out", &out, "--dry-run", "--json"];
    for set in [
        "space.kind=macro",
        "space.layers=2",
        "network.channels=4",
        "data.image_size=8",
        "data.validation=20",
        "data.synthetic.train=80",
        "data.synthetic.test=20",
    ] {
        arguments.extend(["--set", set]);
    }
    assert_eq!(
        run(&arguments).ok().json()["steps"][0]["candidates"],
        6,
        "six layers of one source"
    );
    run(&["search", "--set", "space.layers=2"]).fails(2, &["--config", "--out"]);
    run(&["search", "--resume", "--out", &out]).fails(2, &["run", "no run to resume"]);
}

/// A failed download is the network's fault wherever it shows; nothing but the error is said.
#[test]
fn failed_downloads_end_alike() {
    let folder = Folder::new();
    let out = folder.arg("run");
    for arguments in [
        &["data", "info", "--config", "cifar10-quick-macro"][..],
        &["search", "--config", "cifar10-quick-macro", "--out", &out],
    ] {
        let output = crate::command::epnas()
            .args(arguments)
            // No cache, and a port where nobody listens.
            .env("HF_HOME", folder.path("cache"))
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("https_proxy", "http://127.0.0.1:9")
            .output()
            .expect("epnas starts");
        crate::command::Outcome::from(output).fails(1, &["download", "cifar10", "--data DIR"]);
    }
    assert!(!folder.path("run").exists());
}

/// One head cannot serve macro networks that end with different numbers of channels.
#[test]
fn a_shared_head_over_growing_channels_is_refused_before_anything_is_trained() {
    let folder = Folder::new();
    folder
        .search("run", &["--set", "network.stage_channels=double"])
        .fails(2, &["network.stage_channels", "network.head", "per_depth"]);
    assert!(!folder.path("run").exists());
    let apart = [
        "--set",
        "network.stage_channels=double",
        "--set",
        "network.head=per_depth",
    ];
    folder.search("apart", &apart).ok();
}

#[test]
fn a_file_is_no_folder_of_images() {
    let folder = Folder::new();
    let config = folder.arg("tiny.toml");
    run(&[
        "search",
        "--config",
        &config,
        "--data",
        &config,
        "--out",
        &folder.arg("run"),
    ])
    .fails(2, &["tiny.toml: is a file", "folder of images"]);
}
