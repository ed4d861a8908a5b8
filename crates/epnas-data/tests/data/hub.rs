//! Downloading: what is said when the hub cannot be reached.

use std::fs;
use std::path::Path;
use std::process::Command;

use epnas_data::{DataConfig, Source, load};
use tempfile::TempDir;

use crate::{assert_mentions, message};

/// The error of [`attempt`] with this folder as the home of the hub's client. The environment of a process is one for
/// all its tests, so the attempt is made in a process of its own.
fn attempted(home: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hub::attempt", "--ignored", "--nocapture"])
        // Port 9 (discard) of this machine: refused at once, no network is touched.
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("HF_HOME", home)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.split_once("error: "))
        .map(|(_, line)| line.to_owned())
        .unwrap_or_else(|| panic!("no error in {text:?}"))
}

#[test]
fn an_unreachable_hub_is_one_clear_line() {
    let home = TempDir::new().unwrap();
    let line = attempted(home.path());
    println!("{line}");
    assert_mentions(
        &line,
        &[
            "could not download cifar10 from the Hugging Face hub",
            "pass --data DIR with data_batch_1.bin",
        ],
    );
    assert!(!line.contains("127.0.0.1"), "no address: {line}");
    assert!(line.len() < 220, "short: {line}");
}

/// A file that arrived damaged: found in the cache by its place, so that nothing is asked of a network.
#[test]
fn a_damaged_file_in_the_cache_names_the_cache() {
    let home = TempDir::new().unwrap();
    let repository = home.path().join("hub/datasets--cifar10");
    let snapshot = repository.join("snapshots/0123abcd/plain_text");
    for part in ["train", "test"] {
        fs::create_dir_all(snapshot.join(part)).unwrap();
        fs::write(snapshot.join(part).join("0000.parquet"), "damaged").unwrap();
    }
    fs::create_dir_all(repository.join("refs/refs/convert")).unwrap();
    fs::write(repository.join("refs/refs/convert/parquet"), "0123abcd").unwrap();
    let line = attempted(home.path());
    assert_mentions(
        &line,
        &[
            "the downloaded cifar10 cannot be used",
            "Parquet error",
            &home.path().join("hub").display().to_string(),
        ],
    );
}

#[test]
#[ignore = "run by the other tests of this module"]
fn attempt() {
    let config = DataConfig {
        source: Source::Cifar10,
        ..DataConfig::default()
    };
    println!("error: {}", message(load(&config)));
}
