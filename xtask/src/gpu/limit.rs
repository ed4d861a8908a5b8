//! Programs with a time limit: at its end they are killed together with every program that they started.
//!
//! What they print goes to files, so that nothing that was printed is lost, and nobody who still holds a pipe keeps us
//! waiting.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command;
use crate::scratch::Scratch;

/// How often we look whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exit(i32),
    Signal(i32),
    OutOfTime,
    /// Somebody asked all of us to stop.
    Interrupted,
}

/// A program that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) seconds: f64,
}

impl Ended {
    /// What went wrong, in one line; nothing when all went well.
    pub(super) fn problem(&self) -> Option<String> {
        let how = match self.ending {
            Ending::Exit(0) => return None,
            Ending::Exit(code) => format!("exit code {code}"),
            Ending::Signal(signal) => format!("killed by signal {signal}"),
            Ending::OutOfTime => format!("stopped after {:.0} s", self.seconds),
            Ending::Interrupted => "interrupted".to_owned(),
        };
        let said = self.stderr.lines().rev().map(str::trim);
        Some(match said.into_iter().find(|line| !line.is_empty()) {
            Some(last) => format!("{how}: {last}"),
            None => how,
        })
    }
}

/// Runs programs one after the other.
pub(super) struct Runner {
    scratch: Scratch,
    stop: Arc<AtomicBool>,
}

impl Runner {
    /// `stop`: once it is true, programs are killed as at their time limit.
    pub(super) fn new(stop: Arc<AtomicBool>) -> Result<Self> {
        let scratch = Scratch::new("run")?;
        Ok(Self { scratch, stop })
    }

    pub(super) fn folder(&self) -> &Path {
        self.scratch.folder()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs to the end, at most until `deadline`. Fails only when the program cannot be started.
    pub(super) fn run(&self, program: &mut Command, deadline: Instant) -> Result<Ended> {
        let files = ["stdout", "stderr"].map(|name| self.folder().join(name));
        let create = |file: &Path| {
            File::create(file).with_context(|| format!("cannot create {}", file.display()))
        };
        program
            .stdin(std::process::Stdio::null())
            .stdout(create(&files[0])?)
            .stderr(create(&files[1])?);
        own_group(program);
        let started = Instant::now();
        let mut child = program
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::show(program)))?;
        let ending = loop {
            if let Some(status) = child.try_wait().context("cannot wait for a program")? {
                break ending(status);
            }
            if self.is_stopped() || Instant::now() >= deadline {
                kill_group(&mut child).context("cannot kill a program")?;
                break match self.is_stopped() {
                    true => Ending::Interrupted,
                    false => Ending::OutOfTime,
                };
            }
            thread::sleep(LOOK);
        };
        let seconds = started.elapsed().as_secs_f64();
        let [stdout, stderr] = files.map(|file| fs::read(file).unwrap_or_default());
        Ok(Ended {
            ending,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            seconds,
        })
    }
}

#[cfg(unix)]
fn own_group(program: &mut Command) {
    use std::os::unix::process::CommandExt;
    program.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

/// Kills the program and all that it started.
#[cfg(unix)]
fn kill_group(child: &mut Child) -> io::Result<()> {
    // The group has the number of its first process. A shell's own `kill`, since the standard library has none for groups.
    let kill = format!("kill -KILL -{}", child.id());
    Command::new("sh").args(["-c", &kill]).status()?;
    child.kill()?;
    child.wait().map(|_| ())
}

#[cfg(not(unix))]
fn kill_group(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

#[cfg(unix)]
fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) => Ending::Signal(signal),
        None => Ending::Exit(status.code().unwrap_or(-1)),
    }
}

#[cfg(not(unix))]
fn ending(status: ExitStatus) -> Ending {
    Ending::Exit(status.code().unwrap_or(-1))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> (Runner, Ended) {
        let runner = Runner::new(Arc::default()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let ended = runner.run(&mut shell, Instant::now() + limit).unwrap();
        (runner, ended)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn endings_are_told_apart() {
        let (_, ended) = run("echo out; echo err >&2", LONG);
        assert_eq!(ended.problem(), None);
        assert_eq!(
            (ended.stdout.as_str(), ended.stderr.as_str()),
            ("out\n", "err\n")
        );
        let (_, ended) = run("echo why >&2; exit 3", LONG);
        assert_eq!(ended.problem().unwrap(), "exit code 3: why");
        let (_, ended) = run("kill -SEGV $$", LONG);
        assert_eq!(ended.ending, Ending::Signal(11));
    }

    #[test]
    fn at_the_limit_the_whole_group_is_killed_and_its_output_kept() {
        let scratch = Scratch::new("group").unwrap();
        let late = scratch.folder().join("late");
        let script = format!("echo first; (sleep 1; touch {}) & sleep 60", late.display());
        let (_, ended) = run(&script, Duration::from_millis(300));
        assert_eq!(ended.ending, Ending::OutOfTime);
        assert_eq!(ended.stdout, "first\n");
        assert!(ended.seconds < 30.0, "{}", ended.seconds);
        thread::sleep(Duration::from_millis(1500));
        assert!(!late.exists(), "a program of the group went on");
    }

    #[test]
    fn a_stop_ends_the_program() {
        let runner = Runner::new(Arc::new(AtomicBool::new(true))).unwrap();
        let mut sleep = Command::new("sleep");
        let ended = runner.run(sleep.arg("60"), Instant::now() + LONG).unwrap();
        assert_eq!(ended.ending, Ending::Interrupted);
    }

    #[test]
    fn a_missing_program_is_named_and_scratch_goes_away() {
        let runner = Runner::new(Arc::default()).unwrap();
        let folder = runner.folder().to_owned();
        let error = runner
            .run(
                &mut Command::new("no-such-program-7"),
                Instant::now() + LONG,
            )
            .unwrap_err();
        assert!(error.to_string().contains("`no-such-program-7`"), "{error}");
        drop(runner);
        assert!(!folder.exists());
    }
}
