//! Processes that share a fleet's pieces among them, and whoever watches over them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use epnas_fleet::{Ended, Fleet, Stage};
use epnas_search::run::is_locked;

use super::board::Board;
use super::piece::{BEHIND, STOPPED};
use crate::arguments::Global;
use crate::failure;

/// How often processes are looked after.
const POLL: Duration = Duration::from_millis(50);

/// How often it is looked whether a piece is free that another process had.
const LOOK: Duration = Duration::from_millis(500);

/// How long searches wait for others that do not come further.
const PATIENCE: Duration = Duration::from_mins(5);

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
    /// What processes run: where this program was when it began, should another take its place.
    pub(super) program: PathBuf,
    pub(super) slots: Vec<Slot>,
    pub(super) logs: Logs,
    /// Becomes true when the work is to end.
    pub(super) stop: Arc<AtomicBool>,
    /// How long processes may take to end in order; `None` for as long as they need.
    pub(super) grace: Option<Duration>,
    /// Whether a training with other settings is thrown away.
    pub(super) restart: bool,
    pub(super) global: &'a Global,
}

/// A process at work.
struct Hand {
    piece: usize,
    /// Where in its log it began.
    log: u64,
    /// How far the searches of the fleet were, where they learn from one another: what the process finds missing may have come
    /// before its end.
    searched: u64,
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

/// Pieces that wait for their turn.
struct Waiting {
    pieces: VecDeque<usize>,
    /// What is locked while a process, of this crew or another, does a piece.
    locks: BTreeMap<usize, PathBuf>,
    /// Of pieces that cannot go on before others: how far the fleet was when they began, and what they said.
    behind: BTreeMap<usize, (u64, String)>,
    /// How far the fleet was when last looked at, and since when.
    came: (u64, Instant),
    looked: Option<Instant>,
}

impl Waiting {
    fn new(fleet: &Fleet, stage: Stage, pieces: &[usize]) -> anyhow::Result<Self> {
        Ok(Self {
            pieces: pieces.iter().copied().collect(),
            locks: fleet.locks(stage, pieces).map_err(failure::of_fleet)?,
            behind: BTreeMap::new(),
            came: (0, Instant::now()),
            looked: None,
        })
    }

    /// The next that nobody else has and that need not wait; `None` while there is none.
    fn next(&mut self, fleet: &Fleet) -> Option<usize> {
        let is_soon = self.looked.is_some_and(|at| at.elapsed() < LOOK);
        if self.pieces.is_empty() || is_soon {
            return None;
        }
        let came = match self.behind.is_empty() {
            true => self.came.0,
            false => self.look_at(fleet),
        };
        let may_begin = |piece: &usize| {
            let is_held = self.locks.get(piece).is_some_and(|lock| is_locked(lock));
            !is_held && self.behind.get(piece).is_none_or(|(mark, _)| *mark != came)
        };
        match self.pieces.iter().position(may_begin) {
            Some(place) => {
                let piece = self.pieces.remove(place)?;
                self.behind.remove(&piece);
                Some(piece)
            }
            None => {
                self.looked = Some(Instant::now());
                None
            }
        }
    }

    /// Puts a piece back that has to wait for others.
    fn put_behind(&mut self, piece: usize, searched: u64, why: String) {
        self.behind.insert(piece, (searched, why));
        self.pieces.push_back(piece);
    }

    /// How far the searches are, by now.
    fn look_at(&mut self, fleet: &Fleet) -> u64 {
        let mark = fleet.searched();
        if mark != self.came.0 {
            self.came = (mark, Instant::now());
        }
        mark
    }

    /// Whether all of them wait for others, and nothing comes further: no other search is left but those that `failed`, or none
    /// has moved for long and nobody has one.
    fn is_in_vain(&mut self, fleet: &Fleet, failed: &BTreeSet<usize>) -> anyhow::Result<bool> {
        if self.pieces.is_empty()
            || !self
                .pieces
                .iter()
                .all(|piece| self.behind.contains_key(piece))
        {
            return Ok(false);
        }
        let missing = fleet.missing(Stage::Search).map_err(failure::of_fleet)?;
        let others = missing.into_iter();
        let others = others.filter(|piece| !self.pieces.contains(piece) && !failed.contains(piece));
        let others: Vec<usize> = others.collect();
        // After the others: what they were missing may have come at their end.
        let mark = self.look_at(fleet);
        if self.behind.values().any(|(begun, _)| *begun != mark) {
            return Ok(false);
        }
        let locks = fleet
            .locks(Stage::Search, &others)
            .map_err(failure::of_fleet)?;
        let is_held = locks.values().any(|lock| is_locked(lock));
        Ok(others.is_empty() || !is_held && self.came.1.elapsed() > PATIENCE)
    }
}

impl Crew<'_> {
    /// Does these pieces of a stage. A process that was killed is replaced; a piece that fails does not keep the others from
    /// being done, and one that another process has is left to it.
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
        let mut waiting = Waiting::new(self.fleet, stage, pieces)?;
        let mut hands: Vec<Option<Hand>> = self.slots.iter().map(|_| None).collect();
        let mut tries: BTreeMap<usize, Tries> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut failed = BTreeSet::new();
        let mut stopped = None;
        let mut told = false;
        loop {
            if self.stop.load(Ordering::Relaxed) && stopped.is_none() {
                stopped = Some(Instant::now());
                waiting.pieces.clear();
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
                    let (piece, log, searched) = (hand.piece, hand.log, hand.searched);
                    *place = None;
                    match (
                        status.code().and_then(|code| u8::try_from(code).ok()),
                        stopped,
                    ) {
                        (Some(0), _) => board.done(piece),
                        (_, Some(_)) => {}
                        (Some(STOPPED) | None, None) if self.again(&mut tries, stage, piece) => {
                            board.note(&format!("{stage} {piece}: {}; it goes on", ending(status)));
                            waiting.pieces.push_front(piece);
                        }
                        (Some(BEHIND), None) => {
                            let why = self.why(stage, piece, log, status);
                            tracing::debug!("{why}");
                            waiting.put_behind(piece, searched, why);
                        }
                        _ => {
                            let why = self.why(stage, piece, log, status);
                            board.failed(&why);
                            failures.push(why);
                            failed.insert(piece);
                        }
                    }
                }
                if place.is_none()
                    && let Some(piece) = waiting.next(self.fleet)
                {
                    match self.is_done(stage, piece)? {
                        true => board.done(piece),
                        false => {
                            *place = Some(self.start(slot, stage, piece)?);
                            board.begin(piece);
                        }
                    }
                }
            }
            let is_idle = hands.iter().all(Option::is_none);
            if waiting.pieces.is_empty() && is_idle {
                break;
            }
            if is_idle && waiting.is_in_vain(self.fleet, &failed)? {
                failures.extend(waiting.behind.into_values().map(|(_, why)| why));
                break;
            }
            if is_idle && waiting.looked.is_some() && !told {
                told = true;
                board.note(&format!(
                    "{stage}: {} left, which wait for other processes",
                    waiting.pieces.len()
                ));
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

    /// Another process may have done it meanwhile. Those of the last stage look for themselves.
    fn is_done(&self, stage: Stage, piece: usize) -> anyhow::Result<bool> {
        match stage {
            Stage::Search | Stage::Select => {
                let missing = self.fleet.missing_of(stage, &[piece]);
                Ok(missing.map_err(failure::of_fleet)?.is_empty())
            }
            Stage::Merge | Stage::Train => Ok(false),
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
        let searched = match self.fleet.config().fleet.pooled {
            true => self.fleet.searched(),
            false => 0,
        };
        let mut command = Command::new(&self.program);
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
        if self.restart && stage == Stage::Train {
            command.arg("--restart");
        }
        // Last: its name may look like a flag.
        command.arg("--").arg(folder.dir());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let path = folder.log(stage, piece);
        let log = fs::metadata(&path).map_or(0, |meta| meta.len());
        if self.logs == Logs::Files {
            command.stderr(append_to(&path)?);
        }
        let started = command.spawn();
        let mut child =
            started.with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Hand {
            piece,
            log,
            searched,
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
