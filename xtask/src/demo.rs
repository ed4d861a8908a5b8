//! `cargo xtask demo`: a whole search on the built-in images, selection, training and the test accuracy of what it
//! found, beside random search at equal budget. Only the `epnas` command is used, as a user would.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{command, table};

const SUMMARY: &str = "summary.json";

#[derive(Args)]
pub(crate) struct Flags {
    /// Folder of the run; an unfinished one is resumed [default: runs/demo, numbered when that is finished].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Root seed [default: the one in configs/demo.toml].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let folder = choose(flags.out.as_deref(), &root.join("runs/demo"))?;
    eprintln!("demo: {folder}");
    let epnas = command::build_release(root, &["--package", "epnas-cli", "--bin", "epnas"])?;
    let demo = Demo {
        epnas,
        root,
        dir: folder.path(),
        seed: flags.seed,
    };

    let started = Instant::now();
    demo.search(&folder)?;
    let best = demo.train_and_test(Network::Best)?;
    let random = demo.train_and_test(Network::Random)?;
    let summary = summary(
        &demo.read("best.json")?,
        best,
        random,
        started.elapsed().as_secs_f64(),
        &folder,
    )?;
    fs::write(demo.dir.join(SUMMARY), format!("{summary:#}\n"))
        .with_context(|| format!("cannot write {SUMMARY} to {}", demo.dir.display()))?;
    command::capture(demo.command("report").arg(demo.dir))?;
    print!("{}", show(&summary));
    println!(
        "\n{}\n{}",
        demo.dir.join(SUMMARY).display(),
        demo.dir.join("report.html").display()
    );
    Ok(())
}

struct Demo<'a> {
    epnas: PathBuf,
    root: &'a Path,
    dir: &'a Path,
    seed: Option<u64>,
}

/// The two networks that are trained and tested.
#[derive(Clone, Copy)]
enum Network {
    Best,
    Random,
}

impl Network {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Network::Best => &[],
            Network::Random => &["--random"],
        }
    }
}

impl Demo<'_> {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.epnas);
        command.arg(name);
        // Without a terminal there is no progress bar: lines show a log's reader that it goes on.
        if !std::io::stderr().is_terminal() {
            command.arg("-v");
        }
        command
    }

    /// The search, the random baseline and the selection are one command.
    fn search(&self, folder: &Folder) -> Result<()> {
        let mut search = self.command("search");
        search
            .arg("--config")
            .arg(self.root.join("configs/demo.toml"))
            .arg("--out")
            .arg(self.dir);
        if let Some(seed) = self.seed {
            search.args(["--seed", &seed.to_string()]);
        }
        if let Folder::Unfinished(_) = folder {
            search.arg("--resume");
        }
        command::run(&mut search)
    }

    /// Trains from scratch and returns the accuracy on the test images.
    fn train_and_test(&self, network: Network) -> Result<f64> {
        command::run(self.command("train").arg(self.dir).args(network.flags()))?;
        let mut eval = self.command("eval");
        eval.arg(self.dir).args(network.flags()).arg("--json");
        let printed = command::capture(&mut eval)?;
        let report: Value =
            serde_json::from_str(&printed).with_context(|| format!("eval printed {printed:?}"))?;
        report["accuracy"]
            .as_f64()
            .with_context(|| format!("eval reports no test accuracy: {report}"))
    }

    fn read(&self, file: &str) -> Result<Value> {
        let path = self.dir.join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
    }
}

/// Where the run goes.
#[derive(Debug, PartialEq, Eq)]
enum Folder {
    Fresh(PathBuf),
    Unfinished(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Folder::Fresh(path) | Folder::Unfinished(path) => path,
        }
    }
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Folder::Fresh(path) => write!(f, "a new run in {}", path.display()),
            Folder::Unfinished(path) => {
                write!(f, "resuming the unfinished run in {}", path.display())
            }
        }
    }
}

/// What a folder holds.
enum Content {
    Nothing,
    UnfinishedRun,
    FinishedRun,
    SomethingElse,
}

fn content(dir: &Path) -> Content {
    let empty = fs::read_dir(dir).map_or(!dir.exists(), |mut entries| entries.next().is_none());
    if empty {
        Content::Nothing
    } else if dir.join(SUMMARY).exists() {
        Content::FinishedRun
    } else if dir.join("config.toml").exists() {
        Content::UnfinishedRun
    } else {
        Content::SomethingElse
    }
}

/// Never over an existing run: an unfinished one goes on; for a finished one, the default folder takes the next
/// number, and a folder that was asked for by name is refused.
fn choose(named: Option<&Path>, default: &Path) -> Result<Folder> {
    if let Some(dir) = named {
        return match content(dir) {
            Content::Nothing => Ok(Folder::Fresh(dir.into())),
            Content::UnfinishedRun => Ok(Folder::Unfinished(dir.into())),
            Content::FinishedRun => bail!(
                "{} holds a finished demo; name another folder",
                dir.display()
            ),
            Content::SomethingElse => bail!(
                "{} holds something else; name another folder",
                dir.display()
            ),
        };
    }
    let name = default
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let numbered = (2..).map(|number| default.with_file_name(format!("{name}-{number}")));
    for dir in std::iter::once(default.to_path_buf()).chain(numbered) {
        match content(&dir) {
            Content::Nothing => return Ok(Folder::Fresh(dir)),
            Content::UnfinishedRun => return Ok(Folder::Unfinished(dir)),
            Content::FinishedRun | Content::SomethingElse => {}
        }
    }
    unreachable!("some number is free")
}

fn summary(
    best: &Value,
    best_test: f64,
    random_test: f64,
    seconds: f64,
    folder: &Folder,
) -> Result<Value> {
    let network = |found: &Value, test_accuracy: f64| -> Result<Value> {
        let architecture = found["architecture"]
            .as_str()
            .context("best.json names no architecture")?;
        Ok(json!({
            "architecture": architecture,
            "estimate": found["estimate"],
            "retrained_accuracy": found["retrained_accuracy"],
            "test_accuracy": test_accuracy,
        }))
    };
    Ok(json!({
        "best": network(best, best_test)?,
        "random": network(&best["random"], random_test)?,
        "seed": best["seed"],
        "seconds": seconds,
        // Then `seconds` counts from the resumption.
        "resumed": matches!(folder, Folder::Unfinished(_)),
    }))
}

fn show(summary: &Value) -> String {
    let percent = |value: &Value| {
        value
            .as_f64()
            .map_or("-".to_owned(), |x| format!("{:.1}%", 100.0 * x))
    };
    let mut rows = vec![
        ["", "estimate", "retrained", "test", "architecture"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (key, name) in [("best", "progressive search"), ("random", "random search")] {
        let found = &summary[key];
        let mut row = vec![name.to_owned()];
        row.extend(
            ["estimate", "retrained_accuracy", "test_accuracy"]
                .map(|column| percent(&found[column])),
        );
        row.push(
            found["architecture"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        );
        rows.push(row);
    }
    let seconds = summary["seconds"].as_f64().unwrap_or_default();
    format!("\n{}{seconds:.0} s after the build\n", table::render(&rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("epnas-xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn holding(dir: &Path, files: &[&str]) {
        fs::create_dir_all(dir).unwrap();
        for file in files {
            fs::write(dir.join(file), "").unwrap();
        }
    }

    #[test]
    fn the_default_folder_is_resumed_or_numbered() {
        let runs = scratch("numbered");
        let default = runs.join("demo");
        assert_eq!(
            choose(None, &default).unwrap(),
            Folder::Fresh(default.clone())
        );
        holding(&default, &["config.toml"]);
        assert_eq!(
            choose(None, &default).unwrap(),
            Folder::Unfinished(default.clone())
        );
        holding(&default, &[SUMMARY]);
        assert_eq!(
            choose(None, &default).unwrap(),
            Folder::Fresh(runs.join("demo-2"))
        );
        holding(&runs.join("demo-2"), &["notes.txt"]);
        assert_eq!(
            choose(None, &default).unwrap(),
            Folder::Fresh(runs.join("demo-3"))
        );
        fs::remove_dir_all(runs).unwrap();
    }

    #[test]
    fn a_named_folder_is_never_overwritten() {
        let dir = scratch("named");
        assert_eq!(
            choose(Some(&dir), Path::new("x")).unwrap(),
            Folder::Fresh(dir.clone())
        );
        holding(&dir, &["notes.txt"]);
        assert!(
            choose(Some(&dir), Path::new("x"))
                .unwrap_err()
                .to_string()
                .contains("something else")
        );
        holding(&dir, &["config.toml"]);
        assert_eq!(
            choose(Some(&dir), Path::new("x")).unwrap(),
            Folder::Unfinished(dir.clone())
        );
        holding(&dir, &[SUMMARY]);
        assert!(
            choose(Some(&dir), Path::new("x"))
                .unwrap_err()
                .to_string()
                .contains("a finished demo")
        );
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_summary_has_the_promised_keys() {
        let best = json!({
            "architecture": "macro:c3.0", "estimate": 0.5, "retrained_accuracy": 0.6, "seed": 1,
            "random": { "architecture": "macro:mp.0", "estimate": 0.4, "retrained_accuracy": 0.45 },
        });
        let summary = summary(&best, 0.7, 0.55, 12.0, &Folder::Fresh("x".into())).unwrap();
        assert_eq!(summary["best"]["architecture"], "macro:c3.0");
        assert_eq!(summary["best"]["estimate"], 0.5);
        assert_eq!(summary["best"]["test_accuracy"], 0.7);
        assert_eq!(summary["random"]["architecture"], "macro:mp.0");
        assert_eq!(summary["random"]["test_accuracy"], 0.55);
        assert_eq!(summary["seconds"], 12.0);
        let shown = show(&summary);
        assert!(
            shown.contains("progressive search     50.0%      60.0%  70.0%"),
            "{shown}"
        );
    }
}
