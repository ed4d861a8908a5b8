//! Where networks are trained: `epnas devices`, and `--device` where there is no GPU.

use crate::command::{Folder, line, read_json, run};
#[cfg(unix)]
use crate::command::{Outcome, epnas};

/// Runs `epnas` with a script of these lines in the place of the build that uses GPUs.
#[cfg(unix)]
#[track_caller]
fn with_companion(folder: &Folder, script: &str, arguments: &[&str]) -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path("epnas-cuda");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut command = epnas();
    let command = command.env("EPNAS_CUDA", &path).args(arguments);
    Outcome::from(command.output().expect("epnas starts"))
}

#[cfg(unix)]
#[test]
fn what_needs_a_gpu_is_handed_over_to_the_build_that_uses_it() {
    let folder = Folder::new();
    let version = concat!(
        "[ \"$1\" = --version ] && echo epnas ",
        env!("CARGO_PKG_VERSION"),
        " && exit"
    );
    let dir = folder.arg("run");
    let search = [
        "search", "--config", "demo", "--out", &dir, "--device", "cuda:1",
    ];
    let script = format!("{version}\necho \"$@\"; exit 7");
    let handed = with_companion(&folder, &script, &search);
    assert_eq!(handed.code, Some(7), "{}", handed.stderr);
    assert_eq!(handed.stdout.trim(), search.join(" "));

    let listed = r#"{"cpu": 1, "gpus": [{"device": "cuda:0", "name": "A", "memory": 1073741824, "capability": "9.0",
        "unusable": null}], "no_gpu": null}"#;
    let script = format!("{version}\ncat <<'END'\n{listed}\nEND");
    let text = with_companion(&folder, &script, &["devices"]).ok().stdout;
    assert!(
        text.contains("cuda:0  A, 1.0 GiB, compute capability 9.0; f32 and bf16"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn a_build_for_gpus_that_does_not_start_says_what_it_lacks() {
    let folder = Folder::new();
    let script = "echo \"$0: error while loading shared libraries: libcuda.so.1: cannot open\" >&2; exit 127";
    let search = ["search", "--config", "demo", "--device", "cuda"];
    let lacks = [
        "needs libcuda.so.1",
        "NVIDIA's driver, which must be installed",
    ];
    with_companion(&folder, script, &search).fails(1, &lacks);
    let devices = with_companion(&folder, script, &["devices"]).ok().stdout;
    assert!(
        devices.contains("cuda    ") && devices.contains(lacks[0]),
        "{devices}"
    );
    let wrong = "exit 3";
    with_companion(&folder, wrong, &search).fails(1, &["ended with exit status: 3"]);
    let nonsense = concat!(
        "[ \"$1\" = --version ] && echo epnas ",
        env!("CARGO_PKG_VERSION"),
        "; true"
    );
    let devices = with_companion(&folder, nonsense, &["devices"]).ok().stdout;
    assert!(devices.contains("answers nonsense"), "{devices}");
    let other = "echo epnas 0.0.0";
    let expected = concat!("expected `epnas ", env!("CARGO_PKG_VERSION"), "`");
    with_companion(&folder, other, &search).fails(1, &["is `epnas 0.0.0`", expected]);
}

/// A build without GPUs in the place of the other: it would hand over for ever.
#[cfg(unix)]
#[test]
fn a_build_without_gpus_is_no_companion() {
    let script = format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_epnas"));
    let folder = Folder::new();
    let search = ["search", "--config", "demo", "--device", "cuda"];
    let why = "is a build that works without GPUs";
    with_companion(&folder, &script, &search).fails(1, &[why]);
    let devices = with_companion(&folder, &script, &["devices"]).ok().stdout;
    assert!(devices.contains(why), "{devices}");
}

#[test]
fn devices_are_listed_and_say_why_there_is_no_gpu() {
    let text = line("devices").ok().stdout;
    assert!(text.starts_with("cpu "), "{text}");
    let devices = line("devices --json").ok().json();
    assert_eq!(devices["cpu"]["device"], "cpu");
    assert!(devices["cpu"]["cores"].as_u64() > Some(0));
    let gpus = devices["gpus"].as_array().expect("a list");
    // There are GPUs, or a reason why not.
    assert_eq!(gpus.is_empty(), devices["no_gpu"].is_string());
    if let Some(reason) = devices["no_gpu"].as_str() {
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn a_device_that_is_not_there_is_one_line_and_leaves_nothing() {
    let folder = Folder::new();
    let (config, dir) = (folder.arg("tiny.toml"), folder.arg("run"));
    let search = ["search", "--config", &config, "--out", &dir, "--device"];
    let on = |device: &'static str| run(&[&search[..], &[device]].concat());
    on("gpu").fails(2, &["gpu", "cpu, cuda or cuda:N"]);
    on("cuda:one").fails(2, &["cuda:one"]);
    // More GPUs than any machine has; without CUDA there is not even one.
    on("cuda:4000").fails(1, &["--device cuda:4000"]);
    assert!(!folder.path("run").exists());
}

#[test]
fn a_run_knows_its_device_and_its_result_names_it() {
    let folder = Folder::new();
    let (config, dir) = (folder.arg("tiny.toml"), folder.arg("run"));
    let search = ["search", "--config", &config, "--out", &dir, "--json"];
    let best = run(&[&search[..], &["--device", "cpu"]].concat()).ok();
    assert_eq!(best.json()["machine"]["device"], "cpu");
    let record = folder.path("run").join("precision.json");
    assert_eq!(read_json(&record)["device"], "cpu");
    // A run of a GPU goes on there, or says what it needs.
    let gpu = serde_json::json!({"children": "f32", "device": "cuda"});
    crate::command::write_json(&record, &gpu);
    let resume = ["search", "--out", &dir, "--resume"];
    let on_cpu = [&resume[..], &["--device", "cpu"]].concat();
    run(&on_cpu).fails(2, &["f32 on cuda", "f32 on cpu"]);
    let here = run(&["devices", "--json"]).ok().json();
    if here["no_gpu"].is_string() {
        run(&resume).fails(1, &["the run was begun on a GPU"]);
        run(&["train", &dir]).fails(1, &["the run was begun on a GPU"]);
        run(&["train", &dir, "--device", "cpu"]).ok();
    }
}
