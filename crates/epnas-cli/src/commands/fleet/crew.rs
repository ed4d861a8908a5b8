//! Processes that share a fleet's pieces among them, and whoever watches over them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use epnas_fleet::{Ended, Fleet, Stage};

use super::board::Board;
use super::epnas;
use super::piece::STOPPED;
use crate::arguments::Global;

/// How often processes are looked after.
const POLL: Duration = Duration::from_millis(50);

/// A piece whose process was killed is begun again so many times without having come further.
const IN_VAIN: u32 = 3;

/// Where a process computes.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// As `--device` has it.
    pub(super) device: String,
    /// As `--threads` has it; `None` for all cores.
    pub(super) threads: Option<usize>,
}

/// Where what the processes say goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    /// To a file for each piece, in the fleet's folder.
    Files,
    /// To where this process writes.
    Inherited,
}

/// Processes that do pieces, one for each slot.
pub(super) struct Crew<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) slots: Vec<Slot>,
    pub(super) logs: Logs,
    /// Becomes true when the work is to end.
    pub(super) stop: Arc<AtomicBool>,
    /// How long processes may take to end in order; `None` for as long as they need.
    pub(super) grace: Option<Duration>,
    pub(super) global: &'a Global,
}

/// A process at work.
struct Hand {
    piece: usize,
    /// Where in its log it began.
    log: u64,
    child: Child,
    /// Its end asks the process to end in order.
    input: Option<ChildStdin>,
}

/// How often a piece was begun from the same place.
#[derive(Default)]
struct Tries {
    mark: u64,
    times: u32,
}

impl Crew<'_> {
    /// Does these pieces of a stage. A process that was killed is replaced; a piece that fails does not keep the others from
    /// being done.
    pub(super) fn run(&self, stage: Stage, pieces: &[usize]) -> anyhow::Result<Ended> {
        if pieces.is_empty() {
            return Ok(Ended::Done);
        }
        let mut board = Board::new(
            self.fleet,
            stage,
            pieces.len(),
            self.slots.len(),
            self.global,
        );
        let mut waiting: VecDeque<usize> = pieces.iter().copied().collect();
        let mut hands: Vec<Option<Hand>> = self.slots.iter().map(|_| None).collect();
        let mut tries: BTreeMap<usize, Tries> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut stopped = None;
        loop {
            if self.stop.load(Ordering::Relaxed) && stopped.is_none() {
                stopped = Some(Instant::now());
                waiting.clear();
                board.stopping();
                for hand in hands.iter_mut().flatten() {
                    hand.input = None;
                }
            }
            let is_late = |since: Instant| self.grace.is_some_and(|grace| since.elapsed() > grace);
            if stopped.is_some_and(is_late) {
                // All that is done is on disk.
                for hand in hands.iter_mut().flatten() {
                    hand.child.kill().context("cannot end a process")?;
                }
            }
            for (slot, place) in self.slots.iter().zip(&mut hands) {
                if let Some(hand) = place
                    && let Some(status) = hand.child.try_wait()?
                {
                    let (piece, log) = (hand.piece, hand.log);
                    *place = None;
                    match (
                        status.code().and_then(|code| u8::try_from(code).ok()),
                        stopped,
                    ) {
                        (Some(0), _) => board.done(piece),
                        (_, Some(_)) => {}
                        (Some(STOPPED) | None, None) if self.again(&mut tries, stage, piece) => {
                            board.note(&format!("{stage} {piece}: {}; it goes on", ending(status)));
                            waiting.push_front(piece);
                        }
                        _ => {
                            let why = self.why(stage, piece, log, status);
                            board.failed(&why);
                            failures.push(why);
                        }
                    }
                }
                if place.is_none()
                    && let Some(piece) = waiting.pop_front()
                {
                    *place = Some(self.start(slot, stage, piece)?);
                    board.begin(piece);
                }
            }
            if waiting.is_empty() && hands.iter().all(Option::is_none) {
                break;
            }
            board.draw(self.fleet);
            std::thread::sleep(POLL);
        }
        drop(board);
        match (stopped, failures.as_slice()) {
            (Some(_), _) => Ok(Ended::Stopped),
            (None, []) => Ok(Ended::Done),
            (None, [one]) => Err(anyhow::anyhow!("{one}")),
            (None, [first, more @ ..]) => Err(anyhow::anyhow!("{first} (and {} more)", more.len())),
        }
    }

    /// Whether a piece is worth another try.
    fn again(&self, tries: &mut BTreeMap<usize, Tries>, stage: Stage, piece: usize) -> bool {
        let mark = self.fleet.mark(stage, piece);
        let tried = tries.entry(piece).or_default();
        if tried.mark != mark {
            *tried = Tries { mark, times: 0 };
        }
        tried.times += 1;
        tried.times < IN_VAIN
    }

    fn start(&self, slot: &Slot, stage: Stage, piece: usize) -> anyhow::Result<Hand> {
        let folder = self.fleet.folder();
        let mut command = Command::new(epnas()?);
        command.args(["fleet", "piece"]);
        command.args(["--stage", stage.name(), "--number", &piece.to_string()]);
        command.args(["--device", &slot.device]);
        if let Some(threads) = slot.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        match self.global.quiet {
            true => command.arg("-q"),
            // A line for each child.
            false => command.args((0..self.global.verbose.max(1)).map(|_| "-v")),
        };
        // Last: its name may look like a flag.
        command.arg("--").arg(folder.dir());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let path = folder.log(stage, piece);
        let log = fs::metadata(&path).map_or(0, |meta| meta.len());
        if self.logs == Logs::Files {
            command.stderr(append_to(&path)?);
        }
        let mut child = command.spawn().context("cannot start a process")?;
        Ok(Hand {
            piece,
            log,
            input: child.stdin.take(),
            child,
        })
    }

    /// What a piece that failed said last.
    fn why(&self, stage: Stage, piece: usize, log: u64, status: ExitStatus) -> String {
        let path = self.fleet.folder().log(stage, piece);
        let said = match self.logs {
            Logs::Files => fs::read(&path).unwrap_or_default(),
            Logs::Inherited => Vec::new(),
        };
        let said = said.get(usize::try_from(log).unwrap_or(usize::MAX)..);
        let said = String::from_utf8_lossy(said.unwrap_or_default());
        let last = said.lines().rev().find(|line| line.starts_with("error: "));
        match last {
            Some(line) => format!(
                "{stage} {piece}: {} ({})",
                line.trim_start_matches("error: "),
                path.display()
            ),
            None => format!("{stage} {piece}: {}", ending(status)),
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("its process ended with exit code {code}"),
        None => format!("its process was killed ({status})"),
    }
}

fn append_to(path: &Path) -> anyhow::Result<Stdio> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(file
        .with_context(|| format!("cannot write {}", path.display()))?
        .into())
}
