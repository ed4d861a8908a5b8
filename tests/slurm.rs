//! A fleet on a real Slurm: jobs that are killed, meet their time limit or lose their node. `EPNAS_SLURM` asks for it, and
//! `cargo xtask test --slurm` does; whoever runs it must be allowed to drain nodes, and on a cluster of one's own: the tests
//! drain all of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{Folder, line, read_json, run};
use crate::fleet::{assert_same_fleet, children};

/// Whether Slurm may be used, which is said where it may not.
fn is_asked_for() -> bool {
    let asked = std::env::var_os("EPNAS_SLURM").is_some();
    if !asked {
        eprintln!("skipped: no Slurm (cargo xtask test --slurm)");
    }
    asked
}

/// How long a fleet may take: `EPNAS_SLURM=whole` is about the demo as it is, on two cores.
fn patience() -> Duration {
    match is_whole() {
        true => Duration::from_hours(2),
        false => Duration::from_mins(30),
    }
}

fn is_whole() -> bool {
    std::env::var("EPNAS_SLURM").is_ok_and(|asked| asked == "whole")
}

/// The demo in small, unless all of it is asked for.
fn settings() -> Vec<&'static str> {
    let mut settings = vec![
        "fleet.slurm.cpus=1",
        "fleet.slurm.time=\"60\"",
        "fleet.slurm.notice=\"30s\"",
        "fleet.slurm.jobs=6",
    ];
    if !is_whole() {
        settings.extend([
            "data.synthetic.train=3000",
            "data.synthetic.test=200",
            "network.channels=8",
            "search.children_per_step=5",
            "select.top=1",
            "select.epochs=2",
            "train.epochs=3",
            "train.channels=8",
        ]);
    }
    settings
}

fn submit(out: &str, more: &[&str]) -> crate::command::Outcome {
    let mut arguments = vec![
        "fleet",
        "submit",
        "--config",
        "demo",
        "--replicas",
        "6",
        "--out",
        out,
    ];
    for setting in settings() {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    run(&arguments)
}

/// A command of Slurm, which succeeds.
#[track_caller]
fn slurm(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program)
        .args(words)
        .output()
        .expect("Slurm is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[track_caller]
fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let clock = Instant::now();
    while !is_true() {
        assert!(clock.elapsed() < patience(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
    eprintln!("{what}: after {:.0?}", clock.elapsed());
}

fn status(fleet: &str) -> Value {
    line(&format!("fleet status {fleet} --json")).ok().json()
}

/// The state of a job of the search, as Slurm has it.
fn state(fleet: &str, task: u64) -> String {
    let status = status(fleet);
    let queue = status["queue"].as_array().expect("a queue").clone();
    let entry = queue
        .iter()
        .find(|entry| entry["stage"] == "search" && entry["task"] == task);
    entry
        .map_or("GONE", |entry| entry["state"].as_str().expect("a state"))
        .to_owned()
}

fn is_done(fleet: &str) -> bool {
    status(fleet)["done"] == true
}

fn nodes() -> String {
    slurm("sinfo --noheader --format=%N")
        .lines()
        .collect::<Vec<_>>()
        .join(",")
}

/// The number of the search's array.
fn searches(fleet: &Path) -> String {
    let jobs = read_json(&fleet.join("slurm/jobs.json"));
    jobs["jobs"][0]["id"].as_str().expect("a number").to_owned()
}

/// What watches over jobs on this node, a process for each.
fn steps() -> BTreeSet<String> {
    let found = Command::new("pgrep").arg("slurmstepd").output();
    let found = found.expect("pgrep runs").stdout;
    let processes = String::from_utf8_lossy(&found).into_owned();
    processes.lines().map(str::to_owned).collect()
}

/// Slurm lets jobs that were put back wait for two minutes. Where the same job still ends, it would find it twice on a node, and
/// drain that.
fn do_not_wait(job: &str) {
    drop(
        Command::new("scontrol")
            .args(["update", &format!("JobId={job}"), "StartTime=now"])
            .output(),
    );
}

#[test]
fn slurm_a_disturbed_fleet_ends_as_an_undisturbed_one() {
    if !is_asked_for() {
        return;
    }
    let folder = Folder::new();
    let (calm, troubled) = (folder.arg("calm"), folder.arg("troubled"));
    let clock = Instant::now();
    submit(&calm, &["--wait", "-v"]).ok();
    eprintln!("undisturbed: {:.0?}", clock.elapsed());
    assert!(is_done(&calm));

    let clock = Instant::now();
    submit(&troubled, &[]).ok();
    let path = folder.path("troubled");
    let job = searches(&path);
    // So that each is there when it is its turn.
    for task in 2..6 {
        slurm(&format!("scontrol hold {job}_{task}"));
    }
    let running = |task| state(&troubled, task) == "RUNNING" && children(&path, task as usize) > 1;
    wait_until("two searches run", || running(0) && running(1));

    // One is killed, with all of its processes: nobody is there to put it back.
    slurm(&format!("scancel --full --signal=KILL {job}_0"));
    wait_until("one search is killed", || state(&troubled, 0) == "GONE");
    let at_death = children(&path, 0);

    // One meets its time limit, which Slurm looks at every half minute.
    slurm(&format!("scontrol update JobId={job}_1 TimeLimit=1"));
    wait_until("one search is put back at its time limit", || {
        state(&troubled, 1) == "PENDING"
    });
    let at_limit = children(&path, 1);
    slurm(&format!("scontrol update JobId={job}_1 TimeLimit=60"));

    // The node is drained: what runs ends, nothing begins. Then it is lost, and comes back.
    let nodes = nodes();
    for task in [2, 3] {
        slurm(&format!("scontrol release {job}_{task}"));
    }
    wait_until("two other searches run", || running(2) && running(3));
    slurm(&format!(
        "scontrol update NodeName={nodes} State=DRAIN Reason=test"
    ));
    for task in [4, 5] {
        slurm(&format!("scontrol release {job}_{task}"));
    }
    wait_until("the node is drained", || {
        ["DRAINED", "GONE"].contains(&state(&troubled, 2).as_str()) && state(&troubled, 3) == "GONE"
    });
    std::thread::sleep(Duration::from_secs(5));
    assert_ne!(
        state(&troubled, 4),
        "RUNNING",
        "a drained node takes no jobs"
    );
    slurm(&format!("scontrol update NodeName={nodes} State=RESUME"));
    wait_until("another search runs", || running(4) || running(5));
    let lost = steps();
    slurm(&format!(
        "scontrol update NodeName={nodes} State=DOWN Reason=test"
    ));
    wait_until("its node is lost", || {
        state(&troubled, 4) != "RUNNING" && state(&troubled, 5) != "RUNNING"
    });
    let at_loss = [children(&path, 4), children(&path, 5)];
    // It may be back by itself already, which is an error then.
    let back = ["update", &format!("NodeName={nodes}"), "State=RESUME"];
    drop(Command::new("scontrol").args(back).output());
    wait_until("what ran there has ended", || steps().is_disjoint(&lost));
    for task in [1, 4, 5] {
        do_not_wait(&format!("{job}_{task}"));
    }
    wait_until("everything is done", || is_done(&troubled));
    eprintln!(
        "disturbed: {:.0?}; killed after {at_death} children, put back after {at_limit}, lost its node after {at_loss:?}",
        clock.elapsed()
    );
    wait_until("the queue is empty", || {
        status(&troubled)["queue"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    assert_same_fleet(&folder.path("calm"), &path);
}

#[test]
fn slurm_what_is_refused_leaves_nothing_behind() {
    if !is_asked_for() {
        return;
    }
    let folder = Folder::new();
    // Jobs of others come and go, and those of earlier fleets go.
    let queue = || {
        let queue = slurm("squeue --noheader --array --format=%i|%j");
        let own = queue.lines().filter(|line| line.contains("|epnas-"));
        own.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let before = queue();
    let largest = slurm("scontrol show config");
    let largest = largest
        .lines()
        .find(|line| line.starts_with("MaxArraySize"));
    let largest: usize = largest
        .and_then(|line| line.split('=').nth(1)?.trim().parse().ok())
        .expect("MaxArraySize");
    let too_many = format!("fleet.replicas={}", largest + 1);
    for (setting, words) in [
        (
            "fleet.slurm.partition=none",
            vec![
                "invalid partition specified: none",
                "fleet.slurm.partition is none, the cluster has",
            ],
        ),
        (
            too_many.as_str(),
            vec![
                "Invalid job array specification",
                "set fleet.slurm.jobs to a number of",
                "MaxArraySize",
            ],
        ),
        ("fleet.slurm.cpus=1000", vec!["fleet.slurm.cpus is 1000"]),
        (
            "fleet.slurm.memory=90000G",
            vec!["emory", "fleet.slurm.memory is 90000G"],
        ),
        (
            "fleet.slurm.time=soon",
            vec!["Invalid --time specification", "fleet.slurm.time is soon"],
        ),
        (
            "fleet.slurm.options=[\"--bogus\"]",
            vec![
                "unrecognized option '--bogus'",
                "fleet.slurm.options is --bogus",
            ],
        ),
    ] {
        let config = folder.arg("tiny.toml");
        let out = folder.arg("refused");
        let refused = run(&[
            "fleet", "submit", "--config", &config, "--out", &out, "--set", setting,
        ]);
        let mut expected = vec!["nothing was submitted: Slurm refuses the job"];
        expected.extend(words);
        refused.fails(2, &expected);
        let left: Vec<String> = queue().difference(&before).cloned().collect();
        assert!(left.is_empty(), "{setting}: {left:?}");
        let jobs = read_json_if(&folder.path("refused/slurm/jobs.json"));
        assert_eq!(jobs, None, "{setting}");
        drop(std::fs::remove_dir_all(folder.path("refused")));
    }
}

fn read_json_if(path: &Path) -> Option<Value> {
    path.exists().then(|| read_json(path))
}

#[test]
fn slurm_a_fleet_is_submitted_once_and_cancelled() {
    if !is_asked_for() {
        return;
    }
    let folder = Folder::new();
    let (config, out) = (folder.arg("tiny.toml"), folder.arg("fleet"));
    // Nothing of it runs, so that nothing can have ended.
    let held = [
        "fleet",
        "submit",
        "--config",
        &config,
        "--out",
        &out,
        "--set",
        "fleet.slurm.options=[\"--begin=now+1hour\"]",
    ];
    let submitted = run(&held).ok();
    for stage in ["search", "merge", "select", "train"] {
        assert!(
            submitted.stdout.contains(&format!("\n{stage}")) || submitted.stdout.starts_with(stage),
            "{}",
            submitted.stdout
        );
    }
    let again = run(&held);
    again.fails(2, &["jobs in the queue", "epnas fleet cancel"]);
    let status = status(&out);
    assert!(
        status["queue"]
            .as_array()
            .is_some_and(|queue| !queue.is_empty()),
        "{status}"
    );
    assert_eq!(status["done"], false);
    let cancelled = line(&format!("fleet cancel {out} --json")).ok().json();
    assert!(cancelled["jobs"].as_u64() > Some(4), "{cancelled}");
    wait_until("the queue is empty", || {
        self::status(&out)["queue"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    assert_eq!(self::status(&out)["lost"], true);
    // What it was submitted for can still be had otherwise.
    line(&format!("fleet run --out {out} -q")).ok();
    assert!(is_done(&out));
}
