//! A whole search at every level of vector instructions that this machine has.

use serde_json::Value;

use crate::command::{Folder, Outcome, epnas, read_lines};
use crate::resume::assert_same;

/// Long enough for roundings to add up.
const SETS: [&str; 6] = [
    "--set",
    "network.channels=8",
    "--set",
    "training.epochs=4",
    "--threads",
    "2",
];

/// Whether the search ran; a level that this machine lacks is an error that says so.
fn search(folder: &Folder, level: &str) -> bool {
    let (config, out) = (folder.arg("tiny.toml"), folder.arg(level));
    let mut command = epnas();
    command.env("EPNAS_SIMD", level);
    command.args(["search", "--config", &config, "--out", &out, "-q"]);
    let outcome = Outcome::from(command.args(SETS).output().expect("epnas starts"));
    if outcome.code != Some(0) && outcome.stderr.contains("that this machine has") {
        println!("{level}: skipped, this machine does not have it");
        return false;
    }
    outcome.ok();
    true
}

/// The loss of a child's last epoch.
fn loss(child: &Value) -> f64 {
    let epochs = child["epochs"].as_array().expect("epochs");
    let last = epochs.last().expect("an epoch");
    last["loss"].as_f64().expect("a loss")
}

/// Vectors have eight lanes at every level, and every sum its one order, so levels differ in whether a product is rounded
/// before it is added: portable code does, all others do not. Those have to agree to the bit, stored weights included.
///
/// Portable code is off by 2^-24 of a term in every term, and training makes more of it from child to child, for weights
/// are shared. Over four seeds of a search half as long again, the last losses differed by 6e-5 of themselves at most, a
/// few by more than 1e-6, and no estimate differed. 1e-3 leaves room for other compilers and is far less than what a wrong
/// border or a lost channel does to a loss (`levels_agree` of the operators finds those one by one). An estimate
/// counts images: one of them may have two classes so close that the last places decide. What is drawn after such an
/// estimate may differ, and is not compared.
#[test]
fn a_search_is_the_same_at_every_level() {
    let folder = Folder::new();
    assert!(search(&folder, "portable"));
    let levels = ["avx2", "avx512", "avx512bf16"];
    let run: Vec<&str> = levels
        .into_iter()
        .filter(|level| search(&folder, level))
        .collect();
    let Some((first, others)) = run.split_first() else {
        return;
    };
    for other in others {
        assert_same(&folder.path(first), &folder.path(other));
    }

    let children = |level: &str| read_lines(&folder.path(level).join("history.jsonl"));
    let (plain, fused) = (children("portable"), children(first));
    assert_eq!(plain.len(), fused.len());
    // As `tiny.toml` has it.
    let image = 1.0 / 40.0;
    let mut differs_since = None;
    let mut compared = 0;
    for (plain, fused) in plain.iter().zip(&fused) {
        if differs_since.is_some_and(|step: &Value| *step != plain["step"]) {
            break;
        }
        assert_eq!(plain["arch"], fused["arch"]);
        let estimates = [plain, fused].map(|child| child["estimate"].as_f64().expect("a number"));
        let apart = (estimates[0] - estimates[1]).abs();
        assert!(apart <= 1.001 * image, "{estimates:?} of {}", plain["arch"]);
        let losses = [plain, fused].map(loss);
        let relative = (losses[0] - losses[1]).abs() / losses[0];
        assert!(relative <= 1e-3, "losses {losses:?} of {}", plain["arch"]);
        if apart > 0.0 {
            differs_since = Some(&plain["step"]);
        }
        compared += 1;
    }
    // The first step, at least, which no estimate precedes.
    assert!(compared >= 6, "{compared} children");
}
