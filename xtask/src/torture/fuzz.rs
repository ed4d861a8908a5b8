//! Every reader on bytes of every kind, by libFuzzer: the targets of `fuzz`, each for its share of the time.
//!
//! New files go to a corpus of their own under target/fuzz, which is kept from run to run; `fuzz/corpus` is read only. What
//! is worth keeping there is chosen by hand, for every test run replays it.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::{command, table};

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Time for all targets together, the build not counted.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// Only this target; may be given several times [default: all].
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
}

/// At once, on a machine with as many cores.
const PROGRAMS: usize = 2;
/// One input that takes this long is a finding.
const SLOWEST_SECONDS: u64 = 25;
/// Lines of the log that are shown of a target that failed.
const SHOWN_LINES: usize = 40;

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    let all = targets(root)?;
    let chosen = choose(&all, &flags.target)?;
    require_tools(root)?;
    command::run(cargo_fuzz(root, "build").args(single(&chosen)))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let programs = PROGRAMS.min(cores).min(chosen.len());
    let share = share(flags.minutes, programs, chosen.len());
    eprintln!(
        "{} targets, {programs} at a time, {} s each",
        chosen.len(),
        share.as_secs()
    );
    let waiting = Mutex::new(chosen.iter().cloned().collect::<VecDeque<_>>());
    let next = || waiting.lock().ok()?.pop_front();
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..programs {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let outcome = fuzz(root, &target, share);
                    if let Ok(mut done) = done.lock() {
                        done.push((target, outcome));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by(|a, b| a.0.cmp(&b.0));
    report(root, done)
}

/// The programs that there are, by their files.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn choose(all: &[String], wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!("--target {unknown}: expected one of {}", all.join(", "));
    }
    let chosen = |name: &&String| wanted.is_empty() || wanted.contains(name);
    Ok(all.iter().filter(chosen).cloned().collect())
}

/// One target is built alone, several with all others: cargo-fuzz knows one or all.
fn single(chosen: &[String]) -> &[String] {
    match chosen {
        [_] => chosen,
        _ => &[],
    }
}

/// So that all of them together take the time given.
fn share(minutes: u32, programs: usize, targets: usize) -> Duration {
    let seconds = u64::from(minutes) * 60 * programs as u64 / targets.max(1) as u64;
    Duration::from_secs(seconds.max(1))
}

fn require_tools(root: &Path) -> Result<()> {
    let mut version = cargo_fuzz(root, "--version");
    version.stdout(Stdio::null()).stderr(Stdio::null());
    let there = version.status().is_ok_and(|status| status.success());
    ensure!(
        there,
        "fuzzing needs a nightly compiler and cargo-fuzz: `rustup toolchain install nightly`, `cargo install cargo-fuzz`"
    );
    Ok(())
}

/// By rustup, for the `cargo` that runs this task is not a nightly one.
fn cargo_fuzz(root: &Path, task: &str) -> Command {
    let mut cargo = Command::new("rustup");
    cargo.current_dir(root);
    cargo.args(["run", "nightly", "cargo", "fuzz", task]);
    cargo
}

/// What became of a target.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: Option<u64>,
    per_second: Option<u64>,
    /// Edges of the control flow that were reached.
    edges: Option<u64>,
    /// Files that reach something of their own.
    corpus: Option<u64>,
    /// Files on which it fails.
    crashes: Vec<PathBuf>,
    /// It ended otherwise than by the clock.
    failed: bool,
}

fn fuzz(root: &Path, target: &str, time: Duration) -> Result<Outcome> {
    let own = root.join("target/fuzz");
    let corpus = own.join("corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let artifacts = root.join("fuzz/artifacts").join(target);
    let before = files(&artifacts);
    let mut fuzz = cargo_fuzz(root, "run");
    fuzz.arg(target).arg(&corpus);
    fuzz.arg(root.join("fuzz/corpus").join(target)).arg("--");
    fuzz.arg(format!("-max_total_time={}", time.as_secs()));
    fuzz.arg(format!("-timeout={SLOWEST_SECONDS}"));
    fuzz.arg("-print_final_stats=1");
    // Threads of a program would take the cores of the other.
    fuzz.env("RAYON_NUM_THREADS", "1");
    // Some targets are read from files, which a disk would wait for.
    if Path::new("/dev/shm").is_dir() {
        fuzz.env("TMPDIR", "/dev/shm");
    }
    eprintln!("$ {}", command::show(&fuzz));
    let output = fuzz
        .output()
        .with_context(|| format!("cannot start `{}`", command::show(&fuzz)))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let place = log_of(root, target);
    fs::write(&place, log.as_bytes())
        .with_context(|| format!("cannot write {}", place.display()))?;
    Ok(Outcome {
        crashes: files(&artifacts).difference(&before).cloned().collect(),
        failed: !output.status.success(),
        ..read(&log)
    })
}

fn log_of(root: &Path, target: &str) -> PathBuf {
    root.join("target/fuzz").join(format!("{target}.log"))
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The figures in libFuzzer's log: the last of each.
fn read(log: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let number = |text: &str| {
        let digits = text.trim_start().split(|c: char| !c.is_ascii_digit());
        digits.into_iter().next()?.parse().ok()
    };
    for line in log.lines() {
        let after = |label: &str| {
            let (_, rest) = line.split_once(label)?;
            number(rest)
        };
        outcome.executions = after("stat::number_of_executed_units:").or(outcome.executions);
        outcome.per_second = after("stat::average_exec_per_sec:").or(outcome.per_second);
        outcome.edges = after(" cov: ").or(outcome.edges);
        outcome.corpus = after(" corp: ").or(outcome.corpus);
    }
    outcome
}

fn report(root: &Path, done: Vec<(String, Result<Outcome>)>) -> Result<()> {
    let head = [
        "target",
        "executions",
        "per second",
        "edges",
        "corpus",
        "crashes",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for (target, outcome) in done {
        let outcome = outcome?;
        rows.push(row(&target, &outcome));
        if outcome.failed || !outcome.crashes.is_empty() {
            show_failure(root, &target, &outcome);
            failed.push(target);
        }
    }
    print!("{}", table::render(&rows));
    ensure!(failed.is_empty(), "fuzzing failed: {}", failed.join(", "));
    Ok(())
}

fn row(target: &str, outcome: &Outcome) -> Vec<String> {
    let shown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |n| n.to_string());
    vec![
        target.to_owned(),
        shown(outcome.executions),
        shown(outcome.per_second),
        shown(outcome.edges),
        shown(outcome.corpus),
        outcome.crashes.len().to_string(),
    ]
}

fn show_failure(root: &Path, target: &str, outcome: &Outcome) {
    let log = log_of(root, target);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    eprintln!(
        "{target}: the end of {}\n{}",
        log.display(),
        shown.join("\n")
    );
    for file in &outcome.crashes {
        eprintln!(
            "{target}: fails on {0}; once it does not, the file belongs in fuzz/corpus/{target}",
            file.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_last_of_the_log() {
        let log = "\
INFO: seed corpus: files: 3 min: 1b max: 90b total: 120b rss: 40Mb
#4\tINITED cov: 210 ft: 300 corp: 3/120b exec/s: 0 rss: 41Mb
#9000\tREDUCE cov: 231 ft: 402 corp: 7/99b lim: 4096 exec/s: 900 rss: 44Mb L: 12/90 MS: 1 EraseBytes-
Done 12345 runs in 11 second(s)
stat::number_of_executed_units: 12345
stat::average_exec_per_sec:     1122
";
        let expected = Outcome {
            executions: Some(12345),
            per_second: Some(1122),
            edges: Some(231),
            corpus: Some(7),
            ..Outcome::default()
        };
        assert_eq!(read(log), expected);
        assert_eq!(read("thread panicked"), Outcome::default());
    }

    #[test]
    fn targets_are_chosen_by_name() {
        let all = ["a", "b"].map(str::to_owned);
        assert_eq!(choose(&all, &[]).unwrap(), all);
        assert_eq!(choose(&all, &["b".to_owned()]).unwrap(), ["b"]);
        let error = choose(&all, &["c".to_owned()]).unwrap_err().to_string();
        assert_eq!(error, "--target c: expected one of a, b");
    }

    #[test]
    fn the_time_is_shared() {
        assert_eq!(share(60, 2, 12), Duration::from_secs(600));
        assert_eq!(share(1, 1, 100), Duration::from_secs(1));
    }
}
