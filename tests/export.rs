//! `epnas export`: what is written, and what is refused.

use crate::command::{Folder, read, run};

#[test]
fn every_form_is_written_and_the_same_each_time() {
    let folder = Folder::new();
    let config = folder.write(
        "micro.toml",
        crate::command::TINY.replace(
            "kind = \"macro\"\nlayers = 3",
            "kind = \"micro\"\nblocks = 2",
        ),
    );
    let dir = folder.arg("mine");
    let cell = "micro:c3.-2+mp.-1/d3.-1+id.0";
    run(&["train", "--arch", cell, "--config", &config, "--out", &dir]).ok();
    let export = |format: &str, file: &str| {
        let out = folder.arg(file);
        let line = [
            "export", "--model", &dir, "--format", format, "--out", &out, "--json",
        ];
        run(&line).ok().json()
    };
    for (format, file) in [
        ("onnx", "a/net.onnx"),
        ("safetensors", "net.safetensors"),
        ("genotype", "net.txt"),
    ] {
        let report = export(format, file);
        assert_eq!(report["architecture"], cell);
        assert!(report["check"].is_null());
        let first = std::fs::read(folder.path(file)).expect("written");
        assert_eq!(report["bytes"][0].as_u64(), Some(first.len() as u64));
        export(format, file);
        assert!(
            std::fs::read(folder.path(file)).expect("written") == first,
            "{format}"
        );
    }
    let report = export("pytorch", "net.py");
    assert_eq!(report["files"].as_array().map(Vec::len), Some(2));
    let source = read(&folder.path("net.py"));
    assert!(
        source.contains("class Network(nn.Module):") && source.contains("\"net.safetensors\""),
        "{source}"
    );
    // Read back: contents need no Python.
    for (format, file) in [("safetensors", "net.safetensors"), ("genotype", "net.txt")] {
        let out = folder.arg(file);
        let line = [
            "export", "--model", &dir, "--format", format, "--out", &out, "--check",
        ];
        let text = run(&line).ok().stdout;
        assert!(text.contains("the same contents"), "{text}");
    }
    let genotype = read(&folder.path("net.txt"));
    let shown = run(&["show", genotype.trim(), "--json"]).ok().json();
    assert_eq!(shown["text"], cell);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let folder = Folder::new();
    let (config, dir) = (folder.arg("tiny.toml"), folder.arg("mine"));
    let macro_network = "macro:c3.0/d3.1/mp.1+2";
    run(&[
        "train",
        "--arch",
        macro_network,
        "--config",
        &config,
        "--out",
        &dir,
    ])
    .ok();
    let out = folder.arg("net");
    let line = ["export", "--model", &dir, "--out", &out, "--format"];
    let with = |more: &[&str]| run(&[&line[..], more].concat());
    with(&["genotype"]).fails(2, &[macro_network, "no micro network"]);
    with(&["pickle"]).fails(2, &["pickle", "onnx"]);
    with(&["pytorch", "--normalize", "outside"]).fails(2, &["--normalize outside"]);
    with(&["onnx", "--check", "--python", "/no/python"]).fails(2, &["/no/python", "--python"]);
    let nowhere = folder.arg("nowhere");
    let line = [
        "export", "--model", &nowhere, "--out", &out, "--format", "onnx",
    ];
    run(&line).fails(2, &["nowhere", "not found"]);
    let line = ["export", "--model", &dir, "--out", &dir, "--format", "onnx"];
    run(&line).fails(2, &["is a folder"]);
}
