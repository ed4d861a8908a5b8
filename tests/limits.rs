//! What a search says and when it ends: budgets, forecasts, progress, selections that fail.

use serde_json::Value;

use crate::command::{Folder, TINY_CHILDREN, read_lines};

#[test]
fn a_budget_stops_cleanly_with_the_best_so_far() {
    let folder = Folder::new();
    // Far more children than a second trains.
    let sets = [
        "--set",
        "search.iterations=50",
        "--set",
        "baseline.kind=none",
        "--set",
        "select.top=1",
    ];
    let mut arguments = vec!["--budget", "1s", "--json"];
    arguments.extend(sets);
    let best = folder.search("run", &arguments).ok().json();
    let children = read_lines(&folder.path("run").join("history.jsonl")).len();
    assert!(
        (1..250).contains(&children),
        "{children} children in a second"
    );
    assert!(
        best["notes"]
            .as_array()
            .is_some_and(|notes| !notes.is_empty()),
        "the budget is not noted: {best:#}"
    );
    assert!(
        best["architecture"]
            .as_str()
            .is_some_and(|arch| arch.starts_with("macro:"))
    );
    folder
        .search("other", &["--budget", "soon"])
        .fails(2, &["soon"]);
}

#[test]
fn a_dry_run_forecasts_and_writes_nothing() {
    let folder = Folder::new();
    let text = folder.search("run", &["--dry-run"]).ok().stdout;
    assert!(
        text.contains("children") && text.contains("candidates"),
        "{text}"
    );
    let json = folder.search("run", &["--dry-run", "--json"]).ok().json();
    let steps = json["steps"]
        .as_array()
        .unwrap_or_else(|| panic!("no steps: {json:#}"));
    // 6 layers; 6 * 12; 2 * 24.
    let candidates: Vec<&Value> = steps.iter().map(|step| &step["candidates"]).collect();
    assert_eq!(candidates, [6, 72, 48]);
    assert!(!folder.path("run").exists(), "a dry run made its folder");
}

#[test]
fn a_forecast_names_its_units() {
    let folder = Folder::new();
    let text = folder.search("run", &["--dry-run"]).ok().stdout;
    let memory = text.lines().last().unwrap_or_default();
    assert_eq!(memory.matches(" MiB").count(), 3, "{memory}");
    assert!(
        memory.contains("(images 1 MiB, largest network "),
        "{memory}"
    );
}

#[test]
fn progress_off_a_terminal_is_nothing_and_a_line_per_child_on_request() {
    let folder = Folder::new();
    let sets = ["--set", "baseline.kind=none", "--set", "select.top=0"];
    let silent = folder.search("silent", &sets).ok();
    assert_eq!(silent.stderr, "");
    let loud = folder.search("loud", &[&["-v"], &sets[..]].concat()).ok();
    assert_eq!(
        loud.stderr
            .lines()
            .filter(|line| line.starts_with("child "))
            .count(),
        TINY_CHILDREN,
        "{}",
        loud.stderr
    );
    assert!(
        !loud.stderr.contains('\u{1b}') && !loud.stderr.contains('\r'),
        "control characters: {:?}",
        loud.stderr
    );
    assert!(loud.stdout.contains("macro:"), "{}", loud.stdout);
    let mut arguments = vec!["--quiet"];
    arguments.extend(sets);
    let quiet = folder.search("quiet", &arguments).ok();
    assert_eq!(quiet.stderr, "");
    // The same seed, the same search.
    assert_eq!(
        crate::resume::timeless(&folder.path("loud")),
        crate::resume::timeless(&folder.path("quiet"))
    );
    // Another seed, another one.
    let mut arguments = vec!["--seed", "4"];
    arguments.extend(sets);
    folder.search("other", &arguments).ok();
    assert_ne!(
        crate::resume::timeless(&folder.path("loud")),
        crate::resume::timeless(&folder.path("other"))
    );
}

#[test]
fn a_selection_without_a_survivor_says_so() {
    let folder = Folder::new();
    let sets = [
        "--set",
        "baseline.kind=none",
        "--set",
        // Diverges at once.
        "select.learning_rate=1e6",
    ];
    let outcome = folder.search("run", &sets);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("no candidate could be retrained"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("shared weights"),
        "{}",
        outcome.stdout
    );
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("error: ") && last.contains("no candidate could be retrained"),
        "{}",
        outcome.stderr
    );
}
