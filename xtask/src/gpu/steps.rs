//! Whole training steps, ours and PyTorch's in turns, so that a clock that drifts drifts for both.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::limit::Ending;
use super::operator_times::json_lines;
use super::parts::Stage;
use super::report::{Measured, Outcome};
use super::turns::{Comparison, Side};
use crate::networks::{self, Network};

const BATCH: usize = 128;
const REPEATS: usize = 2;
/// Seconds of a timing window, and how many: thousands of steps each.
const WINDOW: [&str; 4] = ["--seconds", "0.25", "--windows", "3"];

/// Our steps and precisions; the first is meant to be the fastest.
pub(super) const OURS: [[&str; 2]; 4] = [
    ["graph", "bf16"],
    ["graph", "f32"],
    ["eager", "bf16"],
    ["eager", "f32"],
];

/// The peer's modes that take no compiler.
pub(super) const PEER: [&str; 2] = ["graph-bf16-cl", "graph-tf32-cl"];
/// And those that compile for minutes: last, and as far as time allows.
pub(super) const PEER_SLOW: [&str; 1] = ["rcompile-graph-bf16-cl"];

pub(super) fn networks() -> Vec<Network> {
    let mut networks = networks::of_search(&[BATCH]);
    networks.push(networks::wide(BATCH));
    networks
}

pub(super) fn run(stage: &Stage, deadline: Instant) -> Measured {
    if let Err(why) = stage.program("throughput") {
        return Measured::not_run(why);
    }
    let networks = networks();
    let mut contest = Contest::new(stage, deadline, &networks);
    let [best, others @ ..] = OURS.map(Entrant::Ours);
    for _ in 0..REPEATS {
        contest.turn(best);
        contest.turn(Entrant::Peer(&PEER));
        for entrant in others {
            contest.turn(entrant);
        }
    }
    contest.last_turn(Entrant::Peer(&PEER_SLOW));
    contest.measured()
}

/// A program that takes a turn: with a mode of ours, or with modes of the peer.
#[derive(Clone, Copy)]
enum Entrant {
    Ours([&'static str; 2]),
    Peer(&'static [&'static str]),
}

impl Entrant {
    fn title(self) -> String {
        match self {
            Self::Ours(mode) => format!("ours, {}", mode.join(" ")),
            Self::Peer(modes) => format!("PyTorch, {}", modes.join(" and ")),
        }
    }
}

/// How a turn ended.
enum End {
    Whole,
    OutOfTime,
    /// With what happened.
    Broken(String),
}

/// The turns taken so far.
struct Contest<'a> {
    stage: &'a Stage,
    deadline: Instant,
    networks: &'a [Network],
    /// One per network.
    comparisons: Vec<Comparison>,
    outcome: Outcome,
    notes: Vec<String>,
    /// Entrants that failed once: they would fail again.
    broken: Vec<String>,
}

impl<'a> Contest<'a> {
    fn new(stage: &'a Stage, deadline: Instant, networks: &'a [Network]) -> Self {
        Self {
            stage,
            deadline,
            networks,
            comparisons: networks.iter().map(|_| Comparison::default()).collect(),
            outcome: Outcome::Passed,
            notes: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// One turn over all networks. That PyTorch is not there or fails is noted; that we do is a failure.
    fn turn(&mut self, entrant: Entrant) {
        let title = entrant.title();
        if self.outcome == Outcome::OutOfTime || self.broken.contains(&title) {
            return;
        }
        match self.run(entrant) {
            End::Whole => {}
            End::OutOfTime => {
                self.outcome = Outcome::OutOfTime;
                self.notes.push(format!("stopped at {title}"));
            }
            End::Broken(why) => {
                if let Entrant::Ours(_) = entrant {
                    self.outcome = Outcome::Failed;
                }
                self.notes.push(format!("{title}: {why}"));
                self.broken.push(title);
            }
        }
    }

    /// A turn that may be left out, or cut short, for lack of time.
    fn last_turn(&mut self, entrant: Entrant) {
        if self.outcome == Outcome::OutOfTime {
            return;
        }
        let before = self.outcome;
        self.turn(entrant);
        if self.outcome == Outcome::OutOfTime {
            self.outcome = before;
            self.notes.pop();
            self.notes.push(format!(
                "not on all networks for lack of time: {}",
                entrant.title()
            ));
        }
    }

    /// Programs take several networks, but one number of channels.
    fn run(&mut self, entrant: Entrant) -> End {
        let networks = self.networks;
        for group in networks.chunk_by(|a, b| a.channels == b.channels) {
            let mut program = self.program(entrant, group);
            let ended = match self.stage.runner.run(&mut program, self.deadline) {
                Ok(ended) => ended,
                Err(error) => return End::Broken(format!("{error:#}")),
            };
            let lines = json_lines(&ended.stdout);
            for line in &lines {
                self.add(entrant, group[0].channels, line);
            }
            match ended.problem() {
                Some(_) if ended.ending == Ending::OutOfTime => return End::OutOfTime,
                Some(problem) => return End::Broken(problem),
                None if lines.is_empty() => return End::Broken("printed nothing".to_owned()),
                None => {}
            }
        }
        End::Whole
    }

    fn program(&self, entrant: Entrant, group: &[Network]) -> Command {
        let mut program = match entrant {
            Entrant::Ours([steps, precision]) => {
                let mut ours = Command::new(self.stage.folder.join("throughput"));
                ours.args(["--steps", steps, "--precision", precision]);
                self.stage.with_libraries(&mut ours);
                ours
            }
            Entrant::Peer(modes) => {
                let mut peer = Command::new(&self.stage.python);
                peer.arg(self.stage.folder.join("peer.py"))
                    .args(["--bench", "--modes", &modes.join(",")])
                    // What another run compiled would make compiling look free.
                    .env(
                        "TORCHINDUCTOR_CACHE_DIR",
                        self.stage.runner.folder().join("inductor"),
                    );
                peer
            }
        };
        program.args(["--device", "cuda"]).args(WINDOW);
        program.args(["--channels", &group[0].channels.to_string()]);
        program.args(["--batch", &BATCH.to_string()]);
        for network in group {
            program.args(["--arch", network.arch]);
        }
        program
    }

    fn add(&mut self, entrant: Entrant, channels: usize, line: &Value) {
        let is_meant =
            |network: &Network| network.channels == channels && line["arch"] == network.arch;
        let Some(index) = self.networks.iter().position(is_meant) else {
            return;
        };
        let (side, mode) = match entrant {
            Entrant::Ours(mode) => (Side::Ours, mode.join(" ")),
            Entrant::Peer(_) => (
                Side::Peer,
                line["mode"].as_str().unwrap_or_default().to_owned(),
            ),
        };
        self.comparisons[index].add(side, &mode, line);
        if let Some(error) = line["error"].as_str() {
            let title = self.networks[index].title();
            let note = format!("{mode} on {title}: {error}");
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
    }

    fn measured(self) -> Measured {
        let pairs = self.comparisons.iter().zip(self.networks);
        let rows: Vec<Value> = pairs
            .map(|(comparison, network)| comparison.row(network))
            .collect();
        let note = match self.notes.is_empty() {
            true => format!("{} networks", rows.len()),
            false => self.notes.join("; "),
        };
        Measured::new(self.outcome, note, json!({ "networks": rows }))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gpu::fakes::{Fakes, noting};

    /// A shell's loop over the architectures among its arguments, which prints a line for each.
    fn lines_for_each_arch(fields: &str) -> String {
        format!(
            "while [ $# -gt 0 ]; do case $1 in --arch) echo '{{\"arch\": \"'$2'\", {fields}}}';; esac; shift; done"
        )
    }

    fn ours() -> String {
        lines_for_each_arch("\"images_per_second\": 300, \"capture_seconds\": 0.5")
    }

    fn peer() -> String {
        lines_for_each_arch("\"mode\": \"graph-bf16-cl\", \"images_per_second\": 100")
    }

    fn soon(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn both_sides_take_turns() {
        let fakes = Fakes::new();
        let log = fakes.file("log");
        let ours = format!("{}\n{}", noting(&log), ours());
        let peer = format!("{}\n{}", noting(&log), peer());
        let fakes = fakes.with("throughput", &ours).with("python", &peer);
        let measured = run(&fakes.stage, soon(60));
        assert_eq!(
            (measured.outcome, measured.note.as_str()),
            (Outcome::Passed, "5 networks")
        );
        for network in measured.result["networks"].as_array().unwrap() {
            assert_eq!(network["ratio_steady"], 3.0, "{network}");
            assert_eq!(
                network["ours"]["eager f32"]["repeats"],
                json!([300.0, 300.0])
            );
            // Two turns, and one more for those that compile.
            assert_eq!(
                network["peer"]["graph-bf16-cl"]["repeats"]
                    .as_array()
                    .unwrap()
                    .len(),
                3
            );
        }
        let log = fakes.read("log");
        let asked = |line: &str| match line {
            _ if line.contains("rcompile") => 'c',
            _ if line.contains("peer.py") => 'p',
            _ => 'o',
        };
        // Two numbers of channels each.
        let turns: String = log.lines().map(asked).collect();
        assert_eq!(turns, "ooppooooooooppoooooocc");
        let first = log.lines().next().unwrap();
        assert!(first.starts_with("--steps graph --precision bf16 --device cuda --seconds 0.25 --windows 3 --channels 24 --batch 128 --arch "), "{first}");
    }

    #[test]
    fn without_pytorch_ours_is_measured_and_the_peer_asked_once() {
        let fakes = Fakes::new();
        let log = fakes.file("log");
        let no_torch = format!(
            "{}\necho \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1",
            noting(&log)
        );
        let fakes = fakes.with("throughput", &ours()).with("python", &no_torch);
        let measured = run(&fakes.stage, soon(60));
        assert_eq!(measured.outcome, Outcome::Passed);
        assert!(
            measured.note.contains("No module named 'torch'"),
            "{}",
            measured.note
        );
        assert_eq!(measured.result["networks"][4]["ratio_child"], Value::Null);
        // Its other modes are another entrant.
        assert_eq!(fakes.read("log").lines().count(), 2);
    }

    #[test]
    fn that_we_fail_is_a_failure() {
        let script = format!(
            "case \"$*\" in *eager*) echo 'no memory' >&2; exit 1;; esac\n{}",
            ours()
        );
        let fakes = Fakes::new()
            .with("throughput", &script)
            .with("python", &peer());
        let measured = run(&fakes.stage, soon(60));
        assert_eq!(measured.outcome, Outcome::Failed);
        assert!(
            measured
                .note
                .contains("ours, eager f32: exit code 1: no memory"),
            "{}",
            measured.note
        );
        assert_eq!(measured.result["networks"][0]["ratio_steady"], 3.0);
    }

    #[test]
    fn what_compiles_may_be_left_out_and_nothing_else() {
        let slow = format!("case \"$*\" in *rcompile*) sleep 60;; esac\n{}", peer());
        let fakes = Fakes::new()
            .with("throughput", &ours())
            .with("python", &slow);
        let measured = run(&fakes.stage, soon(4));
        assert_eq!(measured.outcome, Outcome::Passed, "{}", measured.note);
        assert!(
            measured.note.contains("for lack of time"),
            "{}",
            measured.note
        );
        let fakes = fakes.with("python", "sleep 60");
        let measured = run(&fakes.stage, soon(1));
        assert_eq!(measured.outcome, Outcome::OutOfTime);
        assert_eq!(
            measured.result["networks"][0]["ours"]["graph bf16"]["images_per_second"],
            300.0
        );
    }
}
