//! Test binaries: what became of every test.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::limit::{Ended, Ending};
use super::parts::Stage;
use super::report::{Measured, Outcome};

/// Lines of a failure that go into the report: the last ones have what was expected.
const LINES: usize = 15;

const AT_ONCE: Duration = Duration::from_secs(2);

/// Runs a test binary on the GPU.
pub(super) fn run(stage: &Stage, binary: &str, deadline: Instant) -> Measured {
    let program = match stage.program(binary) {
        Ok(program) => program,
        Err(why) => return Measured::not_run(why),
    };
    let on = |device: &str, deadline: Instant| {
        let mut tests = Command::new(&program);
        // One test at a time: a test of memory must not meet another's.
        tests
            .args(["--test-threads", "1"])
            .env("EPNAS_TEST_DEVICE", device)
            .env("RUST_BACKTRACE", "0");
        stage.runner.run(stage.with_libraries(&mut tests), deadline)
    };
    let measured = match on("cuda", deadline) {
        Ok(ended) => judged(&ended),
        Err(error) => return Measured::not_run(format!("{error:#}")),
    };
    if measured.outcome != Outcome::Passed {
        return measured;
    }
    // Tests that do not heed the variable pass on the CPU and show nothing. Those that do fail at once.
    let heeded = on("none", deadline.max(Instant::now() + AT_ONCE)).is_ok_and(|ended| {
        parsed(&ended.stdout)
            .iter()
            .any(|test| test.fate == Fate::Failed)
    });
    match heeded {
        true => measured,
        false => Measured::new(
            Outcome::Failed,
            format!(
                "`{binary}` also passes with EPNAS_TEST_DEVICE=none: it does not run on the GPU"
            ),
            measured.result,
        ),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Failed,
    Ignored,
    /// It ran when the binary ended.
    Unfinished,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Ignored => "ignored",
            Self::Unfinished => "unfinished",
        }
    }

    fn of(text: &str) -> Option<Self> {
        let fates = [Self::Passed, Self::Failed, Self::Ignored];
        fates.into_iter().find(|fate| text.starts_with(fate.name()))
    }
}

struct Test {
    name: String,
    fate: Fate,
    message: Option<String>,
}

fn judged(ended: &Ended) -> Measured {
    let tests = parsed(&ended.stdout);
    let count = |fate: Fate| tests.iter().filter(|test| test.fate == fate).count();
    let (passed, failed) = (count(Fate::Passed), count(Fate::Failed));
    let unfinished = tests.iter().find(|test| test.fate == Fate::Unfinished);
    let mut note = format!("{passed} of {} passed", tests.len() - count(Fate::Ignored));
    if let Some(test) = unfinished {
        note.push_str(&format!(", `{}` was running", test.name));
    }
    let problem = ended.problem();
    let outcome = match ended.ending {
        Ending::OutOfTime => Outcome::OutOfTime,
        Ending::Exit(0) if failed == 0 && passed > 0 => Outcome::Passed,
        _ => Outcome::Failed,
    };
    // That tests failed says why the binary did.
    if let Some(problem) = problem.as_ref().filter(|_| failed == 0) {
        note.push_str(&format!("; {problem}"));
    }
    let list: Vec<Value> = tests
        .iter()
        .map(|test| json!({ "name": test.name, "outcome": test.fate.name(), "message": test.message }))
        .collect();
    let result = json!({
        "passed": passed,
        "failed": failed,
        "ignored": count(Fate::Ignored),
        "tests": list,
    });
    Measured::new(outcome, note, result).with_printed(problem.and(Some(ended)))
}

/// The tests in what a test binary prints, whole or cut off anywhere.
fn parsed(stdout: &str) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    for line in stdout.lines() {
        if let Some((name, fate)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            tests.push(Test {
                name: name.trim_end_matches(" - should panic").to_owned(),
                fate: Fate::of(fate).unwrap_or(Fate::Unfinished),
                message: None,
            });
        } else if let Some(last) = tests
            .last_mut()
            .filter(|last| last.fate == Fate::Unfinished)
        {
            // The test printed something between its name and its fate.
            last.fate = Fate::of(line).unwrap_or(Fate::Unfinished);
        }
    }
    for test in tests.iter_mut().filter(|test| test.fate == Fate::Failed) {
        test.message = message(stdout, &test.name);
    }
    tests
}

/// The last lines of what a failed test printed.
fn message(stdout: &str, name: &str) -> Option<String> {
    let (_, rest) = stdout.split_once(&format!("---- {name} stdout ----\n"))?;
    let ends = |line: &&str| !line.starts_with("---- ") && *line != "failures:";
    let noise = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: run with");
    let lines: Vec<&str> = rest.lines().take_while(ends).filter(noise).collect();
    let from = lines.len().saturating_sub(LINES);
    Some(lines[from..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
running 5 tests
test pool::forward ... ok
test conv::backward ... FAILED
test linear::panics - should panic ... ok
test slow ... ignored
test noisy ... from a kernel
ok

failures:

---- conv::backward stdout ----

thread 'conv::backward' panicked at a.rs:3:5:
3x3: 1.25 is not 1.5
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    conv::backward

test result: FAILED. 3 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    fn ended(ending: Ending, stdout: &str) -> Ended {
        Ended {
            ending,
            stdout: stdout.to_owned(),
            stderr: "driver says no\n".to_owned(),
            seconds: 1.0,
        }
    }

    #[test]
    fn every_test_has_its_fate() {
        let measured = judged(&ended(Ending::Exit(101), PRINTED));
        assert_eq!(measured.outcome, Outcome::Failed);
        assert_eq!(measured.note, "3 of 4 passed");
        assert_eq!(measured.result["failed"], 1);
        let tests = measured.result["tests"].as_array().unwrap();
        let fates: Vec<_> = tests.iter().map(|test| test["outcome"].as_str()).collect();
        assert_eq!(fates, ["ok", "FAILED", "ok", "ignored", "ok"].map(Some));
        assert_eq!(tests[2]["name"], "linear::panics");
        let message = tests[1]["message"].as_str().unwrap();
        assert_eq!(
            message,
            "thread 'conv::backward' panicked at a.rs:3:5:\n3x3: 1.25 is not 1.5"
        );
    }

    #[test]
    fn a_binary_cut_off_names_the_test_that_ran() {
        let cut = "running 2 tests\ntest a ... ok\ntest b ... ";
        let measured = judged(&ended(Ending::OutOfTime, cut));
        assert_eq!(measured.outcome, Outcome::OutOfTime);
        assert!(
            measured.note.starts_with("1 of 2 passed, `b` was running"),
            "{}",
            measured.note
        );
        let crashed = judged(&ended(Ending::Signal(11), cut));
        assert_eq!(crashed.outcome, Outcome::Failed);
        assert!(
            crashed
                .note
                .ends_with("killed by signal 11: driver says no"),
            "{}",
            crashed.note
        );
        assert!(crashed.printed.unwrap().contains("test a ... ok"));
    }

    #[test]
    fn no_tests_are_no_success() {
        let measured = judged(&ended(Ending::Exit(0), "running 0 tests\n"));
        assert_eq!(measured.outcome, Outcome::Failed);
        let passed = judged(&ended(Ending::Exit(0), "test a ... ok\n"));
        assert_eq!(passed.outcome, Outcome::Passed);
        assert_eq!(passed.printed, None);
    }

    #[cfg(unix)]
    #[test]
    fn tests_that_do_not_heed_the_device_show_nothing() {
        use crate::gpu::fakes::Fakes;

        let soon = || Instant::now() + Duration::from_secs(60);
        let heeding = "[ $EPNAS_TEST_DEVICE = cuda ] && echo 'test a ... ok' && exit; echo 'test a ... FAILED'; exit 101";
        let fakes = Fakes::new().with("gpu", heeding);
        assert_eq!(run(&fakes.stage, "gpu", soon()).outcome, Outcome::Passed);
        let fakes = Fakes::new().with("gpu", "echo 'test a ... ok'");
        let measured = run(&fakes.stage, "gpu", soon());
        assert_eq!(measured.outcome, Outcome::Failed);
        assert!(
            measured.note.ends_with("it does not run on the GPU"),
            "{}",
            measured.note
        );
    }
}
