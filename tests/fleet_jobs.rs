//! Jobs of a fleet, with Slurm's commands played by scripts: what is submitted, and what is left where one is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{Folder, Outcome, epnas, line};
use crate::fleet::{assert_same_fleet, candidates, children, fleet};

/// A folder with scripts that play Slurm's commands, before all others.
struct FakeSlurm {
    folder: Folder,
}

impl FakeSlurm {
    /// `sbatch` does what `script` says; the others succeed, and write down what they were asked.
    fn new(script: &str) -> Self {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("bin")).expect("a folder");
        let note = format!("echo \"$(basename $0) $@\" >> {}\n", folder.arg("calls"));
        for (name, body) in [
            ("sbatch", script),
            ("scancel", ""),
            ("scontrol", ""),
            ("squeue", ""),
            ("sinfo", "echo main"),
        ] {
            let path = folder.write(
                &format!("bin/{name}"),
                format!("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\n{note}{body}\n"),
            );
            let status = Command::new("chmod").args(["+x", &path]).status();
            assert!(status.expect("chmod runs").success());
        }
        FakeSlurm { folder }
    }

    /// `epnas` where these scripts come before all others.
    fn epnas(&self) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = epnas();
        command.env("PATH", format!("{}:{path}", self.folder.arg("bin")));
        command
    }

    fn submit(&self, more: &[&str]) -> Outcome {
        let (config, out) = (self.folder.arg("tiny.toml"), self.folder.arg("fleet"));
        let mut command = self.epnas();
        command
            .args(["fleet", "submit", "--config", &config, "--out", &out])
            .args(more);
        Outcome::from(command.output().expect("epnas starts"))
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.folder.path("calls")).unwrap_or_default()
    }

    fn fleet(&self) -> PathBuf {
        self.folder.path("fleet")
    }
}

/// Numbers from 100 on.
const COUNTS: &str = "n=$(cat $0.n 2>/dev/null || echo 100); echo $((n+1)) > $0.n; echo $n";

#[test]
fn jobs_are_submitted_in_order_and_run_once_all_are_accepted() {
    let slurm = FakeSlurm::new(COUNTS);
    let settings = [
        "--set",
        "fleet.slurm.partition=gpu",
        "--set",
        "fleet.slurm.gpus=1",
        "--set",
        "fleet.slurm.cpus=8",
        "--set",
        "fleet.slurm.memory=16G",
        "--set",
        "fleet.slurm.time=\"4:00:00\"",
        "--set",
        "fleet.slurm.at_once=3",
        "--set",
        "fleet.slurm.options=[\"--account=vision\"]",
        "--set",
        "fleet.slurm.setup=[\"module load cuda\"]",
        "--json",
    ];
    let submitted = slurm.submit(&settings).ok().json();
    assert_eq!(submitted["jobs"][2]["id"], "102");
    let calls = slurm.calls();
    let fleet = slurm.fleet();
    let script = |stage: &str| {
        fleet
            .join(format!("slurm/{stage}.sh"))
            .display()
            .to_string()
    };
    // 4 replicas, of each 2 candidates, and of its baseline 2.
    let expected = format!(
        "sbatch --parsable --array=0-3%3 --hold {}\nsbatch --parsable --dependency=afterany:100 --kill-on-invalid-dep=yes {}\n\
         sbatch --parsable --array=0-15%3 --dependency=afterok:101 --kill-on-invalid-dep=yes {}\n\
         sbatch --parsable --dependency=afterany:102 --kill-on-invalid-dep=yes {}\nscontrol release 100\n",
        script("search"),
        script("merge"),
        script("select"),
        script("train")
    );
    assert_eq!(calls, expected);
    let search = std::fs::read_to_string(script("search")).expect("a script");
    for line in [
        "#SBATCH --partition=gpu",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=16G",
        "#SBATCH --time=4:00:00",
        "#SBATCH --account=vision",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@120",
        "module load cuda",
    ] {
        assert!(
            search.lines().any(|found| found == line),
            "{line} is not in\n{search}"
        );
    }
    let last = search.lines().last().expect("a line");
    assert!(last.starts_with("exec '") && last.ends_with("--stage search --task \"$SLURM_ARRAY_TASK_ID\" --tasks 4 --device cuda --notice 120 --threads 8"), "{last}");
}

/// A job may submit a fleet, and a user's environment have options for other jobs.
#[test]
fn jobs_are_those_of_the_fleet_wherever_they_are_submitted_from() {
    let slurm = FakeSlurm::new(&format!("env >> $0.env\n{COUNTS}"));
    let (config, out) = (slurm.folder.arg("tiny.toml"), slurm.folder.arg("fleet"));
    let mut command = slurm.epnas();
    command.args(["fleet", "submit", "--config", &config, "--out", &out]);
    command.envs([
        ("SLURM_ARRAY_TASK_ID", "7"),
        ("SLURM_ARRAY_JOB_ID", "70"),
        ("SBATCH_NO_REQUEUE", "1"),
        ("SBATCH_ACCOUNT", "vision"),
    ]);
    Outcome::from(command.output().expect("epnas starts")).ok();
    let seen = std::fs::read_to_string(slurm.folder.path("bin/sbatch.env")).expect("a file");
    assert!(seen.contains("SBATCH_ACCOUNT=vision"), "{seen}");
    for name in ["SLURM_ARRAY_", "SBATCH_NO_REQUEUE"] {
        assert!(!seen.contains(name), "{name} in {seen}");
    }
    let merge = std::fs::read_to_string(slurm.fleet().join("slurm/merge.sh")).expect("a script");
    assert!(merge.contains("--task 0 --tasks 1"), "{merge}");
}

#[test]
fn where_one_job_is_refused_none_stays() {
    // The third is refused.
    let slurm = FakeSlurm::new(&format!(
        "case \"$*\" in *select.sh) echo 'sbatch: error: Batch job submission failed: Invalid job array specification' >&2; exit 1;; esac\n{COUNTS}"
    ));
    slurm.submit(&[]).fails(
        2,
        &[
            "nothing was submitted",
            "`select`",
            "Invalid job array specification",
            "fleet.slurm.jobs",
        ],
    );
    let calls = slurm.calls();
    assert!(
        calls.contains("scancel 100 101\n") && !calls.contains("release"),
        "{calls}"
    );
    assert!(!slurm.fleet().join("slurm/jobs.json").exists());
    // Fewer jobs, of which each does several pieces.
    let slurm = FakeSlurm::new(COUNTS);
    slurm.submit(&["--set", "fleet.slurm.jobs=3"]).ok();
    assert!(
        slurm.calls().contains("--array=0-2 --hold"),
        "{}",
        slurm.calls()
    );
    assert!(
        slurm
            .calls()
            .contains("--array=0-2 --dependency=afterok:101"),
        "{}",
        slurm.calls()
    );
}

#[test]
fn without_slurm_nothing_is_made() {
    let folder = Folder::new();
    let mut command = epnas();
    command
        .args([
            "fleet",
            "submit",
            "--config",
            "demo",
            "--out",
            &folder.arg("fleet"),
        ])
        .env("PATH", folder.arg("nothing"));
    let outcome = Outcome::from(command.output().expect("epnas starts"));
    outcome.fails(2, &["there is no `sbatch` here", "epnas fleet run"]);
    assert!(!folder.path("fleet").exists());
}

#[test]
fn a_job_makes_up_for_those_that_were_lost() {
    let folder = Folder::new();
    let more = ["--replicas", "2"];
    fleet(&folder, "whole", &more).ok();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("fleet"));
    let slurm = FakeSlurm::new(COUNTS);
    let mut command = slurm.epnas();
    command
        .args(["fleet", "submit", "--config", &config, "--out", &out])
        .args(more);
    Outcome::from(command.output().expect("epnas starts")).ok();
    // As the jobs would: one of the searches never ran, nor did the merge and with it any of the candidates.
    for job in ["search --task 1 --tasks 2", "train"] {
        line(&format!("fleet work {out} --stage {job}")).ok();
    }
    assert_same_fleet(&folder.path("whole"), Path::new(&out));
}

#[test]
fn jobs_in_the_queue_keep_the_settings_that_they_were_submitted_with() {
    let slurm = FakeSlurm::new(COUNTS);
    slurm.submit(&["--replicas", "2"]).ok();
    let before = ["config.toml", "fleet.json"]
        .map(|name| std::fs::read(slurm.fleet().join(name)).expect("a file"));
    slurm.folder.write(
        "bin/squeue",
        "#!/bin/sh\necho '100_0|RUNNING|None|0:10|node'\n",
    );
    let refused = slurm.submit(&["--replicas", "9", "--set", "train.epochs=9"]);
    refused.fails(2, &["1 jobs in the queue", "epnas fleet cancel"]);
    let after = ["config.toml", "fleet.json"]
        .map(|name| std::fs::read(slurm.fleet().join(name)).expect("a file"));
    assert!(before == after, "settings changed under jobs in the queue");
}

#[test]
fn who_waits_for_jobs_that_were_submitted_before_submits_nothing() {
    let slurm = FakeSlurm::new(COUNTS);
    let more = ["--replicas", "1", "--set", "fleet.train=false"];
    slurm.submit(&more).ok();
    let before = slurm.calls();
    // In the queue until the work is done.
    let done = slurm.fleet().join("done.json");
    let shown = format!(
        "[ -f {} ] || echo '100_0|RUNNING|None|0:10|node'; exit 0",
        done.display()
    );
    slurm
        .folder
        .write("bin/squeue", format!("#!/bin/sh\n{shown}\n"));
    let waited = std::thread::scope(|scope| {
        let wait = scope.spawn(|| slurm.submit(&[more.as_slice(), &["--wait", "--json"]].concat()));
        let out = slurm.folder.arg("fleet");
        for stage in ["search", "merge", "select", "train"] {
            line(&format!("fleet work {out} --stage {stage}")).ok();
        }
        wait.join().expect("it ends")
    });
    let result = waited.ok().json();
    assert!(result["best"]["architecture"].is_string(), "{result}");
    assert_eq!(slurm.calls(), before);
}

#[test]
fn a_job_that_is_cancelled_within_its_notice_stays_out_of_the_queue() {
    let slurm = FakeSlurm::new(COUNTS);
    let more = ["--replicas", "1", "--set", "network.channels=8"];
    slurm.submit(&more).ok();
    let fleet = slurm.fleet();
    let mut job = slurm.epnas();
    job.args(["fleet", "work", &slurm.folder.arg("fleet")])
        .args(["--stage", "search"])
        .env("SLURM_JOB_ID", "100");
    let mut job = job.spawn().expect("epnas starts");
    while children(&fleet, 0) == 0 {
        assert!(job.try_wait().expect("a status").is_none(), "it ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let both = format!("kill -USR1 {0}; kill -TERM {0}", job.id());
    let sent = Command::new("sh").args(["-c", &both]).status();
    assert!(sent.expect("sh runs").success());
    let status = job.wait().expect("a status");
    assert_ne!(status.code(), Some(0));
    assert!(!slurm.calls().contains("requeue"), "{}", slurm.calls());
}

#[test]
fn a_status_without_slurm_takes_no_job_for_lost() {
    let slurm = FakeSlurm::new(COUNTS);
    slurm.submit(&["--replicas", "1"]).ok();
    let status = |bin: &str| {
        let mut command = epnas();
        command.args(["fleet", "status", &slurm.folder.arg("fleet"), "--json"]);
        command.env("PATH", slurm.folder.arg(bin));
        let outcome = Outcome::from(command.output().expect("epnas starts")).ok();
        let status = outcome.json();
        (status["queue"].clone(), status["lost"].clone())
    };
    let path = slurm.folder.path("bin/squeue");
    slurm.folder.write("bin/squeue", "#!/bin/sh\nexit 0\n");
    assert_eq!(status("bin"), (serde_json::json!([]), true.into()));
    slurm.folder.write("bin/squeue", "#!/bin/sh\nexit 1\n");
    assert_eq!(status("bin"), (Value::Null, false.into()));
    std::fs::remove_file(path).expect("removed");
    assert_eq!(status("bin"), (Value::Null, false.into()));
}

#[test]
fn two_submissions_at_once_submit_once() {
    let slurm = FakeSlurm::new(&format!("sleep 0.2\n{COUNTS}"));
    // Slurm would show what was submitted.
    let shown = "[ -f $(dirname $0)/sbatch.n ] && echo '100_0|PENDING|None|0:00|'; exit 0";
    slurm
        .folder
        .write("bin/squeue", format!("#!/bin/sh\n{shown}\n"));
    let both: Vec<Outcome> = std::thread::scope(|scope| {
        let one = || slurm.submit(&["--replicas", "2"]);
        let started = [scope.spawn(one), scope.spawn(one)];
        started.map(|thread| thread.join().expect("it ends")).into()
    });
    let submitted = both
        .iter()
        .filter(|outcome| outcome.code == Some(0))
        .count();
    assert_eq!(submitted, 1, "{both:?}");
    assert_eq!(
        slurm.calls().matches("sbatch --parsable").count(),
        4,
        "{}",
        slurm.calls()
    );
}

#[test]
fn devices_that_jobs_do_not_ask_for_are_refused() {
    let slurm = FakeSlurm::new(COUNTS);
    slurm
        .submit(&["--device", "cuda"])
        .fails(2, &["fleet.slurm.gpus to 1"]);
    slurm
        .submit(&["--device", "cpu", "--set", "fleet.slurm.gpus=1"])
        .fails(2, &["fleet.slurm.gpus to 0"]);
    assert!(!slurm.fleet().exists());
}

#[test]
fn several_processes_may_have_the_same_candidates() {
    let folder = Folder::new();
    let more = ["--replicas", "2", "--set", "fleet.train=false"];
    fleet(&folder, "fleet", &more).ok();
    let selection = folder.path("fleet/selection");
    let out = folder.arg("fleet");
    let all = candidates(Path::new(&out));
    for entry in std::fs::read_dir(&selection).expect("candidates").flatten() {
        std::fs::remove_file(entry.path()).expect("removed");
    }
    std::thread::scope(|scope| {
        let work = || line(&format!("fleet work {out} --stage select"));
        for thread in [scope.spawn(work), scope.spawn(work), scope.spawn(work)] {
            thread.join().expect("it ends").ok();
        }
    });
    assert!(all.len() > 2);
    assert_eq!(candidates(Path::new(&out)), all);
}

#[test]
fn a_job_that_makes_up_for_others_goes_back_to_the_queue_as_often_as_it_comes_further() {
    let folder = Folder::new();
    let slurm = FakeSlurm::new(COUNTS);
    // Slurm ends a job that goes back.
    slurm
        .folder
        .write("bin/scontrol", "#!/bin/sh\nkill -KILL $PPID\n");
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("fleet"));
    let mut submit = slurm.epnas();
    submit.args([
        "fleet",
        "submit",
        "--config",
        &config,
        "--out",
        &out,
        "--replicas",
        "2",
    ]);
    submit.args([
        "--set",
        "network.channels=8",
        "--set",
        "training.epochs=3",
        "--set",
        "search.iterations=2",
    ]);
    // Released by a command that would end it.
    drop(submit.output().expect("epnas starts"));
    let children = || {
        (0..2)
            .map(|replica| children(Path::new(&out), replica))
            .sum::<usize>()
    };
    let mut returns = 0;
    loop {
        let before = children();
        let mut job = slurm.epnas();
        job.args(["fleet", "work", &out, "--stage", "merge"])
            .env("SLURM_JOB_ID", "100");
        let mut job = job.spawn().expect("epnas starts");
        let code = loop {
            if let Some(status) = job.try_wait().expect("a status") {
                break status.code();
            }
            if children() > before {
                let status = Command::new("kill")
                    .args(["-USR1", &job.id().to_string()])
                    .status();
                drop(status);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        match code {
            Some(0) => break,
            // Killed, as by Slurm.
            None => returns += 1,
            Some(code) => panic!(
                "it ended with {code} after {returns} returns and {} children",
                children()
            ),
        }
    }
    assert!(returns > 4, "{returns} returns");
}
