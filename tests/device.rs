//! Where networks are trained: `epnas devices`, and `--device` where there is no GPU.

use crate::command::{Folder, line, read_json, run};

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
    std::fs::write(&record, r#"{"children": "f32", "device": "cuda"}"#).expect("a record");
    let resume = ["search", "--out", &dir, "--resume"];
    let on_cpu = [&resume[..], &["--device", "cpu"]].concat();
    run(&on_cpu).fails(2, &["f32 on cuda", "f32 on cpu"]);
    let here = run(&["devices", "--json"]).ok().json();
    if here["no_gpu"].is_string() {
        run(&resume).fails(1, &["the run was begun on a GPU"]);
        run(&["train", &dir]).fails(1, &["--device cpu goes on without"]);
        run(&["train", &dir, "--device", "cpu"]).ok();
    }
}
