//! Image folders, checks, the built-in set, CIFAR-10 where it is at hand.

use crate::command::{Folder, epnas, line, run};

#[test]
fn the_built_in_set_is_written_read_and_searched_as_a_folder() {
    let folder = Folder::new();
    let images = folder.arg("images");
    let written = line(&format!(
        "data synthetic {images} --train 120 --test 40 --image-size 16 --json"
    ));
    assert_eq!(written.ok().json()["train"], 120);
    run(&["data", "synthetic", &images]).fails(2, &["images", "not empty"]);

    let check = run(&["data", "check", &images, "--json"]).ok().json();
    assert!(
        check["unreadable"].as_array().is_some_and(Vec::is_empty),
        "{check:#}"
    );
    let info = line(&format!(
        "data info --data {images} --set data.image_size=16 --json"
    ))
    .ok()
    .json();
    assert_eq!(info["classes"].as_array().map(Vec::len), Some(10));
    assert_eq!(
        info["training"]["images"]
            .as_u64()
            .zip(info["validation"]["images"].as_u64()),
        Some((108, 12))
    );
    assert_eq!(info["test"]["images"], 40);
    let text = run(&["data", "info", "--data", &images]).ok().stdout;
    assert!(
        text.contains("striped_disc") && text.contains("total"),
        "{text}"
    );

    // The same pictures as the set itself.
    let builtin = line(
        "data info --set data.synthetic.train=120 --set data.synthetic.test=40 --set data.image_size=16 --json",
    );
    assert_eq!(builtin.ok().json()["test"]["images"], 40);

    let out = folder.search(
        "run",
        &[
            "--data",
            &images,
            "--set",
            "data.validation=20",
            "--set",
            "baseline.kind=none",
        ],
    );
    out.ok();
}

#[test]
fn unreadable_images_are_listed_and_skipped_or_fatal() {
    let folder = Folder::new();
    let images = folder.arg("images");
    line(&format!(
        "data synthetic {images} --train 40 --test 20 --image-size 16"
    ))
    .ok();
    let class = folder.path("images").join("train").join("striped_disc");
    std::fs::write(class.join("broken.jpg"), b"not a picture").expect("written");

    let check = run(&["data", "check", &images, "--json"]);
    assert_eq!(check.code, Some(1), "{}", check.stderr);
    assert!(
        check.json()["unreadable"][0]["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("broken.jpg"))
    );
    assert!(
        check.stderr.starts_with("error: ") && check.stderr.lines().count() == 1,
        "{}",
        check.stderr
    );

    run(&["data", "info", "--data", &images]).fails(2, &["broken.jpg", "skip"]);
    let skipped = line(&format!(
        "data info --data {images} --set data.unreadable=skip --set data.validation=15 --json"
    ))
    .ok()
    .json();
    assert!(
        skipped["skipped"][0]["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("broken.jpg"))
    );
}

#[test]
fn duplicates_are_reported() {
    let folder = Folder::new();
    let images = folder.arg("images");
    line(&format!(
        "data synthetic {images} --train 20 --test 10 --image-size 16"
    ))
    .ok();
    let class = folder.path("images").join("train").join("striped_disc");
    let original = std::fs::read_dir(&class)
        .expect("images")
        .next()
        .expect("an image")
        .expect("an entry")
        .path();
    std::fs::copy(&original, class.join("zz-copy.png")).expect("copied");
    let check = run(&["data", "check", &images, "--json"]).ok().json();
    assert!(check.to_string().contains("zz-copy.png"), "{check:#}");
}

/// A run on the real images, where `EPNAS_CIFAR10` names the folder of the binary version.
#[test]
fn cifar10_smoke() {
    let dir = std::env::var("EPNAS_CIFAR10").unwrap_or_default();
    if dir.is_empty() || !std::path::Path::new(&dir).is_dir() {
        println!("skipped: no data at EPNAS_CIFAR10={dir:?}");
        return;
    }
    let folder = Folder::new();
    let info = line(&format!(
        "data info --config cifar10-macro --data {dir} --json"
    ))
    .ok()
    .json();
    assert_eq!(info["training"]["images"], 45_000);
    assert_eq!(info["validation"]["images"], 5_000);
    assert_eq!(info["test"]["images"], 10_000);
    let out = folder.arg("run");
    let mut command = epnas();
    command.args([
        "search",
        "--config",
        "cifar10-quick-macro",
        "--data",
        &dir,
        "--out",
        &out,
        "-q",
    ]);
    for set in [
        "data.train_limit=256",
        "space.layers=2",
        "network.channels=4",
        "search.children_per_step=2",
        "training.epochs=1",
        "select.top=1",
        "select.epochs=1",
        "train.epochs=1",
        "train.channels=4",
        "train.images=training",
    ] {
        command.args(["--set", set]);
    }
    let output = command.output().expect("epnas starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    run(&["train", &out, "-q"]).ok();
    let eval = run(&["eval", &out, "--json"]).ok().json();
    assert_eq!(eval["images"], 10_000);
}
