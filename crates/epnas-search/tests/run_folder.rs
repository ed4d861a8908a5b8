//! The run folder: nothing is overwritten, nobody writes at the same time, settings must be the same.

use epnas_search::{Run, RunError, RunFolder, Start};

const CONFIG: &str = "seed = 1\n[search]\niterations = 3\nbudget = \"2h\"\n[select]\ntop = 5\n";
const MAY_DIFFER: [&str; 2] = ["search.budget", "select."];

fn begin(dir: &std::path::Path, config: &str, start: Start) -> Result<Run, RunError> {
    Run::begin(dir, config, &MAY_DIFFER, start)
}

#[test]
fn a_run_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("runs/a");
    drop(begin(&dir, CONFIG, Start::New).expect("a new run"));
    let error = begin(&dir, CONFIG, Start::New).expect_err("there is a run");
    assert!(matches!(error, RunError::Exists { .. }));
    let text = error.to_string();
    assert!(
        text.contains("runs/a already holds a run; use --resume"),
        "{text}"
    );
    drop(begin(&dir, CONFIG, Start::Resume).expect("resumed"));
    assert_eq!(
        RunFolder::new(&dir).config_text().expect("a configuration"),
        CONFIG
    );
}

#[test]
fn a_history_alone_is_protected_too() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("history.jsonl"), "").expect("written");
    let new = begin(folder.path(), CONFIG, Start::New);
    assert!(matches!(new, Err(RunError::Exists { .. })));
    let resumed = begin(folder.path(), CONFIG, Start::Resume).expect_err("no configuration");
    let error = resumed.to_string();
    assert!(error.contains("config.toml: is missing"), "{error}");
}

#[test]
fn a_folder_without_a_run_may_be_resumed_and_hold_other_files() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.txt"), "mine").expect("written");
    begin(folder.path(), CONFIG, Start::Resume).expect("a new run");
}

#[test]
fn two_processes_cannot_write_to_one_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = begin(folder.path(), CONFIG, Start::New).expect("a new run");
    assert!(matches!(
        begin(folder.path(), CONFIG, Start::Resume),
        Err(RunError::Locked { .. })
    ));
    assert!(matches!(
        Run::open(folder.path()),
        Err(RunError::Locked { .. })
    ));
    drop(first);
    Run::open(folder.path()).expect("the lock is free again");
}

#[test]
fn differing_settings_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(begin(folder.path(), CONFIG, Start::New).expect("a new run"));
    let other =
        "seed = 2\n[search]\niterations = 3\n[select]\ntop = 9\n[space]\nkind = \"micro\"\n";
    let error = begin(folder.path(), other, Start::Resume)
        .expect_err("other settings")
        .to_string();
    // Budget and selection may differ.
    let expected = "was begun with other settings: seed (stored 1, given 2), space.kind (stored unset, given \"micro\")";
    assert!(error.ends_with(expected), "{error}");
    let longer = CONFIG.replace("2h", "9h").replace("top = 5", "top = 1");
    drop(begin(folder.path(), &longer, Start::Resume).expect("allowed to differ"));
    // What is in force now is stored.
    assert_eq!(
        RunFolder::new(folder.path())
            .config_text()
            .expect("a configuration"),
        longer
    );
}

#[test]
fn opening_needs_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Run::open(folder.path()).expect_err("no run").to_string();
    assert!(error.contains("holds no run"), "{error}");
    assert!(matches!(
        Run::open(&folder.path().join("nowhere")),
        Err(RunError::Missing { .. })
    ));
}
