//! The operators' tests at every SIMD level, once under AddressSanitizer and once under Valgrind's memcheck.
//!
//! AddressSanitizer checks every access that is compiled in the workspace, AVX-512 included; Valgrind watches the machine
//! code, standard library and dependencies included, and knows which bytes were never written, but its processor has no
//! AVX-512. Debug builds help both: what a kernel borrows as scratch memory is full of NaN and ends where its
//! allocation ends (`crates/epnas-ops/src/scratch.rs`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, Executable};
use crate::scratch::Scratch;
use crate::table;

/// What `EPNAS_SIMD` takes, the plainest first.
const LEVELS: [&str; 4] = ["portable", "avx2", "avx512", "avx512bf16"];

/// Not under Valgrind: the emulation of a GPU, whose fibers jump between stacks that Valgrind takes for one, so that every
/// access to the other is an error to it; and, for it is thirty times slower, what times the machine and what compares runs
/// of everything with each other.
const SKIPPED: [&str; 4] = [
    "cuda::emulation",
    "limits::tests",
    "reproducible::levels_agree",
    "reproducible::threads_do_not_matter",
];

/// Whose memory the sanitizer's run time comes for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Only this SIMD level; may be repeated [default: every level].
    #[arg(long, value_parser = LEVELS)]
    level: Vec<String>,
    /// Only this tool [default: both; one that is not installed is skipped].
    #[arg(long)]
    tool: Option<Tool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    /// AddressSanitizer, of a nightly compiler.
    Asan,
    /// Valgrind's memcheck.
    Valgrind,
}

/// How the tests of one level ended.
struct Outcome {
    tool: Tool,
    level: String,
    /// As the test programs count them: passed and failed. None where the level cannot run.
    tests: Option<(usize, usize)>,
    seconds: f64,
    /// What the tool found.
    errors: usize,
}

pub(crate) fn run(root: &Path, flags: &Flags) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "torture kernels runs on Linux on x86-64"
    );
    let mut outcomes = Vec::new();
    let mut skipped = Vec::new();
    for tool in [Tool::Asan, Tool::Valgrind] {
        if flags.tool.is_some_and(|only| only != tool) {
            continue;
        }
        if let Err(missing) = tool.find() {
            ensure!(flags.tool.is_none(), missing);
            skipped.push(format!("skipped: {}, {missing:#}", tool.name()));
            continue;
        }
        let programs = tool.build(root)?;
        for level in LEVELS {
            if flags.level.is_empty() || flags.level.iter().any(|only| only == level) {
                outcomes.push(tool.test(root, level, &programs)?);
            }
        }
    }
    print!("\n{}", table::render(&rows(&outcomes)));
    for line in &skipped {
        println!("{line}");
    }
    let broken = outcomes.iter().filter(|outcome| outcome.is_broken());
    match broken.count() {
        0 => Ok(()),
        count => bail!("{count} of {} runs found something", outcomes.len()),
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Asan => "asan",
            Tool::Valgrind => "valgrind",
        }
    }

    /// Fails where the tool is not installed, and says what would bring it.
    fn find(self) -> Result<()> {
        let (mut command, needs) = match self {
            Tool::Asan => (
                nightly(),
                "needs a nightly compiler (rustup toolchain install nightly)",
            ),
            Tool::Valgrind => (
                Command::new("valgrind"),
                "needs valgrind (on Debian: the package of that name)",
            ),
        };
        let found = command.arg("--version").output();
        ensure!(found.is_ok_and(|output| output.status.success()), needs);
        Ok(())
    }

    /// The test programs of the operators, the integration tests first: only they say that a level cannot run.
    fn build(self, root: &Path) -> Result<Vec<Executable>> {
        let mut build = match self {
            Tool::Asan => {
                let mut build = nightly();
                build
                    .current_dir(root)
                    .args(["test", "--package", "epnas-ops", "--target", TARGET])
                    // Another compiler and other flags: what it builds fits nothing in the usual folder.
                    .env(
                        "CARGO_TARGET_DIR",
                        command::target_dir(root).join("torture/asan"),
                    )
                    .env("RUSTFLAGS", "-Zsanitizer=address");
                build
            }
            Tool::Valgrind => {
                let mut build = command::cargo(root);
                // Of the workspace, so that dependencies are built with the features that all other tests have.
                build.args(["test", "--workspace"]);
                build
            }
        };
        build.args(["--locked", "--no-run", "--lib", "--test", "operators"]);
        let mut programs = command::executables(&mut build)?;
        programs.retain(|program| ["operators", "epnas_ops"].contains(&program.name.as_str()));
        ensure!(
            programs.len() == 2,
            "cargo named {} test programs, expected those of epnas-ops and its operators",
            programs.len()
        );
        programs.sort_by_key(|program| program.name != "operators");
        Ok(programs)
    }

    fn test(self, root: &Path, level: &str, programs: &[Executable]) -> Result<Outcome> {
        let scratch = Scratch::new("kernels")?;
        let mut outcome = Outcome {
            tool: self,
            level: level.to_owned(),
            tests: Some((0, 0)),
            seconds: 0.0,
            errors: 0,
        };
        for program in programs {
            let log = scratch.folder().join(format!("{}.log", program.name));
            let mut test = self.command(&program.file, &log);
            test.current_dir(root.join("crates/epnas-ops"))
                .env("EPNAS_SIMD", level);
            eprintln!("$ EPNAS_SIMD={level} {}", command::show(&test));
            let began = Instant::now();
            let output = test.output().context("cannot start the tests")?;
            outcome.seconds += began.elapsed().as_secs_f64();
            let told = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
                + &fs::read_to_string(&log).unwrap_or_default();
            if told.contains(&format!("EPNAS_SIMD is `{level}`, expected")) {
                outcome.tests = None;
                break;
            }
            let found = self.errors(&told);
            let (passed, failed) = match counts(&told) {
                Some(counts) => {
                    outcome.errors += found;
                    counts
                }
                None => {
                    // It died.
                    outcome.errors += found.max(1);
                    (0, 0)
                }
            };
            if !output.status.success() || found > 0 {
                eprintln!("{told}");
            }
            ensure!(
                output.status.success() || outcome.errors + failed > 0,
                "{} ended with {}, and nothing says why",
                command::show(&test),
                output.status
            );
            if let Some((all_passed, all_failed)) = &mut outcome.tests {
                *all_passed += passed;
                *all_failed += failed;
            }
        }
        Ok(outcome)
    }

    /// The test program as the tool runs it; what Valgrind itself says goes to the file `log`.
    fn command(self, program: &Path, log: &Path) -> Command {
        match self {
            Tool::Asan => {
                let mut test = Command::new(program);
                test.env("ASAN_OPTIONS", "detect_stack_use_after_return=1");
                test
            }
            Tool::Valgrind => {
                let mut test = Command::new("valgrind");
                test.args(["--error-exitcode=99", "--fair-sched=try", "--leak-check=no"])
                    .arg(format!("--log-file={}", log.display()))
                    .arg(program)
                    .args(SKIPPED.iter().flat_map(|test| ["--skip", test]))
                    // Valgrind runs one thread at a time; two still take turns.
                    .env("RAYON_NUM_THREADS", "2");
                test
            }
        }
    }

    fn errors(self, told: &str) -> usize {
        let of_line = |line: &str| match self {
            Tool::Asan => usize::from(line.contains("ERROR: AddressSanitizer")),
            Tool::Valgrind => line
                .split_once("ERROR SUMMARY: ")
                .and_then(|(_, rest)| rest.split(' ').next()?.replace(',', "").parse().ok())
                .unwrap_or(0),
        };
        told.lines().map(of_line).sum()
    }
}

impl Outcome {
    fn is_broken(&self) -> bool {
        self.errors > 0 || self.tests.is_some_and(|(_, failed)| failed > 0)
    }
}

/// The nightly compiler's cargo. Not a flag of the cargo that runs this task, which is one toolchain's and takes none.
fn nightly() -> Command {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo"]);
    // Those of the toolchain that runs this task.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(variable);
    }
    cargo
}

/// Tests that passed and that failed, in what a test program printed last.
fn counts(told: &str) -> Option<(usize, usize)> {
    let line = told
        .lines()
        .rfind(|line| line.starts_with("test result: "))?;
    let before = |word: &str| {
        let words = line.split([' ', ';']).collect::<Vec<_>>();
        let at = words.iter().position(|&found| found == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some((before("passed")?, before("failed")?))
}

fn rows(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let head = ["tool and level", "tests", "failed", "seconds", "errors"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for outcome in outcomes {
        let name = format!("{} {}", outcome.tool.name(), outcome.level);
        rows.push(match outcome.tests {
            Some((passed, failed)) => vec![
                name,
                passed.to_string(),
                failed.to_string(),
                format!("{:.1}", outcome.seconds),
                outcome.errors.to_string(),
            ],
            None => {
                let mut row = vec![name];
                row.extend(["-"; 3].map(str::to_owned));
                row.push("no such instructions here".to_owned());
                row
            }
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_test_programs_are_read() {
        let told = "test a ... ok\n\ntest result: ok. 12 passed; 0 failed; 2 ignored; 0 measured\n";
        assert_eq!(counts(told), Some((12, 0)));
        let failed = "test result: FAILED. 3 passed; 9 failed; 0 ignored\n";
        assert_eq!(counts(failed), Some((3, 9)));
        assert_eq!(counts("==1== Process terminating\n"), None);
    }

    #[test]
    fn what_the_tools_found_is_counted() {
        let valgrind = "==7== ERROR SUMMARY: 1,203 errors from 4 contexts (suppressed: 0 from 0)\n\
                        ==8== ERROR SUMMARY: 0 errors from 0 contexts\n";
        assert_eq!(Tool::Valgrind.errors(valgrind), 1203);
        assert_eq!(Tool::Asan.errors(valgrind), 0);
        let asan = "==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x1\n";
        assert_eq!(Tool::Asan.errors(asan), 1);
    }

    #[test]
    fn a_level_that_cannot_run_is_no_failure_and_says_so() {
        let outcome = Outcome {
            tool: Tool::Valgrind,
            level: "avx512".to_owned(),
            tests: None,
            seconds: 1.0,
            errors: 0,
        };
        assert!(!outcome.is_broken());
        let row = [
            "valgrind avx512",
            "-",
            "-",
            "-",
            "no such instructions here",
        ];
        assert_eq!(rows(&[outcome])[1], row);
    }
}
