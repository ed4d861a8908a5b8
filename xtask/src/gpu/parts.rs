//! The parts of a run, and how they share its time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::command;

use super::limit::Runner;
use super::report::{Measured, Outcome, Report};
use super::{libraries, machine, operator_times, outcomes, search, steps};

/// A part of a run.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// What its success shows.
    pub(super) shows: &'static str,
    /// In a run of MINUTES. A part may also use what those before it left.
    limit_seconds: u64,
    run: fn(&Stage, Instant) -> Measured,
}

/// All limits together stay below this.
pub(super) const MINUTES: u32 = 8;

pub(super) const PARTS: [Part; 7] = [
    Part {
        name: "machine",
        shows: "which machine this is",
        limit_seconds: 10,
        run: machine::run,
    },
    Part {
        name: "devices",
        shows: "`epnas` finds the GPU",
        limit_seconds: 10,
        run: devices,
    },
    Part {
        name: "operators",
        shows: "every operator as its reference in f64 and as finite differences, f32 and bf16",
        limit_seconds: 75,
        run: |stage, deadline| outcomes::run(stage, "cuda", deadline),
    },
    Part {
        name: "training",
        shows: "children learn as on the CPU, graphs as eager steps, repeatably; lack of memory is survived",
        limit_seconds: 60,
        run: |stage, deadline| outcomes::run(stage, "gpu", deadline),
    },
    Part {
        name: "search",
        shows: "a small whole search, the same twice",
        limit_seconds: 80,
        run: search::run,
    },
    Part {
        name: "operator-times",
        shows: "time of every operator",
        limit_seconds: 30,
        run: operator_times::run,
    },
    Part {
        name: "steps",
        shows: "whole training steps beside PyTorch",
        limit_seconds: 200,
        run: steps::run,
    },
];

pub(super) fn names() -> Vec<&'static str> {
    PARTS.iter().map(|part| part.name).collect()
}

/// What all parts work with.
pub(super) struct Stage {
    /// The folder that `pack` made.
    pub(super) folder: PathBuf,
    pub(super) python: PathBuf,
    pub(super) gpu: Value,
    pub(super) runner: Runner,
    libraries: OsString,
}

impl Stage {
    pub(super) fn new(
        folder: PathBuf,
        python: &Path,
        toolkit: Option<PathBuf>,
        gpu: Value,
        runner: Runner,
    ) -> Result<Self> {
        Ok(Self {
            libraries: libraries::search_path(python, toolkit)?,
            folder,
            python: python.to_owned(),
            gpu,
            runner,
        })
    }

    /// A file of the packed folder, or why there is none.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, String> {
        let file = self.folder.join(name);
        match file.is_file() {
            true => Ok(file),
            false => Err(format!("`{name}` is not in the folder of --binaries")),
        }
    }

    /// Lets a program of ours find CUDA.
    pub(super) fn with_libraries<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.env("LD_LIBRARY_PATH", &self.libraries)
    }
}

/// The chosen parts one after the other; the machine's is always among them. Nothing but the report's file can fail.
pub(super) fn run_all(
    parts: &[Part],
    stage: &Stage,
    only: &[String],
    minutes: u32,
    out: &Path,
) -> Result<Value> {
    let chosen: Vec<&Part> = parts
        .iter()
        .filter(|part| {
            only.is_empty() || part.name == "machine" || only.iter().any(|name| name == part.name)
        })
        .collect();
    let mut report = Report::create(out, command::date(), minutes)?;
    let started = Instant::now();
    // The end of a part's time if all before it use theirs; those that do not leave the rest to those after.
    let mut deadline = started;
    for part in chosen {
        if stage.runner.is_stopped() {
            break;
        }
        deadline += limit(part, minutes);
        let began = Instant::now();
        let available = deadline.saturating_duration_since(began).as_secs_f64();
        eprintln!("gpu: {} (at most {available:.0} s) ..", part.name);
        let measured = (part.run)(stage, deadline);
        let seconds = began.elapsed().as_secs_f64();
        let (outcome, note) = (measured.outcome, &measured.note);
        eprintln!(
            "gpu: {}: {} in {seconds:.1} s; {note}",
            part.name,
            outcome.name()
        );
        report.add(part.name, measured, seconds, available)?;
    }
    report.finish(started.elapsed().as_secs_f64())
}

fn limit(part: &Part, minutes: u32) -> Duration {
    Duration::from_secs(part.limit_seconds) * minutes / MINUTES
}

fn devices(stage: &Stage, deadline: Instant) -> Measured {
    let program = match stage.program("epnas") {
        Ok(program) => program,
        Err(why) => return Measured::not_run(why),
    };
    let mut devices = Command::new(program);
    devices.args(["devices", "--json"]);
    let ended = match stage
        .runner
        .run(stage.with_libraries(&mut devices), deadline)
    {
        Ok(ended) => ended,
        Err(error) => return Measured::not_run(format!("{error:#}")),
    };
    if let Some(problem) = ended.problem() {
        return Measured::trouble(&ended, problem, Value::Null);
    }
    let Ok(devices) = serde_json::from_str::<Value>(&ended.stdout) else {
        return Measured::new(Outcome::Failed, "printed no JSON", Value::Null)
            .with_printed(Some(&ended));
    };
    // The first is the one that all parts use.
    let first = &devices["gpus"][0];
    let why_not = [&devices["no_gpu"], &first["unusable"]];
    let why_not = why_not.into_iter().find_map(Value::as_str);
    match (first["name"].as_str(), why_not) {
        (Some(name), None) => Measured::passed(name, devices.clone()),
        (_, why) => Measured::new(
            Outcome::Failed,
            why.unwrap_or("lists no GPU"),
            devices.clone(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_fit_into_the_time() {
        let seconds: u64 = PARTS.iter().map(|part| part.limit_seconds).sum();
        assert!(seconds <= 60 * u64::from(MINUTES), "{seconds}");
        assert_eq!(limit(&PARTS[0], 2 * MINUTES), 2 * limit(&PARTS[0], MINUTES));
    }

    #[cfg(unix)]
    mod runs {
        use super::*;
        use crate::gpu::fakes::Fakes;
        use crate::gpu::report::troubled;

        fn part(
            name: &'static str,
            limit_seconds: u64,
            run: fn(&Stage, Instant) -> Measured,
        ) -> Part {
            Part {
                name,
                shows: "",
                limit_seconds,
                run,
            }
        }

        fn operators(stage: &Stage, deadline: Instant) -> Measured {
            outcomes::run(stage, "cuda", deadline)
        }

        fn training(stage: &Stage, deadline: Instant) -> Measured {
            outcomes::run(stage, "gpu", deadline)
        }

        #[test]
        fn a_part_in_trouble_stops_no_other() {
            let fakes = Fakes::new()
                .with(
                    "cuda",
                    "echo 'test a ... ok'; echo 'test b ... FAILED'; exit 101",
                )
                .with(
                    "gpu",
                    "echo 'test c ... ok'; printf 'test d ... '; sleep 60",
                )
                .with("epnas", "echo '{\"gpus\": [{\"name\": \"Fake 100\", \"unusable\": null}], \"no_gpu\": null}'");
            let parts = [
                part("machine", 10, machine::run),
                part("operators", 1, operators),
                part("training", 1, training),
                part("operator-times", 1, operator_times::run),
                part("devices", 10, devices),
            ];
            let out = fakes.file("report.json");
            // A minute of eight: the limits are an eighth, and 1.25 s of the machine's remain.
            let report = run_all(&parts, &fakes.stage, &[], 1, &out).unwrap();
            let outcome = |name: &str| {
                report["parts"][name]["outcome"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            assert_eq!(outcome("operators"), "FAILED");
            assert_eq!(outcome("training"), "out of time");
            assert_eq!(outcome("operator-times"), "did not run");
            assert_eq!(outcome("devices"), "passed");
            assert_eq!(report["parts"]["devices"]["note"], "Fake 100");
            assert_eq!(report["parts"]["training"]["result"]["passed"], 1);
            let limit = report["parts"]["training"]["limit_seconds"]
                .as_f64()
                .unwrap();
            assert!(
                limit > 0.125 && limit < 1.6,
                "{limit}: what was left goes on to the next"
            );
            let note = report["parts"]["operator-times"]["note"].as_str().unwrap();
            assert!(note.starts_with("`operator_times` is not in"), "{note}");
            assert_eq!(troubled(&report), ["operators", "training"]);
            assert_eq!(
                serde_json::from_str::<Value>(&fakes.read("report.json")).unwrap(),
                report
            );
        }

        #[test]
        fn a_gpu_that_cannot_be_used_is_a_failure() {
            for (printed, note) in [
                (r#"{"gpus": [], "no_gpu": "no driver"}"#, "no driver"),
                (
                    r#"{"gpus": [{"name": "Old 10", "unusable": "too old"}]}"#,
                    "too old",
                ),
                (r#"{"gpus": []}"#, "lists no GPU"),
                ("nothing", "printed no JSON"),
            ] {
                let fakes = Fakes::new().with("epnas", &format!("echo '{printed}'"));
                let measured = devices(&fakes.stage, Instant::now() + Duration::from_secs(60));
                assert_eq!(
                    (measured.outcome, measured.note.as_str()),
                    (Outcome::Failed, note)
                );
            }
        }

        #[test]
        fn the_report_is_on_disk_before_the_next_part_starts() {
            let fakes = Fakes::new().with(
                "epnas",
                "cp \"${0%epnas}report.json\" \"${0%epnas}seen.json\"; echo []",
            );
            let parts = [
                part("machine", 10, |_, _| {
                    Measured::passed("this one", Value::Null)
                }),
                part("devices", 10, devices),
            ];
            run_all(
                &parts,
                &fakes.stage,
                &[],
                MINUTES,
                &fakes.file("report.json"),
            )
            .unwrap();
            let seen: Value = serde_json::from_str(&fakes.read("seen.json")).unwrap();
            assert_eq!(seen["parts"]["machine"]["note"], "this one");
            assert_eq!(seen["parts"]["devices"], Value::Null);
        }

        #[test]
        fn only_the_chosen_parts_run_and_the_machines() {
            let fakes = Fakes::new();
            let nothing = |_: &Stage, _: Instant| Measured::passed("", Value::Null);
            let parts = ["machine", "devices", "steps"].map(|name| part(name, 1, nothing));
            let out = fakes.file("report.json");
            let report = run_all(&parts, &fakes.stage, &["steps".into()], MINUTES, &out).unwrap();
            let ran: Vec<&String> = report["parts"].as_object().unwrap().keys().collect();
            assert_eq!(ran, ["machine", "steps"]);
        }
    }
}
