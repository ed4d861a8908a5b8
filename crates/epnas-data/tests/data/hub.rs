//! Downloading: what is said when the hub cannot be reached.

use std::process::Command;

use epnas_data::{DataConfig, Source, load};
use tempfile::TempDir;

use crate::{assert_mentions, message};

/// The environment of a process is one for all its tests, so the attempt is made in a process of its own.
#[test]
fn an_unreachable_hub_is_one_clear_line() {
    let cache = TempDir::new().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hub::attempt", "--ignored", "--nocapture"])
        // Port 9 (discard) of this machine: refused at once, no network is touched.
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("HF_HOME", cache.path())
        .env_remove("HF_HUB_CACHE")
        .env_remove("HUGGINGFACE_HUB_CACHE")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .find_map(|line| line.split_once("error: "))
        .map(|(_, line)| line)
        .unwrap_or_else(|| panic!("no error in {text:?}"));
    println!("{line}");
    assert_mentions(
        line,
        &[
            "could not download cifar10 from the Hugging Face hub",
            "pass --data DIR with data_batch_1.bin",
        ],
    );
}

#[test]
#[ignore = "run by an_unreachable_hub_is_one_clear_line"]
fn attempt() {
    let config = DataConfig {
        source: Source::Cifar10,
        ..DataConfig::default()
    };
    println!("error: {}", message(load(&config)));
}
